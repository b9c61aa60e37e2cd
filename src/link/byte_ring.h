// A bounded queue of bytes from one thread to another: what a capture has written and its file has not yet.
//
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
  // `capacity` is a power of two.
  explicit ByteRing(std::size_t capacity) : capacity_(capacity), bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity)) {
    ASSERT(std::has_single_bit(capacity));
  }

  [[nodiscard]] bool write(std::span<const std::byte> bytes) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (bytes.size() > capacity_ - static_cast<std::size_t>(tail - head_.load(std::memory_order_acquire))) return false;
    const std::size_t place = tail & (capacity_ - 1);
    const std::size_t before_end = std::min(bytes.size(), capacity_ - place);
    std::ranges::copy(bytes.first(before_end), bytes_.get() + place);
    std::ranges::copy(bytes.subspan(before_end), bytes_.get());
    tail_.store(tail + bytes.size(), std::memory_order_release);
    return true;
  }

  // The oldest bytes that stand together, until consume(); empty when there are none.
  [[nodiscard]] std::span<const std::byte> readable() const {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const auto size = static_cast<std::size_t>(tail_.load(std::memory_order_acquire) - head);
    const std::size_t place = head & (capacity_ - 1);
    return {bytes_.get() + place, std::min(size, capacity_ - place)};
  }
  void consume(std::size_t count) { head_.store(head_.load(std::memory_order_relaxed) + count, std::memory_order_release); }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }

 private:
  std::size_t capacity_;
  std::unique_ptr<std::byte[]> bytes_;
  alignas(64) std::atomic<std::uint64_t> tail_ = 0;
  alignas(64) std::atomic<std::uint64_t> head_ = 0;
};

}  // namespace gannet::link
