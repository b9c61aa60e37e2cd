#include "link/held_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/rng.h"

namespace gannet::link {
namespace {

Time at(std::int64_t nanoseconds) { return Time(Duration(nanoseconds)); }

TEST(HeldQueue, GivesOutByTimeThenArrival) {
  Rng rng(1);
  HeldQueue<std::uint32_t> queue(1000);
  std::vector<std::pair<Time, std::uint32_t>> expected;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const Time release = at(rng.below(50));
    expected.emplace_back(release, i);
    queue.push(release, i);
  }
  std::ranges::sort(expected);
  for (const auto& [release, i] : expected) {
    EXPECT_EQ(queue.next(), release);
    EXPECT_EQ(queue.pop(), i);
  }
  EXPECT_EQ(queue.next(), never);
}

TEST(HeldQueue, HoldsWhatCanOnlyBeMovedUpToItsBound) {
  HeldQueue<std::unique_ptr<int>> queue(2);
  queue.push(at(2), std::make_unique<int>(2));
  EXPECT_FALSE(queue.full());
  queue.push(at(1), std::make_unique<int>(1));
  EXPECT_TRUE(queue.full());
  EXPECT_EQ(*queue.pop(), 1);
  EXPECT_FALSE(queue.full());
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(queue.next(), at(2));
}

}  // namespace
}  // namespace gannet::link
