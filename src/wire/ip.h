// What IPv4 and IPv6 both tell the layers above: all that UDP may know of IP.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <gannet/address.h>

namespace gannet::wire {

inline constexpr std::uint8_t protocol_icmp = 1;
inline constexpr std::uint8_t protocol_igmp = 2;
inline constexpr std::uint8_t protocol_udp = 17;
inline constexpr std::uint8_t protocol_icmpv6 = 58;
inline constexpr std::uint8_t protocol_udplite = 136;

struct IpInfo {
  IpAddress src{};
  IpAddress dst{};                       // the final destination, past any routing header
  std::uint32_t interface = 0;           // index of the interface that it came by, or leaves by; 0 where there is none (yet)
  std::uint8_t protocol = 0;             // of the payload
  std::uint8_t hop_limit = 64;           // TTL or Hop Limit
  std::uint8_t tos = 0;                  // DSCP and ECN
  bool link_broadcast = false;           // came in a frame for the link's broadcast or a multicast address
  bool looped = false;                   // came from this host itself
  bool to_group = false;                 // came for a broadcast address or a group, not for an address of this host
  std::span<const std::byte> options{};  // IPv4 options or IPv6 hop-by-hop options as on the wire; never outlive the packet
  std::span<const std::byte> packet{};   // in: the whole packet from its IP header on, for errors about it; never outlives the frame
};

// IPv4 addresses in packets: copied as they are, without the detour over number().
[[nodiscard]] inline IpAddress load_ipv4(std::span<const std::byte> at, std::size_t offset) {
  IpAddress ip;
  std::memcpy(ip.bytes.data(), at.data() + offset, 4);
  return ip;
}
inline void store_ipv4(std::span<std::byte> at, std::size_t offset, const IpAddress& ip) { std::memcpy(at.data() + offset, ip.bytes.data(), 4); }

}  // namespace gannet::wire
