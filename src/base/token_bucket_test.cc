#include "base/token_bucket.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"

namespace gannet {
namespace {

TEST(TokenBucket, AllowsTheBurstThenTheRate) {
  TokenBucket bucket(10, 3);
  Time now{1h};
  EXPECT_TRUE(bucket.take(now));
  EXPECT_TRUE(bucket.take(now));
  EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  EXPECT_EQ(bucket.ready_at(now), now + 100ms);
  EXPECT_FALSE(bucket.take(now + 99ms));
  EXPECT_TRUE(bucket.take(now + 100ms));
  EXPECT_FALSE(bucket.take(now + 100ms));
  // After a long silence it is full again, and no fuller.
  now += 1h;
  EXPECT_TRUE(bucket.take(now, 3));
  EXPECT_FALSE(bucket.take(now));
}

TEST(TokenBucket, TakesAllOrNothing) {
  TokenBucket bucket(1000, 100);
  const Time now{1s};
  EXPECT_FALSE(bucket.take(now, 101));
  EXPECT_TRUE(bucket.take(now, 60));
  EXPECT_FALSE(bucket.take(now, 41));
  EXPECT_TRUE(bucket.take(now, 40));
}

TEST(TokenBucket, OwesWhatIsSpentBeyondIt) {
  TokenBucket bucket(1000, 100);
  const Time now{1s};
  EXPECT_EQ(bucket.missing(now), 0u);
  bucket.spend(now, 350);
  EXPECT_EQ(bucket.missing(now), 350u);
  EXPECT_EQ(bucket.ready_at(now), now + 251ms);
  EXPECT_EQ(bucket.ready_at(now, 100), now + 350ms);
  EXPECT_EQ(bucket.missing(now + 200ms), 150u);
  EXPECT_TRUE(bucket.take(now + 350ms, 100));
}

// Against a bucket that counts tokens, at times that refill it in whole ones.
TEST(TokenBucket, AgreesWithABucketThatCounts) {
  Rng rng(1);
  TokenBucket bucket(1000, 20);
  std::uint64_t tokens = 20;
  Time now{};
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t passed = rng.below(4);
    now += passed * 1ms;
    tokens = std::min<std::uint64_t>(20, tokens + passed);
    const std::uint64_t wanted = rng.between(1, 3);
    const bool expected = wanted <= tokens;
    ASSERT_EQ(bucket.take(now, wanted), expected) << "step " << i;
    if (expected) tokens -= wanted;
  }
}

}  // namespace
}  // namespace gannet
