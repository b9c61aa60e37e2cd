#include "wire/dtls.h"

#include <algorithm>

#include "base/assert.h"
#include "wire/endian.h"

namespace gannet::wire {
namespace {

constexpr std::uint8_t client_hello = 1, hello_verify_request = 3;
constexpr std::uint16_t dtls_1_0 = 0xfeff;
constexpr std::size_t random_size = 32, max_session_id = 32;
// A random, the three lengths before and after the cookie, two of cipher suites and one of compression: no ClientHello is shorter.
constexpr std::size_t shortest_hello = 2 + random_size + 1 + 1 + 2 + 2 + 1 + 1;

std::uint32_t load_be24(std::span<const std::byte> at, std::size_t offset) {
  return std::uint32_t{load_u8(at, offset)} << 16 | load_be16(at, offset + 1);
}
void store_be24(std::span<std::byte> at, std::size_t offset, std::uint32_t value) {
  store_u8(at, offset, static_cast<std::uint8_t>(value >> 16));
  store_be16(at, offset + 1, static_cast<std::uint16_t>(value));
}

// What a length octet at the front of `rest` announces, taken off it.
bool take_vector(std::span<const std::byte>& rest, std::size_t most, std::span<const std::byte>& into) {
  if (rest.empty()) return false;
  const std::size_t length = load_u8(rest, 0);
  if (length > most || length > rest.size() - 1) return false;
  into = rest.subspan(1, length);
  rest = rest.subspan(1 + length);
  return true;
}

}  // namespace

std::expected<DtlsRecord, Drop> parse_dtls_record(std::span<const std::byte> datagram) {
  if (datagram.size() < dtls_record_header_size) return std::unexpected(Drop::dtls_record_malformed);
  const std::uint8_t content = load_u8(datagram, 0);
  const std::size_t length = load_be16(datagram, 11);
  if (content < 20 || content > 23 || load_u8(datagram, 1) != 0xfe || length > datagram.size() - dtls_record_header_size) {
    return std::unexpected(Drop::dtls_record_malformed);
  }
  const std::uint64_t number = load_be64(datagram, 3);
  return DtlsRecord{.content = static_cast<DtlsContent>(content),
                    .epoch = static_cast<std::uint16_t>(number >> 48),
                    .sequence = number & 0xffff'ffff'ffff,
                    .fragment = datagram.subspan(dtls_record_header_size, length),
                    .rest = datagram.subspan(dtls_record_header_size + length)};
}

bool is_client_hello(const DtlsRecord& record) {
  return record.content == DtlsContent::handshake && record.epoch == 0 && record.fragment.size() >= dtls_handshake_header_size &&
         load_u8(record.fragment, 0) == client_hello;
}

std::expected<ClientHello, Drop> parse_client_hello(const DtlsRecord& record) {
  if (!is_client_hello(record)) return std::unexpected(Drop::dtls_hello_malformed);
  const std::uint32_t length = load_be24(record.fragment, 1), offset = load_be24(record.fragment, 6), piece = load_be24(record.fragment, 9);
  std::span<const std::byte> rest = record.fragment.subspan(dtls_handshake_header_size);
  if (length < shortest_hello || offset > length || piece > length - offset || piece > rest.size())
    return std::unexpected(Drop::dtls_hello_malformed);
  if (offset != 0) return std::unexpected(Drop::dtls_hello_fragment);
  rest = rest.first(piece);
  if (rest.size() < 2 + random_size || load_u8(rest, 0) != 0xfe) return std::unexpected(Drop::dtls_hello_malformed);
  ClientHello hello{.sequence = record.sequence,
                    .message_sequence = load_be16(record.fragment, 4),
                    .random = rest.subspan(2, random_size),
                    .session_id = {},
                    .cookie = {}};
  rest = rest.subspan(2 + random_size);
  if (!take_vector(rest, max_session_id, hello.session_id) || !take_vector(rest, 255, hello.cookie)) {
    return std::unexpected(Drop::dtls_hello_malformed);
  }
  return hello;
}

std::size_t emit_hello_verify_request(std::uint64_t sequence, std::span<const std::byte> cookie, std::span<std::byte, hello_verify_request_max> out) {
  ASSERT(cookie.size() <= max_cookie);
  const auto body = static_cast<std::uint32_t>(3 + cookie.size());
  // The record has the number of the ClientHello's, so that nothing need be counted; the version says nothing of what will be agreed on (4.2.1).
  store_u8(out, 0, static_cast<std::uint8_t>(DtlsContent::handshake));
  store_be16(out, 1, dtls_1_0);
  store_be64(out, 3, sequence & 0xffff'ffff'ffff);
  store_be16(out, 11, static_cast<std::uint16_t>(dtls_handshake_header_size + body));
  const std::span<std::byte> message = out.subspan(dtls_record_header_size);
  store_u8(message, 0, hello_verify_request);
  store_be24(message, 1, body);
  store_be16(message, 4, 0);
  store_be24(message, 6, 0);
  store_be24(message, 9, body);
  store_be16(message, 12, dtls_1_0);
  store_u8(message, 14, static_cast<std::uint8_t>(cookie.size()));
  std::ranges::copy(cookie, message.begin() + 15);
  return dtls_record_header_size + dtls_handshake_header_size + body;
}

}  // namespace gannet::wire
