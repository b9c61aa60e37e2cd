#include "wire/ipv4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <vector>

#include "base/rng.h"

namespace gannet::wire {
namespace {

std::vector<std::byte> bytes(std::initializer_list<unsigned> values) {
  std::vector<std::byte> result;
  for (const unsigned value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

Ipv4Header header() {
  return {.src = IpAddress::ipv4(192, 0, 2, 1), .dst = IpAddress::ipv4(192, 0, 2, 2), .protocol = protocol_udp, .ttl = 17, .tos = 0x2e, .id = 0xbeef};
}

std::vector<std::byte> packet_of(const Ipv4Header& header, std::size_t payload_size) {
  std::vector<std::byte> packet(header.size() + payload_size, std::byte{0x5a});
  emit_ipv4(header, packet);
  return packet;
}

// As changing one field does, so that only that field is wrong.
void repair_checksum(std::span<std::byte> packet) {
  store_be16(packet, 10, 0);
  ChecksumSum sum;
  sum.add(packet.first((load_u8(packet, 0) & 0xfu) * std::size_t{4}));
  store_be16(packet, 10, sum.checksum());
}

bool same(std::span<const std::byte> a, std::span<const std::byte> b) { return std::ranges::equal(a, b); }

// The example header that is printed everywhere with its checksum, b861.
TEST(Ipv4, EmitsTheKnownBytes) {
  std::vector<std::byte> packet(0x73);
  emit_ipv4({.src = IpAddress::ipv4(192, 168, 0, 1), .dst = IpAddress::ipv4(192, 168, 0, 199), .protocol = 17, .dont_fragment = true}, packet);
  const auto expected = bytes({0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7});
  EXPECT_TRUE(same(std::span(packet).first(20), expected));
}

void expect_same(const Ipv4& parsed, const Ipv4Header& header) {
  EXPECT_EQ(parsed.src, header.src);
  EXPECT_EQ(parsed.dst, header.dst);
  EXPECT_EQ(parsed.protocol, header.protocol);
  EXPECT_EQ(parsed.ttl, header.ttl);
  EXPECT_EQ(parsed.tos, header.tos);
  EXPECT_EQ(parsed.id, header.id);
  EXPECT_EQ(parsed.dont_fragment, header.dont_fragment);
  EXPECT_EQ(parsed.more_fragments, header.more_fragments);
  EXPECT_EQ(parsed.fragment_offset, header.fragment_offset);
}

TEST(Ipv4, ParsesWhatItEmits) {
  Rng rng(791);
  for (int i = 0; i < 1000; ++i) {
    Ipv4Header any{.src = IpAddress::ipv4(static_cast<std::uint32_t>(rng.next())),
                   .dst = IpAddress::ipv4(static_cast<std::uint32_t>(rng.next())),
                   .protocol = static_cast<std::uint8_t>(rng.next()),
                   .ttl = static_cast<std::uint8_t>(rng.next()),
                   .tos = static_cast<std::uint8_t>(rng.next()),
                   .id = static_cast<std::uint16_t>(rng.next()),
                   .dont_fragment = rng.chance(0.5),
                   .more_fragments = rng.chance(0.5),
                   .fragment_offset = static_cast<std::uint16_t>(rng.below(1000) * 8)};
    const auto packet = packet_of(any, rng.between(1, 20) * std::size_t{8});
    const auto parsed = parse_ipv4(packet);
    ASSERT_TRUE(parsed);
    expect_same(*parsed, any);
    EXPECT_TRUE(parsed->options.empty());
    EXPECT_EQ(parsed->payload.data(), packet.data() + 20);
    EXPECT_EQ(parsed->payload.size(), packet.size() - 20);
  }
}

// U2, U4: options go down and come up byte by byte, padded to a multiple of four.
TEST(Ipv4, CarriesOptionsOfEverySize) {
  for (std::size_t size = 1; size <= ipv4_options_max; ++size) {
    std::vector<std::byte> options(size, std::byte{ipv4_option::no_operation});
    if (size >= 3) {
      options[0] = std::byte{ipv4_option::record_route};
      options[1] = static_cast<std::byte>(size);
    }
    auto with = header();
    with.options = options;
    const auto packet = packet_of(with, 5);
    const auto parsed = parse_ipv4(packet);
    ASSERT_TRUE(parsed) << size;
    EXPECT_EQ(parsed->options.size(), (size + 3) / 4 * 4);
    EXPECT_TRUE(same(parsed->options.first(size), options));
    for (const std::byte pad : parsed->options.subspan(size)) EXPECT_EQ(pad, std::byte{0});
    EXPECT_EQ(parsed->payload.size(), 5u);
    EXPECT_TRUE(same(parsed->info().options, parsed->options));
  }
}

// P1: every single-bit error in the header is noticed, options included.
TEST(Ipv4, DropsEverySingleBitError) {
  const auto options = bytes({ipv4_option::router_alert, 4, 0, 0});
  auto with = header();
  with.options = options;
  const auto good = packet_of(with, 8);
  ASSERT_TRUE(parse_ipv4(good));
  for (std::size_t bit = 0; bit < with.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_FALSE(parse_ipv4(bad).has_value()) << "bit " << bit;
  }
}

// P1: the version is looked at before anything else.
TEST(Ipv4, DropsWrongVersions) {
  for (unsigned version = 0; version < 16; ++version) {
    auto packet = packet_of(header(), 8);
    store_u8(packet, 0, static_cast<std::uint8_t>(version << 4 | 5));
    repair_checksum(packet);
    if (version == 4) continue;
    EXPECT_EQ(parse_ipv4(packet).error(), Drop::ip_version_wrong) << version;
  }
}

TEST(Ipv4, TruncatedAtEachLength) {
  const auto options = bytes({1, 1, 1, 1});
  auto with = header();
  with.options = options;
  const auto good = packet_of(with, 8);
  for (std::size_t size = 0; size < good.size(); ++size) {
    // A copy of its own, so that ASan sees one byte too many.
    EXPECT_EQ(parse_ipv4(std::vector(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size))).error(), Drop::ip_header_truncated) << size;
  }
}

TEST(Ipv4, LengthsThatContradictThemselves) {
  for (const unsigned words : {0u, 1u, 4u}) {
    auto packet = packet_of(header(), 8);
    store_u8(packet, 0, static_cast<std::uint8_t>(0x40 | words));
    EXPECT_EQ(parse_ipv4(packet).error(), Drop::ip_length_invalid) << words;
  }
  auto packet = packet_of(header(), 8);
  store_be16(packet, 2, 19);
  EXPECT_EQ(parse_ipv4(packet).error(), Drop::ip_length_invalid);
  packet = packet_of(header(), 100);
  store_u8(packet, 0, 0x4f);
  store_be16(packet, 2, 59);
  EXPECT_EQ(parse_ipv4(packet).error(), Drop::ip_length_invalid);
}

// P5: what a link pads is neither payload nor surplus.
TEST(Ipv4, TrimsLinkPadding) {
  auto packet = packet_of(header(), 8);
  packet.resize(46, std::byte{0xee});
  const auto parsed = parse_ipv4(packet);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->payload.size(), 8u);
  EXPECT_EQ(parsed->packet.size(), 28u);
}

// P2: any TTL is accepted from the wire, zero too.
TEST(Ipv4, AcceptsEveryTtl) {
  for (unsigned ttl = 0; ttl < 256; ++ttl) {
    auto any = header();
    any.ttl = static_cast<std::uint8_t>(ttl);
    EXPECT_EQ(parse_ipv4(packet_of(any, 0))->ttl, ttl);
  }
}

// X1: an offset or a length that no packet can have.
TEST(Ipv4, DropsImpossibleFragments) {
  const auto fragment = [](bool more, std::uint16_t offset, std::size_t size) {
    auto any = header();
    any.more_fragments = more;
    any.fragment_offset = offset;
    return parse_ipv4(packet_of(any, size));
  };
  EXPECT_TRUE(fragment(true, 0, 8));
  EXPECT_EQ(fragment(true, 0, 9).error(), Drop::fragment_malformed);
  EXPECT_EQ(fragment(true, 8, 0).error(), Drop::fragment_malformed);
  EXPECT_EQ(fragment(false, 8, 0).error(), Drop::fragment_malformed);
  EXPECT_TRUE(fragment(false, 8, 9));
  EXPECT_TRUE(fragment(false, 65504, 11));
  EXPECT_EQ(fragment(false, 65504, 12).error(), Drop::fragment_malformed);
  EXPECT_TRUE(fragment(false, 0, 0));
}

// The fast way says what the slow one says, of every packet with one byte changed, checksum repaired or not.
TEST(Ipv4, PlainPacketsAreWhatTheParserSaysTheyAre) {
  Rng rng(5);
  unsigned plain = 0;
  for (unsigned round = 0; round < 20000; ++round) {
    auto packet = packet_of(header(), rng.below(30));
    packet.resize(packet.size() + rng.below(4));  // padding
    packet[rng.below(ipv4_header_size)] = static_cast<std::byte>(rng.below(256));
    if (rng.chance(0.9)) {
      store_be16(packet, 10, 0);
      ChecksumSum sum;
      sum.add_header<ipv4_header_size>(packet.data());
      store_be16(packet, 10, sum.checksum());
    }
    const auto parsed = parse_ipv4(packet);
    const std::size_t size = plain_ipv4_size(packet);
    ASSERT_EQ(size != 0, parsed && parsed->options.empty() && !parsed->is_fragment());
    if (size == 0) continue;
    ++plain;
    const IpInfo fast = plain_ipv4_info(std::span<const std::byte>(packet).first(size), 3, false);
    const IpInfo slow = parsed->info(3);
    ASSERT_TRUE(fast.src == slow.src && fast.dst == slow.dst && fast.interface == slow.interface && fast.protocol == slow.protocol);
    ASSERT_TRUE(fast.hop_limit == slow.hop_limit && fast.tos == slow.tos && !fast.link_broadcast && fast.options.empty());
    ASSERT_TRUE(fast.packet.data() == slow.packet.data() && fast.packet.size() == slow.packet.size());
  }
  EXPECT_GT(plain, 10000u);
}

// P3: unknown options are walked over; only those that do not fit are an error.
TEST(Ipv4Options, WalksOverAnyOption) {
  const auto options = bytes({1, 1, 0x99, 3, 7, 1, ipv4_option::router_alert, 4, 0, 0, 0, 0x99});
  Ipv4Options walk(options);
  auto option = walk.next();
  ASSERT_TRUE(option);
  EXPECT_EQ(option->type, 0x99);
  EXPECT_EQ(option->bytes.size(), 3u);
  option = walk.next();
  ASSERT_TRUE(option);
  EXPECT_EQ(option->type, ipv4_option::router_alert);
  EXPECT_FALSE(walk.next());  // the end of the list, whatever follows
  EXPECT_FALSE(walk.malformed());
  EXPECT_TRUE(has_option(options, ipv4_option::router_alert));
  EXPECT_FALSE(has_source_route(options));
  EXPECT_TRUE(has_source_route(bytes({1, ipv4_option::strict_source_route, 3, 4})));
}

TEST(Ipv4Options, MalformedOnesDropThePacket) {
  for (const auto& options : {bytes({7, 0, 0, 0}), bytes({7, 1, 0, 0}), bytes({7, 5, 0, 0}), bytes({1, 1, 1, 7}), bytes({7, 255, 4, 0})}) {
    auto with = header();
    with.options = options;
    EXPECT_EQ(parse_ipv4(packet_of(with, 8)).error(), Drop::ip_options_malformed);
  }
}

// RFC 791 3.1: only options with the copied bit go into later fragments.
TEST(Ipv4Options, CopiesForFragments) {
  const auto options = bytes({7, 3, 4, 1, ipv4_option::router_alert, 4, 0, 0, 68, 4, 5, 0, 0x82, 3, 9});
  std::array<std::byte, ipv4_options_max> into;
  const std::size_t size = copied_options(options, into);
  EXPECT_TRUE(same(std::span(into).first(size), bytes({ipv4_option::router_alert, 4, 0, 0, 0x82, 3, 9})));
}

}  // namespace
}  // namespace gannet::wire
