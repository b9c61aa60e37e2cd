// Things that wait for their time: frames on a link, datagrams between an endpoint and the stack.
//
// Ordered by (release time, arrival). Owner: whoever delays.  Thread: one.  Allocates: at construction only.
// Bound: its capacity; whoever finds it full drops what comes, under a name.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/time.h"

namespace gannet::link {

template <class T>
class HeldQueue {
 public:
  explicit HeldQueue(std::size_t capacity) : capacity_(capacity) { heap_.reserve(capacity); }

  // There must be room.
  void push(Time release, T thing) {
    ASSERT(!full());
    heap_.push_back({release, next_sequence_++, std::move(thing)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  // When the next thing is due; never when there is none.
  [[nodiscard]] Time next() const { return heap_.empty() ? never : heap_.front().release; }
  // The next thing. There must be one.
  T pop() {
    ASSERT(!heap_.empty());
    std::pop_heap(heap_.begin(), heap_.end(), later);
    T thing = std::move(heap_.back().thing);
    heap_.pop_back();
    return thing;
  }
  [[nodiscard]] std::size_t size() const { return heap_.size(); }
  [[nodiscard]] bool full() const { return heap_.size() == capacity_; }

 private:
  struct Entry {
    Time release;
    std::uint64_t sequence;
    T thing;
  };
  static bool later(const Entry& a, const Entry& b) { return a.release != b.release ? a.release > b.release : a.sequence > b.sequence; }

  std::size_t capacity_;
  std::uint64_t next_sequence_ = 0;
  std::vector<Entry> heap_;
};

}  // namespace gannet::link
