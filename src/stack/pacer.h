// How fast one socket may send: a token bucket of bytes.
//
// What counts is the IP packet, that is the payload and 28 bytes of headers. A datagram that is larger than the bucket goes when the bucket is full,
// and owes the rest: the average holds whatever the sizes are.
// Owner: Endpoint.  Thread: the engine's.  Allocates: never.
// Sources: RFC 8085 3.1.6; SO_MAX_PACING_RATE of Linux's socket(7), and tc-fq(8), which carries it out there.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/time.h"
#include "base/token_bucket.h"

namespace gannet::stack {

class Pacer {
 public:
  static constexpr int unlimited = -1;

  // At once after a silence: two full packets, as fq's quantum is, or as much as a millisecond is worth, since no engine wakes for each packet.
  [[nodiscard]] static constexpr std::uint64_t burst_of(int rate) { return std::max<std::uint64_t>(3000, static_cast<std::uint64_t>(rate) / 1000); }

  [[nodiscard]] bool is_on() const { return bucket_.has_value(); }
  [[nodiscard]] int rate() const { return rate_; }
  // In bytes a second, or unlimited. What was sent just now counts at the new rate too, so that who changes it often gains no bursts.
  void set_rate(int rate, Time now) {
    const std::uint64_t spent = bucket_ ? bucket_->missing(now) : 0;
    rate_ = rate;
    bucket_.reset();
    if (rate == unlimited) return;
    bucket_.emplace(static_cast<std::uint64_t>(rate), burst_of(rate));
    bucket_->spend(now, std::min(spent, burst_of(rate)));
  }

  // While it is on: when so many bytes may go (now, or later), and that they went.
  [[nodiscard]] Time ready_at(Time now, std::uint64_t bytes) const { return bucket_->ready_at(now, std::min(bytes, burst_of(rate_))); }
  void spend(Time now, std::uint64_t bytes) { bucket_->spend(now, bytes); }

 private:
  std::optional<TokenBucket> bucket_;
  int rate_ = unlimited;
};

}  // namespace gannet::stack
