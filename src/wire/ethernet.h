// Ethernet frames: the link header before every packet.
//
//    0            6            12    14
//   +------------+------------+-----+------------------
//   | destination|   source   |type | packet, padding ...      RFC 894; an 802.1Q tag puts 4 bytes before the type;
//   +------------+------------+-----+------------------        below 0x0600 the type is a length, and LLC/SNAP follows (RFC 1042).
//
// Thread: any; there is no state.  Allocates: only to_string().
// Sources: RFC 894; RFC 1042; RFC 1122 2.3.3; IEEE 802.1Q; RFC 1112 6.4 and RFC 2464 section 7 (groups).
#pragma once
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/assert.h"
#include "wire/drop.h"
#include "wire/endian.h"

namespace gannet::wire {

struct MacAddress {
  std::array<std::byte, 6> bytes{};

  static constexpr MacAddress broadcast() {
    MacAddress mac;
    mac.bytes.fill(std::byte{0xff});
    return mac;
  }
  // The group address on the link for a multicast IP address: 01:00:5e and 23 bits of it, or 33:33 and 32 bits.
  static constexpr MacAddress of_group(const IpAddress& group) {
    const auto& ip = group.bytes;
    if (group.is_ipv4()) return {{std::byte{0x01}, std::byte{0x00}, std::byte{0x5e}, ip[1] & std::byte{0x7f}, ip[2], ip[3]}};
    return {{std::byte{0x33}, std::byte{0x33}, ip[12], ip[13], ip[14], ip[15]}};
  }
  // "02:00:00:00:00:01", with ':' or '-'. EINVAL with a sentence otherwise.
  static Result<MacAddress> parse(std::string_view text);

  [[nodiscard]] constexpr bool is_broadcast() const { return *this == broadcast(); }
  // Group bit set: multicast or broadcast.
  [[nodiscard]] constexpr bool is_multicast() const { return (bytes[0] & std::byte{1}) != std::byte{0}; }
  [[nodiscard]] constexpr bool is_zero() const { return *this == MacAddress{}; }
  [[nodiscard]] std::string to_string() const;

  // Compared for every frame: as words, where a default would go byte by byte.
  friend constexpr bool operator==(const MacAddress& a, const MacAddress& b) {
    if (std::is_constant_evaluated()) return a.bytes == b.bytes;
    return std::memcmp(a.bytes.data(), b.bytes.data(), sizeof a.bytes) == 0;
  }
  friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) = default;
};

[[nodiscard]] inline MacAddress load_mac(std::span<const std::byte> at, std::size_t offset) {
  MacAddress mac;
  std::memcpy(mac.bytes.data(), at.data() + offset, mac.bytes.size());
  return mac;
}
// The same as load_mac(at, offset) == mac, where it lies.
[[nodiscard]] inline bool is_mac_at(std::span<const std::byte> at, std::size_t offset, const MacAddress& mac) {
  return std::memcmp(at.data() + offset, mac.bytes.data(), sizeof mac.bytes) == 0;
}
inline void store_mac(std::span<std::byte> at, std::size_t offset, const MacAddress& mac) {
  std::memcpy(at.data() + offset, mac.bytes.data(), mac.bytes.size());
}

inline constexpr std::size_t ethernet_header_size = 14;
inline constexpr std::size_t vlan_tag_size = 4;

inline constexpr std::uint16_t ethertype_ipv4 = 0x0800;
inline constexpr std::uint16_t ethertype_arp = 0x0806;
inline constexpr std::uint16_t ethertype_vlan = 0x8100;
inline constexpr std::uint16_t ethertype_ipv6 = 0x86dd;

struct Ethernet {
  MacAddress dst;
  MacAddress src;
  std::uint16_t type;                  // the EtherType, past a VLAN tag and LLC/SNAP
  std::uint16_t vlan;                  // the VLAN ID; 0 where there is no tag, or one that only carries a priority
  std::size_t header_size;             // bytes before the payload: what to trim from the frame
  std::span<const std::byte> payload;  // with the padding that short frames get; inside the frame that was parsed
};

// The rare forms: a VLAN tag, or a length with LLC/SNAP in place of the type.
[[nodiscard]] std::expected<Ethernet, Drop> parse_tagged_or_llc(std::span<const std::byte> frame);

[[nodiscard, gnu::always_inline]] inline std::expected<Ethernet, Drop> parse_ethernet(std::span<const std::byte> frame) {
  if (frame.size() < ethernet_header_size) return std::unexpected(Drop::ethernet_truncated);
  const std::uint16_t type = load_be16(frame, 12);
  if (type < 0x0600 || type == ethertype_vlan) [[unlikely]]
    return parse_tagged_or_llc(frame);
  return Ethernet{load_mac(frame, 0), load_mac(frame, 6), type, 0, ethernet_header_size, frame.subspan(ethernet_header_size)};
}

// Writes the header at the start of `frame`.
inline void emit_ethernet(const MacAddress& dst, const MacAddress& src, std::uint16_t type, std::span<std::byte> frame) {
  ASSERT(frame.size() >= ethernet_header_size);
  store_mac(frame, 0, dst);
  store_mac(frame, 6, src);
  store_be16(frame, 12, type);
}

}  // namespace gannet::wire
