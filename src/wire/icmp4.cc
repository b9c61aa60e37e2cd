#include "wire/icmp4.h"

#include "base/assert.h"
#include "wire/checksum.h"
#include "wire/endian.h"
#include "wire/ipv4.h"

namespace gannet::wire {

std::expected<Icmp4, Drop> parse_icmp4(std::span<const std::byte> payload) {
  if (payload.size() < icmp4_header_size) return std::unexpected(Drop::icmp_truncated);
  ChecksumSum sum;
  sum.add(payload);
  if (!sum.agrees()) return std::unexpected(Drop::icmp_checksum_bad);
  return Icmp4{static_cast<Icmp4Type>(load_u8(payload, 0)), load_u8(payload, 1), load_be32(payload, 4), payload.subspan(icmp4_header_size)};
}

bool Icmp4::is_error() const {
  switch (type) {
    case Icmp4Type::unreachable:
    case Icmp4Type::source_quench:
    case Icmp4Type::redirect:
    case Icmp4Type::time_exceeded:
    case Icmp4Type::parameter_problem:
      return true;
    default:
      return false;
  }
}

std::span<const std::byte> Icmp4::quote() const {
  // RFC 4884 section 4: these three have a length of the quote, in 32-bit words, in the word's second byte; zero where there are no extensions. A
  // length that the message contradicts is as good as none.
  const bool has_length = type == Icmp4Type::unreachable || type == Icmp4Type::time_exceeded || type == Icmp4Type::parameter_problem;
  const std::size_t length = has_length ? (word >> 16 & 0xff) * std::size_t{4} : 0;
  return length == 0 || length > body.size() ? body : body.first(length);
}

std::expected<Icmp4Quote, Drop> parse_quote(const Icmp4& error) {
  const auto quote = error.quote();
  if (quote.size() < ipv4_header_size) return std::unexpected(Drop::icmp_truncated);
  const std::uint8_t version_and_length = load_u8(quote, 0);
  if (version_and_length >> 4 != 4) return std::unexpected(Drop::icmp_quote_malformed);
  const std::size_t header_size = std::size_t{version_and_length & 0x0fu} * 4;
  if (header_size < ipv4_header_size) return std::unexpected(Drop::icmp_quote_malformed);
  if (quote.size() < header_size + 8) return std::unexpected(Drop::icmp_truncated);
  return Icmp4Quote{.src = load_ipv4(quote, 12),
                    .dst = load_ipv4(quote, 16),
                    .protocol = load_u8(quote, 9),
                    .tos = load_u8(quote, 1),
                    .ttl = load_u8(quote, 8),
                    .id = load_be16(quote, 4),
                    .total_length = load_be16(quote, 2),
                    .fragment_offset = static_cast<std::uint16_t>((load_be16(quote, 6) & ipv4_field::offset) * 8),
                    .options = quote.subspan(ipv4_header_size, header_size - ipv4_header_size),
                    .payload = quote.subspan(header_size)};
}

std::uint16_t Icmp4Quote::src_port() const { return load_be16(payload, 0); }
std::uint16_t Icmp4Quote::dst_port() const { return load_be16(payload, 2); }

void emit_icmp4(Icmp4Type type, std::uint8_t code, std::uint32_t word, std::span<std::byte> message) {
  ASSERT(message.size() >= icmp4_header_size);
  store_u8(message, 0, static_cast<std::uint8_t>(type));
  store_u8(message, 1, code);
  store_be16(message, 2, 0);
  store_be32(message, 4, word);
  ChecksumSum sum;
  sum.add(message);
  store_be16(message, 2, sum.checksum());
}

}  // namespace gannet::wire
