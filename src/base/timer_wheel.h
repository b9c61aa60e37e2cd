// Timers by the thousand: setting and cancelling take constant time, and nothing is allocated, since a timer is a part of what it belongs to.
//
// A hierarchy of wheels of 64 slots: level 0 turns in ticks of about a millisecond, each further level 64 times slower. A timer sits on the level of
// the highest digit (in base 64) in which its tick and the present differ, and moves down as that digit is reached. Firing is exact to the nanosecond
// all the same: the tick only sorts. Owner: one engine or stack.  Thread: one.  Allocates: never; the number of timers is bounded by what they are
// parts of.
#pragma once
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/assert.h"
#include "base/time.h"

namespace gannet {

class TimerWheel;

// To be derived from or held as a member. Cancelled when it dies. `kind` is its owner's: which of its timers this is.
class Timer {
 public:
  Timer() = default;
  explicit Timer(std::uint8_t kind) : kind_(kind) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }

  [[nodiscard]] bool is_set() const { return wheel_ != nullptr; }
  // When it fires; never, when it is not set.
  [[nodiscard]] Time due() const { return is_set() ? due_ : never; }
  [[nodiscard]] std::uint8_t kind() const { return kind_; }
  inline void cancel();

 private:
  friend class TimerWheel;
  Timer* previous_ = nullptr;
  Timer* next_ = nullptr;
  TimerWheel* wheel_ = nullptr;
  Time due_{};
  std::uint8_t kind_ = 0;
};

class TimerWheel {
 public:
  // `now`, here and below, never goes back.
  explicit TimerWheel(Time now = Time{});
  // No timer is set any more.
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Sets a timer, or moves one that is set. A time that has passed is due at the next advance().
  void schedule(Timer& timer, Time due);
  void cancel(Timer& timer) { timer.cancel(); }

  // Calls fire(Timer&) for every timer that is due at `now` or before, earlier ticks first. It may set and cancel any timers, the fired one, which is
  // not set any more, among them; what it sets fires at a later advance(), even when it is due already.
  template <class Fire>
  void advance(Time now, Fire fire);

  // When advance() must be called next: never when no timer is set. Exact, but for one thing: after the earliest timer was cancelled, its time still
  // stands here, so that cancelling need not search for the second.
  [[nodiscard]] Time next_wakeup() const { return count_ == 0 ? never : next_; }
  [[nodiscard]] std::size_t size() const { return count_; }

 private:
  friend class Timer;
  static constexpr unsigned digit_bits = 6;
  static constexpr unsigned tick_bits = 20;  // a tick is 2^20 ns
  static constexpr unsigned slots = 1u << digit_bits;
  static constexpr unsigned levels = (63 - tick_bits + digit_bits - 1) / digit_bits;  // every Time fits

  struct Slot {
    unsigned level;
    unsigned index;
  };

  static std::uint64_t tick_of(Time time) { return static_cast<std::uint64_t>(time.time_since_epoch().count()) >> tick_bits; }
  static bool is_empty(const Timer& list) { return list.next_ == &list; }
  static void make_empty(Timer& list) { list.next_ = list.previous_ = &list; }
  static void append(Timer& list, Timer& timer);
  static void unlink(Timer& timer);
  static void move_all(Timer& from, Timer& to);
  void insert(Timer& timer);
  // The first slot that holds a timer, if any does.
  std::optional<Slot> first_slot();
  // The first tick of a slot that the present has not passed.
  [[nodiscard]] std::uint64_t start_of(Slot slot) const;
  // Moves the present to `now`, and what is due by then into `due`.
  void collect(Time now, Timer& due);

  std::array<std::array<Timer, slots>, levels> lists_;  // heads of rings; a head's due_ is the earliest that its ring had to wait for
  std::array<std::uint64_t, levels> maybe_used_{};      // a bit per slot; stale ones are cleared when met
  std::uint64_t tick_;                                  // the present
  Time next_ = never;                                   // no timer is due before
  std::size_t count_ = 0;
};

inline void TimerWheel::unlink(Timer& timer) {
  timer.previous_->next_ = timer.next_;
  timer.next_->previous_ = timer.previous_;
}

inline void Timer::cancel() {
  if (wheel_ == nullptr) return;
  TimerWheel::unlink(*this);
  --wheel_->count_;
  wheel_ = nullptr;
}

template <class Fire>
void TimerWheel::advance(Time now, Fire fire) {
  if (next_wakeup() > now) return;  // the present stays behind, and catches up with the next timer that is due
  Timer due;
  make_empty(due);
  collect(now, due);
  while (!is_empty(due)) {
    Timer& timer = *due.next_;
    timer.cancel();
    fire(timer);
  }
}

}  // namespace gannet
