#include "cli/latency.h"

#include <gtest/gtest.h>

namespace gannet::cli {
namespace {

using namespace std::chrono_literals;

TEST(Latency, PercentilesAreNearestRank) {
  Latency latency;
  for (int i = 100; i >= 1; --i) latency.add(std::chrono::microseconds(i));
  EXPECT_EQ(latency.count(), 100u);
  EXPECT_EQ(latency.min(), 1us);
  EXPECT_EQ(latency.percentile(50), 50us);
  EXPECT_EQ(latency.percentile(99), 99us);
  EXPECT_EQ(latency.percentile(100), 100us);
  EXPECT_EQ(latency.max(), 100us);
}

TEST(Latency, OneRoundTripIsEveryPercentile) {
  Latency latency;
  latency.add(7ms);
  EXPECT_EQ(latency.percentile(0), 7ms);
  EXPECT_EQ(latency.percentile(50), 7ms);
  EXPECT_EQ(latency.percentile(99), 7ms);
}

TEST(Latency, ForgetsTheOldestBeyondItsBound) {
  Latency latency;
  latency.add(1h);
  for (std::size_t i = 0; i < Latency::most; ++i) latency.add(1ms);
  EXPECT_EQ(latency.percentile(100), 1ms);
  EXPECT_EQ(latency.max(), 1h);
}

}  // namespace
}  // namespace gannet::cli
