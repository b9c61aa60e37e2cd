#include "link/fault.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"

namespace gannet::link {
namespace {

Time at(Duration since_start) { return Time(since_start); }

Flow flow_of(std::uint32_t ordinal, std::uint16_t port = 0) {
  Flow flow;
  flow.key.kind = 17;
  flow.key.local_port = port;
  flow.ordinal = ordinal;
  return flow;
}

// How many of `count` packets, one each millisecond, meet `condition`.
template <class Condition>
std::size_t count_if(const Impairment& impairment, std::size_t count, Condition condition) {
  Fault fault(impairment, Direction::out);
  Flow flow = flow_of(0);
  std::size_t met = 0;
  for (std::size_t i = 0; i < count; ++i) met += condition(fault.decide(flow, 100, at(i * 1ms))) ? 1 : 0;
  return met;
}

// Within five standard deviations of a binomial distribution: wrong once in two million seeds, and the seed is fixed.
void expect_share(std::size_t met, std::size_t count, double probability) {
  const double n = static_cast<double>(count);
  EXPECT_NEAR(static_cast<double>(met), n * probability, 5 * std::sqrt(n * probability * (1 - probability)));
}

TEST(Fault, NoneChangesNothing) {
  Fault fault({}, Direction::in);
  Flow flow = flow_of(0);
  const Verdict verdict = fault.decide(flow, 1500, at(5s));
  EXPECT_FALSE(verdict.drop || verdict.duplicate || verdict.corrupt_bit);
  EXPECT_EQ(verdict.release, at(5s));
}

TEST(Fault, EachProbabilityIsKept) {
  constexpr std::size_t count = 100'000;
  for (const double p : {0.001, 0.05, 0.5}) {
    expect_share(count_if({.loss = p}, count, [](const Verdict& v) { return v.drop == Drop::fault_loss; }), count, p);
    expect_share(count_if({.duplicate = p}, count, [](const Verdict& v) { return v.duplicate; }), count, p);
    expect_share(count_if({.corrupt = p}, count, [](const Verdict& v) { return v.corrupt_bit.has_value(); }), count, p);
  }
  EXPECT_EQ(count_if({.loss = 1}, 1000, [](const Verdict& v) { return v.drop.has_value(); }), 1000u);
}

// Gilbert-Elliott: the share of time in the bad state is start / (start + end), and a burst lasts 1 / end packets.
TEST(Fault, BurstsHaveTheirShareAndTheirLength) {
  constexpr std::size_t count = 200'000;
  std::size_t lost = 0, bursts = 0;
  bool before = false;
  count_if({.burst_start = 0.01, .burst_end = 0.25}, count, [&](const Verdict& v) {
    const bool now = v.drop == Drop::fault_burst_loss;
    lost += now ? 1 : 0;
    bursts += now && !before ? 1 : 0;
    before = now;
    return now;
  });
  EXPECT_NEAR(static_cast<double>(lost) / count, 0.01 / 0.26, 0.004);
  EXPECT_NEAR(static_cast<double>(lost) / static_cast<double>(bursts), 4.0, 0.25);
}

// What a flow meets, as one comparable string of decisions.
struct Decision {
  bool lost, duplicate;
  std::optional<std::uint64_t> corrupt_bit;
  Duration delay;
  friend bool operator==(const Decision&, const Decision&) = default;
};
constexpr Impairment everything{
    .loss = 0.1, .burst_start = 0.02, .burst_end = 0.3, .delay = 10ms, .jitter = 4ms, .reorder = 0.1, .duplicate = 0.1, .corrupt = 0.1, .seed = 7};

Decision decide(Fault& fault, Flow& flow, Time now) {
  const Verdict verdict = fault.decide(flow, 100, now);
  return {verdict.drop.has_value(), verdict.duplicate, verdict.corrupt_bit, verdict.drop ? 0ns : verdict.release - now};
}

TEST(Fault, DecisionsDependOnSeedOrdinalDirectionAndNumberAlone) {
  constexpr std::size_t flows = 5, count = 400;
  // One after the other: the packets of a flow come far enough apart for jitter not to meet order.
  std::vector<std::vector<Decision>> expected(flows);
  Fault orderly(everything, Direction::out);
  for (std::uint32_t f = 0; f < flows; ++f) {
    Flow flow = flow_of(f);
    for (std::size_t n = 0; n < count; ++n) expected[f].push_back(decide(orderly, flow, at(n * 1s)));
    for (std::uint32_t other = 0; other < f; ++other) EXPECT_NE(expected[f], expected[other]);
  }
  // Interleaved at random, at other times, with other ports.
  Rng rng(3);
  Fault mixed(everything, Direction::out);
  std::vector<Flow> table;
  for (std::uint32_t f = 0; f < flows; ++f) table.push_back(flow_of(f, static_cast<std::uint16_t>(40000 + f)));
  std::vector<std::size_t> next(flows);
  for (std::size_t step = 0; step < flows * count;) {
    const std::size_t f = rng.below(flows);
    if (next[f] == count) continue;
    ASSERT_EQ(decide(mixed, table[f], at(100s + step * 1s)), expected[f][next[f]]) << "flow " << f << ", packet " << next[f];
    ++next[f];
    ++step;
  }
  // And another direction or seed decides otherwise.
  Impairment reseeded = everything;
  reseeded.seed = 8;
  Fault other_seed(reseeded, Direction::out), other_direction(everything, Direction::in);
  Flow a = flow_of(0), b = flow_of(0);
  std::vector<Decision> with_seed, with_direction;
  for (std::size_t n = 0; n < count; ++n) with_seed.push_back(decide(other_seed, a, at(n * 1s)));
  for (std::size_t n = 0; n < count; ++n) with_direction.push_back(decide(other_direction, b, at(n * 1s)));
  EXPECT_NE(with_seed, expected[0]);
  EXPECT_NE(with_direction, expected[0]);
}

TEST(Fault, TurningOneImpairmentOnLeavesTheOthersDecisions) {
  Fault lossy({.loss = 0.2}, Direction::out), worse({.loss = 0.2, .duplicate = 0.5, .corrupt = 0.5}, Direction::out);
  Flow a = flow_of(0), b = flow_of(0);
  for (int n = 0; n < 1000; ++n) EXPECT_EQ(lossy.decide(a, 100, at(0s)).drop, worse.decide(b, 100, at(0s)).drop);
}

TEST(Fault, DelayIsExactAndJitterSpreadsEvenlyAroundIt) {
  EXPECT_EQ(count_if({.delay = 80ms}, 100, [i = 0](const Verdict& v) mutable { return v.release == at(i++ * 1ms + 80ms); }), 100u);

  Fault fault({.delay = 80ms, .jitter = 20ms}, Direction::out);
  Flow flow = flow_of(0);
  Duration least = 1h, most = 0s, sum = 0s;
  constexpr int count = 10'000;
  for (int i = 0; i < count; ++i) {
    const Duration delay = fault.decide(flow, 100, at(i * 1s)).release - at(i * 1s);
    least = std::min(least, delay);
    most = std::max(most, delay);
    sum += delay;
  }
  EXPECT_GE(least, 60ms);
  EXPECT_LE(least, 60500us);
  EXPECT_LE(most, 100ms);
  EXPECT_GE(most, 99500us);
  EXPECT_NEAR(static_cast<double>((sum / count).count()), 80e6, 1e6);
}

TEST(Fault, JitterAloneKeepsTheOrderAndReorderOvertakes) {
  Fault steady({.delay = 10ms, .jitter = 10ms}, Direction::out);
  Flow flow = flow_of(0);
  Time last = Time::min();
  for (int i = 0; i < 1000; ++i) {
    const Time release = steady.decide(flow, 100, at(i * 1us)).release;
    EXPECT_GE(release, last);
    EXPECT_GE(release, at(i * 1us));
    last = release;
  }
  constexpr std::size_t count = 10'000;
  expect_share(count_if({.delay = 10ms, .reorder = 0.25}, count, [i = 0](const Verdict& v) mutable { return v.release == at(i++ * 1ms); }), count,
               0.25);
}

TEST(Fault, TheRateSpacesPacketsToTheBit) {
  // 100 bytes at 3 Mbit/s are 266 2/3 microseconds: the thirds must not be lost.
  Fault fault({.rate = 3'000'000, .queue_bytes = 1 << 20}, Direction::out);
  Flow flow = flow_of(0);
  Time last{};
  for (int i = 0; i < 3000; ++i) last = fault.decide(flow, 100, at(0s)).release;
  EXPECT_EQ(last, at(800ms));
  EXPECT_EQ(fault.decide(flow, 300, at(10s)).release, at(10s + 800us));  // an idle line saves nothing up
}

TEST(Fault, TheRatesQueueIsBoundedInBytes) {
  Fault fault({.rate = 8000, .queue_bytes = 1000}, Direction::out);  // a byte each millisecond
  Flow flow = flow_of(0);
  int passed = 0;
  for (int i = 0; i < 20; ++i) passed += fault.decide(flow, 100, at(0s)).drop ? 0 : 1;
  EXPECT_EQ(passed, 10);
  EXPECT_EQ(fault.decide(flow, 100, at(99ms)).drop, Drop::fault_rate_queue_full);
  EXPECT_EQ(fault.decide(flow, 100, at(100ms)).release, at(1100ms));
  EXPECT_EQ(fault.decide(flow, 5000, at(2s)).drop, std::nullopt);  // an empty line takes even what the queue could never hold
}

}  // namespace
}  // namespace gannet::link
