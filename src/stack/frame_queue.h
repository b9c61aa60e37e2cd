// A bounded queue of frames that wait to be sent. Whoever sends them takes them where they lie.
//
// Owner and thread: the engine's.  Allocates: once.  Bound: `capacity`; push() refuses then, and the frame stays the caller's.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/frame.h"

namespace gannet::stack {

class FrameQueue {
 public:
  explicit FrameQueue(std::size_t capacity) : slots_(std::bit_ceil(capacity)), mask_(slots_.size() - 1) {}

  [[nodiscard]] bool push(Frame& frame) {
    if (size() > mask_) return false;
    slots_[tail_++ & mask_] = std::move(frame);
    return true;
  }
  // The oldest frames, as far as they lie together: take from the front, then pop() as many.
  [[nodiscard]] std::span<Frame> front() {
    const std::size_t first = head_ & mask_;
    return {slots_.data() + first, std::min(size(), mask_ + 1 - first)};
  }
  void pop(std::size_t count) {
    ASSERT(count <= size());
    head_ += count;
  }
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(tail_ - head_); }
  [[nodiscard]] bool empty() const { return tail_ == head_; }

 private:
  std::vector<Frame> slots_;
  std::size_t mask_;                   // one less than there are slots
  std::uint64_t head_ = 0, tail_ = 0;  // they only grow
};

}  // namespace gannet::stack
