#include "link/byte_ring.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

namespace gannet::link {
namespace {

std::vector<std::byte> bytes(std::size_t count, unsigned first = 0) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>((first + i) & 0xff);
  return bytes;
}

TEST(ByteRing, TakesAllOrNothing) {
  ByteRing ring(8);
  EXPECT_TRUE(ring.write(bytes(6)));
  EXPECT_FALSE(ring.write(bytes(3)));
  EXPECT_EQ(ring.readable().size(), 6u);
  ring.consume(4);
  EXPECT_TRUE(ring.write(bytes(6)));  // over the end
  EXPECT_FALSE(ring.write(bytes(1)));
  EXPECT_EQ(ring.readable().size(), 4u);
  ring.consume(4);
  EXPECT_EQ(ring.readable().size(), 4u);
  EXPECT_EQ(ring.readable()[0], std::byte{2});
}

// Two processes share it: what one makes of the positions can cost bytes, and touches none outside.
TEST(ByteRing, BelievesNoPositions) {
  struct {
    std::array<std::byte, 64> memory{};
    std::array<std::byte, 64> behind{};
  } area;
  ByteRing::Positions positions;
  ByteRing ring(positions, area.memory);
  for (const std::uint64_t nonsense : {std::uint64_t{1} << 63, ~std::uint64_t{0}, std::uint64_t{65}, std::uint64_t{7}}) {
    positions.head = nonsense;
    static_cast<void>(ring.write(bytes(60, 1)));
    EXPECT_LE(ring.readable().size(), 64u);
    positions.head = 0;
    positions.tail = nonsense;
    static_cast<void>(ring.write(bytes(60, 1)));
    EXPECT_LE(ring.readable().size(), 64u);
  }
  EXPECT_EQ(area.behind, (std::array<std::byte, 64>{}));
}

TEST(ByteRing, KeepsEveryByteBetweenTwoThreads) {
  constexpr unsigned total = 300'000;
  ByteRing ring(64);
  std::thread writer([&] {
    for (unsigned sent = 0; sent < total;) {
      const std::size_t size = std::min<std::size_t>(1 + sent % 29, total - sent);
      if (ring.write(bytes(size, sent))) {
        sent += static_cast<unsigned>(size);
      } else {
        std::this_thread::yield();
      }
    }
  });
  unsigned got = 0, wrong = 0;
  while (got < total) {
    const auto readable = ring.readable();
    for (const std::byte byte : readable) wrong += byte == static_cast<std::byte>(got++ & 0xff) ? 0 : 1;
    ring.consume(readable.size());
    if (readable.empty()) std::this_thread::yield();
  }
  writer.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace gannet::link
