#include "socket/options.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <array>
#include <limits>

#include "base/assert.h"

namespace gannet::socket {
namespace {

constexpr int most_buffer = std::numeric_limits<int>::max() / 2;  // it is doubled
constexpr int any = std::numeric_limits<int>::max();
constexpr int usual_buffer = 212992;  // Linux's net.core.rmem_default and wmem_default
constexpr LinuxOption none;

// Known to the kernel, not yet to the C library.
constexpr int ipv6_multicast_all = 29;

constexpr LinuxOption of_socket(int number) { return {SOL_SOCKET, number}; }
constexpr LinuxOption of_ip(int number) { return {IPPROTO_IP, number}; }
constexpr LinuxOption of_ipv6(int number) { return {IPPROTO_IPV6, number}; }
constexpr LinuxOption of_udp(int number) { return {IPPROTO_UDP, number}; }

constexpr std::array<OptionRow, option_count> table{{
    {Option::receive_buffer, "receive_buffer", of_socket(SO_RCVBUF), of_socket(SO_RCVBUF), 0, most_buffer, usual_buffer},
    {Option::send_buffer, "send_buffer", of_socket(SO_SNDBUF), of_socket(SO_SNDBUF), 0, most_buffer, usual_buffer},
    {Option::broadcast, "broadcast", of_socket(SO_BROADCAST), of_socket(SO_BROADCAST), 0, 1, 0},
    {Option::reuse_address, "reuse_address", of_socket(SO_REUSEADDR), of_socket(SO_REUSEADDR), 0, 1, 0},
    {Option::reuse_port, "reuse_port", of_socket(SO_REUSEPORT), of_socket(SO_REUSEPORT), 0, 1, 0},

    {Option::ttl, "ttl", of_ip(IP_TTL), of_ipv6(IPV6_UNICAST_HOPS), -1, 255, 64},
    {Option::tos, "tos", of_ip(IP_TOS), of_ipv6(IPV6_TCLASS), 0, 255, 0},
    {Option::multicast_ttl, "multicast_ttl", of_ip(IP_MULTICAST_TTL), of_ipv6(IPV6_MULTICAST_HOPS), -1, 255, 1},
    {Option::multicast_loop, "multicast_loop", of_ip(IP_MULTICAST_LOOP), of_ipv6(IPV6_MULTICAST_LOOP), 0, 1, 1},
    {Option::pmtu_discovery, "pmtu_discovery", of_ip(IP_MTU_DISCOVER), of_ipv6(IPV6_MTU_DISCOVER), 0, 5, 1},
    {Option::no_checksum, "no_checksum", of_socket(SO_NO_CHECK), of_socket(SO_NO_CHECK), 0, 1, 0},
    {Option::segment_size, "segment_size", of_udp(UDP_SEGMENT), of_udp(UDP_SEGMENT), 0, 65507, 0},
    {Option::max_pacing_rate, "max_pacing_rate", of_socket(SO_MAX_PACING_RATE), of_socket(SO_MAX_PACING_RATE), -1, any, -1},

    {Option::receive_metadata, "receive_metadata", of_ip(IP_PKTINFO), of_ipv6(IPV6_RECVPKTINFO), 0, 1, 1},
    {Option::timestamp, "timestamp", of_socket(SO_TIMESTAMPNS), of_socket(SO_TIMESTAMPNS), 0, 1, 0},
    {Option::receive_errors, "receive_errors", of_ip(IP_RECVERR), of_ipv6(IPV6_RECVERR), 0, 1, 1},
    {Option::require_checksum, "require_checksum", none, none, 0, 1, 0},
    {Option::multicast_all, "multicast_all", of_ip(IP_MULTICAST_ALL), of_ipv6(ipv6_multicast_all), 0, 1, 1},
    {Option::receive_ip_options, "receive_ip_options", of_ip(IP_RECVOPTS), of_ip(IP_RECVOPTS), 0, 1, 0},
    {Option::segment_coalescing, "segment_coalescing", of_udp(UDP_GRO), of_udp(UDP_GRO), 0, 1, 0},

    {Option::mtu, "mtu", of_ip(IP_MTU), of_ipv6(IPV6_MTU), 0, any, 0, false},
    {Option::error, "error", of_socket(SO_ERROR), of_socket(SO_ERROR), 0, any, 0, false},
    {Option::overflow_count, "overflow_count", of_socket(SO_RXQ_OVFL), of_socket(SO_RXQ_OVFL), 0, any, 0, false},
    {Option::segment_fallbacks, "segment_fallbacks", none, none, 0, any, 0, false},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i].option != static_cast<Option>(i)) return false;
  }
  return true;
}
static_assert(in_order(), "a row stands where its option's number points");

}  // namespace

std::span<const OptionRow, option_count> option_table() { return table; }

const OptionRow& row_of(Option option) {
  ASSERT(static_cast<std::size_t>(option) < table.size());
  return table[static_cast<std::size_t>(option)];
}

Result<void> check(Option option, int value) {
  const OptionRow& row = row_of(option);
  if (!row.settable) return Error{EINVAL, "this option is only to be asked"};
  // A TTL of 0 would never leave the host (RFC 1122 3.2.1.7).
  if (value < row.min || value > row.max || (option == Option::ttl && value == 0)) return Error{EINVAL, "the value is out of this option's range"};
  return {};
}

}  // namespace gannet::socket
