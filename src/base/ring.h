// Bounded queues between threads, without locks: one writer and one reader (SpscRing), or many writers and one reader (MpscRing).
//
// Items are trivially copyable. A full ring refuses, an empty one gives nothing; nobody waits here. Positions run freely over 64 bits and never wrap
// in practice; each lies on a cache line of its own, beside a copy of the other side's position, so that the two sides rarely touch each other's
// lines. Owner: shared; see each function for its side.  Allocates: once, when made.
#pragma once
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>

#include "base/assert.h"

namespace gannet {

inline constexpr std::size_t cache_line = 64;

template <class T>
class SpscRing {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // Holds at least `capacity` items.
  explicit SpscRing(std::size_t capacity) : mask_(std::bit_ceil(capacity) - 1), items_(std::make_unique<T[]>(mask_ + 1)) { ASSERT(capacity != 0); }

  [[nodiscard]] std::size_t capacity() const { return mask_ + 1; }

  // Writer: false when full.
  bool push(const T& item) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_seen_ > mask_) {
      head_seen_ = head_.load(std::memory_order_acquire);
      if (tail - head_seen_ > mask_) return false;
    }
    items_[tail & mask_] = item;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  // Reader.
  std::optional<T> pop() {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_seen_) {
      tail_seen_ = tail_.load(std::memory_order_acquire);
      if (head == tail_seen_) return std::nullopt;
    }
    std::optional<T> item = items_[head & mask_];
    head_.store(head + 1, std::memory_order_release);
    return item;
  }
  // Any thread, of the moment.
  [[nodiscard]] bool empty() const { return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire); }

 private:
  const std::size_t mask_;
  const std::unique_ptr<T[]> items_;
  alignas(cache_line) std::atomic<std::uint64_t> tail_ = 0;  // written by the writer
  std::uint64_t head_seen_ = 0;
  alignas(cache_line) std::atomic<std::uint64_t> head_ = 0;  // written by the reader
  std::uint64_t tail_seen_ = 0;
};

// After Vyukov's bounded queue: every slot has a turn. A slot is free for position p at turn p, full at turn p + 1.
template <class T>
class MpscRing {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit MpscRing(std::size_t capacity) : mask_(std::bit_ceil(capacity) - 1), slots_(std::make_unique<Slot[]>(mask_ + 1)) {
    ASSERT(capacity != 0);
    for (std::size_t i = 0; i <= mask_; ++i) slots_[i].turn.store(i, std::memory_order_relaxed);
  }

  [[nodiscard]] std::size_t capacity() const { return mask_ + 1; }

  // Any thread: false when full.
  bool push(const T& item) {
    std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    while (true) {
      Slot& slot = slots_[tail & mask_];
      const std::uint64_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn == tail) {
        if (!tail_.compare_exchange_weak(tail, tail + 1, std::memory_order_relaxed)) continue;
        slot.item = item;
        slot.turn.store(tail + 1, std::memory_order_release);
        return true;
      }
      if (turn < tail) return false;  // still full from the round before
      tail = tail_.load(std::memory_order_relaxed);
    }
  }
  // Reader. An item that a writer has begun to push but not finished is not there yet, and nor is what others pushed behind it.
  std::optional<T> pop() {
    Slot& slot = slots_[head_ & mask_];
    if (slot.turn.load(std::memory_order_acquire) != head_ + 1) return std::nullopt;
    std::optional<T> item = slot.item;
    slot.turn.store(head_ + mask_ + 1, std::memory_order_release);
    ++head_;
    return item;
  }
  // Reader.
  [[nodiscard]] bool empty() const { return slots_[head_ & mask_].turn.load(std::memory_order_acquire) != head_ + 1; }

 private:
  struct Slot {
    std::atomic<std::uint64_t> turn;
    T item;
  };
  const std::size_t mask_;
  const std::unique_ptr<Slot[]> slots_;
  alignas(cache_line) std::atomic<std::uint64_t> tail_ = 0;
  alignas(cache_line) std::uint64_t head_ = 0;  // the reader's alone
};

}  // namespace gannet
