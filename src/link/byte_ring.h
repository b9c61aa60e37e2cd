// A bounded queue of bytes from one thread to another: what a capture has written and its file has not yet.
//
// It has memory of its own, or stands in some that two processes share; then whatever the other one writes there, no byte outside is touched.
// Owner: the capture file.  Thread: write() by one (an engine), the rest by one other.  Allocates: at construction; pages never written cost nothing.
// Bound: its capacity. write() takes all or nothing, so that no block is ever torn.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "base/assert.h"

namespace gannet::link {

class ByteRing {
 public:
  // How far both sides are.
  struct Positions {
    alignas(64) std::atomic<std::uint64_t> tail = 0;
    alignas(64) std::atomic<std::uint64_t> head = 0;
  };

  // `capacity` is a power of two.
  explicit ByteRing(std::size_t capacity)
      : own_positions_(std::make_unique<Positions>()),
        own_bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity)),
        positions_(*own_positions_),
        bytes_(own_bytes_.get()),
        capacity_(capacity) {
    ASSERT(std::has_single_bit(capacity));
  }
  // In memory of somebody else's, which outlives it; its size is a power of two.
  ByteRing(Positions& positions, std::span<std::byte> memory) : positions_(positions), bytes_(memory.data()), capacity_(memory.size()) {
    ASSERT(std::has_single_bit(capacity_));
  }

  [[nodiscard]] bool write(std::span<const std::byte> bytes) {
    const std::uint64_t tail = positions_.tail.load(std::memory_order_relaxed);
    const std::uint64_t used = tail - positions_.head.load(std::memory_order_acquire);
    if (used > capacity_ || bytes.size() > capacity_ - used) return false;
    const std::size_t place = tail & (capacity_ - 1);
    const std::size_t before_end = std::min(bytes.size(), capacity_ - place);
    std::ranges::copy(bytes.first(before_end), bytes_ + place);
    std::ranges::copy(bytes.subspan(before_end), bytes_);
    positions_.tail.store(tail + bytes.size(), std::memory_order_release);
    return true;
  }

  // The oldest bytes that stand together, until consume(); empty when there are none.
  [[nodiscard]] std::span<const std::byte> readable() const {
    const std::uint64_t head = positions_.head.load(std::memory_order_relaxed);
    const auto size = static_cast<std::size_t>(positions_.tail.load(std::memory_order_acquire) - head);
    const std::size_t place = head & (capacity_ - 1);
    return {bytes_ + place, std::min(size, capacity_ - place)};
  }
  void consume(std::size_t count) { positions_.head.store(positions_.head.load(std::memory_order_relaxed) + count, std::memory_order_release); }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }

 private:
  const std::unique_ptr<Positions> own_positions_;
  const std::unique_ptr<std::byte[]> own_bytes_;
  Positions& positions_;
  std::byte* const bytes_;
  const std::size_t capacity_;
};

}  // namespace gannet::link
