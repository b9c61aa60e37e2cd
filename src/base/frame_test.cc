#include "base/frame.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <set>
#include <vector>

namespace gannet {
namespace {

std::unique_ptr<FramePool> pool_of(std::size_t chunks) { return std::move(*FramePool::create(small_chunk_size, chunks)); }

TEST(Frame, GrowsAtBothEnds) {
  const auto pool = pool_of(1);
  Frame frame = pool->allocate();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame.size(), 0u);
  EXPECT_EQ(frame.headroom(), frame_headroom);
  EXPECT_EQ(frame.tailroom(), small_chunk_size - frame_headroom);

  frame.resize(4);
  std::memcpy(frame.bytes().data(), "data", 4);
  std::memcpy(frame.prepend(3).data(), "udp", 3);
  std::memcpy(frame.prepend(2).data(), "ip", 2);
  EXPECT_EQ(std::memcmp(frame.bytes().data(), "ipudpdata", 9), 0);
  EXPECT_EQ(frame.headroom(), frame_headroom - 5);

  frame.trim_front(5);
  EXPECT_EQ(frame.size(), 4u);
  EXPECT_EQ(std::memcmp(frame.bytes().data(), "data", 4), 0);
  frame.reset(10);
  EXPECT_EQ(frame.size(), 0u);
  EXPECT_EQ(frame.headroom(), 10u);
}

TEST(Frame, KeepsAPartOfItself) {
  const auto pool = pool_of(1);
  Frame frame = pool->allocate();
  frame.resize(9);
  std::memcpy(frame.bytes().data(), "ipdatapad", 9);
  frame.narrow(2, 4);
  EXPECT_EQ(frame.size(), 4u);
  EXPECT_EQ(std::memcmp(frame.bytes().data(), "data", 4), 0);
  EXPECT_EQ(frame.headroom(), frame_headroom + 2);
  EXPECT_EQ(frame.tailroom(), small_chunk_size - frame_headroom - 6);
}

TEST(Frame, AssignedToItselfStaysWhatItIs) {
  const auto pool = pool_of(1);
  Frame frame = pool->allocate();
  frame.resize(4);
  Frame& same = frame;
  frame = std::move(same);
  EXPECT_TRUE(frame);
  EXPECT_EQ(frame.size(), 4u);
  EXPECT_EQ(pool->available(), 0u);
}

TEST(Frame, HasOneOwner) {
  const auto pool = pool_of(2);
  Frame a = pool->allocate();
  a.resize(7);
  Frame b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): that it is empty is the promise
  EXPECT_EQ(b.size(), 7u);
  EXPECT_EQ(pool->available(), 1u);
  Frame c = pool->allocate();
  c = std::move(b);
  EXPECT_EQ(pool->available(), 1u);
  c.release();
  EXPECT_EQ(pool->available(), 2u);
}

TEST(FramePool, GivesEachChunkOnceAndThenNone) {
  const auto pool = pool_of(100);
  std::vector<Frame> frames;
  std::set<const std::byte*> chunks;
  for (int i = 0; i < 100; ++i) {
    frames.push_back(pool->allocate());
    ASSERT_TRUE(frames.back());
    frames.back().resize(small_chunk_size - frame_headroom);
    std::memset(frames.back().bytes().data(), i, frames.back().size());
    chunks.insert(frames.back().bytes().data());
  }
  EXPECT_EQ(chunks.size(), 100u);
  EXPECT_FALSE(pool->allocate());
  // No chunk overlaps another: each still has what was written to it.
  for (int i = 0; i < 100; ++i) {
    const auto bytes = frames[static_cast<std::size_t>(i)].bytes();
    EXPECT_EQ(std::to_integer<int>(bytes.front()), i);
    EXPECT_EQ(std::to_integer<int>(bytes.back()), i);
  }
  frames.clear();
  EXPECT_EQ(pool->available(), 100u);
}

TEST(FramePool, UsesMemoryThatALinkSupplies) {
  alignas(64) std::array<std::byte, 4 * 2048> memory{};
  FramePool pool(memory, 2048);
  EXPECT_EQ(pool.capacity(), 4u);
  const Frame frame = pool.allocate();
  EXPECT_EQ(frame.bytes().data(), memory.data() + frame_headroom);
}

TEST(FramePools, PickTheSmallerPoolThatFits) {
  auto pools = std::move(*FramePools::create(2, 1));
  EXPECT_TRUE(pools.full());
  {
    const Frame small = pools.allocate(small_chunk_size - frame_headroom);
    EXPECT_EQ(pools.small->available(), 1u);
    const Frame large = pools.allocate(65535 + 14);
    EXPECT_TRUE(large);
    EXPECT_GE(large.tailroom(), 65535u + 14);
    EXPECT_EQ(pools.large->available(), 0u);
    EXPECT_FALSE(pools.allocate(65535));  // exhausted
    EXPECT_FALSE(pools.allocate(large_chunk_size));
    EXPECT_FALSE(pools.full());
  }
  EXPECT_TRUE(pools.full());
}

}  // namespace
}  // namespace gannet
