#include "base/timer_wheel.h"

#include <algorithm>

namespace gannet {

TimerWheel::TimerWheel(Time now) : tick_(tick_of(now)) {
  for (auto& level : lists_) {
    for (auto& list : level) make_empty(list);
  }
}

TimerWheel::~TimerWheel() {
  ASSERT(count_ == 0);  // a timer that outlives its wheel would be cancelled in memory that is gone
}

void TimerWheel::schedule(Timer& timer, Time due) {
  ASSERT(due >= Time{});
  timer.cancel();
  timer.wheel_ = this;
  timer.due_ = due;
  ++count_;
  insert(timer);
  next_ = count_ == 1 ? due : std::min(next_, due);
}

void TimerWheel::collect(Time now, Timer& due) {
  const std::uint64_t limit = tick_of(now);
  Timer moved;
  Timer waiting;  // in the present's tick, yet later than now
  make_empty(moved);
  make_empty(waiting);
  while (const auto slot = first_slot()) {
    const std::uint64_t start = start_of(*slot);
    if (start > limit) break;
    tick_ = start;
    move_all(lists_[slot->level][slot->index], moved);
    while (!is_empty(moved)) {
      Timer& timer = *moved.next_;
      unlink(timer);
      if (slot->level != 0) {
        insert(timer);  // finds itself on a lower level
      } else {
        append(timer.due_ <= now ? due : waiting, timer);
      }
    }
  }
  tick_ = std::max(tick_, limit);
  while (!is_empty(waiting)) {
    Timer& timer = *waiting.next_;
    unlink(timer);
    insert(timer);
  }
  const auto next = first_slot();
  next_ = next ? lists_[next->level][next->index].due_ : never;
}

void TimerWheel::append(Timer& list, Timer& timer) {
  timer.previous_ = list.previous_;
  timer.next_ = &list;
  list.previous_->next_ = &timer;
  list.previous_ = &timer;
}

void TimerWheel::move_all(Timer& from, Timer& to) {
  if (is_empty(from)) return;
  to.next_ = from.next_;
  to.previous_ = from.previous_;
  to.next_->previous_ = &to;
  to.previous_->next_ = &to;
  make_empty(from);
}

void TimerWheel::insert(Timer& timer) {
  const std::uint64_t tick = std::max(tick_of(timer.due_), tick_);
  const std::uint64_t difference = tick ^ tick_;
  const unsigned level = difference == 0 ? 0 : (static_cast<unsigned>(std::bit_width(difference)) - 1) / digit_bits;
  const auto index = static_cast<unsigned>(tick >> level * digit_bits) % slots;
  Timer& list = lists_[level][index];
  list.due_ = is_empty(list) ? timer.due_ : std::min(list.due_, timer.due_);
  append(list, timer);
  maybe_used_[level] |= std::uint64_t{1} << index;
}

std::optional<TimerWheel::Slot> TimerWheel::first_slot() {
  // A lower level ends before the next one begins, so the first slot found is the first in time. Slots before the present's digit are empty.
  for (unsigned level = 0; level < levels; ++level) {
    const auto digit = static_cast<unsigned>(tick_ >> level * digit_bits) % slots;
    for (std::uint64_t bits = maybe_used_[level] & ~std::uint64_t{0} << digit; bits != 0; bits &= bits - 1) {
      const auto index = static_cast<unsigned>(std::countr_zero(bits));
      if (!is_empty(lists_[level][index])) return Slot{level, index};
      maybe_used_[level] &= ~(std::uint64_t{1} << index);
    }
  }
  return std::nullopt;
}

std::uint64_t TimerWheel::start_of(Slot slot) const {
  const unsigned shift = slot.level * digit_bits;
  const std::uint64_t above = (tick_ >> shift) & ~std::uint64_t{slots - 1};
  return std::max(tick_, (above | slot.index) << shift);
}

}  // namespace gannet
