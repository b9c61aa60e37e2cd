#include "socket/posix_inet6.h"

#include <gtest/gtest.h>
#include <linux/errqueue.h>
#include <netinet/in.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/fd.h"
#include "socket/message.h"
#include "socket/posix_message.h"

namespace gannet::socket {
namespace {

sockaddr_in6 raw_of(const char* text) { return RawAddress::from(Address::parse(text).value(), Family::ipv6).ipv6; }

Result<Address> parsed(const sockaddr_in6& raw, socklen_t size = sizeof(sockaddr_in6)) {
  return parse_inet6_address(reinterpret_cast<const sockaddr*>(&raw), size);
}

TEST(PosixInet6, ReadsMappedAddressesAsTheIpv4OnesThatTheyMean) {
  sockaddr_in6 mapped = raw_of("192.0.2.1:53");
  ASSERT_EQ(mapped.sin6_family, AF_INET6);
  EXPECT_EQ(parsed(mapped)->to_string(), "192.0.2.1:53");
  mapped.sin6_scope_id = 7;
  EXPECT_EQ(*parsed(mapped), Address::parse("192.0.2.1:53").value());
  EXPECT_EQ(parsed(raw_of("[::]:53"))->to_string(), "[::]:53");
  EXPECT_EQ(parsed(raw_of("[2001:db8::1]:53"))->to_string(), "[2001:db8::1]:53");
}

TEST(PosixInet6, RefusesWhatIsTooShortOrOfAnotherFamily) {
  sockaddr_in6 raw = raw_of("[fe80::1%2]:53");
  EXPECT_EQ(parsed(raw)->scope, 2u);
  EXPECT_EQ(parsed(raw, 24)->scope, 0u);  // RFC 2133's ends before it
  EXPECT_EQ(parsed(raw, 23).error().code, EINVAL);
  EXPECT_EQ(parsed(raw, 0).error().code, EINVAL);
  EXPECT_EQ(parse_inet6_address(nullptr, sizeof raw).error().code, EFAULT);
  raw.sin6_family = AF_INET;
  EXPECT_EQ(parsed(raw).error().code, EAFNOSUPPORT);
  EXPECT_EQ(parsed(raw, sizeof(sockaddr_in)).error().code, EINVAL);
}

TEST(PosixInet6, ShowsIpv4AddressesMapped) {
  sockaddr_in6 shown{};
  socklen_t size = sizeof shown;
  build_address(Address::parse("127.0.0.1:53").value(), Family::ipv6, reinterpret_cast<sockaddr*>(&shown), &size);
  EXPECT_EQ(size, sizeof shown);
  EXPECT_TRUE(IN6_IS_ADDR_V4MAPPED(&shown.sin6_addr));
  EXPECT_EQ(parsed(shown)->to_string(), "127.0.0.1:53");
  size = 4;  // family and port
  shown = {};
  build_address(Address::parse("127.0.0.1:53").value(), Family::ipv6, reinterpret_cast<sockaddr*>(&shown), &size);
  EXPECT_EQ(size, sizeof shown);
  EXPECT_EQ(ntohs(shown.sin6_port), 53);
  EXPECT_TRUE(IN6_IS_ADDR_UNSPECIFIED(&shown.sin6_addr));
}

Result<void> set(Inet6Options& options, int name, int value) { return options.set(name, std::as_bytes(std::span(&value, 1))); }

// The oracle, where the machine has IPv6: the same values before and after each, and the same errors.
TEST(PosixInet6, KeepsOptionsAsTheKernelDoes) {
  const Fd kernel(::socket(AF_INET6, SOCK_DGRAM, 0));
  if (!kernel) GTEST_SKIP() << "no IPv6 here";
  std::array<std::atomic<std::uint64_t>, Inet6Options::count> words{};
  Inet6Options ours(words);
  for (const int name : {IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MTU_DISCOVER, IPV6_TCLASS, IPV6_RECVERR, IPV6_RECVHOPLIMIT,
                         IPV6_RECVTCLASS}) {
    const auto kernels = [&] {
      int value = -7;
      socklen_t size = sizeof value;
      EXPECT_EQ(::getsockopt(kernel.get(), IPPROTO_IPV6, name, &value, &size), 0);
      return value;
    };
    EXPECT_EQ(*ours.get(name), kernels()) << name;
    for (const int value : {-2, -1, 0, 1, 2, 5, 6, 255, 256}) {
      const bool taken = ::setsockopt(kernel.get(), IPPROTO_IPV6, name, &value, sizeof value) == 0;
      EXPECT_EQ(set(ours, name, value).has_value(), taken) << name << " to " << value;
      EXPECT_EQ(*ours.get(name), kernels()) << name << " to " << value;
    }
    EXPECT_EQ(ours.set(name, std::array<std::byte, 3>{}).error().code, EINVAL) << name;
  }
}

TEST(PosixInet6, AppliesToTheKernelWhatIsNotAsItBegan) {
  const Fd kernel(::socket(AF_INET6, SOCK_DGRAM, 0));
  if (!kernel) GTEST_SKIP() << "no IPv6 here";
  std::array<std::atomic<std::uint64_t>, Inet6Options::count> words{};
  Inet6Options options(words);
  ASSERT_TRUE(set(options, IPV6_UNICAST_HOPS, 3));
  ASSERT_TRUE(set(options, IPV6_RECVTCLASS, 9));
  options.apply_to(kernel.get());
  for (const auto& [name, expected] : {std::pair{IPV6_UNICAST_HOPS, 3}, std::pair{IPV6_RECVTCLASS, 1}, std::pair{IPV6_RECVERR, 0}}) {
    int value = -7;
    socklen_t size = sizeof value;
    ASSERT_EQ(::getsockopt(kernel.get(), IPPROTO_IPV6, name, &value, &size), 0);
    EXPECT_EQ(value, expected) << name;
  }
}

TEST(PosixInet6, IsInNoIpv6Group) {
  std::array<std::atomic<std::uint64_t>, Inet6Options::count> words{};
  Inet6Options options(words);
  ipv6_mreq request{.ipv6mr_multiaddr = raw_of("[ff02::77]:0").sin6_addr, .ipv6mr_interface = 0};
  const auto code = [&](int name, const auto& value) { return options.set(name, std::as_bytes(std::span(&value, 1))).error().code; };
  EXPECT_EQ(code(IPV6_JOIN_GROUP, request), ENODEV);
  EXPECT_EQ(code(IPV6_LEAVE_GROUP, request), EADDRNOTAVAIL);
  EXPECT_EQ(code(IPV6_JOIN_GROUP, request.ipv6mr_multiaddr), EINVAL);
  request.ipv6mr_multiaddr = raw_of("224.0.0.77:0").sin6_addr;
  EXPECT_EQ(code(IPV6_JOIN_GROUP, request), EINVAL);
  group_source_req by_index{};
  const sockaddr_in6 group = raw_of("[ff02::77]:0");
  std::memcpy(&by_index.gsr_group, &group, sizeof group);
  EXPECT_EQ(code(MCAST_JOIN_SOURCE_GROUP, by_index), ENODEV);
  EXPECT_EQ(code(MCAST_LEAVE_SOURCE_GROUP, by_index), EADDRNOTAVAIL);
  EXPECT_EQ(code(MCAST_JOIN_GROUP, group), EINVAL);
  by_index.gsr_group.ss_family = AF_INET;
  EXPECT_EQ(code(MCAST_JOIN_SOURCE_GROUP, by_index), EADDRNOTAVAIL);
  EXPECT_EQ(code(IPV6_ADDRFORM, 0), ENOPROTOOPT);
  EXPECT_EQ(options.get(IPV6_ADDRFORM).error().code, ENOPROTOOPT);
}

struct Message {
  Message() {
    header.msg_control = room;
    header.msg_controllen = sizeof room;
  }
  [[nodiscard]] std::span<const std::byte> control() const { return {room, header.msg_controllen}; }
  // Of the only control message in it.
  [[nodiscard]] cmsghdr first() const {
    cmsghdr first{};
    EXPECT_GE(header.msg_controllen, sizeof first);
    std::memcpy(&first, room, sizeof first);
    return first;
  }
  alignas(cmsghdr) std::byte room[256]{};
  msghdr header{};
};

// RFC 3542 6.2, by the parser that reads the kernel's.
TEST(PosixInet6, TellsWhereADatagramCameIn) {
  Message message;
  put_control({.local = Address::parse("192.0.2.1:0").value(), .interface = 3}, Wanted{.packet_info6 = true}, {}, message.header);
  EXPECT_EQ(message.first().cmsg_level, IPPROTO_IPV6);
  EXPECT_EQ(message.first().cmsg_type, IPV6_PKTINFO);
  EXPECT_EQ(message.first().cmsg_len, CMSG_LEN(sizeof(in6_pktinfo)));
  Datagram read;
  parse_control(message.control(), read);
  EXPECT_EQ(read.local.ip.to_string(), "192.0.2.1");
  EXPECT_EQ(read.interface, 3u);
}

TEST(PosixInet6, ShowsAnErrorWithAMappedOffender) {
  SocketError error{.code = ECONNREFUSED, .origin = SocketError::Origin::icmp, .type = 3, .icmp_code = 3};
  error.peer = Address::parse("192.0.2.1:53").value();
  error.offender = IpAddress::ipv4(192, 0, 2, 9);
  Message message;
  put_error(error, Family::ipv6, message.header);
  EXPECT_EQ(message.first().cmsg_level, IPPROTO_IPV6);
  EXPECT_EQ(message.first().cmsg_type, IPV6_RECVERR);
  EXPECT_EQ(message.first().cmsg_len, CMSG_LEN(sizeof(sock_extended_err) + sizeof(sockaddr_in6)));
  sockaddr_in6 offender;
  std::memcpy(&offender, message.room + CMSG_LEN(sizeof(sock_extended_err)), sizeof offender);
  EXPECT_TRUE(IN6_IS_ADDR_V4MAPPED(&offender.sin6_addr));
  const auto read = parse_error(message.control(), error.peer);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->offender, error.offender);
  EXPECT_EQ(read->icmp_code, 3);

  Message ipv4;
  put_error(error, Family::ipv4, ipv4.header);
  EXPECT_EQ(ipv4.first().cmsg_len, CMSG_LEN(sizeof(sock_extended_err) + sizeof(sockaddr_in)));
  EXPECT_EQ(parse_error(ipv4.control(), error.peer)->offender, error.offender);
}

TEST(PosixInet6, TakesAMappedSourceForADatagram) {
  const auto taken = [](const char* source, Family family, Outgoing& datagram, std::size_t size = sizeof(in6_pktinfo)) {
    Message message;
    const in6_pktinfo info{.ipi6_addr = raw_of(source).sin6_addr, .ipi6_ifindex = 2};
    const cmsghdr header{.cmsg_len = CMSG_LEN(size), .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO};
    std::memcpy(message.room, &header, sizeof header);
    std::memcpy(message.room + sizeof header, &info, sizeof info);
    message.header.msg_controllen = CMSG_SPACE(size);
    const auto done = take_control(message.header, family, datagram);
    return done ? 0 : done.error().code;
  };
  Outgoing datagram;
  EXPECT_EQ(taken("192.0.2.1:0", Family::ipv4, datagram), 0);  // which does not know it
  EXPECT_EQ(datagram.interface, 0u);
  EXPECT_EQ(taken("192.0.2.1:0", Family::ipv6, datagram), 0);
  EXPECT_EQ(datagram.source.ip.to_string(), "192.0.2.1");
  EXPECT_EQ(datagram.interface, 2u);
  EXPECT_EQ(taken("[::]:0", Family::ipv6, datagram), EINVAL);
  EXPECT_EQ(taken("[::1]:0", Family::ipv6, datagram), EINVAL);
  EXPECT_EQ(taken("192.0.2.1:0", Family::ipv6, datagram, 19), EINVAL);
}

}  // namespace
}  // namespace gannet::socket
