// All that UDP, ICMP and IGMP know of the IP below them: the path to a destination, what may be asked of a packet, and an error that comes back.
//
// None of it mentions a version of IP: IpLayer (ip_layer.h) finds paths and takes packets for IPv4 and, later, IPv6.
#pragma once
#include <cstdint>
#include <span>

#include <gannet/address.h>

namespace gannet::stack {

class Interface;

enum class PathKind : std::uint8_t { unicast, broadcast, multicast, local };  // local: the destination is one of our own addresses

// Where a destination is, for now. Good as long as the host's generation is the same, so a send to a known peer looks nothing up.
struct Path {
  IpAddress src;                // what this host would choose (RFC 1122 3.3.4.3), or what was asked for
  IpAddress next_hop;           // a neighbour on the link
  Interface* via = nullptr;     // to leave by
  std::uint32_t interface = 0;  // its index
  std::uint32_t mtu = 0;        // of the path, bytes of IP packet: what was learned, or the interface's
  std::uint32_t interface_mtu = 0;
  PathKind kind = PathKind::unicast;
  bool guest = false;         // the kernel takes it from here, and fragments (claims.h)
  bool by_route = false;      // nobody asked for the interface
  bool any_source = false;    // nor for the source
  bool mtu_is_floor = false;  // a router asked for less than our floor: Fragmentation::want leaves DF clear then
  std::uint64_t generation = 0;
};

// What may be done with a packet that is larger than the path's MTU (IP_MTU_DISCOVER; RFC 8085 3.2).
enum class Fragmentation : std::uint8_t {
  never_df = 0,   // DF clear: fragment here, routers may too
  want = 1,       // Linux's default: DF where it fits the path's MTU, else fragment
  refuse = 2,     // DF set; larger than the path's MTU is EMSGSIZE
  probe = 3,      // DF set; what was learned of the path is ignored: larger than the interface's MTU is EMSGSIZE
  interface = 4,  // DF clear; the interface's MTU; larger is EMSGSIZE
  omit = 5,       // DF clear; the interface's MTU; larger is fragmented
};

// Whether what was learned of the path counts, and not the interface's MTU alone.
[[nodiscard]] constexpr bool uses_path_mtu(Fragmentation fragmentation) { return fragmentation <= Fragmentation::refuse; }
[[nodiscard]] constexpr bool always_sets_df(Fragmentation fragmentation) {
  return fragmentation == Fragmentation::refuse || fragmentation == Fragmentation::probe;
}
[[nodiscard]] constexpr bool may_fragment(Fragmentation fragmentation) {
  return !always_sets_df(fragmentation) && fragmentation != Fragmentation::interface;
}

// An ICMP error about a packet of ours, on its way up. ICMP has checked lengths and checksums; the upper layer finds the socket.
struct IcmpError {
  IpAddress src, dst;                // of the packet that the error is about: src is ours
  std::uint8_t protocol = 0;         // of its payload
  std::span<const std::byte> quote;  // the start of its payload, at least 8 bytes; never outlives the message
  IpAddress offender;                // who sent the ICMP message
  std::uint32_t interface = 0;       // that it came by
  std::uint8_t type = 0, code = 0;
  std::uint32_t mtu = 0;  // with EMSGSIZE: the MTU of the next hop as the message tells it, 0 where it does not
  int error = 0;          // errno, as Linux maps type and code
  bool hard = false;      // Linux fails a connected socket's next call with it even without receive_errors
};

}  // namespace gannet::stack
