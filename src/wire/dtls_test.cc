#include "wire/dtls.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/rng.h"
#include "wire/endian.h"

namespace gannet::wire {
namespace {

using Bytes = std::vector<std::byte>;

void append(Bytes& bytes, std::initializer_list<int> octets) {
  for (const int octet : octets) bytes.push_back(static_cast<std::byte>(octet));
}

// A ClientHello's body: an empty session id, a cookie, one cipher suite, no compression.
Bytes hello_body(std::size_t cookie_size, std::size_t session_size = 0) {
  Bytes body;
  append(body, {0xfe, 0xfd});
  for (int i = 0; i < 32; ++i) append(body, {i});
  append(body, {static_cast<int>(session_size)});
  body.resize(body.size() + session_size, std::byte{0x55});
  append(body, {static_cast<int>(cookie_size)});
  body.resize(body.size() + cookie_size, std::byte{0xcc});
  append(body, {0, 2, 0xc0, 0x2b, 1, 0});
  return body;
}

// The record that carries bytes [offset, offset + size) of a message of the given type.
Bytes record_of(const Bytes& body, std::size_t offset, std::size_t size, int type = 1, int message_sequence = 1) {
  Bytes bytes;
  append(bytes, {22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0});
  store_be16(bytes, 11, static_cast<std::uint16_t>(12 + size));
  const auto length = static_cast<int>(body.size()), at = static_cast<int>(offset), piece = static_cast<int>(size);
  append(bytes, {type, 0, length >> 8, length & 255, 0, message_sequence, 0, at >> 8, at & 255, 0, piece >> 8, piece & 255});
  bytes.insert(bytes.end(), body.begin() + at, body.begin() + at + piece);
  return bytes;
}
Bytes record_of(const Bytes& body) { return record_of(body, 0, body.size()); }

std::expected<ClientHello, Drop> parse(const Bytes& datagram) {
  const auto record = parse_dtls_record(datagram);
  if (!record) return std::unexpected(record.error());
  return parse_client_hello(*record);
}

TEST(Dtls, ReadsTheFirstFlight) {
  const Bytes datagram = record_of(hello_body(9, 32));
  const auto hello = parse(datagram);
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->sequence, 7);
  EXPECT_EQ(hello->message_sequence, 1);
  EXPECT_EQ(hello->random.size(), 32);
  EXPECT_EQ(hello->random[31], std::byte{31});
  EXPECT_EQ(hello->session_id.size(), 32);
  EXPECT_EQ(hello->cookie.size(), 9);
  EXPECT_EQ(hello->cookie[0], std::byte{0xcc});
}

TEST(Dtls, ReadsTheFirstPieceOfAHelloAndNoLaterOne) {
  const Bytes body = hello_body(9, 32);
  const Bytes first = record_of(body, 0, 77), second = record_of(body, 77, body.size() - 77);
  ASSERT_TRUE(parse(first));
  EXPECT_EQ(parse(first)->cookie.size(), 9);
  EXPECT_EQ(parse(second).error(), Drop::dtls_hello_fragment);
  EXPECT_EQ(parse(record_of(body, 0, 76)).error(), Drop::dtls_hello_malformed) << "the cookie is cut";
}

TEST(Dtls, EveryLengthThatLiesIsNoticed) {
  const Bytes good = record_of(hello_body(9));
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(parse(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size))));
  for (const auto& [at, value] : {std::pair{11, 0xff}, {16, 1}, {19, 0xff}, {22, 1}, {24, 0xff}, {59, 33}, {60, 255}}) {
    Bytes bad = good;
    bad[static_cast<std::size_t>(at)] = static_cast<std::byte>(value);
    EXPECT_FALSE(parse(bad)) << "octet " << at;
  }
  Bytes other = good;
  other[1] = std::byte{3};
  EXPECT_EQ(parse(other).error(), Drop::dtls_record_malformed) << "TLS over TCP";
  EXPECT_EQ(parse(record_of(hello_body(9), 0, 60, 2)).error(), Drop::dtls_hello_malformed) << "a ServerHello";
}

TEST(Dtls, RecordsStandOneBehindTheOther) {
  Bytes datagram = record_of(hello_body(0));
  const std::size_t first = datagram.size();
  append(datagram, {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 5, 0, 1, 0x42});
  const auto record = parse_dtls_record(datagram);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->rest.size(), datagram.size() - first);
  const auto next = parse_dtls_record(record->rest);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->content, DtlsContent::application_data);
  EXPECT_EQ(next->epoch, 1);
  EXPECT_EQ(next->sequence, 5);
  EXPECT_FALSE(is_client_hello(*next));
}

// RFC 6347 4.2.1: the request has the ClientHello's record number, message number 0, and is no longer than what it answers (B8).
TEST(Dtls, AsksForTheCookie) {
  const Bytes cookie(9, std::byte{0xcc});
  std::array<std::byte, hello_verify_request_max> out{};
  const std::size_t size = emit_hello_verify_request(0x0102'0304'0506, cookie, out);
  EXPECT_EQ(size, 13 + 12 + 3 + 9);
  EXPECT_LT(size, record_of(hello_body(0)).size()) << "the shortest ClientHello there is";
  const auto record = parse_dtls_record(std::span(out).first(size));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->sequence, 0x0102'0304'0506);
  EXPECT_EQ(record->epoch, 0);
  EXPECT_TRUE(record->rest.empty());
  EXPECT_EQ(record->fragment[0], std::byte{3});
  EXPECT_EQ(load_be16(record->fragment, 4), 0);
  EXPECT_EQ(load_u8(record->fragment, 14), 9);
  EXPECT_TRUE(std::ranges::equal(record->fragment.subspan(15), cookie));
}

TEST(Dtls, AnyBytesAreReadOrRefused) {
  Rng rng(6347);
  Bytes good = record_of(hello_body(9, 16));
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = good;
    for (std::uint32_t i = rng.below(4) + 1; i > 0; --i)
      bytes[rng.below(static_cast<std::uint32_t>(bytes.size()))] = static_cast<std::byte>(rng.next());
    bytes.resize(rng.below(static_cast<std::uint32_t>(bytes.size())) + 1);
    if (const auto hello = parse(bytes)) {
      EXPECT_EQ(hello->random.size(), 32);
      EXPECT_LE(hello->session_id.size(), 32);
    }
  }
}

}  // namespace
}  // namespace gannet::wire
