#include "wire/icmp4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "wire/endian.h"
#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::wire {
namespace {

constexpr auto us = IpAddress::ipv4(10, 7, 0, 2);
constexpr auto them = IpAddress::ipv4(10, 7, 0, 1);

std::vector<std::byte> message(Icmp4Type type, std::uint8_t code, std::uint32_t word, std::span<const std::byte> body) {
  std::vector<std::byte> bytes(icmp4_header_size + body.size());
  std::ranges::copy(body, bytes.begin() + icmp4_header_size);
  emit_icmp4(type, code, word, bytes);
  return bytes;
}

// A UDP packet from us to them, as a router would quote it.
std::vector<std::byte> sent_packet(std::size_t user_data) {
  std::vector<std::byte> packet(ipv4_header_size + udp_header_size + user_data, std::byte{0x61});
  emit_udp(us, them, 65433, 9, std::span(packet).subspan(ipv4_header_size));
  emit_ipv4({.src = us, .dst = them, .protocol = protocol_udp, .ttl = 3, .tos = 8, .id = 77}, packet);
  return packet;
}

// I5: the words of an echo.
TEST(Icmp4, ParsesWhatItEmits) {
  const std::array body{std::byte{1}, std::byte{2}, std::byte{3}};
  const auto bytes = message(Icmp4Type::echo_request, 0, echo_word(0x1234, 0xfffe), body);
  const auto icmp = parse_icmp4(bytes);
  ASSERT_TRUE(icmp);
  EXPECT_EQ(icmp->type, Icmp4Type::echo_request);
  EXPECT_EQ(icmp->code, 0);
  EXPECT_EQ(icmp->id(), 0x1234);
  EXPECT_EQ(icmp->sequence(), 0xfffe);
  EXPECT_TRUE(std::ranges::equal(icmp->body, body));
  EXPECT_FALSE(icmp->is_error());
}

TEST(Icmp4, EmitsTheKnownBytes) {
  const auto bytes = message(Icmp4Type::echo_request, 0, echo_word(1, 1), {});
  EXPECT_EQ(load_be16(bytes, 2), 0xf7fd);
}

TEST(Icmp4, TruncatedOrDamagedIsDropped) {
  const auto good = message(Icmp4Type::echo_reply, 0, echo_word(3, 4), std::array{std::byte{5}});
  for (std::size_t size = 0; size < icmp4_header_size; ++size) {
    EXPECT_EQ(parse_icmp4(std::vector(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size))).error(), Drop::icmp_truncated);
  }
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_EQ(parse_icmp4(bad).error(), Drop::icmp_checksum_bad) << "bit " << bit;
  }
}

// I1: what counts as an error, and so is never answered with one.
TEST(Icmp4, KnowsItsErrors) {
  for (unsigned type = 0; type < 256; ++type) {
    const bool expected = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
    EXPECT_EQ((Icmp4{.type = static_cast<Icmp4Type>(type), .body = {}}.is_error()), expected) << type;
  }
}

// U5: an error leads back to the datagram that caused it.
TEST(Icmp4, ReadsItsQuote) {
  const auto packet = sent_packet(100);
  const auto bytes = message(Icmp4Type::unreachable, unreachable_code::fragmentation_needed, 1400, std::span(packet).first(28));
  const auto icmp = parse_icmp4(bytes);
  ASSERT_TRUE(icmp);
  EXPECT_EQ(icmp->mtu(), 1400);
  const auto quote = parse_quote(*icmp);
  ASSERT_TRUE(quote);
  EXPECT_EQ(quote->src, us);
  EXPECT_EQ(quote->dst, them);
  EXPECT_EQ(quote->protocol, protocol_udp);
  EXPECT_EQ(quote->ttl, 3);
  EXPECT_EQ(quote->tos, 8);
  EXPECT_EQ(quote->id, 77);
  EXPECT_EQ(quote->total_length, 128);
  EXPECT_EQ(quote->src_port(), 65433);
  EXPECT_EQ(quote->dst_port(), 9);
  EXPECT_EQ(quote->payload.size(), 8u);
}

TEST(Icmp4, QuotesWithOptionsAndOfFragments) {
  const std::array options{std::byte{ipv4_option::router_alert}, std::byte{4}, std::byte{0}, std::byte{0}};
  std::vector<std::byte> packet(24 + 8, std::byte{1});
  emit_ipv4({.src = us, .dst = them, .protocol = protocol_udp, .more_fragments = true, .fragment_offset = 1480, .options = options}, packet);
  const auto bytes = message(Icmp4Type::time_exceeded, time_exceeded_code::in_reassembly, 0, packet);
  const auto quote = parse_quote(*parse_icmp4(bytes));
  ASSERT_TRUE(quote);
  EXPECT_EQ(quote->fragment_offset, 1480);
  EXPECT_TRUE(std::ranges::equal(quote->options, options));
  EXPECT_EQ(quote->payload.size(), 8u);
}

TEST(Icmp4, QuoteTruncatedAtEachLength) {
  const auto packet = sent_packet(0);
  for (std::size_t size = 0; size < 28; ++size) {
    const auto bytes = message(Icmp4Type::unreachable, unreachable_code::port, 0, std::span(packet).first(size));
    EXPECT_EQ(parse_quote(*parse_icmp4(bytes)).error(), Drop::icmp_truncated) << size;
  }
  for (const unsigned first : {0x55u, 0x44u, 0x00u}) {
    auto bad = packet;
    bad[0] = static_cast<std::byte>(first);
    const auto bytes = message(Icmp4Type::unreachable, unreachable_code::port, 0, bad);
    EXPECT_EQ(parse_quote(*parse_icmp4(bytes)).error(), Drop::icmp_quote_malformed) << first;
  }
  auto long_header = packet;
  long_header[0] = std::byte{0x4f};
  EXPECT_EQ(parse_quote(*parse_icmp4(message(Icmp4Type::unreachable, 3, 0, long_header))).error(), Drop::icmp_truncated);
}

// I7: the length in the second byte of the word ends the quote; extensions follow it.
TEST(Icmp4, ExtensionsAreNotTheQuote) {
  const auto packet = sent_packet(100);  // 128 bytes: 32 words
  std::vector<std::byte> body(packet.begin(), packet.end());
  body.resize(128 + 8, std::byte{0x20});
  for (const auto type : {Icmp4Type::unreachable, Icmp4Type::time_exceeded, Icmp4Type::parameter_problem}) {
    const auto bytes = message(type, 0, 32u << 16, body);
    EXPECT_EQ(parse_icmp4(bytes)->quote().size(), 128u);
  }
  // Without a length, with a wrong one, and where the byte is something else, the body is the quote.
  EXPECT_EQ(parse_icmp4(message(Icmp4Type::unreachable, 0, 0, body))->quote().size(), body.size());
  EXPECT_EQ(parse_icmp4(message(Icmp4Type::unreachable, 0, 35u << 16, body))->quote().size(), body.size());
  EXPECT_EQ(parse_icmp4(message(Icmp4Type::redirect, 0, 0x0a200001, body))->quote().size(), body.size());
}

TEST(Icmp4, WordsOfTheOtherErrors) {
  const auto packet = sent_packet(0);
  const auto problem = message(Icmp4Type::parameter_problem, 0, 20u << 24, packet);
  EXPECT_EQ(parse_icmp4(problem)->pointer(), 20);
  const auto redirect = message(Icmp4Type::redirect, 1, 0x0a0700fe, packet);
  EXPECT_EQ(parse_icmp4(redirect)->gateway(), IpAddress::ipv4(10, 7, 0, 254));
}

}  // namespace
}  // namespace gannet::wire
