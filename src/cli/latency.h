// Round trips, and what of them a summary tells: the least, the greatest, and the percentiles between.
//
// Bounds: the latest 1,048,576 round trips; older ones are forgotten, but for the least and the greatest. Thread: one.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace gannet::cli {

class Latency {
 public:
  using Time = std::chrono::nanoseconds;
  static constexpr std::size_t most = 1u << 20;

  void add(Time round_trip) {
    min_ = count_ == 0 ? round_trip : std::min(min_, round_trip);
    max_ = std::max(max_, round_trip);
    if (kept_.size() < most) {
      kept_.push_back(round_trip);
    } else {
      kept_[count_ % most] = round_trip;
    }
    ++count_;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] Time min() const { return min_; }
  [[nodiscard]] Time max() const { return max_; }

  // The least round trip that `percent` of them do not exceed (nearest rank). There must be one.
  [[nodiscard]] Time percentile(unsigned percent) const {
    auto sorted = kept_;
    const std::size_t rank = (sorted.size() * percent + 99) / 100;
    const auto nth = sorted.begin() + static_cast<std::ptrdiff_t>(rank == 0 ? 0 : rank - 1);
    std::ranges::nth_element(sorted, nth);
    return *nth;
  }

 private:
  std::vector<Time> kept_;
  std::uint64_t count_ = 0;
  Time min_{0}, max_{0};
};

}  // namespace gannet::cli
