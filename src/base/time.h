// Time as the core knows it: an argument. The clock below has no now(), so that nothing but the engine can ask for one.
#pragma once
#include <chrono>

namespace gannet {

using namespace std::chrono_literals;

// Nanoseconds of a monotonic clock, of which only the engine knows the origin. In tests it is a number that the test moves.
struct Monotonic {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Monotonic>;
  static constexpr bool is_steady = true;
};

using Duration = Monotonic::duration;
using Time = Monotonic::time_point;
inline constexpr Time never = Time::max();  // what next_wakeup() says when nothing waits

}  // namespace gannet
