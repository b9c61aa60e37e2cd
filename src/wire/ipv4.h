// The IPv4 header: bytes <-> meaning.
//
//    0       4       8              16   19             31
//   +-------+-------+---------------+----+--------------+
//   |version|  IHL  |      tos      |    total length   |
//   +-------+-------+---------------+----+--------------+      Total length ends the packet: what a short frame pads behind it is
//   |        identification         |0 DF MF  offset / 8|      trimmed here and seen by nobody above.
//   +---------------+---------------+----+--------------+
//   |      TTL      |   protocol    |  header checksum  |
//   +---------------+---------------+-------------------+
//   |    source, destination, options up to 40 bytes    |
//   +---------------------------------------------------+
//
// Thread: any; there is no state.  Allocates: never.
// Sources: RFC 791; RFC 1122 3.2.1; RFC 2113 (router alert); RFC 6864 (identification).
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include <gannet/address.h>

#include "base/assert.h"
#include "wire/checksum.h"
#include "wire/drop.h"
#include "wire/endian.h"
#include "wire/ip.h"

namespace gannet::wire {

inline constexpr std::size_t ipv4_header_size = 20;  // without options
inline constexpr std::size_t ipv4_options_max = 40;
inline constexpr std::size_t ipv4_packet_max = 65535;

struct Ipv4Header {
  IpAddress src{};
  IpAddress dst{};
  std::uint8_t protocol = 0;
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::uint16_t id = 0;
  bool dont_fragment = false;
  bool more_fragments = false;
  std::uint16_t fragment_offset = 0;     // in bytes, a multiple of 8
  std::span<const std::byte> options{};  // as on the wire; on emit up to 40 bytes, padded to a multiple of four with end-of-list

  [[nodiscard]] std::size_t size() const { return ipv4_header_size + (options.size() + 3) / 4 * 4; }
  [[nodiscard]] bool is_fragment() const { return more_fragments || fragment_offset != 0; }
};

// A parsed packet; the spans lie inside it and never outlive it.
struct Ipv4 : Ipv4Header {
  std::span<const std::byte> packet;  // header and payload, without what a link padded
  std::span<const std::byte> payload;

  // What the upper layer may know.
  [[nodiscard]] IpInfo info(std::uint32_t interface = 0, bool link_broadcast = false) const {
    return {.src = src,
            .dst = dst,
            .interface = interface,
            .protocol = protocol,
            .hop_limit = ttl,
            .tos = tos,
            .link_broadcast = link_broadcast,
            .options = options,
            .packet = packet};
  }
};

namespace ipv4_field {
inline constexpr std::uint16_t dont_fragment = 0x4000;
inline constexpr std::uint16_t more_fragments = 0x2000;
inline constexpr std::uint16_t offset = 0x1fff;
}  // namespace ipv4_field

// The rest of parse_ipv4 for a header with options or of a fragment: `ipv4` is filled in but for these.
[[nodiscard]] std::expected<Ipv4, Drop> parse_options_and_fragment(Ipv4 ipv4);

// Reads and verifies the header at the start of `bytes`, which is what a link brought. Options are checked for their bounds only.
[[nodiscard, gnu::always_inline]] inline std::expected<Ipv4, Drop> parse_ipv4(std::span<const std::byte> bytes) {
  if (bytes.size() < ipv4_header_size) return std::unexpected(Drop::ip_header_truncated);
  const std::uint8_t version_and_length = load_u8(bytes, 0);
  if (version_and_length >> 4 != 4) return std::unexpected(Drop::ip_version_wrong);
  const std::size_t header_size = std::size_t{version_and_length & 0x0fu} * 4;
  const std::size_t total_length = load_be16(bytes, 2);
  if (header_size < ipv4_header_size || total_length < header_size) return std::unexpected(Drop::ip_length_invalid);
  if (total_length > bytes.size()) return std::unexpected(Drop::ip_header_truncated);

  ChecksumSum sum;
  sum.add_header<ipv4_header_size>(bytes.data());
  if (header_size != ipv4_header_size) [[unlikely]]
    sum.add(bytes.subspan(ipv4_header_size, header_size - ipv4_header_size));
  if (!sum.agrees()) return std::unexpected(Drop::ip_checksum_bad);

  const std::uint16_t fragment = load_be16(bytes, 6);
  Ipv4 ipv4;
  ipv4.src = load_ipv4(bytes, 12);
  ipv4.dst = load_ipv4(bytes, 16);
  ipv4.protocol = load_u8(bytes, 9);
  ipv4.ttl = load_u8(bytes, 8);
  ipv4.tos = load_u8(bytes, 1);
  ipv4.id = load_be16(bytes, 4);
  ipv4.dont_fragment = (fragment & ipv4_field::dont_fragment) != 0;
  ipv4.packet = bytes.first(total_length);
  ipv4.payload = ipv4.packet.subspan(header_size);
  const bool is_fragment = (fragment & (ipv4_field::more_fragments | ipv4_field::offset)) != 0;
  if (header_size != ipv4_header_size || is_fragment) [[unlikely]]
    return parse_options_and_fragment(ipv4);
  return ipv4;
}

// The size of a packet that is what nearly all are: valid, whole, without options; 0 for any other. What parse_ipv4() would say of it,
// plain_ipv4_info() says in a quarter of the time.
[[nodiscard, gnu::always_inline]] inline std::size_t plain_ipv4_size(std::span<const std::byte> bytes) {
  if (bytes.size() < ipv4_header_size || load_u8(bytes, 0) != 0x45) return 0;
  const std::size_t total_length = load_be16(bytes, 2);
  if (total_length < ipv4_header_size || total_length > bytes.size()) return 0;
  if ((load_be16(bytes, 6) & (ipv4_field::more_fragments | ipv4_field::offset)) != 0) return 0;
  ChecksumSum sum;
  sum.add_header<ipv4_header_size>(bytes.data());
  return sum.agrees() ? total_length : 0;
}
[[nodiscard, gnu::always_inline]] inline IpInfo plain_ipv4_info(std::span<const std::byte> packet, std::uint32_t interface, bool to_group) {
  return {.src = load_ipv4(packet, 12),
          .dst = load_ipv4(packet, 16),
          .interface = interface,
          .protocol = load_u8(packet, 9),
          .hop_limit = load_u8(packet, 8),
          .tos = load_u8(packet, 1),
          .to_group = to_group,
          .packet = packet};
}

// The rest of emit_ipv4 for a header with options: writes them and their padding.
void emit_options(std::span<const std::byte> options, std::span<std::byte> packet);

// Writes the header at the start of `packet`, which is the header (size() bytes of it) and the payload, at most 65,535 bytes.
[[gnu::always_inline]] inline void emit_ipv4(const Ipv4Header& header, std::span<std::byte> packet) {
  const std::size_t header_size = header.size();
  ASSERT(header_size <= ipv4_header_size + ipv4_options_max && header_size <= packet.size() && packet.size() <= ipv4_packet_max);
  const unsigned fragment = (header.dont_fragment ? ipv4_field::dont_fragment : 0u) | (header.more_fragments ? ipv4_field::more_fragments : 0u) |
                            header.fragment_offset / 8u;
  // Put together before they are written: whole words are summed as they are, and nothing is read back.
  const auto first =
      static_cast<std::uint32_t>(0x40 | header_size / 4) << 24 | std::uint32_t{header.tos} << 16 | static_cast<std::uint32_t>(packet.size());
  const std::uint32_t second = std::uint32_t{header.id} << 16 | fragment;
  const std::uint32_t third = std::uint32_t{header.ttl} << 24 | std::uint32_t{header.protocol} << 16;
  ChecksumSum sum;
  sum.add(std::uint64_t{first} << 32 | second);
  sum.add(third);
  sum.add_addresses(header.src, header.dst);
  if (!header.options.empty()) [[unlikely]] {
    emit_options(header.options, packet);
    sum.add(packet.subspan(ipv4_header_size, header_size - ipv4_header_size));
  }
  store_be64(packet, 0, std::uint64_t{first} << 32 | second);
  store_be32(packet, 8, third | sum.checksum());
  store_ipv4(packet, 12, header.src);
  store_ipv4(packet, 16, header.dst);
}

// Bytes that may begin with a link's header or with IP's: which? A header without options begins like no station's MAC address; one with options is
// told by its length.
[[nodiscard]] inline bool begins_with_ipv4(std::span<const std::byte> bytes) {
  if (bytes.size() < ipv4_header_size) return false;
  const unsigned first = load_u8(bytes, 0);
  if (first == 0x45) return true;
  const std::size_t total = load_be16(bytes, 2);
  return first > 0x45 && first <= 0x4f && total >= ipv4_header_size && total <= bytes.size();
}

// On its way out of a host that shares the kernel's addresses no packet needs an identification: the kernel gives it one. The field tells the
// kernel's side how the socket wants it sent.
namespace guest_note {
inline constexpr std::uint16_t discovery = 0x7;    // IP_MTU_DISCOVER
inline constexpr std::uint16_t no_loop = 0x8;      // IP_MULTICAST_LOOP is off
inline constexpr std::uint16_t by_route = 0x10;    // by whatever interface: the kernel knows more of its routes (ip-rule(8)) than we
inline constexpr std::uint16_t any_source = 0x20;  // and from whatever address: the one in the header is what we would choose
}  // namespace guest_note

// Another identification in a header that is whole.
inline void set_ipv4_id(std::span<std::byte> packet, std::uint16_t id) {
  store_be16(packet, 10, update_checksum(load_be16(packet, 10), load_be16(packet, 4), id));
  store_be16(packet, 4, id);
}

// The options that this host knows by name.
namespace ipv4_option {
inline constexpr std::uint8_t end_of_list = 0;
inline constexpr std::uint8_t no_operation = 1;
inline constexpr std::uint8_t record_route = 7;
inline constexpr std::uint8_t timestamp = 68;
inline constexpr std::uint8_t loose_source_route = 131;
inline constexpr std::uint8_t strict_source_route = 137;
inline constexpr std::uint8_t router_alert = 148;
inline constexpr std::uint8_t copied = 0x80;  // this bit of the type: the option goes into every fragment
}  // namespace ipv4_option

struct Ipv4Option {
  std::uint8_t type;
  std::span<const std::byte> bytes;  // type, length and data
};

// Walks over options, past no-operations, until their end, or until one that does not fit (malformed() then).
class Ipv4Options {
 public:
  explicit Ipv4Options(std::span<const std::byte> options) : left_(options) {}
  [[nodiscard]] std::optional<Ipv4Option> next();
  [[nodiscard]] bool malformed() const { return malformed_; }

 private:
  std::span<const std::byte> left_;
  bool malformed_ = false;
};

// Whether an option of this type is among them.
[[nodiscard]] bool has_option(std::span<const std::byte> options, std::uint8_t type);
[[nodiscard]] inline bool has_source_route(std::span<const std::byte> options) {
  return has_option(options, ipv4_option::loose_source_route) || has_option(options, ipv4_option::strict_source_route);
}
// The options that fragments after the first carry (RFC 791 3.1), written to `into`; returns how many bytes.
std::size_t copied_options(std::span<const std::byte> options, std::span<std::byte, ipv4_options_max> into);

}  // namespace gannet::wire
