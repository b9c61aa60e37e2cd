// Streaming and telephony: the parts of their examples in virtual time, and the programs' own functions over hosts of ours on a wire that loses.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include <gannet/host.h>
#include <gannet/socket.h>

#include "../../examples/ogg.h"
#include "../../examples/rtp_session.h"
#include "../../examples/sip_call.h"
#include "../../examples/voip_leg.h"

// Their main() is a function like any other here, and is not called.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
namespace rtp_receiver {
#include "../../examples/rtp_receiver.cc"
}
namespace voip {
#include "../../examples/voip.cc"
}
#pragma GCC diagnostic pop

namespace gannet::tests {
namespace {

using namespace std::chrono_literals;
using rtp::Bytes, rtp::Time;
using Octets = std::vector<std::byte>;

Octets octets(std::initializer_list<unsigned> values) {
  Octets bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}
Octets packet(unsigned sequence, std::uint32_t timestamp = 0, std::uint32_t ssrc = 7, Bytes payload = {}) {
  return rtp::emit(
      {.type = 96, .marker = false, .sequence = static_cast<std::uint16_t>(sequence), .timestamp = timestamp, .ssrc = ssrc, .payload = payload});
}
const Time start = Time(1h);
const Address sender{IpAddress::ipv4(10, 9, 0, 1), 5004}, stranger{IpAddress::ipv4(10, 9, 0, 66), 5004};

TEST(Rtp, ParsesWhatItEmits) {
  const Octets payload = octets({1, 2, 3});
  const auto parsed = rtp::parse(packet(65535, 0xfedcba98, 0x12345678, payload)).value();
  EXPECT_EQ(parsed.type, 96);
  EXPECT_FALSE(parsed.marker);
  EXPECT_EQ(parsed.sequence, 65535);
  EXPECT_EQ(parsed.timestamp, 0xfedcba98);
  EXPECT_EQ(parsed.ssrc, 0x12345678);
  EXPECT_EQ(parsed.payload.size(), 3U);
}

TEST(Rtp, SourcesExtensionAndPaddingAreNoPayload) {
  // Two contributing sources, an extension of one word, two bytes of payload, three of padding.
  const Octets whole = octets({0xb2, 0x80, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 8, 8, 8, 8, 42, 43, 0, 0, 3});
  const auto parsed = rtp::parse(whole).value();
  EXPECT_TRUE(parsed.marker);
  EXPECT_EQ(Octets(parsed.payload.begin(), parsed.payload.end()), octets({42, 43}));
  for (std::size_t size = 0; size < 28; ++size) EXPECT_FALSE(rtp::parse(Bytes(whole).first(size))) << size;
  for (const unsigned padding : {0U, 6U, 255U}) {
    Octets lying = whole;
    lying.back() = static_cast<std::byte>(padding);
    EXPECT_FALSE(rtp::parse(lying)) << padding;
  }
  for (const unsigned first : {0x00U, 0x40U, 0xc0U}) {
    Octets other = packet(1);
    other[0] = static_cast<std::byte>(first);
    EXPECT_FALSE(rtp::parse(other)) << "version " << first;
  }
  Octets control = packet(1);
  control[1] = std::byte{200};
  EXPECT_FALSE(rtp::parse(control));
}

class Reception : public ::testing::Test {
 protected:
  std::optional<std::int64_t> take(unsigned sequence) { return source.take(*rtp::parse(packet(sequence)), start); }
  rtp::Source source{8000, 65534};
};

TEST_F(Reception, NumbersDoNotWrapAndLossIsCounted) {
  EXPECT_EQ(take(65534), 0);
  EXPECT_EQ(take(65535), 1);
  EXPECT_EQ(take(1), 3);
  EXPECT_EQ(take(0), 2) << "overtaken";
  EXPECT_EQ(take(4), 6);
  const auto report = source.report();
  EXPECT_EQ(report.highest, 65536U + 4);
  EXPECT_EQ(report.lost, 2);
  EXPECT_EQ(report.fraction_lost, 2 * 256 / 7);
  EXPECT_EQ(take(5), 7);
  EXPECT_EQ(source.report().fraction_lost, 0) << "since the last report";
  EXPECT_EQ(take(5), 7);
  EXPECT_EQ(take(5), 7);
  EXPECT_EQ(source.report().lost, 0) << "those that come twice make up for others, and RFC 3550 will have it so";
}

TEST_F(Reception, AJumpIsBelievedWhenTheNextOneFollows) {
  EXPECT_EQ(take(65534), 0);
  EXPECT_EQ(take(30000), std::nullopt);
  EXPECT_EQ(take(65535), 1);
  EXPECT_EQ(take(30001), 2) << "the sender began anew";
  EXPECT_EQ(source.restarts(), 1U);
  EXPECT_EQ(source.report().highest, 30001U);
}

TEST_F(Reception, JitterIsThatOfRfc3550) {
  double expected = 0;
  for (unsigned i = 0; i < 200; ++i) {  // every other packet takes 2 ms longer: a difference of 16 each time
    source.take(*rtp::parse(packet(65534 + i, 160 * i)), start + i * 20ms + (i % 2) * 2ms);
    if (i > 0) expected += (16 - expected) / 16;
  }
  EXPECT_NEAR(source.jitter() * 8000, expected, 1);
}

// What a bad network does, and what must be true of each packet whatever it did.
class Waiting : public ::testing::TestWithParam<unsigned> {};

TEST_P(Waiting, EachNumberComesOnceInOrderAndNobodyWaitsLongerThanTheBudget) {
  std::mt19937 random(GetParam());
  const bool paced = GetParam() % 2 == 1;
  const auto budget = std::chrono::milliseconds(20 + random() % 100);
  const unsigned long loss = random() % 40, span = 1 + random() % 150;
  std::multimap<Time, std::int64_t> arrivals;
  for (unsigned i = 0; i < 500; ++i) {
    for (unsigned copies = random() % 100 < loss ? 0 : random() % 20 == 0 ? 2 : 1; copies > 0; --copies) {
      arrivals.emplace(start + i * 20ms + std::chrono::milliseconds(random() % span), i);
    }
  }
  rtp::JitterBuffer buffer({.rate = 8000, .budget = budget, .paced = paced, .most = 64});
  std::set<std::int64_t> arrived;
  std::optional<std::int64_t> last;
  std::uint64_t delivered = 0, lost = 0;
  const auto take = [&](Time now) {
    while (const auto out = buffer.pop(now)) {
      if (last) {
        ASSERT_EQ(out->number, *last + 1);
      }
      last = out->number;
      ++(out->is_lost ? lost : delivered);
      if (out->is_lost) continue;
      ASSERT_TRUE(arrived.contains(out->number));
      ASSERT_LE(now - out->arrival, budget);
      ASSERT_EQ(out->packet.payload.size(), 2U);
      ASSERT_EQ(rtp::number_at(out->bytes, 0, 2), static_cast<std::uint32_t>(out->number)) << "each has its own bytes";
    }
    ASSERT_GT(buffer.next(), now);
  };
  for (auto next = arrivals.begin(); next != arrivals.end() || buffer.size() > 0;) {
    if (next == arrivals.end() || buffer.next() < next->first) {
      take(buffer.next());
      continue;
    }
    const auto number = static_cast<unsigned>(next->second);
    const Octets payload = octets({number >> 8, number & 255});
    arrived.insert(number);
    buffer.push(number, *rtp::parse(packet(number, 160 * number, 7, payload)), next->first);
    take((next++)->first);
  }
  EXPECT_EQ(buffer.counts.delivered, delivered);
  EXPECT_EQ(buffer.counts.lost, lost);
  EXPECT_EQ(delivered + buffer.counts.late, arrived.size());
  EXPECT_EQ(delivered + buffer.counts.late + buffer.counts.duplicated, arrivals.size());
  EXPECT_EQ(buffer.counts.hurried + buffer.counts.refused, 0U);
}
INSTANTIATE_TEST_SUITE_P(Networks, Waiting, ::testing::Range(0U, 100U));

TEST(JitterBuffer, PacedPacketsLeaveAsEvenlyAsTheyWereSent) {
  rtp::JitterBuffer buffer({.rate = 8000, .budget = 60ms, .paced = true});
  std::mt19937 random(1);
  std::vector<Time> left;
  for (unsigned i = 0; i < 400; ++i) {
    const Time now = start + i * 20ms + std::chrono::milliseconds(i == 0 ? 0 : random() % 20);
    while (buffer.next() <= now) {
      left.push_back(buffer.next());
      buffer.pop(left.back());
    }
    buffer.push(i, *rtp::parse(packet(i, 160 * i)), now);
  }
  for (std::size_t i = 1; i < left.size(); ++i) EXPECT_EQ(left[i] - left[i - 1], 20ms);
  EXPECT_EQ(left.front() - start, 60ms);
  EXPECT_EQ(buffer.counts.lost, 0U);
}

TEST(JitterBuffer, FollowsAClockThatDriftsAndOneThatLeaps) {
  rtp::JitterBuffer buffer({.rate = 8000, .budget = 60ms, .paced = true});
  for (unsigned i = 0; i < 3000; ++i) {  // a minute of a clock that is a thousandth too slow, and leaps twice
    const Time now = start + i * 20020us;
    while (buffer.next() <= now) buffer.pop(now);
    buffer.push(i, *rtp::parse(packet(i, 160 * i + (i >= 1000 ? 0x70000000U : 0) + (i >= 2000 ? 0x70000000U : 0))), now);
    EXPECT_LE(buffer.size(), 4U);
    if (i > 10 && i != 1000 && i != 2000) {
      EXPECT_GE(buffer.size(), 2U) << i;
    }
  }
}

TEST(JitterBuffer, HoldsSoManyAndNoMore) {
  rtp::JitterBuffer buffer({.rate = 8000, .budget = 1s, .paced = false, .most = 8});
  for (unsigned i = 0; i < 20; ++i) {
    if (i != 1) buffer.push(i, *rtp::parse(packet(i)), start + 2s - 2s * (i == 0));
    while (buffer.pop(start + 2s)) {
    }
  }
  EXPECT_EQ(buffer.counts.lost, 1U);
  EXPECT_EQ(buffer.counts.hurried, 1U) << "the gap was given up when the ninth came behind it";
  for (unsigned i = 21; i < 40; ++i) buffer.push(i, *rtp::parse(packet(i)), start + 2s);
  EXPECT_EQ(buffer.size(), 9U);
  EXPECT_EQ(buffer.counts.refused, 10U) << "nobody called pop()";
}

class Sessions : public ::testing::Test {
 protected:
  // Pushes, and says what came out, as numbers; lost ones negative.
  std::vector<std::int64_t> push(unsigned sequence, const Address& from = sender, std::uint32_t ssrc = 7, std::chrono::nanoseconds at = 0s) {
    session.push(packet(sequence, 0, ssrc), from, start + at);
    std::vector<std::int64_t> out;
    while (const auto next = session.pop(start + at)) out.push_back(next->is_lost ? -next->number : next->number);
    return out;
  }
  using Numbers = std::vector<std::int64_t>;
  rtp::Session session{{.rate = 8000, .budget = 0ms}, 99, "test"};
};

TEST_F(Sessions, TheFirstIsBelievedWithTheSecondWhateverTheirOrder) {
  EXPECT_EQ(push(1000), Numbers());
  EXPECT_EQ(push(5), Numbers()) << "neither follows the other";
  EXPECT_EQ(push(4), (Numbers{0, 1}));
  EXPECT_EQ(push(6), (Numbers{2}));
  EXPECT_EQ(session.counts.unbelieved, 1U);
  EXPECT_EQ(session.counts.sources, 1U);
}

TEST_F(Sessions, StrangersAreNotHeardUntilTheSourceIsSilent) {
  push(10), push(11);
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(push(12 + i, stranger), Numbers()) << "the same number, from elsewhere";
    EXPECT_EQ(push(12 + i, sender, 8), Numbers()) << "another number";
  }
  EXPECT_EQ(session.counts.strangers, 20U);
  EXPECT_EQ(push(12), (Numbers{2}));
  EXPECT_EQ(push(500, stranger, 9, 2s), Numbers());
  EXPECT_EQ(push(501, stranger, 9, 2s), (Numbers{3, 4})) << "its numbers go on where the others ended";
  EXPECT_EQ(push(13, sender, 7, 2s), Numbers());
  EXPECT_EQ(session.counts.sources, 2U);
}

TEST_F(Sessions, WhatIsReplayedIsCounted) {
  push(10), push(11), push(12);
  for (const unsigned old : {10U, 11U, 12U, 12U}) EXPECT_EQ(push(old), Numbers());
  EXPECT_EQ(session.buffer().duplicated, 4U);
  EXPECT_EQ(push(14), (Numbers{-3, 4}));
  EXPECT_EQ(push(13), Numbers());
  EXPECT_EQ(push(13), Numbers());
  EXPECT_EQ(session.buffer().late, 1U);
  EXPECT_EQ(session.buffer().duplicated, 5U);
  session.push(octets({1, 2, 3}), sender, start);
  EXPECT_EQ(session.counts.unreadable, 1U);
}

TEST_F(Sessions, ReportsWhatItHeard) {
  EXPECT_TRUE(session.report(start, false).empty()) << "of whom?";
  push(10), push(11), push(13);
  EXPECT_EQ(session.control_peer(), (Address{sender.ip, 5005}));
  // A sender's report: NTP time 0x0102030405060708.
  const Octets theirs = octets({0x80, 200, 0, 6, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  const Address control{sender.ip, 7777};
  session.control(theirs, control, start);
  EXPECT_EQ(session.control_peer(), control) << "where they send from";
  const Octets report = session.report(start + 500ms, true);
  ASSERT_TRUE(rtp::parse_control(report, 99));
  EXPECT_TRUE(rtp::parse_control(report, 99)->is_bye);
  EXPECT_EQ(rtp::number_at(report, 4, 4), 99U);
  EXPECT_EQ(rtp::number_at(report, 8, 4), 7U);
  EXPECT_EQ(rtp::number_at(report, 12, 1), 64U) << "one of four";
  EXPECT_EQ(rtp::number_at(report, 13, 3), 1U);
  EXPECT_EQ(rtp::number_at(report, 16, 4), 13U);
  EXPECT_EQ(rtp::number_at(report, 24, 4), 0x03040506U);
  EXPECT_EQ(rtp::number_at(report, 28, 4), 0x8000U) << "half a second later";
  EXPECT_EQ(report.size() % 4, 0U);
  for (std::size_t size = 1; size < report.size(); ++size) {
    if (size != 32 && size != 48) {
      EXPECT_FALSE(rtp::parse_control(Bytes(report).first(size), 99)) << size;
    }
  }
  session.control(octets({0x80, 200, 0, 60}), control, start);
  session.control(theirs, stranger, start);
  EXPECT_EQ(session.counts.control, 1U);
  EXPECT_EQ(session.counts.control_unreadable, 1U);
  EXPECT_EQ(session.counts.strangers, 1U);
}

TEST(Durations, SaysWhatAShareDidNotExceed) {
  rtp::Durations durations;
  EXPECT_EQ(durations.milliseconds(0.5), 0);
  for (int i = 1; i <= 100; ++i) durations.add(i * 1ms);
  EXPECT_EQ(durations.milliseconds(0), 1);
  EXPECT_EQ(durations.milliseconds(0.5), 50);
  EXPECT_EQ(durations.milliseconds(1), 100);
  durations.add(1h);
  EXPECT_EQ(durations.milliseconds(1), 999.9);
}

// Pictures taken apart in all three ways: an IDR of a small unit pair and one in fragments, then pictures of one unit, of two, and of fragments.
struct Piece {
  unsigned picture;
  Octets payload;
  bool marker;
};
std::vector<Piece> pieces() {
  return {{0, octets({0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2}), false},
          {0, octets({0x7c, 0x85, 10, 11}), false},
          {0, octets({0x7c, 0x05, 12}), false},
          {0, octets({0x7c, 0x45, 13}), true},
          {1, octets({0x41, 20, 21}), true},
          {2, octets({0x41, 30}), false},
          {2, octets({0x41, 31}), true},
          {3, octets({0x5c, 0x81, 40}), false},
          {3, octets({0x5c, 0x41, 41}), true}};
}
std::vector<h264::AccessUnit> units_without(std::size_t lost, h264::Depacketiser::Counts* counts = nullptr) {
  std::vector<h264::AccessUnit> units;
  h264::Depacketiser depacketiser([&](const h264::AccessUnit& unit) { units.push_back(unit); });
  const auto all = pieces();
  for (std::size_t i = 0; i < all.size(); ++i) {
    rtp::Delivered delivered;
    delivered.is_lost = i == lost;
    delivered.packet = {
        .type = 96, .marker = all[i].marker, .sequence = 0, .timestamp = 0xffffff00 + 3600 * all[i].picture, .ssrc = 0, .payload = all[i].payload};
    depacketiser.add(delivered);
  }
  depacketiser.finish();
  if (counts != nullptr) *counts = depacketiser.counts;
  return units;
}

TEST(H264, WhatWasTakenApartIsWhole) {
  const auto units = units_without(99);
  ASSERT_EQ(units.size(), 4U);
  EXPECT_EQ(units[0].bytes, octets({0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 10, 11, 12, 13}));
  EXPECT_EQ(units[1].bytes, octets({0, 0, 0, 1, 0x41, 20, 21}));
  EXPECT_EQ(units[2].bytes, octets({0, 0, 0, 1, 0x41, 30, 0, 0, 0, 1, 0x41, 31}));
  EXPECT_EQ(units[3].bytes, octets({0, 0, 0, 1, 0x41, 40, 41}));
  for (unsigned i = 0; i < 4; ++i) {
    EXPECT_EQ(units[i].timestamp, 3600 * i) << "over the edge of 32 bits";
    EXPECT_EQ(units[i].is_key, i == 0);
    EXPECT_FALSE(units[i].is_damaged);
  }
}

TEST(H264, WhateverIsLostItsPictureIsDamagedAndWholeOnesAreWhole) {
  const auto whole = units_without(99);
  for (std::size_t lost = 0; lost < pieces().size(); ++lost) {
    const std::int64_t victim = 3600 * pieces()[lost].picture;
    for (const auto& unit : units_without(lost)) {
      // Where the first is lost, time begins with the next.
      const auto& original = whole[static_cast<std::size_t>(unit.timestamp) / 3600];
      if (!unit.is_damaged) {
        EXPECT_EQ(unit.bytes, original.bytes) << lost;
      }
      if (unit.timestamp == victim) {
        EXPECT_TRUE(unit.is_damaged) << lost;
      }
      if (unit.timestamp != victim && unit.timestamp != victim + 3600) {
        EXPECT_FALSE(unit.is_damaged) << lost;
      }
    }
  }
}

TEST(H264, LiesAreUnusable) {
  for (const Octets& lie : {octets({}), octets({0x80}), octets({0x00, 1}), octets({0x7c}), octets({0x7c, 0x85}), octets({0x7c, 0xc5, 1}),
                            octets({0x7c, 0x05, 1}), octets({0x78}), octets({0x78, 0}), octets({0x78, 0, 0}), octets({0x78, 0, 5, 1}),
                            octets({0x79, 0, 0, 0, 1, 0x65}), octets({0x7e, 1}), octets({0x78, 0, 1, 0x80})}) {
    int units = 0;
    h264::Depacketiser depacketiser([&](const h264::AccessUnit&) { ++units; });
    rtp::Delivered delivered;
    delivered.packet.payload = lie;
    delivered.packet.marker = true;
    depacketiser.add(delivered);
    EXPECT_EQ(depacketiser.counts.unusable, 1U);
    EXPECT_EQ(units, 0);
  }
}

TEST(H264, AUnitWithoutEndIsLeftOut) {
  int units = 0;
  h264::Depacketiser depacketiser([&](const h264::AccessUnit&) { ++units; });
  Octets fragment(60'000);
  fragment[0] = std::byte{0x7c}, fragment[1] = std::byte{0x85};
  rtp::Delivered delivered;
  delivered.packet.payload = fragment;
  for (int i = 0; i < 200; ++i, fragment[1] = std::byte{0x05}) depacketiser.add(delivered);
  depacketiser.finish();
  EXPECT_EQ(units, 0);
  EXPECT_EQ(depacketiser.counts.too_large, 1U);
}

TEST(G711, EachCodeIsItsOwnAndEachSampleNearIts) {
  for (unsigned code = 0; code < 256; ++code) {
    const auto octet = static_cast<std::uint8_t>(code);
    EXPECT_EQ(g711::decode_mu(g711::encode_mu(g711::decode_mu(octet))), g711::decode_mu(octet));
    EXPECT_EQ(g711::encode_a(g711::decode_a(octet)), octet);
  }
  int before_mu = -40'000, before_a = -40'000;
  for (int sample = -32768; sample < 32768; ++sample) {
    const int mu = g711::decode_mu(g711::encode_mu(static_cast<std::int16_t>(sample))),
              a = g711::decode_a(g711::encode_a(static_cast<std::int16_t>(sample)));
    EXPECT_LE(std::abs(mu - sample), (std::abs(sample) + 132) / 32) << sample << ": half a step";
    EXPECT_LE(std::abs(a - sample), std::max(8, std::abs(sample) / 32)) << sample;
    EXPECT_TRUE(mu >= before_mu && a >= before_a) << sample;
    before_mu = mu, before_a = a;
  }
  EXPECT_EQ(g711::decode_mu(0xff), 0);
  EXPECT_EQ(g711::decode_mu(0x80), 32124);
  EXPECT_EQ(g711::decode_a(0xd5), 8);
  EXPECT_EQ(g711::decode_a(0xaa), 32256);
}

std::vector<std::int16_t> hum(double hertz, unsigned rate, std::size_t count, std::size_t from = 0) {
  std::vector<std::int16_t> samples;
  for (std::size_t i = from; i < from + count; ++i) {
    const double at = 2 * std::numbers::pi * hertz * static_cast<double>(i) / rate;
    samples.push_back(static_cast<std::int16_t>(6000 * std::sin(at) + 3000 * std::sin(2 * at + 1)));
  }
  return samples;
}
double energy(std::span<const std::int16_t> samples) {
  double sum = 0;
  for (const std::int16_t sample : samples) sum += static_cast<double>(sample) * sample;
  return sum;
}
double error(std::span<const std::int16_t> a, std::span<const std::int16_t> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  return sum;
}

TEST(Concealment, AVowelGoesOnAndFadesAway) {
  for (const double hertz : {80.0, 100.0, 133.3, 190.0}) {
    g711::Concealer concealer(8000);
    auto before = hum(hertz, 8000, 800);
    concealer.heard(before);
    const auto truth = hum(hertz, 8000, 640, 800), hidden = concealer.hide(640);
    const auto first = std::span(truth).first(80);
    EXPECT_LT(error(std::span(hidden).first(80), first), energy(first) / 10) << hertz << ": 10 dB better than silence";
    EXPECT_LT(energy(std::span(hidden).subspan(400, 80)), energy(first) / 10);
    EXPECT_EQ(energy(std::span(hidden).last(160)), 0) << "after 60 ms";
    auto after = hum(hertz, 8000, 160, 1440);
    const auto whole = after;
    concealer.heard(after);
    EXPECT_EQ(error(std::span(after).last(120), std::span(whole).last(120)), 0) << "what came is blended for 5 ms only";
  }
}

TEST(Concealment, NothingIsMadeOfNothing) {
  g711::Concealer concealer(48000);
  EXPECT_EQ(energy(concealer.hide(4800)), 0);
}

TEST(Windows, ATonePassesAndWhatCannotBeToldFromOneDoesNot) {
  for (const unsigned rate : {8000U, 16000U, 44100U, 48000U}) {
    std::vector<std::int16_t> out;
    std::int64_t next = 0;
    audio::Windows windows(rate, 16000, 320, [&](const audio::Window& window) {
      EXPECT_EQ(window.first, next);
      EXPECT_EQ(window.samples.size(), 320U);
      next += 320;
      out.insert(out.end(), window.samples.begin(), window.samples.end());
    });
    windows.add(hum(500, rate, rate), false);
    windows.finish();
    const auto ideal = hum(500, 16000, 16000);
    ASSERT_EQ(out.size(), 16000U) << rate;
    const auto middle = [](std::span<const std::int16_t> samples) { return samples.subspan(1000, 14000); };
    EXPECT_LT(error(middle(out), middle(ideal)), energy(middle(ideal)) * 1e-6) << rate << ": 60 dB";
    if (rate == 16000) {
      EXPECT_EQ(out, ideal);
    }
  }
  double left = 0;
  audio::Windows windows(48000, 16000, 320, [&](const audio::Window& window) { left += energy(window.samples); });
  const auto high = hum(11000, 48000, 48000);
  windows.add(high, false);
  EXPECT_LT(left, energy(high) / 3 * 1e-5);
}

TEST(Opus, LengthsAreThoseOfItsTable) {
  const auto samples = [](std::initializer_list<unsigned> bytes) { return audio::opus_length(octets(bytes)).value_or(audio::OpusLength{}).samples; };
  const unsigned of[32] = {480, 960, 1920, 2880, 480, 960, 1920, 2880, 480, 960, 1920, 2880, 480, 960, 480, 960,
                           120, 240, 480,  960,  120, 240, 480,  960,  120, 240, 480,  960,  120, 240, 480, 960};
  for (unsigned config = 0; config < 32; ++config) {
    EXPECT_EQ(samples({config << 3}), of[config]);
    EXPECT_EQ(samples({config << 3 | 1, 0, 0}), 2 * of[config]);
    EXPECT_EQ(samples({config << 3 | 1, 0}), 0U) << "two of one size";
    EXPECT_EQ(samples({config << 3 | 2, 1, 0}), 2 * of[config]);
    EXPECT_EQ(samples({config << 3 | 3, 3}), 3 * of[config] <= 5760 ? 3 * of[config] : 0);
    EXPECT_EQ(samples({config << 3 | 3}), 0U);
    EXPECT_EQ(samples({config << 3 | 3, 0}), 0U);
  }
  EXPECT_EQ(samples({}), 0U);
  EXPECT_EQ(samples({0x1b, 63}), 0U) << "more than 120 ms";
}

TEST(Ingest, GapsAreConcealedSilenceIsSilentAndJumpsAreJumps) {
  std::vector<std::int16_t> out;
  std::size_t concealed = 0;
  Ingest ingest(
      {.codec = Codec::pcmu, .rate = 8000, .channels = 1}, 8000, 20ms,
      {.picture = {},
       .sound =
           [&](const audio::Window& window) { concealed += window.concealed, out.insert(out.end(), window.samples.begin(), window.samples.end()); },
       .opus = {}});
  const auto codes = g711::encode(g711::Law::mu, hum(100, 8000, 160));
  const auto add = [&](std::uint32_t timestamp, bool is_lost = false, std::uint8_t type = 0) {
    rtp::Delivered delivered;
    delivered.is_lost = is_lost;
    if (!is_lost) delivered.packet = {.type = type, .marker = false, .sequence = 0, .timestamp = timestamp, .ssrc = 0, .payload = codes};
    ingest.add(delivered);
  };
  add(0), add(160), add(0, true), add(0, true), add(640), add(960), add(0x40000000), add(0x40000000, false, 101), add(160, true), add(100);
  ingest.finish();
  EXPECT_EQ(ingest.counts.concealed, 320U);
  EXPECT_EQ(concealed, 320U);
  EXPECT_EQ(ingest.counts.silent, 160U);
  EXPECT_EQ(ingest.counts.jumps, 2U);
  EXPECT_EQ(ingest.counts.other, 1U);
  EXPECT_EQ(ingest.counts.samples, 6U * 160 + 320 + 160);
  EXPECT_EQ(out.size(), ingest.counts.samples);
  EXPECT_GT(energy(std::span(out).subspan(320, 80)), 1e9) << "concealed";
  EXPECT_EQ(energy(std::span(out).subspan(800, 160)), 0) << "silent";
}

// Two telephones on a wire that loses, in virtual time.
class Calls : public ::testing::TestWithParam<unsigned> {
 protected:
  sip::Call telephone(const Address& own, std::vector<unsigned> types, std::string tag) {
    return {own, {{own.ip, 4000}, std::move(types)}, std::move(tag), [this, own](std::string_view message, const Address& to) {
              wire.emplace(now + 10ms, std::tuple(own, to, std::string(message)));
            }};
  }
  void run(sip::Call& a, sip::Call& b, Time until, unsigned loss) {
    for (; now < until; now += 20ms) {
      a.tick(now), b.tick(now);
      while (!wire.empty() && wire.begin()->first <= now) {
        const auto [from, to, message] = wire.begin()->second;
        wire.erase(wire.begin());
        if (random() % 100 < loss || to == stranger) continue;
        (to == caller ? a : b).hear(message, from, now);
        if (random() % 100 < loss) (to == caller ? a : b).hear(message, from, now);  // twice
      }
    }
  }
  const Address caller{IpAddress::ipv4(10, 9, 0, 1), 5060}, callee{IpAddress::parse("2001:db8::2").value(), 5060};
  std::mt19937 random{GetParam()};
  std::multimap<Time, std::tuple<Address, Address, std::string>> wire;
  Time now = start;
};

TEST_P(Calls, BeginAndEndOnBothSidesWhateverIsLost) {
  const unsigned loss = GetParam() % 5 * 10;  // up to 40 %
  sip::Call a = telephone(caller, {0, 8}, "aaaa"), b = telephone(callee, {8}, "bbbb");
  a.invite(callee, now);
  run(a, b, start + 40s, loss);
  ASSERT_EQ(a.state(), sip::State::talking) << a.why();
  ASSERT_EQ(b.state(), sip::State::talking) << b.why();
  EXPECT_EQ(a.remote_sound().at, (Address{callee.ip, 4000}));
  EXPECT_EQ(b.remote_sound().at, (Address{caller.ip, 4000}));
  EXPECT_EQ(a.remote_sound().types, std::vector<unsigned>{8}) << "what both know";
  (GetParam() % 2 == 0 ? a : b).hang_up(now);
  run(a, b, start + 80s, loss);
  EXPECT_EQ(a.state(), sip::State::ended);
  EXPECT_EQ(b.state(), sip::State::ended);
  EXPECT_EQ(a.why() + b.why(), "");
  EXPECT_TRUE(loss > 0 || a.again + b.again == 0) << "nothing is sent again without need";
  EXPECT_EQ(a.unreadable + b.unreadable, 0U);
}
INSTANTIATE_TEST_SUITE_P(Wires, Calls, ::testing::Range(0U, 50U));

TEST_P(Calls, StrangersEndNoCall) {
  sip::Call a = telephone(caller, {0}, "aaaa"), b = telephone(callee, {0}, "bbbb");
  std::vector<std::string> said;
  sip::Call spy = telephone(stranger, {0}, "cccc");
  a.invite(callee, now);
  run(a, b, start + 1s, 0);
  spy.invite(callee, now);
  run(a, b, start + 2s, 0);
  const std::string bye =
      "BYE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.0.66;branch=z9hG4bK1\r\nFrom: <sip:x>;tag=aaaa\r\nTo: <sip:y>;tag=bbbb\r\nCall-ID: "
      "guessed\r\nCSeq: 2 BYE\r\n\r\n";
  b.hear(bye, stranger, now);
  b.hear(bye.substr(0, bye.size() - 2), stranger, now);
  EXPECT_EQ(b.state(), sip::State::talking);
  EXPECT_EQ(b.strangers, 2U) << "a second INVITE, and the BYE";
  EXPECT_EQ(b.unreadable, 1U);
}

TEST_P(Calls, WhatIsMutilatedIsReadAsNoMoreThanItIs) {
  std::string whole;
  sip::Call a(caller, {{caller.ip, 4000}, {0, 8}}, "aaaa", [&](std::string_view message, const Address&) { whole = message; });
  a.invite(callee, now);
  ASSERT_TRUE(sip::parse(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(sip::parse(whole.substr(0, size))) << size;
  for (int i = 0; i < 500; ++i) {
    std::string lie = whole;
    for (unsigned count = 1 + random() % 8; count > 0; --count) lie[random() % lie.size()] = ":;=<>\r\n \tmc09\0\xff"[random() % 15];
    sip::Call b(callee, {{callee.ip, 4000}, {0}}, "bbbb", [](std::string_view, const Address&) {});
    b.hear(lie, caller, now);
    b.hear(lie, stranger, now);
    a.hear(lie, callee, now);
    if (b.state() == sip::State::answered) {
      EXPECT_EQ(b.remote_sound().types, std::vector<unsigned>{0});
    }
  }
}

TEST_P(Calls, NobodyThereIsNoCall) {
  sip::Call a = telephone(caller, {0}, "aaaa"), b = telephone(callee, {8}, "bbbb");
  a.invite(callee, now);
  run(a, b, start + 60s, 100);
  EXPECT_EQ(a.why(), "nobody answers");
  EXPECT_EQ(a.again, 6U) << "after 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s";
  sip::Call c = telephone(caller, {0}, "cccc");
  c.invite(callee, now);
  run(c, b, now + 60s, 0);
  EXPECT_EQ(c.why(), "refused: 488") << "it knows the other law only";
  EXPECT_EQ(b.state(), sip::State::idle);
}

TEST(Sip, HeadersInAllTheirForms) {
  const auto message = sip::parse(
      "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 10.0.0.1;rport;branch = z9hG4bKx;x=1\r\nf: \"A;tag=no>\" <sip:a;tag=neither>;Tag=yes\r\nt:  <sip:b>\r\n "
      ";tag=folded\r\n"
      "i: 1@b\r\nCSEQ: 7 INVITE\r\nl: 2\r\n\r\nabcd");
  ASSERT_TRUE(message);
  EXPECT_EQ(message->status, 200U);
  EXPECT_EQ(message->number, 7U);
  EXPECT_EQ(message->parameter("Via", "branch"), "z9hG4bKx");
  EXPECT_EQ(message->parameter("To", "tag"), "folded");
  EXPECT_EQ(message->header("call-id"), "1@b");
  EXPECT_EQ(message->body, "ab");
}

TEST(Sip, SoundInAllItsForms) {
  const auto sound = sip::parse_sound(
      "v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 4 RTP/AVP 0\r\nc=IN IP4 192.0.2.2\r\nm=audio 5004 RTP/AVP 101 8 0 18\r\nc=IN IP6 2001:db8::1\r\n");
  ASSERT_TRUE(sound);
  EXPECT_EQ(sound->at.to_string(), "[2001:db8::1]:5004");
  EXPECT_EQ(sound->types, (std::vector<unsigned>{8, 0}));
  for (const char* none : {"", "m=audio 5004 RTP/AVP 0\r\n", "c=IN IP4 x\r\nm=audio 5004 RTP/AVP 0\r\n",
                           "c=IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 0\r\n", "c=IN IP4 192.0.2.1\r\nm=audio 70000 RTP/AVP 0\r\n",
                           "c=IN IP4 192.0.2.1\r\nm=audio 5004 RTP/SAVP 0\r\n", "c=IN IP4 192.0.2.1\r\nm=audio 5004 RTP/AVP 96\r\n"}) {
    EXPECT_FALSE(sip::parse_sound(none)) << none;
  }
}

// Standard output, kept; who waits for a program to listen waits here.
class Said final : public std::stringbuf {
 public:
  Said() : before_(std::cout.rdbuf(this)) {}
  Said(const Said&) = delete;
  Said& operator=(const Said&) = delete;
  ~Said() override { std::cout.rdbuf(before_); }
  void await_first_line() const { has_line_.wait(false); }

 protected:
  int sync() override {
    has_line_ = true;
    has_line_.notify_all();
    return 0;
  }

 private:
  std::streambuf* before_;
  std::atomic<bool> has_line_ = false;
};

class OverAHost : public ::testing::Test {
 protected:
  void open(const Impairment& way) {
    HostOptions options;
    options.out = way;
    a.emplace(Host::open(segment, "10.9.0.1/24", options).value());
    b.emplace(Host::open(segment, "10.9.0.2/24", options).value());
    a->start().value();
    b->start().value();
  }
  Segment segment;
  std::optional<Host> a, b;
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("gannet-media-" + std::to_string(std::random_device()()));
  void SetUp() override { std::filesystem::create_directory(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }
  static std::vector<std::int16_t> read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<std::int16_t> samples(std::filesystem::file_size(path) / 2);
    file.read(reinterpret_cast<char*>(samples.data()), static_cast<std::streamsize>(2 * samples.size()));
    return samples;
  }
};

TEST_F(OverAHost, AStreamWithLoss) {
  open({.loss = 0.1, .delay = 20ms, .jitter = 10ms, .reorder = 0.1, .duplicate = 0.05, .seed = 3});
  std::string text;
  {
    Said said;
    std::thread source([&] {
      said.await_first_line();
      Socket socket = Socket::open(*a).value();
      for (unsigned i = 0; i < 400; ++i) {
        const auto codes = g711::encode(g711::Law::a, hum(200, 8000, 160, i * 160));
        socket
            .send_to(rtp::emit({.type = 8,
                                .marker = false,
                                .sequence = static_cast<std::uint16_t>(65500 + i),
                                .timestamp = 160 * i,
                                .ssrc = 7,
                                .payload = codes}),
                     "10.9.0.2:5004")
            .value();
        std::this_thread::sleep_for(3ms);
      }
    });
    rtp_receiver::receive(Socket::open(*b).value(), Socket::open(*b).value(),
                          {.local = Address::parse("10.9.0.2:5004").value(),
                           .format = *Format::parse("pcma"),
                           .budget = 100,
                           .rate = 8000,
                           .window = 20,
                           .output = folder / "out"});
    source.join();
    text = said.str();
  }
  const auto number = [&](const std::string& before, const std::string& after) {
    const std::size_t end = text.find(after), begin = text.rfind(before, end - 1) + before.size();
    return std::stod(text.substr(begin, end - begin));
  };
  const double delivered = number("\n", " packets delivered"), lost = number(", ", " lost");
  EXPECT_NEAR(delivered + lost, 400, 5) << text << "but for the last ones, that are missing without anybody knowing";
  EXPECT_NEAR(lost, 40, 25) << text;
  EXPECT_GT(number(", ", " duplicated"), 3) << text;
  EXPECT_NEAR(number("concealed ", " %, silent"), lost / 4, 0.2) << text;
  const auto heard = read(folder / "out");
  std::size_t whole = 0;
  for (std::size_t i = 0; i + 160 <= heard.size(); i += 160) {
    const auto original = g711::decode(g711::Law::a, g711::encode(g711::Law::a, hum(200, 8000, 160, i)));
    whole += std::ranges::equal(original, std::span(heard).subspan(i, 160)) ? 1U : 0U;
  }
  EXPECT_GE(static_cast<double>(whole), delivered - lost - 1) << "each is in its place; but who comes after a gap is blended with it";
}

TEST_F(OverAHost, ACallWithLoss) {
  open({.loss = 0.1, .delay = 20ms, .jitter = 5ms, .seed = 5});
  std::vector<std::int16_t> say = hum(150, 8000, 3 * 8000);
  std::ofstream(folder / "say", std::ios::binary).write(reinterpret_cast<const char*>(say.data()), static_cast<std::streamsize>(2 * say.size()));
  std::thread callee([&] {
    voip::talk(Socket::open(*b).value(), Socket::open(*b).value(),
               {.calls = false, .address = Address::parse("10.9.0.2:5060").value(), .time = 0s, .hear = folder / "b", .say = folder / "say"});
  });
  std::this_thread::sleep_for(100ms);  // an INVITE that comes too early comes again
  voip::talk(Socket::open(*a).value(), Socket::open(*a).value(),
             {.calls = true, .address = Address::parse("10.9.0.2:5060").value(), .time = 3s, .hear = folder / "a", .say = folder / "say"});
  callee.join();
  const auto codes = g711::encode(g711::Law::mu, say);
  const auto spoken = g711::decode(g711::Law::mu, codes);
  for (const char* ear : {"a", "b"}) {
    const auto heard = read(folder / ear);
    std::size_t best = 0;
    for (std::size_t shift = 0; shift < 8000 && shift < heard.size(); shift += 160) {  // where it begins
      std::size_t whole = 0;
      for (std::size_t i = 0; i + 160 <= spoken.size() && shift + i + 160 <= heard.size(); i += 160) {
        whole += std::ranges::equal(std::span(spoken).subspan(i, 160), std::span(heard).subspan(shift + i, 160)) ? 1U : 0U;
      }
      best = std::max(best, whole);
    }
    EXPECT_GT(best, 60U) << ear << ": of 150 frames a tenth is lost, and a tenth comes after a gap; a shift of the ear's clock costs the rest";
  }
}

}  // namespace
}  // namespace gannet::tests
