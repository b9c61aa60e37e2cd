#include "engine/host_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <thread>
#include <utility>

#include "wire/icmp4.h"
#include "wire/ipv4.h"

namespace gannet::engine {
namespace {

const IpAddress neighbor = IpAddress::ipv4(192, 0, 2, 9);
const IpAddress far_away = IpAddress::ipv4(198, 51, 100, 1);

struct HostPageTest : testing::Test {
  FramePools pools = FramePools::create(64, 2).value();
  Rng rng{1};
  stack::Stack stack{pools, rng};
  std::unique_ptr<HostPage> page = HostPage::create().value();
  HostView view{*page};

  std::uint32_t add_interface() {
    const std::uint32_t index = stack.add_interface({.name = "wire", .mac = {}, .mtu = 1500}).value();
    EXPECT_TRUE(stack.add_address(index, IpAddress::ipv4(192, 0, 2, 1), 24, Time{}).has_value());
    return index;
  }
  [[nodiscard]] int check(const IpAddress& dst, std::size_t size = 10, SendCheck send = {}) const {
    send.to = {dst, 7};
    send.payload_size = size;
    return check_send(view, send).error().code;
  }
};

TEST_F(HostPageTest, SaysNothingUntilItIsPublished) {
  EXPECT_FALSE(view.find(neighbor, 0).has_value());
  EXPECT_EQ(check(neighbor), 0);
  EXPECT_EQ(check(neighbor, 65508), EMSGSIZE);
}

TEST_F(HostPageTest, IsPublishedWhenTheHostChanged) {
  EXPECT_TRUE(page->publish(stack));
  EXPECT_FALSE(page->publish(stack));
  EXPECT_EQ(check(neighbor), ENETUNREACH);
  EXPECT_EQ(check(IpAddress::ipv4(127, 0, 0, 1)), 0);
  EXPECT_EQ(check(IpAddress::ipv4(127, 1, 2, 3)), 0);
  EXPECT_EQ(check(IpAddress::ipv4(127, 255, 255, 255)), EACCES);
  const std::uint32_t index = add_interface();
  EXPECT_TRUE(page->publish(stack));
  EXPECT_EQ(view.generation(), stack.generation());
  EXPECT_EQ(check(neighbor), 0);
  EXPECT_EQ(check(far_away), ENETUNREACH);
  ASSERT_TRUE(stack.add_route({.network = IpAddress::any(Family::ipv4), .prefix = 0, .gateway = neighbor, .interface = index}).has_value());
  ASSERT_TRUE(page->publish(stack));
  EXPECT_EQ(check(far_away), 0);
  ASSERT_TRUE(stack.set_up(index, false, Time{}).has_value());
  ASSERT_TRUE(page->publish(stack));
  EXPECT_EQ(check(far_away), ENETUNREACH);
  EXPECT_EQ(check(neighbor), ENETUNREACH);
  EXPECT_EQ(check(IpAddress::ipv4(192, 0, 2, 1)), 0) << "an address is ours although its interface is down";
}

TEST_F(HostPageTest, ChecksAsLinuxDoes) {
  const std::uint32_t index = add_interface();
  page->publish(stack);
  EXPECT_EQ(check_send(view, {.to = {neighbor, 0}}).error().code, EINVAL);
  EXPECT_EQ(check(IpAddress::ipv4(192, 0, 2, 255)), EACCES);
  EXPECT_EQ(check(IpAddress::ipv4(255, 255, 255, 255)), EACCES);
  EXPECT_EQ(check(IpAddress::ipv4(255, 255, 255, 255), 10, {.to = {}, .broadcast = true}), 0);
  EXPECT_EQ(check(IpAddress::ipv4(239, 1, 1, 1)), 0);
  EXPECT_EQ(check(neighbor, 65507), 0) << "it will be fragmented";
  EXPECT_EQ(check(neighbor, 1472, {.to = {}, .fragmentation = stack::Fragmentation::refuse}), 0);
  EXPECT_EQ(check(neighbor, 1473, {.to = {}, .fragmentation = stack::Fragmentation::refuse}), EMSGSIZE);
  EXPECT_EQ(check(neighbor, 1469, {.to = {}, .ip_options_size = 4, .fragmentation = stack::Fragmentation::refuse}), EMSGSIZE);
  EXPECT_EQ(check(neighbor, 10000, {.to = {}, .segment_size = 1472}), 0);
  EXPECT_EQ(check(neighbor, 10000, {.to = {}, .segment_size = 1473}), EMSGSIZE);
  EXPECT_EQ(check(IpAddress::ipv4(192, 0, 2, 1), 60000, {.to = {}, .fragmentation = stack::Fragmentation::refuse}), 0) << "to ourselves, by lo";
  EXPECT_EQ(check(neighbor, 10, {.to = {}, .interface = index}), 0);
  EXPECT_EQ(check(neighbor, 10, {.to = {}, .interface = index + 1}), ENODEV);
  EXPECT_EQ(check(IpAddress::ipv4(192, 0, 2, 1), 10, {.to = {}, .interface = index + 1}), ENODEV) << "to ourselves, too";
}

// The page and the host decide alike, for every destination of a sample.
TEST_F(HostPageTest, AgreesWithTheHost) {
  const std::uint32_t index = add_interface();
  ASSERT_TRUE(stack.add_route({.network = IpAddress::ipv4(198, 51, 100, 0), .prefix = 24, .gateway = neighbor, .interface = index}).has_value());
  page->publish(stack);
  for (const std::uint32_t number : {0x7f000001u, 0x7fabcdefu, 0x7f000000u, 0x7fffffffu, 0xc0000201u, 0xc0000200u, 0xc00002ffu, 0xc0000209u,
                                     0xc6336400u, 0xc63364ffu, 0xcb007101u, 0xffffffffu, 0xe0000001u, 0xefffffffu, 0x0a000001u}) {
    const IpAddress dst = IpAddress::ipv4(number);
    const auto told = view.find(dst, 0);
    const auto path = stack.ip().find_path(dst, IpAddress::any(Family::ipv4), 0);
    ASSERT_TRUE(told.has_value());
    EXPECT_EQ(told->reachable, path.has_value()) << dst.to_string();
    if (path) {
      EXPECT_EQ(told->kind, path->kind) << dst.to_string();
      EXPECT_EQ(told->mtu, path->interface_mtu) << dst.to_string();
    }
  }
}

// A router says what the path to `dst` carries, of a datagram that the stack has sent there.
struct LearnsPathMtus : HostPageTest {
  std::uint32_t index = 0;
  stack::EndpointGroup group;
  stack::Endpoint* endpoint = nullptr;
  Time now{1s};

  void SetUp() override {
    index = stack.add_interface({.name = "line", .mac = {}, .mtu = 1500, .ethernet = false}).value();
    stack.add_address(index, IpAddress::ipv4(192, 0, 2, 1), 24, now).value();
    stack.add_route({.network = IpAddress::any(Family::ipv4), .prefix = 0, .gateway = neighbor, .interface = index}).value();
    endpoint = stack.udp().open(group).value();
  }
  void TearDown() override { stack.udp().close(*endpoint, now); }

  void tell(const IpAddress& dst, std::uint16_t mtu) {
    ::gannet::stack::SendRequest request;
    request.header.peer = {dst, 7};
    const std::array<std::byte, 1400> payload{};
    request.payload = payload;
    ASSERT_TRUE(stack.udp().send(*endpoint, request, now));
    const auto sent = stack.output(index);
    ASSERT_EQ(sent.size(), 1u);
    constexpr std::size_t quoted = 28, headers = wire::ipv4_header_size + wire::icmp4_header_size;
    Frame frame = pools.allocate(headers + quoted);
    frame.resize(headers + quoted);
    std::ranges::copy(std::as_const(sent[0]).bytes().first(quoted), frame.bytes().subspan(headers).begin());
    wire::emit_icmp4(wire::Icmp4Type::unreachable, wire::unreachable_code::fragmentation_needed, mtu, frame.bytes().subspan(wire::ipv4_header_size));
    wire::emit_ipv4({.src = neighbor, .dst = IpAddress::ipv4(192, 0, 2, 1), .protocol = wire::protocol_icmp, .ttl = 64}, frame.bytes());
    sent[0].release();
    stack.sent(index, 1);
    stack.input(index, std::move(frame), now);
  }
};

// B1: what a router said of a path is known to the next send, as on Linux; and forgotten in time.
TEST_F(LearnsPathMtus, RefusesWhatTheyDoNotCarry) {
  using stack::Fragmentation;
  page->publish(stack);
  EXPECT_FALSE(view.find_path_mtu(far_away));
  EXPECT_EQ(check(far_away, 1472, {.to = {}, .fragmentation = Fragmentation::refuse}), 0);
  tell(far_away, 1000);
  ASSERT_TRUE(page->publish(stack));
  EXPECT_EQ(view.find_path_mtu(far_away), 1000u);
  EXPECT_FALSE(view.find_path_mtu(neighbor));
  EXPECT_EQ(check(far_away, 972, {.to = {}, .fragmentation = Fragmentation::refuse}), 0);
  EXPECT_EQ(check(far_away, 973, {.to = {}, .fragmentation = Fragmentation::refuse}), EMSGSIZE);
  EXPECT_EQ(check(far_away, 969, {.to = {}, .ip_options_size = 4, .fragmentation = Fragmentation::refuse}), EMSGSIZE);
  EXPECT_EQ(check(neighbor, 1472, {.to = {}, .fragmentation = Fragmentation::refuse}), 0) << "another path";
  EXPECT_EQ(check(far_away, 1472), 0) << "it will be fragmented";
  EXPECT_EQ(check(far_away, 1472, {.to = {}, .fragmentation = Fragmentation::probe}), 0) << "what was learned is ignored";
  EXPECT_EQ(check(far_away, 5000, {.to = {}, .segment_size = 973}), EMSGSIZE);
  EXPECT_EQ(check(far_away, 5000, {.to = {}, .segment_size = 973, .fragmentation = Fragmentation::omit}), 0);
  stack.advance(now + stack.config().path_mtu_age);
  ASSERT_TRUE(page->publish(stack));
  EXPECT_FALSE(view.find_path_mtu(far_away));
}

TEST_F(LearnsPathMtus, HasRoomForAllThatTheHostRemembers) {
  ASSERT_LE(stack.config().path_mtus, HostPage::max_path_mtus);
  const auto path = [](unsigned number) {
    return IpAddress::ipv4(198, 51, static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number));
  };
  for (unsigned i = 0; i < 300; ++i) tell(path(i), static_cast<std::uint16_t>(600 + i));
  page->publish(stack);
  for (unsigned i = 0; i < 300; ++i) {
    EXPECT_EQ(view.find_path_mtu(path(i)), i < 300 - 256 ? std::nullopt : std::optional(600 + i)) << i;
  }
}

// While the engine publishes, each reader sees one state or the other, never a mixture.
TEST_F(HostPageTest, ReadersSeeWholePages) {
  const std::uint32_t index = add_interface();
  const stack::Route route{.network = IpAddress::ipv4(198, 51, 100, 0), .prefix = 24, .gateway = neighbor, .interface = index};
  page->publish(stack);
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0, seen = 0;
  std::thread reader([&] {
    while (!stop || seen == 0) {
      const auto own = view.find(neighbor, 0);
      const auto far = view.find(far_away, 0);
      if (own) wrong += !own->reachable || own->mtu != 1500;
      if (far && far->reachable) wrong += far->mtu != 1500;
      seen += far.has_value();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    if (i % 2 == 0)
      ASSERT_TRUE(stack.add_route(route).has_value());
    else
      ASSERT_TRUE(stack.remove_route(route).has_value());
    ASSERT_TRUE(page->publish(stack));
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace gannet::engine
