#include "link/tap_link.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace gannet::link {
namespace {

constexpr Time start{};
constexpr wire::MacAddress our_mac{{std::byte{2}, std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}}};

TEST(LocalMac, IsUnicastLocallyAdministeredAndSpread) {
  for (const std::uint64_t random : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x123456789abcdef}}) {
    const wire::MacAddress mac = local_mac(random);
    EXPECT_FALSE(mac.is_multicast());
    EXPECT_EQ(mac.bytes[0] & std::byte{2}, std::byte{2});
  }
  EXPECT_NE(local_mac(0x0100), local_mac(0x0200));
}

TEST(TapLinkOpen, RefusesWhatIsNoName) {
  for (const char* name : {"", "sixteen-letters-", "a/b", "tap%d", "a b", "a:1"}) {
    EXPECT_EQ(TapLink::open(name, our_mac).error().code, EINVAL) << name;
  }
}

// The kernel at the other end, in a network namespace of this process alone: what it sends and receives on the interface, as whole frames.
class TapLinks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      GTEST_SKIP() << "no right to make a network namespace: " << std::strerror(errno);
    }
    auto link = TapLink::open("gannet-test", our_mac);
    const int code = link.error().code;
    if (code == EPERM || code == EACCES || code == ENOENT) GTEST_SKIP() << link.error().message();
    ASSERT_TRUE(link) << link.error().message();
    link_ = std::move(*link);
    kernel_ = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    ASSERT_GE(kernel_, 0);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex("gannet-test"));
    ASSERT_EQ(::bind(kernel_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void TearDown() override {
    if (kernel_ >= 0) ::close(kernel_);
  }
  // An Ethernet frame of a type of our own, so that the kernel's chatter (router solicitations, IGMP) is told apart.
  static std::vector<std::byte> frame(std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i);
    if (size >= 14) bytes[12] = std::byte{0x88}, bytes[13] = std::byte{0xb5};
    if (size >= 1) bytes[0] = std::byte{2};
    return bytes;
  }
  static bool is_ours(std::span<const std::byte> bytes) { return bytes.size() >= 14 && bytes[12] == std::byte{0x88} && bytes[13] == std::byte{0xb5}; }
  std::size_t send(std::size_t size) {
    const auto bytes = frame(size);
    Frame one = pools_.allocate(size);
    one.resize(size);
    std::ranges::copy(bytes, one.bytes().begin());
    return link_->send({&one, 1}, start);
  }
  void set_mtu(int mtu) {
    ifreq request{};
    std::strcpy(request.ifr_name, "gannet-test");
    request.ifr_mtu = mtu;
    ASSERT_EQ(::ioctl(kernel_, SIOCSIFMTU, &request), 0);
  }
  void set_down() {
    ifreq request{};
    std::strcpy(request.ifr_name, "gannet-test");
    ASSERT_EQ(::ioctl(kernel_, SIOCSIFFLAGS, &request), 0);
  }
  // As `ip link delete gannet-test`.
  static void delete_interface() {
    struct {
      nlmsghdr header;
      ifinfomsg interface;
    } request{};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_DELLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request.interface.ifi_index = static_cast<int>(::if_nametoindex("gannet-test"));
    const Fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    ASSERT_EQ(::send(netlink.get(), &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
    struct {
      nlmsghdr header;
      nlmsgerr outcome;
    } answer{};
    ASSERT_GE(::recv(netlink.get(), &answer, sizeof answer, 0), static_cast<ssize_t>(sizeof(nlmsghdr) + sizeof(int)));
    ASSERT_EQ(answer.outcome.error, 0);
  }
  // The next frame of ours that arrives.
  Frame receive(FramePools& pools) {
    pollfd wait{.fd = link_->fd(), .events = POLLIN, .revents = 0};
    while (::poll(&wait, 1, 5000) == 1) {
      Frame one;
      if (link_->receive({&one, 1}, pools, start) == 1 && is_ours(one.bytes())) return one;
    }
    return {};
  }
  std::uint64_t drops(Drop reason) const { return link_->counters().drops[static_cast<std::size_t>(reason)].value(); }

  FramePools pools_ = FramePools::create(64, 4).value();
  std::unique_ptr<TapLink> link_;
  int kernel_ = -1;
};

TEST_F(TapLinks, ReportsWhatItIs) {
  EXPECT_EQ(link_->caps().name, "tap gannet-test");
  EXPECT_EQ(link_->caps().mtu, 1500u);
  EXPECT_EQ(link_->caps().mac, our_mac);
  EXPECT_EQ(TapLink::open("gannet-test", our_mac).error().code, EBUSY);
  EXPECT_EQ(TapLink::open("lo", our_mac).error().code, EINVAL);
}

TEST_F(TapLinks, TheKernelReceivesWhatWeSend) {
  ASSERT_EQ(send(1514), 1u);
  std::vector<std::byte> got(2000);
  do {
    const ssize_t size = ::recv(kernel_, got.data(), got.size(), 0);
    ASSERT_GT(size, 0);
    got.resize(static_cast<std::size_t>(size));
  } while (!is_ours(got) && (got.resize(2000), true));
  EXPECT_EQ(got, frame(1514));
  EXPECT_EQ(link_->counters().frames_out.value(), 1u);
}

TEST_F(TapLinks, WeReceiveWhatTheKernelSends) {
  const auto bytes = frame(1514);
  ASSERT_EQ(::send(kernel_, bytes.data(), bytes.size(), 0), 1514);
  const Frame got = receive(pools_);
  ASSERT_TRUE(got);
  EXPECT_TRUE(std::ranges::equal(got.bytes(), bytes));
  EXPECT_EQ(got.headroom(), frame_headroom);
}

TEST_F(TapLinks, JumboFramesFillALargeFrame) {
  set_mtu(9000);
  const auto bytes = frame(9014);
  ASSERT_EQ(::send(kernel_, bytes.data(), bytes.size(), 0), 9014);
  const Frame got = receive(pools_);
  ASSERT_TRUE(got);
  EXPECT_TRUE(std::ranges::equal(got.bytes(), bytes));
}

TEST_F(TapLinks, WhatFindsNoFrameIsReadAndCounted) {
  FramePools none = FramePools::create(1, 1).value();
  const Frame hog = none.small->allocate();
  const auto bytes = frame(60);
  ASSERT_EQ(::send(kernel_, bytes.data(), bytes.size(), 0), 60);
  for (int i = 0; i < 500 && drops(Drop::no_frame) == 0; ++i) {
    std::array<Frame, 4> into;
    EXPECT_EQ(link_->receive(into, none, start), 0u);
    ::usleep(1000);
  }
  EXPECT_GE(drops(Drop::no_frame), 1u);
}

TEST_F(TapLinks, WhatCannotBeSentIsTakenAndCounted) {
  EXPECT_EQ(send(1515), 1u);
  EXPECT_EQ(drops(Drop::frame_too_long), 1u);
  EXPECT_EQ(send(10), 1u);
  EXPECT_EQ(drops(Drop::ethernet_truncated), 1u);
  set_down();
  EXPECT_EQ(send(60), 1u);
  EXPECT_EQ(drops(Drop::interface_down), 1u);
}

TEST_F(TapLinks, TellsWhenTheInterfaceIsDeleted) {
  set_down();
  std::array<Frame, 4> into;
  for (int i = 0; i < 100 && link_->receive(into, pools_, start) != 0; ++i) {
  }
  EXPECT_TRUE(link_->status()) << "down is not gone";
  delete_interface();
  pollfd wait{.fd = link_->fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&wait, 1, 5000), 1);
  EXPECT_EQ(link_->receive(into, pools_, start), 0u);
  EXPECT_EQ(link_->status().error().code, ENODEV);
  EXPECT_EQ(send(60), 1u);
  EXPECT_EQ(drops(Drop::interface_down), 1u);
}

}  // namespace
}  // namespace gannet::link
