#include "socket/message.h"

#include <gtest/gtest.h>
#include <linux/errqueue.h>
#include <netinet/udp.h>

#include <cstring>
#include <ctime>
#include <random>
#include <vector>

namespace gannet::socket {
namespace {

// A control buffer as the kernel would fill it.
class Control {
 public:
  template <class T>
  Control& add(int level, int type, const T& value) {
    const cmsghdr header{.cmsg_len = CMSG_LEN(sizeof value), .cmsg_level = level, .cmsg_type = type};
    const std::size_t at = bytes.size();
    bytes.resize(at + CMSG_SPACE(sizeof value));
    std::memcpy(bytes.data() + at, &header, sizeof header);
    std::memcpy(bytes.data() + at + CMSG_LEN(0), &value, sizeof value);
    return *this;
  }
  std::vector<std::byte> bytes;
};

in_addr raw(std::uint32_t number) { return {htonl(number)}; }

TEST(RawAddress, ComesBackAsItWent) {
  for (const char* text : {"127.0.0.1:65433", "0.0.0.0:0", "255.255.255.255:1", "[2001:db8::1]:53", "[fe80::1%2]:53", "[::]:0"}) {
    const Address address = Address::parse(text).value();
    EXPECT_EQ(RawAddress::from(address, Family::ipv6).address(), address) << text;
    if (address.ip.is_ipv4()) {
      EXPECT_EQ(RawAddress::from(address, Family::ipv4).address(), address) << text;
    }
  }
}

TEST(RawAddress, IsMappedOnAnIpv6Socket) {
  const RawAddress raw = RawAddress::from(Address::parse("192.0.2.1:53").value(), Family::ipv6);
  EXPECT_EQ(raw.ipv6.sin6_family, AF_INET6);
  EXPECT_EQ(raw.ipv6.sin6_addr.s6_addr[10], 0xff);
  EXPECT_EQ(raw.ipv6.sin6_addr.s6_addr[15], 1);
}

TEST(RawAddress, IsNobodyWhenItIsTooShortOrOfAnotherFamily) {
  RawAddress raw = RawAddress::from(Address::parse("[2001:db8::1]:53").value(), Family::ipv6);
  raw.size = sizeof(sockaddr_in);
  EXPECT_EQ(raw.address(), Address{});
  raw.size = 0;
  EXPECT_EQ(raw.address(), Address{});
  raw.size = sizeof(sockaddr_in6);
  raw.any.sa_family = AF_UNIX;
  EXPECT_EQ(raw.address(), Address{});
}

// U2, U11, U19: what came with an IPv4 datagram reaches the application.
TEST(Control, TellsAllThatCameWithAnIpv4Datagram) {
  Control control;
  control.add(IPPROTO_IP, IP_PKTINFO, in_pktinfo{.ipi_ifindex = 7, .ipi_spec_dst = raw(0x0a000001), .ipi_addr = raw(0xe0000101)})
      .add(IPPROTO_IP, IP_TTL, 63)
      .add(IPPROTO_IP, IP_TOS, std::uint8_t{0xb9})
      .add(SOL_SOCKET, SO_TIMESTAMPNS, timespec{.tv_sec = 1700000000, .tv_nsec = 123456789})
      .add(IPPROTO_UDP, UDP_GRO, 1400)
      .add(IPPROTO_IP, IP_RECVOPTS, std::array{std::byte{148}, std::byte{4}, std::byte{0}, std::byte{0}});
  Datagram datagram;
  parse_control(control.bytes, datagram);
  EXPECT_EQ(datagram.local.ip, IpAddress::ipv4(224, 0, 1, 1));
  EXPECT_EQ(datagram.interface, 7u);
  EXPECT_EQ(datagram.ttl, 63);
  EXPECT_EQ(datagram.tos, 0xb9);
  EXPECT_EQ(datagram.ecn(), 1);
  EXPECT_EQ(datagram.timestamp.time_since_epoch(), std::chrono::nanoseconds(1700000000123456789));
  EXPECT_EQ(datagram.segment_size, 1400);
  ASSERT_EQ(datagram.ip_options.view().size(), 4u);
  EXPECT_EQ(datagram.ip_options.view()[0], std::byte{148});
}

TEST(Control, TellsAllThatCameWithAnIpv6Datagram) {
  const IpAddress local = IpAddress::parse("fe80::7").value();
  in6_pktinfo info{.ipi6_addr = {}, .ipi6_ifindex = 3};
  std::memcpy(&info.ipi6_addr, local.bytes.data(), 16);
  Control control;
  control.add(IPPROTO_IPV6, IPV6_PKTINFO, info).add(IPPROTO_IPV6, IPV6_HOPLIMIT, 255).add(IPPROTO_IPV6, IPV6_TCLASS, 2);
  Datagram datagram;
  parse_control(control.bytes, datagram);
  EXPECT_EQ(datagram.local.ip, local);
  EXPECT_EQ(datagram.local.scope, 3u);
  EXPECT_EQ(datagram.interface, 3u);
  EXPECT_EQ(datagram.ttl, 255);
  EXPECT_EQ(datagram.ecn(), 2);
}

// U5: an ICMP error reaches the application with its type, its code, its MTU and who sent it.
TEST(Control, TellsAnIcmpError) {
  struct {
    sock_extended_err error{};
    sockaddr_in offender{};
  } queued;
  queued.error.ee_errno = EMSGSIZE;
  queued.error.ee_origin = SO_EE_ORIGIN_ICMP;
  queued.error.ee_type = 3;
  queued.error.ee_code = 4;
  queued.error.ee_info = 1280;
  queued.offender.sin_family = AF_INET;
  queued.offender.sin_addr = raw(0x0a000001);
  const Address peer = Address::parse("192.0.2.9:7").value();

  const auto error = parse_error(Control().add(IPPROTO_IP, IP_RECVERR, queued).bytes, peer);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, EMSGSIZE);
  EXPECT_EQ(error->origin, SocketError::Origin::icmp);
  EXPECT_EQ(error->type, 3);
  EXPECT_EQ(error->icmp_code, 4);
  EXPECT_EQ(error->mtu, 1280u);
  EXPECT_EQ(error->peer, peer);
  EXPECT_EQ(error->offender, IpAddress::ipv4(10, 0, 0, 1));
}

TEST(Control, SeesNoErrorInATransmitTimestampOrInHalfAnError) {
  sock_extended_err queued{};
  queued.ee_errno = ENOMSG;
  queued.ee_origin = SO_EE_ORIGIN_TIMESTAMPING;
  EXPECT_FALSE(parse_error(Control().add(IPPROTO_IP, IP_RECVERR, queued).bytes, {}).has_value());
  EXPECT_FALSE(parse_error(Control().add(IPPROTO_IP, IP_RECVERR, std::array<std::byte, 12>{}).bytes, {}).has_value());

  // An error of ICMP whose offender is missing still tells the rest.
  queued.ee_errno = ECONNREFUSED;
  queued.ee_origin = SO_EE_ORIGIN_ICMP;
  const auto error = parse_error(Control().add(IPPROTO_IP, IP_RECVERR, queued).bytes, {});
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->offender, IpAddress{});
}

// X1: no length in a control buffer is believed. AddressSanitizer is the judge; what is cut off must not be told either.
TEST(Control, SurvivesEveryTruncationAndEveryLength) {
  Control control;
  control.add(IPPROTO_IP, IP_TTL, 63).add(IPPROTO_IP, IP_PKTINFO, in_pktinfo{.ipi_ifindex = 7, .ipi_spec_dst = {}, .ipi_addr = {}});
  const std::size_t first = CMSG_SPACE(sizeof(int));
  for (std::size_t size = 0; size < control.bytes.size(); ++size) {
    const std::vector<std::byte> cut(control.bytes.begin(), control.bytes.begin() + static_cast<std::ptrdiff_t>(size));
    Datagram datagram;
    parse_control(cut, datagram);
    EXPECT_EQ(datagram.ttl, size >= CMSG_LEN(sizeof(int)) ? 63 : -1) << size;
    EXPECT_EQ(datagram.interface, size >= first + CMSG_LEN(sizeof(in_pktinfo)) ? 7u : 0u) << size;
    (void)parse_error(cut, {});
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{15}, std::size_t{18}, control.bytes.size() + 1, ~std::size_t{0}, ~std::size_t{7}}) {
    auto bytes = control.bytes;
    std::memcpy(bytes.data(), &length, sizeof length);
    Datagram datagram;
    parse_control(bytes, datagram);
    EXPECT_EQ(datagram.ttl, -1) << length;
  }
}

TEST(Control, SurvivesNoise) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes(random() % 128);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    if (bytes.size() >= sizeof(cmsghdr)) {  // past the first check, into the readers
      const std::size_t length = random() % 128;
      const std::array type{static_cast<int>(random() % 64), static_cast<int>(random() % 64)};
      std::memcpy(bytes.data(), &length, sizeof length);
      std::memcpy(bytes.data() + sizeof length, type.data(), sizeof type);
    }
    Datagram datagram;
    parse_control(bytes, datagram);
    EXPECT_LE(datagram.ip_options.size, 40);
    (void)parse_error(bytes, {});
  }
}

// U12, U18: source, interface, TTL and TOS of one datagram. The spelling is read back with the C library's own macros.
TEST(Control, BuildsWhatADatagramChooses) {
  alignas(cmsghdr) std::array<std::byte, send_control_size> control{};
  Outgoing datagram{.source = {IpAddress::ipv4(10, 0, 0, 1)}, .interface = 4, .ttl = 9, .tos = 0x2e << 2};
  const std::size_t size = build_control(datagram, Family::ipv4, 1200, control);
  msghdr message{};
  message.msg_control = control.data();
  message.msg_controllen = size;

  cmsghdr* at = CMSG_FIRSTHDR(&message);
  ASSERT_NE(at, nullptr);
  in_pktinfo info{};
  EXPECT_EQ(at->cmsg_type, IP_PKTINFO);
  std::memcpy(&info, CMSG_DATA(at), sizeof info);
  EXPECT_EQ(info.ipi_ifindex, 4);
  EXPECT_EQ(info.ipi_spec_dst.s_addr, htonl(0x0a000001));

  for (const auto& [type, value] : {std::pair{IP_TTL, 9}, std::pair{IP_TOS, 0x2e << 2}}) {
    at = CMSG_NXTHDR(&message, at);
    ASSERT_NE(at, nullptr);
    int number = 0;
    std::memcpy(&number, CMSG_DATA(at), sizeof number);
    EXPECT_EQ(at->cmsg_level, IPPROTO_IP);
    EXPECT_EQ(at->cmsg_type, type);
    EXPECT_EQ(number, value);
  }
  at = CMSG_NXTHDR(&message, at);
  ASSERT_NE(at, nullptr);
  std::uint16_t segment_size = 0;
  std::memcpy(&segment_size, CMSG_DATA(at), sizeof segment_size);
  EXPECT_EQ(at->cmsg_type, UDP_SEGMENT);
  EXPECT_EQ(segment_size, 1200);
  EXPECT_EQ(CMSG_NXTHDR(&message, at), nullptr);
}

TEST(Control, IsEmptyWhereADatagramChoosesNothing) {
  std::array<std::byte, send_control_size> control{};
  EXPECT_EQ(build_control(Outgoing{}, Family::ipv4, 0, control), 0u);
  EXPECT_EQ(build_control(Outgoing{}, Family::ipv6, 0, control), 0u);
}

TEST(Control, HasRoomForAllThatAnIpv6DatagramCanChoose) {
  std::array<std::byte, send_control_size> control{};
  const Outgoing datagram{.source = Address::parse("[2001:db8::1]:0").value(), .interface = 1, .ttl = 1, .tos = 1};
  EXPECT_EQ(build_control(datagram, Family::ipv6, 1, control), control.size());
}

}  // namespace
}  // namespace gannet::socket
