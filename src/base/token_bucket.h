// A rate limit: so many events a second on average, so many at once.
//
// Kept as one number, the time at which the bucket will be full again (the "virtual scheduling" form of the leaky bucket, ITU-T I.371): nothing
// to refill, nothing to round away.
// Thread: as its owner.  Allocates: never.
#pragma once
#include <cstdint>

#include "base/assert.h"
#include "base/time.h"

namespace gannet {

class TokenBucket {
 public:
  // Starts full. Both numbers are at least 1.
  constexpr TokenBucket(std::uint64_t per_second, std::uint64_t burst) : per_second_(per_second), capacity_(cost(burst)) {
    ASSERT(per_second != 0 && burst != 0);
  }

  // Takes `count` tokens, or none and false when they are not all there.
  constexpr bool take(Time now, std::uint64_t count = 1) {
    if (ready_at(now, count) > now) return false;
    spend(now, count);
    return true;
  }
  // Takes them even where they are not all there: what is missing is owed, and comes before all that is taken later.
  constexpr void spend(Time now, std::uint64_t count) { full_at_ = later(full_at_, now) + cost(count); }
  // When `count` tokens will be there: now, or later. Asking for more than the burst gives a time at which they still are not.
  [[nodiscard]] constexpr Time ready_at(Time now, std::uint64_t count = 1) const {
    return later(now, later(full_at_, now) + cost(count) - capacity_);
  }
  // How many tokens short of full it is, what is owed included.
  [[nodiscard]] constexpr std::uint64_t missing(Time now) const {
    const auto time = static_cast<std::uint64_t>((later(full_at_, now) - now).count());
    return time / 1'000'000'000 * per_second_ + time % 1'000'000'000 * per_second_ / 1'000'000'000;
  }

 private:
  static constexpr Time later(Time a, Time b) { return a < b ? b : a; }
  [[nodiscard]] constexpr Duration cost(std::uint64_t count) const {
    return Duration(static_cast<Duration::rep>(count / per_second_ * 1'000'000'000 + count % per_second_ * 1'000'000'000 / per_second_));
  }

  std::uint64_t per_second_;
  Duration capacity_;
  Time full_at_{};
};

}  // namespace gannet
