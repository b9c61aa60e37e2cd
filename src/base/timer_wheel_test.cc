#include "base/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "base/rng.h"

namespace gannet {
namespace {

std::vector<Timer*> advance(TimerWheel& wheel, Time now) {
  std::vector<Timer*> fired;
  wheel.advance(now, [&](Timer& timer) { fired.push_back(&timer); });
  return fired;
}

TEST(TimerWheel, FiresNeitherEarlyNorLate) {
  TimerWheel wheel;
  Timer timer;
  wheel.schedule(timer, Time{1s});
  EXPECT_EQ(wheel.next_wakeup(), Time{1s});
  EXPECT_TRUE(advance(wheel, Time{1s - 1ns}).empty());
  EXPECT_TRUE(timer.is_set());
  EXPECT_EQ(wheel.next_wakeup(), Time{1s});
  EXPECT_EQ(advance(wheel, Time{1s}), std::vector{&timer});
  EXPECT_FALSE(timer.is_set());
  EXPECT_EQ(wheel.next_wakeup(), never);
}

TEST(TimerWheel, TimersDieAndMoveQuietly) {
  TimerWheel wheel(Time{5h});
  Timer moved;
  {
    Timer gone;
    wheel.schedule(gone, Time{5h + 1s});
    wheel.schedule(moved, Time{5h + 2s});
    EXPECT_EQ(wheel.size(), 2u);
  }
  EXPECT_EQ(wheel.size(), 1u);
  wheel.schedule(moved, Time{5h + 10s});
  EXPECT_TRUE(advance(wheel, Time{5h + 9s}).empty());
  EXPECT_EQ(wheel.next_wakeup(), Time{5h + 10s});
  moved.cancel();
  EXPECT_EQ(wheel.next_wakeup(), never);
  EXPECT_EQ(moved.due(), never);
}

TEST(TimerWheel, CallbacksMaySetAndCancel) {
  TimerWheel wheel;
  Timer first(1), second(2);
  wheel.schedule(first, Time{10ms});
  wheel.schedule(second, Time{20ms});
  int calls = 0;
  const auto fire = [&](Timer& timer) {
    ++calls;
    EXPECT_EQ(timer.kind(), 1);
    second.cancel();                    // due too, and never fires
    wheel.schedule(timer, Time{15ms});  // due already: at the next advance, not in a circle
  };
  wheel.advance(Time{50ms}, fire);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(wheel.next_wakeup(), Time{15ms});
  wheel.advance(Time{50ms}, fire);
  EXPECT_EQ(calls, 2);
  first.cancel();
}

TEST(TimerWheel, HoldsTheLongestTimes) {
  TimerWheel wheel;
  Timer century, last;
  wheel.schedule(century, Time{24h * 365 * 100});
  wheel.schedule(last, never);
  EXPECT_EQ(advance(wheel, Time{24h * 365 * 100}), std::vector{&century});
  EXPECT_EQ(advance(wheel, never), std::vector{&last});
}

struct Reference {
  std::multimap<Time, std::size_t> by_time;
  std::vector<std::multimap<Time, std::size_t>::iterator> at;

  explicit Reference(std::size_t count) : at(count, by_time.end()) {}
  void cancel(std::size_t i) {
    if (at[i] != by_time.end()) by_time.erase(at[i]);
    at[i] = by_time.end();
  }
  void schedule(std::size_t i, Time due) {
    cancel(i);
    at[i] = by_time.emplace(due, i);
  }
  std::vector<std::size_t> advance(Time now) {
    std::vector<std::size_t> fired;
    while (!by_time.empty() && by_time.begin()->first <= now) {
      fired.push_back(by_time.begin()->second);
      cancel(fired.back());
    }
    return fired;
  }
};

Duration random_span(Rng& rng) {
  // Every magnitude from nanoseconds to hours, so that every level and every boundary is crossed.
  return Duration(static_cast<Duration::rep>(rng.next() >> rng.between(20, 63)));
}

// Against a sorted map: random operations, random magnitudes.
TEST(TimerWheel, AgreesWithASortedMap) {
  constexpr std::size_t count = 50;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed);
    Time now{};
    TimerWheel wheel;
    std::vector<Timer> timers(count);
    Reference reference(count);
    for (int step = 0; step < 2'000; ++step) {
      const std::size_t i = rng.below(count);
      const std::uint32_t what = rng.below(10);
      if (what < 5) {
        const Time due = now + random_span(rng);
        wheel.schedule(timers[i], due);
        reference.schedule(i, due);
      } else if (what < 7) {
        wheel.cancel(timers[i]);
        reference.cancel(i);
      } else {
        now = rng.chance(0.5) ? now + random_span(rng) : std::max(now, std::min(wheel.next_wakeup(), now + 1h));
        std::vector<std::size_t> fired;
        wheel.advance(now, [&](Timer& timer) { fired.push_back(static_cast<std::size_t>(&timer - timers.data())); });
        auto expected = reference.advance(now);
        std::ranges::sort(fired);
        std::ranges::sort(expected);
        ASSERT_EQ(fired, expected) << "seed " << seed << " step " << step;
      }
      const Time next = reference.by_time.empty() ? never : reference.by_time.begin()->first;
      ASSERT_LE(wheel.next_wakeup(), next) << "seed " << seed << " step " << step;
      ASSERT_EQ(wheel.size(), reference.by_time.size());
    }
  }
}

// As long as nothing is cancelled or moved, next_wakeup() is exact, so that a simulation that jumps from one to the next misses and wastes nothing.
TEST(TimerWheel, NextWakeupIsExact) {
  Rng rng(9);
  TimerWheel wheel;
  std::vector<Timer> timers(500);
  std::multimap<Time, Timer*> reference;
  for (auto& timer : timers) {
    const Time due{random_span(rng)};
    wheel.schedule(timer, due);
    reference.emplace(due, &timer);
  }
  while (!reference.empty()) {
    ASSERT_EQ(wheel.next_wakeup(), reference.begin()->first);
    const auto fired = advance(wheel, wheel.next_wakeup());
    ASSERT_EQ(fired.size(), reference.erase(reference.begin()->first));
  }
  EXPECT_EQ(wheel.next_wakeup(), never);
}

// Earlier ticks first: what was due a second ago fires before what is due now.
TEST(TimerWheel, FiresInOrderOfTicks) {
  TimerWheel wheel;
  std::vector<Timer> timers(100);
  Rng rng(4);
  for (auto& timer : timers) wheel.schedule(timer, Time{rng.below(1000) * 2ms});
  Time last{};
  std::size_t fired = 0;
  std::vector<Time> dues;
  for (auto& timer : timers) dues.push_back(timer.due());
  wheel.advance(Time{1h}, [&](Timer& timer) {
    const Time due = dues[static_cast<std::size_t>(&timer - timers.data())];
    EXPECT_LE(last, due);
    last = due;
    ++fired;
  });
  EXPECT_EQ(fired, timers.size());
}

}  // namespace
}  // namespace gannet
