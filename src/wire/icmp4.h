// ICMP for IPv4: bytes <-> meaning.
//
//    0        8        16                31
//   +--------+--------+-----------------+
//   |  type  |  code  |    checksum     |
//   +--------+--------+-----------------+      The word is what the type makes of it: identifier and sequence, next-hop MTU,
//   |               word                |      gateway, pointer. The body of an error quotes the packet that caused it.
//   +-----------------------------------+
//   |  body ...
//   +----------------
//
// Thread: any; there is no state.  Allocates: never.
// Sources: RFC 792; RFC 1122 3.2.2; RFC 1191 section 4 (next-hop MTU); RFC 4884 (length of the quote); RFC 6633 (no source quench).
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include <gannet/address.h>

#include "wire/drop.h"

namespace gannet::wire {

inline constexpr std::size_t icmp4_header_size = 8;

enum class Icmp4Type : std::uint8_t {
  echo_reply = 0,
  unreachable = 3,
  source_quench = 4,
  redirect = 5,
  echo_request = 8,
  time_exceeded = 11,
  parameter_problem = 12,
  timestamp_request = 13,
  timestamp_reply = 14,
};

// Codes of Icmp4Type::unreachable (RFC 792, RFC 1122, RFC 1812).
namespace unreachable_code {
inline constexpr std::uint8_t network = 0;
inline constexpr std::uint8_t host = 1;
inline constexpr std::uint8_t protocol = 2;
inline constexpr std::uint8_t port = 3;
inline constexpr std::uint8_t fragmentation_needed = 4;
inline constexpr std::uint8_t source_route_failed = 5;
inline constexpr std::uint8_t prohibited = 13;
}  // namespace unreachable_code

// Codes of Icmp4Type::time_exceeded.
namespace time_exceeded_code {
inline constexpr std::uint8_t in_transit = 0;
inline constexpr std::uint8_t in_reassembly = 1;
}  // namespace time_exceeded_code

struct Icmp4 {
  Icmp4Type type;  // any value: what this host does not know is the caller's to drop
  std::uint8_t code = 0;
  std::uint32_t word = 0;
  std::span<const std::byte> body{};  // inside the packet that was parsed

  // Tells of another packet, which it quotes; never answered with an error.
  [[nodiscard]] bool is_error() const;
  // Of echo and timestamp messages.
  [[nodiscard]] std::uint16_t id() const { return static_cast<std::uint16_t>(word >> 16); }
  [[nodiscard]] std::uint16_t sequence() const { return static_cast<std::uint16_t>(word); }
  // Of unreachable, fragmentation needed: the next hop's MTU, or 0 from a router older than RFC 1191.
  [[nodiscard]] std::uint16_t mtu() const { return static_cast<std::uint16_t>(word); }
  // Of a parameter problem: the byte of the quoted packet that is at fault.
  [[nodiscard]] std::uint8_t pointer() const { return static_cast<std::uint8_t>(word >> 24); }
  // Of a redirect.
  [[nodiscard]] IpAddress gateway() const { return IpAddress::ipv4(word); }
  // The quoted packet: the body, without the extensions that RFC 4884 may put behind it.
  [[nodiscard]] std::span<const std::byte> quote() const;
};

[[nodiscard]] constexpr std::uint32_t echo_word(std::uint16_t id, std::uint16_t sequence) { return std::uint32_t{id} << 16 | sequence; }

// Reads the message that `payload` is, and verifies its checksum.
[[nodiscard]] std::expected<Icmp4, Drop> parse_icmp4(std::span<const std::byte> payload);

// Writes the header, checksum included, in front of a body that already stands in `message` at icmp4_header_size.
void emit_icmp4(Icmp4Type type, std::uint8_t code, std::uint32_t word, std::span<std::byte> message);

// What an error tells of the packet that caused it. Everything in it is the sender's claim: check it against what was really sent.
struct Icmp4Quote {
  IpAddress src{};
  IpAddress dst{};
  std::uint8_t protocol = 0;
  std::uint8_t tos = 0;
  std::uint8_t ttl = 0;
  std::uint16_t id = 0;
  std::uint16_t total_length = 0;        // of the packet as it was; less than that is quoted, most often
  std::uint16_t fragment_offset = 0;     // in bytes
  std::span<const std::byte> options{};  // as on the wire
  std::span<const std::byte> payload{};  // at least 8 bytes: both ports of a UDP header are there, unless it is a later fragment

  [[nodiscard]] std::uint16_t src_port() const;  // where payload begins with a UDP header
  [[nodiscard]] std::uint16_t dst_port() const;
};

// Reads the quote of an error. Neither its checksum nor its length is verified: routers change the one and cut the other.
[[nodiscard]] std::expected<Icmp4Quote, Drop> parse_quote(const Icmp4& error);

}  // namespace gannet::wire
