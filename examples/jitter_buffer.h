// Puts packets back in order, and waits for what is missing as long as a budget allows, not longer: a jitter buffer.
//
// For rtp_session.h. Neither socket nor clock: push(packet, now), then pop(now) until nothing comes, and again at next(). Each number comes out once,
// in order, as a packet or as lost. There are two ways to wait:
// - eager, for a machine that takes what it gets: a packet that is in order does not wait at all, and for a gap the one behind it waits for the
// budget;
// - paced, for an ear: each waits until what the slowest of them may take is over, so that they leave as evenly as they were sent.
// In neither does a packet wait longer than the budget. Of packets there is a most: at it the oldest leaves before its time, and the gaps with it.
#pragma once
#include <bitset>
#include <deque>
#include <map>

#include "rtp.h"

namespace rtp {

struct Settings {
  unsigned rate = 8000;                   // of the timestamps, Hz
  std::chrono::milliseconds budget{100};  // the longest that a packet waits
  bool paced = false;
  std::size_t most = 1024;  // packets held
};

struct Delivered {
  std::int64_t number = 0;
  bool is_lost = false;          // then all that follows is nothing
  Packet packet;                 // its payload is in `bytes`
  std::vector<std::byte> bytes;  // moves with it
  Time arrival{};
};

class JitterBuffer {
 public:
  struct Counts {
    std::uint64_t delivered = 0, lost = 0, late = 0, duplicated = 0;  // late ones are among the lost
    std::uint64_t hurried = 0, refused = 0;  // left before their time, at the most; came beyond it, since nobody called pop()
  };

  explicit JitterBuffer(const Settings& settings) : settings_(settings) {}

  void push(std::int64_t number, const Packet& packet, Time now) {
    if (held_.empty() && !has_begun_) next_ = number, timestamp_ = packet.timestamp;
    if (!has_begun_) next_ = std::min(next_, number);
    if (number < next_) {
      const auto behind = static_cast<std::uint64_t>(next_ - 1 - number);
      const bool was_there = behind >= given_.size() || given_[behind];
      ++(was_there ? counts.duplicated : counts.late);
      if (!was_there) given_.set(behind);
      return;
    }
    if (held_.size() > settings_.most) return static_cast<void>(++counts.refused);
    const auto [place, is_new] = held_.try_emplace(number);
    if (!is_new) return static_cast<void>(++counts.duplicated);
    ticks_ += static_cast<std::int32_t>(packet.timestamp - timestamp_);
    if (std::abs(ticks_) / settings_.rate > 1'000'000'000) ticks_ = 0;  // of 30 years only a liar's timestamps can tell
    timestamp_ = packet.timestamp;
    note_transit(now);
    Held& held = place->second;
    arrivals_.emplace_back(now, number);
    held.ticks = ticks_;
    held.out.number = number, held.out.packet = packet, held.out.arrival = now;
    held.out.bytes.assign(packet.payload.begin(), packet.payload.end());
    held.out.packet.payload = held.out.bytes;
  }

  std::optional<Delivered> pop(Time now) {
    const bool full = held_.size() > settings_.most;
    if (held_.empty() || (!full && now < next())) return {};
    counts.hurried += full && now < next() ? 1 : 0;
    has_begun_ = true;
    auto first = held_.begin();
    Delivered out{.number = next_, .is_lost = true, .packet = {}, .bytes = {}, .arrival = {}};
    last_ticks_ = ticks_due();
    if (first->first == next_) out = std::move(first->second.out), held_.erase(first);
    ++(out.is_lost ? counts.lost : counts.delivered);
    given_ <<= 1;
    given_[0] = !out.is_lost;
    ++next_;
    while (!arrivals_.empty() && arrivals_.front().second < next_) arrivals_.pop_front();
    return out;
  }

  // When pop() has the next for you; max() when there is none.
  [[nodiscard]] Time next() const {
    if (held_.empty()) return Time::max();
    const auto& [number, first] = *held_.begin();
    const Time longest = arrivals_.front().first + settings_.budget;
    if (settings_.paced) return std::min(longest, Time(fastest() + since(ticks_due()) + settings_.budget));
    return number == next_ && has_begun_ ? first.out.arrival : longest;
  }
  [[nodiscard]] std::size_t size() const { return held_.size(); }

  Counts counts;

 private:
  struct Held {
    Delivered out;
    std::int64_t ticks = 0;  // its timestamp, which does not wrap
  };
  static constexpr std::chrono::seconds window{4}, leap{2};

  // The time of the one that is to come out next; where it is missing, between those on both sides.
  [[nodiscard]] std::int64_t ticks_due() const {
    const auto& [number, first] = *held_.begin();
    return number == next_ ? first.ticks : last_ticks_ + (first.ticks - last_ticks_) / (number - next_ + 1);
  }
  [[nodiscard]] std::chrono::nanoseconds since(std::int64_t ticks) const {
    return std::chrono::seconds(ticks / settings_.rate) + std::chrono::nanoseconds(ticks % settings_.rate * 1'000'000'000 / settings_.rate);
  }
  // When a packet of time 0 came, or would have come, on the fastest way of the last 4 to 8 s: the two clocks may drift. A leap is a new beginning.
  [[nodiscard]] std::chrono::nanoseconds fastest() const { return std::min(fastest_now_, fastest_before_); }
  void note_transit(Time now) {
    const std::chrono::nanoseconds transit = now.time_since_epoch() - since(ticks_);
    if (fastest() == transit.max() || std::chrono::abs(transit - fastest()) > leap) {
      fastest_before_ = fastest_now_ = transit, window_end_ = now + window;
    } else if (now >= window_end_) {
      fastest_before_ = fastest_now_, fastest_now_ = transit, window_end_ = now + window;
    } else {
      fastest_now_ = std::min(fastest_now_, transit);
    }
  }

  Settings settings_;
  std::map<std::int64_t, Held> held_;
  std::deque<std::pair<Time, std::int64_t>> arrivals_;  // in their order; the first is held
  std::bitset<128> given_;                              // whether the ones before next_ came out as packets, nearest first
  bool has_begun_ = false;
  std::int64_t next_ = 0, ticks_ = 0, last_ticks_ = 0;
  std::uint32_t timestamp_ = 0;
  std::chrono::nanoseconds fastest_now_ = std::chrono::nanoseconds::max(), fastest_before_ = std::chrono::nanoseconds::max();
  Time window_end_{};
};

}  // namespace rtp
