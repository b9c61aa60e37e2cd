#include "stack/reassembly.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace gannet::stack {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint8_t not_ect = 0, ect1 = 1, ect0 = 2, ce = 3;

class ReassemblyTest : public testing::Test {
 protected:
  struct Piece {
    std::size_t begin, end;
    bool more;
    std::uint8_t tos = 0;
  };

  void make(Config wanted) {
    config = wanted;
    reassembly = std::make_unique<Reassembly>(context);
  }
  // Hands in [begin, end) of the datagram; the whole payload if this completes it.
  Bytes give(const Piece& piece, std::uint16_t id = 1, IpAddress src = IpAddress::ipv4(10, 0, 0, 9)) {
    const std::span<const std::byte> payload = std::span(data).subspan(piece.begin, piece.end - piece.begin);
    const wire::Ipv4Header header{.src = src,
                                  .dst = IpAddress::ipv4(10, 0, 0, 1),
                                  .protocol = wire::protocol_udp,
                                  .tos = piece.tos,
                                  .id = id,
                                  .more_fragments = piece.more,
                                  .fragment_offset = static_cast<std::uint16_t>(piece.begin)};
    Frame frame = pools.allocate(payload.size() + 20);
    EXPECT_TRUE(static_cast<bool>(frame));
    frame.resize(payload.size());
    std::ranges::copy(payload, frame.bytes().begin());
    frame.prepend(20);
    wire::emit_ipv4(header, frame.bytes());
    const auto parsed = wire::parse_ipv4(std::as_const(frame).bytes());
    EXPECT_TRUE(parsed.has_value());
    const Frame whole = reassembly->input(*parsed, 2, false, std::move(frame), now);
    if (!whole) return {};
    const auto packet = wire::parse_ipv4(whole.bytes());
    EXPECT_TRUE(packet.has_value() && !packet->is_fragment());
    last_tos = packet->tos;
    return {packet->payload.begin(), packet->payload.end()};
  }
  [[nodiscard]] std::uint64_t dropped(Drop reason) const { return fates.dropped_count(reason); }
  [[nodiscard]] Bytes first(std::size_t size) const { return {data.begin(), data.begin() + static_cast<std::ptrdiff_t>(size)}; }

  FramePools pools = FramePools::create(4096, 8).value();
  Rng rng{7};
  Fates fates;
  Config config;
  Context context{pools, rng, fates, config};
  Time now{};
  Bytes data = [] {
    Bytes bytes(65536);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i ^ i >> 8);
    return bytes;
  }();
  std::uint8_t last_tos = 0;
  std::unique_ptr<Reassembly> reassembly = std::make_unique<Reassembly>(context);
};

// F1, against the slow reference (the payload itself): any order of any cuts gives the datagram, once, and holds nothing afterwards.
TEST_F(ReassemblyTest, PutsAnyOrderTogether) {
  for (unsigned round = 0; round < 300; ++round) {
    const std::size_t size = 16 + rng.below(6000);
    std::vector<Piece> pieces;
    for (std::size_t begin = 0; begin < size;) {
      const std::size_t end = std::min(size, begin + 8 * (1 + rng.below(60)));
      pieces.push_back({begin, end, end < size});
      begin = end;
    }
    std::ranges::shuffle(pieces, rng);
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) ASSERT_TRUE(give(pieces[i]).empty());
    ASSERT_EQ(give(pieces.back()), first(size)) << "round " << round;
    ASSERT_EQ(reassembly->held() + reassembly->bytes() + reassembly->datagrams(), 0u);
  }
  EXPECT_TRUE(pools.full());
}

// F4: an overlap kills the datagram; an exact duplicate is ignored and not charged.
TEST_F(ReassemblyTest, OverlapsKillAndDuplicatesDoNot) {
  give({0, 64, true});
  const std::size_t charged = reassembly->bytes();
  give({0, 64, true});
  EXPECT_EQ(dropped(Drop::fragment_duplicate), 1u);
  EXPECT_EQ(reassembly->bytes(), charged);
  EXPECT_EQ(give({64, 100, false}), first(100));

  for (const Piece overlap : {Piece{32, 96, true}, Piece{0, 128, true}, Piece{8, 16, true}, Piece{56, 80, false}}) {
    const auto before = dropped(Drop::fragment_overlap);
    give({0, 64, true});
    give(overlap);
    EXPECT_EQ(dropped(Drop::fragment_overlap), before + 2);
    EXPECT_EQ(reassembly->datagrams(), 0u);
  }
}

TEST_F(ReassemblyTest, TwoEndsKill) {
  give({64, 100, false});
  give({104, 128, true});  // beyond the end
  EXPECT_EQ(dropped(Drop::fragment_malformed), 2u);
  give({64, 128, true});
  give({0, 32, false});  // an end before what is there
  EXPECT_EQ(dropped(Drop::fragment_malformed), 4u);
  EXPECT_TRUE(pools.full());
}

// F10: RFC 3168 5.3.
TEST_F(ReassemblyTest, CongestionExperiencedSurvives) {
  const auto result = [&](std::uint8_t a, std::uint8_t b) {
    last_tos = 0xff;
    give({0, 64, true, static_cast<std::uint8_t>(0xb8 | a)});
    give({64, 100, false, static_cast<std::uint8_t>(0xb8 | b)});
    return last_tos;
  };
  EXPECT_EQ(result(ect0, ect0), 0xb8 | ect0);
  EXPECT_EQ(result(ect0, ce), 0xb8 | ce);
  EXPECT_EQ(result(ce, ect1), 0xb8 | ce);
  EXPECT_EQ(result(ce, ce), 0xb8 | ce);
  EXPECT_EQ(result(not_ect, not_ect), 0xb8);
  EXPECT_EQ(dropped(Drop::fragment_ecn_inconsistent), 0u);
  EXPECT_EQ(result(not_ect, ce), 0xff);
  EXPECT_EQ(result(ce, not_ect), 0xff);
  EXPECT_EQ(dropped(Drop::fragment_ecn_inconsistent), 4u);
}

// X5: a source that has its share loses its own oldest datagram, and nobody else does.
TEST_F(ReassemblyTest, OneSourceCannotHurtAnother) {
  make({.reassembly_bytes = 64 * 2048, .reassembly_source_share = 4});
  const IpAddress victim = IpAddress::ipv4(10, 0, 0, 1), flooder = IpAddress::ipv4(10, 0, 0, 2);
  give({0, 64, true}, 1, victim);
  for (std::uint16_t id = 0; id < 1000; ++id) give({0, 64, true}, id, flooder);
  EXPECT_EQ(reassembly->datagrams(), 17u);
  EXPECT_EQ(dropped(Drop::fragment_table_full), 984u);
  EXPECT_EQ(give({64, 100, false}, 1, victim), first(100));
  EXPECT_EQ(give({64, 100, false}, 999, flooder), first(100));  // the newest is there
}

// X5: from many sources, the caps on bytes and counts hold, and the oldest give way.
TEST_F(ReassemblyTest, CapsHoldAgainstManySources) {
  make({.reassembly_bytes = 64 * 2048, .reassembly_datagrams = 40});
  for (std::uint32_t i = 0; i < 5000; ++i) {
    give({8, 64, true}, static_cast<std::uint16_t>(i), IpAddress::ipv4(0x0a000000 + i));
    ASSERT_LE(reassembly->bytes(), 64u * 2048);
    ASSERT_LE(reassembly->datagrams(), 40u);
  }
  EXPECT_EQ(give({0, 8, true}, 4999, IpAddress::ipv4(0x0a000000 + 4999)).size(), 0u);
  EXPECT_EQ(give({64, 72, false}, 4999, IpAddress::ipv4(0x0a000000 + 4999)), first(72));
}

// X5: a datagram in more pieces than a source may hold never completes, and leaves nothing.
TEST_F(ReassemblyTest, ManyTinyFragmentsAreBounded) {
  make({.reassembly_fragments = 64, .reassembly_source_share = 4});
  for (std::size_t begin = 0; begin < 8000; begin += 8) give({begin, begin + 8, true});
  EXPECT_EQ(reassembly->held(), 16u);
  EXPECT_EQ(dropped(Drop::fragment_table_full), 984u);
}

// F2: the first fragment is handed out for the error, where it was there.
TEST_F(ReassemblyTest, ExpiresInOrder) {
  give({0, 64, true}, 1);
  now += 1s;
  give({64, 128, true}, 2);
  EXPECT_EQ(reassembly->next_wakeup(), Time{} + 60s);
  Frame frame;
  EXPECT_FALSE(reassembly->expire_one(Time{} + 59s, frame));
  EXPECT_TRUE(reassembly->expire_one(Time{} + 60s, frame));
  EXPECT_TRUE(static_cast<bool>(frame));
  frame.release();
  EXPECT_FALSE(reassembly->expire_one(Time{} + 60s, frame));
  EXPECT_TRUE(reassembly->expire_one(Time{} + 61s, frame));
  EXPECT_FALSE(static_cast<bool>(frame));
  EXPECT_EQ(reassembly->next_wakeup(), never);
  EXPECT_EQ(dropped(Drop::fragment_timeout), 1u);  // the other is its receiver's to count
}

TEST_F(ReassemblyTest, ExhaustedPoolIsACountedDrop) {
  std::vector<Frame> hoard;
  while (pools.large->available() != 0) hoard.push_back(pools.large->allocate());
  give({0, 1480, true});
  give({1480, 2960, true});
  EXPECT_TRUE(give({2960, 3000, false}).empty());
  EXPECT_EQ(dropped(Drop::no_frame), 3u);
  EXPECT_EQ(reassembly->held(), 0u);
}

}  // namespace
}  // namespace gannet::stack
