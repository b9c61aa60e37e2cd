// A count that one thread writes and any thread reads: what happened, how often, since the start.
//
// Owner: whoever counts.  Thread: add() from one thread only; value() from any.
// With one writer, a load and a store suffice: no locked instruction stands on the data path.
#pragma once
#include <atomic>
#include <cstdint>

namespace gannet {

class Counter {
 public:
  Counter() = default;
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  void add(std::uint64_t count = 1) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    // As below, in the one instruction that compilers do not make of it.
    asm("addq %1, %0" : "+m"(value_) : "er"(count) : "cc");
#else
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
#endif
  }
  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

}  // namespace gannet
