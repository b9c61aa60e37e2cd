#include "link/uplink.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "link/tap_link.h"
#include "wire/icmp4.h"
#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::link {
namespace {

constexpr std::uint32_t lo = 1;
const IpAddress here = IpAddress::ipv4(127, 0, 0, 1);
const IpAddress any = IpAddress::any(Family::ipv4);

// As ifconfig(8) does; with another socket each time, since the network namespace may be another.
template <class Request>
bool configure(unsigned long what, Request& request) {
  return ::ioctl(Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)).get(), what, &request) == 0;
}

// Other tests of this process may have moved it into a network namespace of its own, where nothing is up yet.
void raise_loopback() {
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  configure(SIOCGIFFLAGS, request);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  configure(SIOCSIFFLAGS, request);
}

bool set_loopback_mtu(int mtu) {
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_mtu = mtu;
  return configure(SIOCSIFMTU, request);
}

bool set_address(const char* interface, unsigned long what, const IpAddress& ip) {
  ifreq request{};
  std::strcpy(request.ifr_name, interface);
  const sockaddr_in name = to_sockaddr({ip, 0});
  std::memcpy(&request.ifr_addr, &name, sizeof name);
  return configure(what, request);
}

// Has the kernel take it that this neighbour is there.
bool set_neighbor(const char* interface, const IpAddress& ip) {
  arpreq request{};
  const sockaddr_in name = to_sockaddr({ip, 0});
  std::memcpy(&request.arp_pa, &name, sizeof name);
  request.arp_ha.sa_family = ARPHRD_ETHER;
  request.arp_ha.sa_data[0] = 2;
  request.arp_flags = ATF_COM | ATF_PERM;
  std::strcpy(request.arp_dev, interface);
  return configure(SIOCSARP, request);
}

int option(const Fd& fd, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(fd.get(), IPPROTO_IP, name, &value, &size) == 0 ? value : -1;
}

// This process's socket of that name: the uplink's.
Fd socket_at(const Address& local) {
  for (int fd = 3; fd < 1024; ++fd) {
    sockaddr_in name{};
    socklen_t size = sizeof name;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0 || name.sin_family != AF_INET) continue;
    if (to_address(name) == local) return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  }
  return {};
}

// An outside program's socket.
class Outside {
 public:
  explicit Outside(const IpAddress& ip = here, std::uint16_t port = 0, bool shared = false) : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    set(SOL_SOCKET, SO_BROADCAST, 1);
    if (shared) set(SOL_SOCKET, SO_REUSEADDR, 1);
    const sockaddr_in name = to_sockaddr({ip, port});
    bound = ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
    sockaddr_in actual{};
    socklen_t size = sizeof actual;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&actual), &size);
    address = to_address(actual);
  }
  void set(int level, int name, int value) { ::setsockopt(fd_.get(), level, name, &value, sizeof value); }
  bool join(const ip_mreq& group) { return ::setsockopt(fd_.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0; }
  int set_options(std::span<const std::byte> wanted) {
    return ::setsockopt(fd_.get(), IPPROTO_IP, IP_OPTIONS, wanted.data(), static_cast<socklen_t>(wanted.size()));
  }
  bool send(std::string_view data, const Address& to) {
    const sockaddr_in name = to_sockaddr(to);
    return ::sendto(fd_.get(), data.data(), data.size(), 0, reinterpret_cast<const sockaddr*>(&name), sizeof name) ==
           static_cast<ssize_t>(data.size());
  }
  std::optional<std::string> receive(int patience = 2000) {
    pollfd wait{fd_.get(), POLLIN, 0};
    if (::poll(&wait, 1, patience) != 1) return std::nullopt;
    std::string data(65536, '\0');
    sockaddr_in name{};
    std::array<char, 256> control{};
    iovec piece{data.data(), data.size()};
    msghdr message{};
    message.msg_name = &name;
    message.msg_namelen = sizeof name;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = ::recvmsg(fd_.get(), &message, 0);
    if (size < 0) return std::nullopt;
    from = to_address(name);
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_type == IP_TTL) std::memcpy(&ttl, CMSG_DATA(part), sizeof ttl);
      if (part->cmsg_type == IP_TOS) tos = *CMSG_DATA(part);
      if (part->cmsg_type == IP_RECVOPTS) options.assign(CMSG_DATA(part), CMSG_DATA(part) + (part->cmsg_len - CMSG_LEN(0)));
    }
    data.resize(static_cast<std::size_t>(size));
    return data;
  }

  Address address, from;
  bool bound = false;
  int ttl = 0, tos = 0;
  std::vector<unsigned char> options;

 private:
  Fd fd_;
};

struct Arrived {
  wire::Ipv4 ipv4;
  std::vector<std::byte> bytes;
  std::string data;  // of a UDP datagram
  std::uint16_t src_port = 0, dst_port = 0;
};

class UplinkOnLoopback : public ::testing::Test {
 protected:
  void SetUp() override {
    raise_loopback();
    uplink = Uplink::create({.waiting = 4096, .key = {1, 2}}).value();
    face = uplink->open_face(lo, "lo", 65535).value();
  }
  void TearDown() override {
    face.reset();
    EXPECT_TRUE(pools.full());
  }

  Frame packet(const Address& src, const Address& dst, std::string_view data, wire::Ipv4Header header = {.id = 1}) {
    Frame frame = pools.allocate(28 + data.size());
    frame.resize(28 + data.size());
    std::memcpy(frame.bytes().data() + 28, data.data(), data.size());
    wire::emit_udp(src.ip, dst.ip, src.port, dst.port, frame.bytes().subspan(20));
    header.src = src.ip;
    header.dst = dst.ip;
    header.protocol = wire::protocol_udp;
    wire::emit_ipv4(header, frame.bytes());
    return frame;
  }
  std::size_t send(const Address& src, const Address& dst, std::string_view data, const wire::Ipv4Header& header = {.id = 1}) {
    Frame frame = packet(src, dst, data, header);
    return face->send(std::span(&frame, 1), now);
  }
  // The next packet, as soon as the face says that there is one.
  std::optional<Arrived> receive(int patience = 2000) {
    if (ready.empty()) take(patience);
    if (ready.empty()) return std::nullopt;
    Arrived first = std::move(ready.front());
    ready.erase(ready.begin());
    return first;
  }
  void take(int patience) {
    constexpr int step = 20;
    for (int waited = 0; ready.empty() && waited < patience; waited += step) {
      pollfd wait{face->fd(), POLLIN, 0};
      ::poll(&wait, 1, step);
      std::array<Frame, batch_size> frames;
      const std::size_t count = face->receive(frames, pools, now);
      for (Frame& frame : std::span(frames).first(count)) {
        Arrived& one = ready.emplace_back();
        one.bytes.assign(frame.bytes().begin(), frame.bytes().end());
        const auto ipv4 = wire::parse_ipv4(one.bytes);
        ASSERT_TRUE(ipv4);
        one.ipv4 = *ipv4;
        if (ipv4->protocol != wire::protocol_udp) continue;
        const auto udp = wire::parse_udp(ipv4->info(), ipv4->payload, wire::ZeroChecksum::refused);
        ASSERT_TRUE(udp);
        one.src_port = udp->src_port;
        one.dst_port = udp->dst_port;
        one.data.assign(reinterpret_cast<const char*>(udp->user_data.data()), udp->user_data.size());
      }
    }
  }
  // A port that the host has claimed.
  Address claim(const IpAddress& ip = here, bool shared = false) {
    for (int i = 0; i < 100; ++i) {
      const Address local{ip, Outside(ip).address.port};
      if (uplink->claim(local, shared, false)) return local;
    }
    return {};
  }
  std::uint64_t dropped(Drop reason) const { return face->counters().drops[static_cast<std::size_t>(reason)].value(); }

  FramePools pools = FramePools::create(512, 64).value();
  std::shared_ptr<Uplink> uplink;
  std::unique_ptr<Link> face;
  std::vector<Arrived> ready;
  Time now{std::chrono::hours(1)};
};

TEST_F(UplinkOnLoopback, CarriesBothWays) {
  const Address local = claim();
  Outside program;
  ASSERT_EQ(send(local, program.address, "to the outside"), 1u);
  EXPECT_EQ(program.receive(), "to the outside");
  EXPECT_EQ(program.from, local);
  ASSERT_TRUE(program.send("to us", local));
  const auto got = receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->data, "to us");
  EXPECT_EQ(got->ipv4.src, here);
  EXPECT_EQ(got->ipv4.dst, local.ip);
  EXPECT_EQ(got->src_port, program.address.port);
  EXPECT_EQ(got->dst_port, local.port);
}

// From a wildcard the source is the packet's, and an arrival says to which address it came.
TEST_F(UplinkOnLoopback, KeepsAddressesOfAWildcard) {
  const Address local = claim(any);
  Outside program;
  ASSERT_EQ(send({IpAddress::ipv4(127, 0, 0, 9), local.port}, program.address, "from another"), 1u);
  EXPECT_EQ(program.receive(), "from another");
  EXPECT_EQ(program.from.ip, IpAddress::ipv4(127, 0, 0, 9));
  ASSERT_TRUE(program.send("to another", {IpAddress::ipv4(127, 0, 0, 8), local.port}));
  const auto got = receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->ipv4.dst, IpAddress::ipv4(127, 0, 0, 8));
}

TEST_F(UplinkOnLoopback, CarriesTtlAndTosBothWays) {
  const Address local = claim();
  Outside program;
  program.set(IPPROTO_IP, IP_RECVTTL, 1);
  program.set(IPPROTO_IP, IP_RECVTOS, 1);
  ASSERT_EQ(send(local, program.address, "x", {.ttl = 17, .tos = 0x2e << 2 | 1, .id = 1}), 1u);
  ASSERT_TRUE(program.receive());
  EXPECT_EQ(program.ttl, 17);
  EXPECT_EQ(program.tos, 0x2e << 2 | 1);
  program.set(IPPROTO_IP, IP_TTL, 33);
  program.set(IPPROTO_IP, IP_TOS, 0x28);
  ASSERT_TRUE(program.send("y", local));
  const auto got = receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->ipv4.ttl, 33);
  EXPECT_EQ(got->ipv4.tos, 0x28);
}

TEST_F(UplinkOnLoopback, CarriesIpOptionsBothWays) {
  const Address local = claim();
  Outside program;
  program.set(IPPROTO_IP, IP_RECVOPTS, 1);
  const std::array router_alert{std::byte{148}, std::byte{4}, std::byte{0}, std::byte{0}};
  {
    Frame frame = pools.allocate(33);
    frame.resize(33);
    wire::emit_udp(here, here, local.port, program.address.port, frame.bytes().subspan(24));
    wire::emit_ipv4({.src = here, .dst = here, .protocol = wire::protocol_udp, .id = 1, .options = router_alert}, frame.bytes());
    ASSERT_EQ(face->send(std::span(&frame, 1), now), 1u);
    ASSERT_EQ(program.receive()->size(), 1u);
    EXPECT_EQ(program.options, (std::vector<unsigned char>{148, 4, 0, 0}));
  }
  ASSERT_EQ(program.set_options(router_alert), 0);
  for (const std::size_t size : {3u, 30000u}) {
    ASSERT_TRUE(program.send(std::string(size, 'x'), local));
    const auto got = receive();
    ASSERT_TRUE(got);
    EXPECT_TRUE(std::ranges::equal(got->ipv4.options, router_alert));
    EXPECT_EQ(got->data, std::string(size, 'x'));
  }
}

TEST_F(UplinkOnLoopback, CarriesEverySize) {
  const Address local = claim();
  Outside program;
  for (const std::size_t size : {0u, 1u, 1800u, 1900u, 2048u, 30000u, 65507u}) {
    const std::string data(size, static_cast<char>('a' + size % 26));
    ASSERT_EQ(send(local, program.address, data), 1u);
    EXPECT_EQ(program.receive(), data) << size;
    ASSERT_TRUE(program.send(data, local));
    const auto got = receive();
    ASSERT_TRUE(got) << size;
    EXPECT_EQ(got->data, data) << size;
  }
}

// A batch of several sockets and destinations goes out in its order.
TEST_F(UplinkOnLoopback, SendsBatches) {
  const Address one = claim(), other = claim();
  Outside program;
  std::vector<Frame> frames;
  for (int i = 0; i < 100; ++i) frames.push_back(packet(i % 10 < 5 ? one : other, program.address, std::to_string(i)));
  ASSERT_EQ(face->send(frames, now), 100u);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(program.receive(), std::to_string(i)) << dropped(Drop::uplink_refused) << dropped(Drop::uplink_no_claim);
}

TEST_F(UplinkOnLoopback, CarriesTenThousandEachWay) {
  const Address local = claim();
  Outside program;
  constexpr int rounds = 250, at_once = 40;
  for (int round = 0; round < rounds; ++round) {
    std::vector<Frame> frames;
    for (int i = 0; i < at_once; ++i) frames.push_back(packet(local, program.address, std::to_string(round * at_once + i)));
    ASSERT_EQ(face->send(frames, now), std::size_t{at_once});
    for (int i = 0; i < at_once; ++i) {
      const auto data = program.receive();
      ASSERT_EQ(data, std::to_string(round * at_once + i));
      ASSERT_TRUE(program.send(*data, local));
    }
    for (int i = 0; i < at_once; ++i) ASSERT_EQ(receive()->data, std::to_string(round * at_once + i));
  }
  EXPECT_EQ(face->counters().frames_in.value(), 10000u);
  EXPECT_EQ(face->counters().frames_out.value(), 10000u);
}

// What a face has no room for waits with the kernel.
TEST_F(UplinkOnLoopback, TakesNoMoreThanWasAskedFor) {
  face.reset();
  uplink = Uplink::create({.waiting = uplink_batch, .key = {1, 2}}).value();
  face = uplink->open_face(lo, "lo", 65535).value();
  Outside program;
  const std::array locals{claim(), claim(), claim(), claim()};
  for (int i = 0; i < 40; ++i) {
    for (const Address& local : locals) ASSERT_TRUE(program.send(std::to_string(i), local));
  }
  std::map<std::uint16_t, int> got;
  for (int i = 0; i < 160; ++i) {
    const auto one = receive();
    ASSERT_TRUE(one) << i;
    EXPECT_EQ(one->data, std::to_string(got[one->dst_port]++));
  }
  EXPECT_EQ(dropped(Drop::link_queue_full), 0u);
}

// What the note in a packet asks for is set on the kernel's socket.
TEST_F(UplinkOnLoopback, SetsWhatTheSenderWants) {
  const Address local = claim();
  Outside program;
  const Fd fd = socket_at(local);
  ASSERT_TRUE(fd);
  for (const int discovery : {IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_PMTUDISC_OMIT}) {
    for (const bool loop : {false, true}) {
      const auto note = static_cast<std::uint16_t>(discovery | (loop ? 0 : int{wire::guest_note::no_loop}));
      ASSERT_EQ(send(local, program.address, "x", {.id = note}), 1u);
      EXPECT_EQ(option(fd, IP_MTU_DISCOVER), discovery);
      EXPECT_EQ(option(fd, IP_MULTICAST_LOOP), loop);
    }
  }
}

// Datagrams that are alike go to the kernel together, and arrive apart.
TEST_F(UplinkOnLoopback, KeepsDatagramsApart) {
  const Address local = claim();
  Outside program, other;
  const auto sizes = std::to_array<std::size_t>({100, 100, 100, 40, 40, 0, 0, 100, 100, 120, 30000, 30000, 30000, 1, 1, 1});
  std::vector<Frame> frames;
  for (const std::size_t size : sizes) frames.push_back(packet(local, program.address, std::string(size, static_cast<char>('a' + frames.size()))));
  frames.push_back(packet(local, other.address, "q"));
  frames.push_back(packet(local, program.address, "r", {.ttl = 9, .id = 1}));
  ASSERT_EQ(face->send(frames, now), frames.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) ASSERT_EQ(program.receive(), std::string(sizes[i], static_cast<char>('a' + i))) << i;
  program.set(IPPROTO_IP, IP_RECVTTL, 1);
  EXPECT_EQ(program.receive(), "r");
  EXPECT_EQ(program.ttl, 9);
  EXPECT_EQ(other.receive(), "q");
  EXPECT_EQ(face->counters().frames_out.value(), frames.size());
}

TEST_F(UplinkOnLoopback, PortsAreTheMachines) {
  const Address local = claim();
  EXPECT_FALSE(Outside(here, local.port).bound);
  Outside program;
  EXPECT_EQ(uplink->claim(program.address, false, false).error().code, EADDRINUSE);
  EXPECT_EQ(uplink->claim({IpAddress::ipv4(192, 0, 2, 1), local.port}, false, false).error().code, EADDRNOTAVAIL);
  ASSERT_TRUE(uplink->claim(local, false, false));  // a second socket of ours
  EXPECT_EQ(uplink->socket_count(), 1u);
  uplink->release(local);
  EXPECT_FALSE(Outside(here, local.port).bound);
  uplink->release(local);
  EXPECT_TRUE(Outside(here, local.port).bound);
  EXPECT_EQ(uplink->socket_count(), 0u);
}

// Nobody listens: the kernel's word for it arrives as the ICMP message that it was.
TEST_F(UplinkOnLoopback, TellsOfClosedPorts) {
  const Address local = claim(any);
  const Address closed = Outside().address;
  ASSERT_EQ(send({here, local.port}, closed, "anybody?"), 1u);
  const auto got = receive();
  ASSERT_TRUE(got);
  ASSERT_EQ(got->ipv4.protocol, wire::protocol_icmp);
  EXPECT_EQ(got->ipv4.dst, here);
  const auto icmp = wire::parse_icmp4(got->ipv4.payload);
  ASSERT_TRUE(icmp);
  EXPECT_EQ(icmp->type, wire::Icmp4Type::unreachable);
  EXPECT_EQ(icmp->code, wire::unreachable_code::port);
  const auto quote = wire::parse_quote(*icmp);
  ASSERT_TRUE(quote);
  EXPECT_EQ(quote->src, here);
  EXPECT_EQ(quote->dst, here);
  EXPECT_EQ(quote->src_port(), local.port);
  EXPECT_EQ(quote->dst_port(), closed.port);
}

// The kernel reports an old error at the next send, to whomever it goes: that one goes all the same.
TEST_F(UplinkOnLoopback, AnOldErrorCostsNoDatagram) {
  const Address local = claim();
  const Address closed = Outside().address;
  Outside program;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(send(local, closed, "lost"), 1u);
    ASSERT_EQ(send(local, program.address, std::to_string(i)), 1u);
    ASSERT_EQ(program.receive(), std::to_string(i)) << dropped(Drop::uplink_refused) << dropped(Drop::uplink_no_claim);
  }
  EXPECT_EQ(dropped(Drop::uplink_refused), 0u);
  std::size_t errors = 0;
  while (receive(50)) ++errors;
  EXPECT_EQ(errors, 20u);
}

// It would come back, and never to its sender's peer.
TEST_F(UplinkOnLoopback, KeepsWhatIsForItsOwnPorts) {
  const Address one = claim(), other = claim(any);
  ASSERT_EQ(send(one, {here, other.port}, "for nobody"), 1u);
  EXPECT_EQ(dropped(Drop::uplink_held_port), 1u);
  const auto got = receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->ipv4.protocol, wire::protocol_icmp);
  EXPECT_FALSE(receive(50));
}

TEST_F(UplinkOnLoopback, SendsOnlyWhatWasClaimed) {
  Outside program;
  const Address free = Outside().address;
  EXPECT_EQ(send(free, program.address, "from nowhere"), 1u);
  EXPECT_EQ(dropped(Drop::uplink_no_claim), 1u);
  Frame broken = packet(free, program.address, "x");
  broken.bytes()[0] = std::byte{0x55};
  EXPECT_EQ(face->send(std::span(&broken, 1), now), 1u);
  EXPECT_FALSE(program.receive(50));
}

// What the kernel loops of a broadcast of ours was delivered here already; what others send is heard, once, also where a wildcard and a bound socket
// share the port.
TEST_F(UplinkOnLoopback, HearsABroadcastOnce) {
  const IpAddress all = IpAddress::ipv4(127, 255, 255, 255);
  const Address local = claim(any, true);
  ASSERT_TRUE(uplink->claim({all, local.port}, true, false));
  Outside program(any, local.port, true), sender;
  ASSERT_EQ(send({here, local.port}, {all, local.port}, "ours"), 1u);
  EXPECT_EQ(program.receive(), "ours");
  ASSERT_TRUE(sender.send("theirs", {all, local.port}));
  auto got = receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->data, "theirs");
  EXPECT_EQ(got->ipv4.dst, all);
  EXPECT_FALSE(receive(50));
  EXPECT_EQ(dropped(Drop::uplink_own_copy), 3u);  // two of ours, one of theirs
  // Another program on the port that we share is another's all the same.
  ASSERT_TRUE(program.send("theirs too", {all, local.port}));
  got = receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->data, "theirs too");
}

// Likewise of a group. Where the port is nobody else's, what comes from it is ours for certain.
TEST_F(UplinkOnLoopback, HearsAGroupOnce) {
  const IpAddress group = IpAddress::ipv4(239, 1, 2, 4);
  const Address local = claim(any);
  ASSERT_TRUE(uplink->update_group(group, lo, true, {}));
  Outside sender;
  sender.set(IPPROTO_IP, IP_MULTICAST_IF, static_cast<int>(htonl(INADDR_LOOPBACK)));
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(send({here, local.port}, {group, local.port}, "ours"), 1u);
    ASSERT_TRUE(sender.send("theirs", {group, local.port}));
    const auto got = receive();
    ASSERT_TRUE(got);
    EXPECT_EQ(got->data, "theirs");
  }
  EXPECT_EQ(dropped(Drop::uplink_own_copy), 3u);
}

// A program that binds to the group itself: it sends from an own address, and what the kernel loops of that is its own.
TEST_F(UplinkOnLoopback, SendsFromThePortOfAGroup) {
  const IpAddress group = IpAddress::ipv4(239, 1, 2, 6);
  const Address local = claim(group);
  ASSERT_TRUE(uplink->update_group(group, lo, true, {}));
  Outside program;
  ASSERT_EQ(send({here, local.port}, program.address, "to one"), 1u);
  EXPECT_EQ(program.receive(), "to one");
  EXPECT_EQ(program.from, (Address{here, local.port}));
  ASSERT_EQ(send({here, local.port}, {group, local.port}, "ours"), 1u);
  EXPECT_FALSE(receive(50));
  EXPECT_EQ(dropped(Drop::uplink_own_copy), 1u);
  uplink->release(local);
  EXPECT_EQ(send({here, local.port}, program.address, "from nowhere"), 1u);
  EXPECT_EQ(dropped(Drop::uplink_no_claim), 1u);
}

// P2: a TTL of 0 is for this machine, whose programs hear it.
TEST_F(UplinkOnLoopback, TellsThisMachineOfAGroup) {
  const IpAddress group = IpAddress::ipv4(239, 1, 2, 5);
  const Address local = claim(any);
  Outside program(any);
  const ip_mreq membership{.imr_multiaddr = {htonl(group.number())}, .imr_interface = {htonl(INADDR_LOOPBACK)}};
  ASSERT_TRUE(program.join(membership));
  program.set(IPPROTO_IP, IP_RECVTTL, 1);
  for (const std::uint8_t ttl : {std::uint8_t{0}, std::uint8_t{3}}) {
    ASSERT_EQ(send({here, local.port}, {group, program.address.port}, "here", {.ttl = ttl, .id = 1}), 1u);
    EXPECT_EQ(program.receive(), "here");
    EXPECT_EQ(program.ttl, ttl);
  }
}

// Where nobody asked for a source, the kernel chooses, though the packet names one.
TEST_F(UplinkOnLoopback, LeavesTheSourceToTheKernel) {
  const Address local = claim(any);
  Outside program;
  const Address ours{IpAddress::ipv4(127, 0, 0, 9), local.port};
  std::vector<Frame> frames;
  for (const unsigned note : {1u, 1u | wire::guest_note::any_source, 1u}) {
    frames.push_back(packet(ours, program.address, "x", {.id = static_cast<std::uint16_t>(note)}));
  }
  ASSERT_EQ(face->send(frames, now), 3u);
  for (const IpAddress& from : {ours.ip, here, ours.ip}) {
    ASSERT_EQ(program.receive(), "x");
    EXPECT_EQ(program.from.ip, from);
  }
}

TEST_F(UplinkOnLoopback, JoinsGroups) {
  const IpAddress group = IpAddress::ipv4(239, 1, 2, 3);
  const Address local = claim(any);
  Outside sender;
  sender.set(IPPROTO_IP, IP_MULTICAST_IF, static_cast<int>(htonl(INADDR_LOOPBACK)));
  ASSERT_TRUE(sender.send("too early", {group, local.port}));
  ASSERT_TRUE(uplink->update_group(group, lo, true, {}));
  ASSERT_TRUE(sender.send("heard", {group, local.port}));
  const auto got = receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->data, "heard");
  EXPECT_EQ(got->ipv4.dst, group);
  const std::array sources{IpAddress::ipv4(127, 0, 0, 7)};
  ASSERT_TRUE(uplink->update_group(group, lo, false, sources));
  ASSERT_TRUE(sender.send("not from there", {group, local.port}));
  EXPECT_FALSE(receive(50));
  ASSERT_TRUE(uplink->update_group(group, lo, false, {}));
  EXPECT_EQ(uplink->update_group(group, 30000, true, {}).error().code, ENODEV);
  for (std::uint8_t i = 0; i < 50; ++i) ASSERT_TRUE(uplink->update_group(IpAddress::ipv4(239, 9, 9, i), lo, true, {})) << int{i};
}

TEST_F(UplinkOnLoopback, CountsWhatTheKernelHadNoRoomFor) {
  const Address local = claim();
  Outside program;
  const std::string data(60000, 'x');
  for (int i = 0; i < 400; ++i) program.send(data, local);
  std::size_t got = 0;
  while (receive(50)) ++got;
  // The count comes with the next datagram.
  ASSERT_TRUE(program.send("last", local));
  const auto last = receive();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->data, "last");
  EXPECT_EQ(got + dropped(Drop::uplink_overflow), 400u);
  EXPECT_LT(got, 400u);
}

// Without a frame a datagram is lost for that reason, and the next is not.
TEST_F(UplinkOnLoopback, CountsWhatFindsNoFrame) {
  const Address local = claim();
  Outside program;
  std::vector<Frame> all;
  while (Frame frame = pools.small->allocate()) all.push_back(std::move(frame));
  ASSERT_TRUE(program.send("lost", local));
  EXPECT_FALSE(receive(50));
  EXPECT_EQ(dropped(Drop::no_frame), 1u);
  all.clear();
  ASSERT_TRUE(program.send("kept", local));
  EXPECT_EQ(receive()->data, "kept");
}

// With a network of its own, on which this process may do as it likes: a wire with nobody else on it.
class UplinkInNamespace : public UplinkOnLoopback {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) GTEST_SKIP() << "no right to make a network namespace";
    UplinkOnLoopback::SetUp();
  }
  // The next tests in this process are at home here.
  void TearDown() override {
    UplinkOnLoopback::TearDown();
    set_loopback_mtu(65536);
  }
};

// A datagram that is not to be fragmented, in a batch: its sender alone is told, once, and the others go.
TEST_F(UplinkInNamespace, TellsOfTheMtu) {
  ASSERT_TRUE(set_loopback_mtu(1500));
  const Address local = claim(any);
  Outside program;
  const Address one{IpAddress::ipv4(127, 0, 0, 9), local.port}, other{here, local.port};
  constexpr std::uint16_t never_fragment = IP_PMTUDISC_DO;
  std::vector<Frame> frames;
  frames.push_back(packet(other, program.address, "small", {.id = never_fragment}));
  frames.push_back(packet(one, program.address, std::string(2000, 'x'), {.id = never_fragment}));
  frames.push_back(packet(other, program.address, "small too", {.id = never_fragment}));
  frames.push_back(packet(other, program.address, std::string(2000, 'y'), {.id = IP_PMTUDISC_WANT}));
  ASSERT_EQ(face->send(frames, now), 4u);
  EXPECT_EQ(program.receive(), "small");
  EXPECT_EQ(program.receive(), "small too");
  EXPECT_EQ(program.receive(), std::string(2000, 'y'));
  EXPECT_EQ(dropped(Drop::uplink_refused), 1u);
  const auto got = receive();
  ASSERT_TRUE(got);
  const auto icmp = wire::parse_icmp4(got->ipv4.payload);
  ASSERT_TRUE(icmp);
  EXPECT_EQ(icmp->code, wire::unreachable_code::fragmentation_needed);
  EXPECT_EQ(icmp->mtu(), 1500);
  const auto quote = wire::parse_quote(*icmp);
  ASSERT_TRUE(quote);
  EXPECT_EQ(quote->src, one.ip);
  EXPECT_EQ(quote->total_length, 2028);
  EXPECT_FALSE(receive(50));
}

// What the kernel could only cut apart along a wider path goes one by one, in fragments.
TEST_F(UplinkInNamespace, FragmentsWhatIsAlike) {
  ASSERT_TRUE(set_loopback_mtu(1500));
  const Address local = claim();
  Outside program;
  std::vector<Frame> frames;
  for (char c : {'a', 'b', 'c'}) frames.push_back(packet(local, program.address, std::string(2000, c)));
  ASSERT_EQ(face->send(frames, now), 3u);
  for (char c : {'a', 'b', 'c'}) EXPECT_EQ(program.receive(), std::string(2000, c));
  EXPECT_EQ(dropped(Drop::uplink_refused), 0u);
}

// A socket whose datagrams wait for their neighbour has its send buffer full soon. It takes nothing then; the descriptor says when to go on, and is
// quiet before and after.
TEST_F(UplinkInNamespace, WaitsForRoomInTheKernel) {
  const auto wire = TapLink::open("gannet-uplink", local_mac(1));
  if (!wire) GTEST_SKIP() << wire.error().message();
  const IpAddress ours = IpAddress::ipv4(192, 0, 2, 1), neighbor = IpAddress::ipv4(192, 0, 2, 2);
  ASSERT_TRUE(set_address("gannet-uplink", SIOCSIFADDR, ours));
  ASSERT_TRUE(set_address("gannet-uplink", SIOCSIFNETMASK, IpAddress::ipv4(255, 255, 255, 0)));
  const auto out = uplink->open_face(::if_nametoindex("gannet-uplink"), "gannet-uplink", 1500).value();
  const Address local = claim(any);
  {
    const Fd fd = socket_at(local);
    ASSERT_TRUE(fd);
    const int size = 4096;
    ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
  }
  std::vector<Frame> frames;
  for (int i = 0; i < 64; ++i) frames.push_back(packet({ours, local.port}, {neighbor, 9}, std::string(1000, 'x')));
  const std::size_t taken = out->send(frames, now);
  EXPECT_LT(taken, 64u);
  EXPECT_EQ(out->send(std::span(frames).subspan(taken), now), 0u);
  EXPECT_TRUE(frames[taken]);
  pollfd wait{face->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
  ASSERT_TRUE(set_neighbor("gannet-uplink", neighbor));
  ASSERT_EQ(::poll(&wait, 1, 2000), 1);
  EXPECT_FALSE(receive(1));
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
  EXPECT_EQ(out->send(std::span(frames).subspan(taken), now), 64 - taken);
  EXPECT_EQ(out->counters().frames_out.value(), 64u);
}

}  // namespace
}  // namespace gannet::link
