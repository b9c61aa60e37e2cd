// Datagrams as recvmsg(2) and sendmsg(2) spell them: socket addresses and control messages <-> our own types.
//
// A control buffer is a row of (length, level, type, bytes). Reading one trusts nothing in it: each length is checked before use, and the first that
// contradicts the buffer ends the reading.
// Thread: any; there is no state.  Allocates: never.
// Sources: RFC 3542 (IPv6 ancillary data); Linux's ip(7), ipv6(7), udp(7), socket(7), cmsg(3).
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <optional>
#include <span>

#include <gannet/address.h>
#include <gannet/socket.h>

namespace gannet::socket {

// A socket address of either family, as the kernel reads and writes it.
struct RawAddress {
  union {
    sockaddr any;
    sockaddr_in ipv4;
    sockaddr_in6 ipv6;
  };
  socklen_t size;

  // Room for the kernel to write one.
  static RawAddress empty();
  // As a socket of `family` names it: IPv4 addresses become v4-mapped on an IPv6 socket. An IPv6 address on an IPv4 socket is the caller's error.
  static RawAddress from(const Address& address, Family family);
  // A v4-mapped address is the IPv4 address it means; anything but an internet address is 0.0.0.0:0.
  [[nodiscard]] Address address() const;
};

inline constexpr std::size_t receive_control_size = 384;  // all that Linux sends with one datagram when every option above is on
inline constexpr std::size_t send_control_size = CMSG_SPACE(sizeof(in6_pktinfo)) + 3 * CMSG_SPACE(sizeof(int));

// Fills in what came with a datagram: local address (not its port), interface, TTL, TOS, time, segment size, IP options.
void parse_control(std::span<const std::byte> control, Datagram& datagram);

// One entry of the error queue: what the control buffer says, and to whom the datagram was sent. None when there is no error in it.
[[nodiscard]] std::optional<SocketError> parse_error(std::span<const std::byte> control, const Address& peer);

// Writes what a datagram chooses for itself, for a packet of `family` in whose payload segments have `segment_size` (0: one datagram).
// Returns the bytes used, 0 where it chooses nothing.
[[nodiscard]] std::size_t build_control(const Outgoing& datagram, Family family, std::uint16_t segment_size,
                                        std::span<std::byte, send_control_size> control);

}  // namespace gannet::socket
