#include "base/rng.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace gannet {
namespace {

static_assert(std::uniform_random_bit_generator<Rng>);

// The first numbers of splitmix64 from seed 1234567, as its author publishes them.
TEST(Rng, SplitmixAgreesWithTheReference) {
  std::uint64_t state = 1234567;
  EXPECT_EQ(splitmix64(state), 6457827717110365317u);
  EXPECT_EQ(splitmix64(state), 3203168211198807973u);
  EXPECT_EQ(splitmix64(state), 9817491932198370423u);
}

TEST(Rng, TheSeedSaysEverything) {
  Rng a(7), b(7), c(8);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const auto x = a.next();
    EXPECT_EQ(x, b.next());
    differs = differs || x != c.next();
  }
  EXPECT_TRUE(differs);
}

// Chi-square over 7 buckets, 6 degrees of freedom: 22.5 is exceeded once in a thousand, and the seed is fixed.
TEST(Rng, BelowIsUniform) {
  Rng rng(1);
  std::array<int, 7> seen{};
  constexpr int draws = 70'000;
  for (int i = 0; i < draws; ++i) ++seen[rng.below(7)];
  double chi_square = 0;
  for (const int count : seen) chi_square += (count - draws / 7.0) * (count - draws / 7.0) / (draws / 7.0);
  EXPECT_LT(chi_square, 22.5);
  EXPECT_EQ(rng.below(1), 0u);
}

TEST(Rng, BetweenReachesBothEnds) {
  Rng rng(2);
  bool low = false;
  bool high = false;
  for (int i = 0; i < 1000; ++i) {
    const auto x = rng.between(5, 8);
    ASSERT_GE(x, 5u);
    ASSERT_LE(x, 8u);
    low = low || x == 5;
    high = high || x == 8;
  }
  EXPECT_TRUE(low && high);
  EXPECT_GT(rng.between(0, 0xffffffff), 0u);
}

TEST(Rng, ChanceKeepsItsPromiseAtTheEnds) {
  Rng rng(3);
  int hits = 0;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_FALSE(rng.chance(0));
    ASSERT_TRUE(rng.chance(1));
    hits += rng.chance(0.05);
  }
  EXPECT_NEAR(hits, 500, 100);
}

}  // namespace
}  // namespace gannet
