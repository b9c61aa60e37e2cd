// A bounded queue of frames' bytes, from many threads into one: what waits at a port of a memory segment.
//
//   slot:  | sequence | size | bytes ...... |      sequence == position:      free for the producer that claims this position
//            ^ says whose turn it is               sequence == position + 1:  filled, the consumer may read it
//
// Dmitry Vyukov's bounded queue: a producer claims a position by compare-and-swap, fills its slot, and hands it over by storing the sequence. No
// lock; a producer that is held up between claim and hand-over delays those behind it, and loses nothing. Owner: the port.  Thread: push() from any,
// pop() from one at a time.  Allocates: its memory at construction; slots not yet used cost nothing.
#pragma once
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "base/assert.h"

namespace gannet::link {

class FrameRing {
 public:
  FrameRing(std::size_t slots, std::size_t slot_size)
      : mask_(slots - 1),
        slot_size_(slot_size),
        slots_(std::make_unique<Slot[]>(slots)),
        bytes_(std::make_unique_for_overwrite<std::byte[]>(slots * slot_size)) {
    ASSERT(std::has_single_bit(slots));
    for (std::size_t i = 0; i < slots; ++i) slots_[i].sequence.store(i, std::memory_order_relaxed);
  }

  // False when there is no free slot. `frame` fits a slot.
  bool push(std::span<const std::byte> frame) {
    ASSERT(frame.size() <= slot_size_);
    std::uint64_t position = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Slot& slot = slots_[position & mask_];
      const std::uint64_t sequence = slot.sequence.load(std::memory_order_acquire);
      if (sequence == position) {
        if (!tail_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed)) continue;
        slot.size = static_cast<std::uint32_t>(frame.size());
        if (!frame.empty()) std::memcpy(bytes_at(position), frame.data(), frame.size());
        slot.sequence.store(position + 1);  // sequentially consistent: see PortBell
        return true;
      }
      if (sequence < position) return false;  // still the frame of the round before
      position = tail_.load(std::memory_order_relaxed);
    }
  }

  // Whether pop() may be called.
  [[nodiscard]] bool has_frame() const { return slots_[head() & mask_].sequence.load() == head() + 1; }
  // The oldest frame, until pop().
  [[nodiscard]] std::span<const std::byte> front() const { return {bytes_at(head()), slots_[head() & mask_].size}; }
  void pop() {
    slots_[head() & mask_].sequence.store(head() + mask_ + 1, std::memory_order_release);
    head_.store(head() + 1, std::memory_order_relaxed);
  }

  // From any thread; exact while none moves frames.
  [[nodiscard]] std::size_t size() const {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    return tail > head ? static_cast<std::size_t>(tail - head) : 0;
  }

 private:
  struct Slot {
    std::atomic<std::uint64_t> sequence = 0;
    std::uint32_t size = 0;
  };
  [[nodiscard]] std::uint64_t head() const { return head_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::byte* bytes_at(std::uint64_t position) const { return bytes_.get() + (position & mask_) * slot_size_; }

  std::uint64_t mask_;
  std::size_t slot_size_;
  std::unique_ptr<Slot[]> slots_;
  std::unique_ptr<std::byte[]> bytes_;
  alignas(64) std::atomic<std::uint64_t> tail_ = 0;  // producers
  alignas(64) std::atomic<std::uint64_t> head_ = 0;  // the consumer
};

}  // namespace gannet::link
