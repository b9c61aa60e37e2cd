// The UDP header: bytes <-> meaning.
//
//    0                16               31
//   +-----------------+-----------------+
//   |   source port   | destination port|
//   +-----------------+-----------------+      Length counts header and user data. Where it is less than
//   |     Length      |    Checksum     |      the IP payload, the rest is the surplus area, in which
//   +-----------------+-----------------+      UDP options live (RFC 9868); a receiver that knows no
//   |  user data ...  | surplus area ...       options simply never looks there.
//   +-----------------+------------------
//
// Thread: any; there is no state.  Allocates: never.
// Sources: RFC 768; RFC 1122 4.1.3.4; RFC 6935, 6936 (zero checksum over IPv6); RFC 9868 sections 7 and 10.
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "base/assert.h"
#include "wire/checksum.h"
#include "wire/drop.h"
#include "wire/endian.h"
#include "wire/ip.h"

namespace gannet::wire {

inline constexpr std::size_t udp_header_size = 8;

struct Udp {
  std::uint16_t src_port;
  std::uint16_t dst_port;
  bool has_checksum;                     // false: the sender chose to send none (zero)
  std::span<const std::byte> user_data;  // inside the packet that was parsed; never outlives it
  std::span<const std::byte> surplus;    // likewise; empty for almost every datagram
};

// Whether a zero checksum is acceptable is the port's policy over IPv6 (RFC 6936), and the socket's over IPv4.
enum class ZeroChecksum : std::uint8_t { allowed, refused };

// Reads the header at the start of `ip_payload` and verifies length and checksum.
[[nodiscard, gnu::always_inline]] inline std::expected<Udp, Drop> parse_udp(const IpInfo& ip, std::span<const std::byte> ip_payload,
                                                                            ZeroChecksum zero = ZeroChecksum::allowed) {
  if (ip_payload.size() < udp_header_size) return std::unexpected(Drop::udp_header_truncated);

  // One validated length bounds everything below: header, user data, checksum and surplus (RFC 9868 25.3).
  const std::size_t length = load_be16(ip_payload, 4);
  if (length < udp_header_size || length > ip_payload.size()) return std::unexpected(Drop::udp_length_invalid);

  const bool has_checksum = load_be16(ip_payload, 6) != 0;
  if (has_checksum) {
    ChecksumSum sum;
    sum.add_pseudo_header(ip.src, ip.dst, protocol_udp, static_cast<std::uint32_t>(length));
    sum.add(ip_payload.first(length));
    if (!sum.agrees()) return std::unexpected(Drop::udp_checksum_bad);
  } else if (zero == ZeroChecksum::refused) {
    return std::unexpected(Drop::udp_checksum_missing);
  }

  return Udp{.src_port = load_be16(ip_payload, 0),
             .dst_port = load_be16(ip_payload, 2),
             .has_checksum = has_checksum,
             .user_data = ip_payload.subspan(udp_header_size, length - udp_header_size),
             .surplus = ip_payload.subspan(length)};
}

// Writes the header, checksum included, in front of user data that was summed already, for instance while it was copied into place. `packet` is
// header and user data, at most 65,535 bytes.
[[gnu::always_inline]] inline void emit_udp(const IpAddress& src, const IpAddress& dst, std::uint16_t src_port, std::uint16_t dst_port,
                                            std::span<std::byte> packet, const ChecksumSum& user_data) {
  ASSERT(packet.size() >= udp_header_size && packet.size() <= 65535);
  const auto length = static_cast<std::uint32_t>(packet.size());
  const std::uint32_t ports = std::uint32_t{src_port} << 16 | dst_port;
  ChecksumSum sum = user_data;
  sum.add_pseudo_header(src, dst, protocol_udp, length);
  sum.add(std::uint64_t{ports} << 32 | length << 16);
  // A computed zero goes out as all ones, since zero on the wire means "none" (RFC 768).
  const std::uint16_t folded = sum.folded();
  store_be32(packet, 0, ports);
  store_be16(packet, 4, static_cast<std::uint16_t>(length));
  store_be16(packet, 6, folded == 0xffff ? folded : static_cast<std::uint16_t>(~folded));
}

// The same, with user data that already stands in `packet` at udp_header_size.
[[gnu::always_inline]] inline void emit_udp(const IpAddress& src, const IpAddress& dst, std::uint16_t src_port, std::uint16_t dst_port,
                                            std::span<std::byte> packet) {
  ASSERT(packet.size() >= udp_header_size && packet.size() <= 65535);
  ChecksumSum user_data;
  user_data.add(packet.subspan(udp_header_size));
  emit_udp(src, dst, src_port, dst_port, packet, user_data);
}

// The same without a checksum, where the application asked for none (RFC 1122 4.1.3.4).
inline void emit_udp_unchecked(std::uint16_t src_port, std::uint16_t dst_port, std::span<std::byte> packet) {
  ASSERT(packet.size() >= udp_header_size && packet.size() <= 65535);
  store_be16(packet, 0, src_port);
  store_be16(packet, 2, dst_port);
  store_be16(packet, 4, static_cast<std::uint16_t>(packet.size()));
  store_be16(packet, 6, 0);
}

}  // namespace gannet::wire
