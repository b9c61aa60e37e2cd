#include "base/ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <thread>
#include <vector>

#include "base/rng.h"

namespace gannet {
namespace {

template <class Ring>
class Rings : public testing::Test {};
using BothRings = testing::Types<SpscRing<std::uint64_t>, MpscRing<std::uint64_t>>;
TYPED_TEST_SUITE(Rings, BothRings);

// Against a deque with a limit, over several wraps of the ring.
TYPED_TEST(Rings, AgreeWithABoundedDeque) {
  TypeParam ring(5);
  EXPECT_EQ(ring.capacity(), 8u);
  std::deque<std::uint64_t> reference;
  Rng rng(1);
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    if (rng.chance(0.5)) {
      const bool expected = reference.size() < ring.capacity();
      ASSERT_EQ(ring.push(i), expected);
      if (expected) reference.push_back(i);
    } else {
      const auto item = ring.pop();
      ASSERT_EQ(item.has_value(), !reference.empty());
      if (!item) continue;
      ASSERT_EQ(*item, reference.front());
      reference.pop_front();
    }
    ASSERT_EQ(ring.empty(), reference.empty());
  }
}

TEST(SpscRing, KeepsOrderBetweenThreads) {
  constexpr std::uint64_t count = 20'000;
  SpscRing<std::uint64_t> ring(64);
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < count; ++i) {
      while (!ring.push(i)) std::this_thread::yield();
    }
  });
  for (std::uint64_t expected = 0; expected < count;) {
    const auto item = ring.pop();
    if (!item) {
      std::this_thread::yield();
      continue;
    }
    EXPECT_EQ(*item, expected);
    ++expected;
  }
  writer.join();
  EXPECT_TRUE(ring.empty());
}

TEST(MpscRing, LosesNothingAndKeepsEachWritersOrder) {
  constexpr std::uint64_t writers = 4;
  constexpr std::uint64_t each = 5'000;
  MpscRing<std::uint64_t> ring(64);
  std::vector<std::thread> threads;
  for (std::uint64_t writer = 0; writer < writers; ++writer) {
    threads.emplace_back([&ring, writer] {
      for (std::uint64_t i = 0; i < each; ++i) {
        while (!ring.push(writer << 32 | i)) std::this_thread::yield();
      }
    });
  }
  std::vector<std::uint64_t> next(writers);
  for (std::uint64_t seen = 0; seen < writers * each;) {
    const auto item = ring.pop();
    if (!item) {
      std::this_thread::yield();
      continue;
    }
    EXPECT_EQ(*item & 0xffffffff, next[*item >> 32]++);
    ++seen;
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(ring.empty());
}

}  // namespace
}  // namespace gannet
