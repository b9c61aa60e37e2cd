// Which datagram a reply answers, and how long it took.
//
// A reply that carries the very bytes of a datagram sent (an echo) answers that one, the oldest where several were alike; any other reply answers the
// oldest that still waits. From a group or a broadcast several hosts may answer one datagram: then only echoes are matched, and a datagram waits on.
// Bounds: the latest 65,536 unanswered datagrams; older ones count as lost. Thread: one.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace gannet::cli {

struct Answer {
  std::uint64_t number;  // of the datagram that it answers, from 1
  std::chrono::nanoseconds round_trip;
};

class Exchange {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::size_t most = 65536;

  explicit Exchange(bool many_answer) : many_answer_(many_answer) {}

  void sent(std::string_view data, Time now);
  // Nothing for a datagram that answers none of ours.
  std::optional<Answer> received(std::string_view data, Time now);
  [[nodiscard]] std::uint64_t answered() const { return answered_; }

 private:
  struct Waiting {
    std::size_t hash;
    Time sent;
    bool answered;
  };
  void forget_oldest();

  bool many_answer_;
  std::deque<Waiting> waiting_;                                         // oldest first
  std::uint64_t first_ = 1;                                             // number of waiting_.front()
  std::unordered_map<std::size_t, std::deque<std::uint64_t>> numbers_;  // by hash of the data: those that an echo would answer, oldest first
  std::uint64_t answered_ = 0;
};

}  // namespace gannet::cli
