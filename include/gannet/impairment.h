// What a fault unit does to traffic: losing, delaying, reordering, duplicating, corrupting, slowing.
//
// The same seed makes the same decisions: decision n of a flow is a function of (seed, the flow's ordinal, direction, n), never of the order in which
// flows interleave, nor of a port number. (Drops of the rate's queue depend on time, and repeat in virtual time only.)
// Thread: any; these are plain values.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <gannet/result.h>

namespace gannet {

struct Impairment {
  double loss = 0;                       // probability, 0-1, independent for each packet
  double burst_start = 0;                // Gilbert-Elliott: probability to enter the bad state, per packet; 0 is off
  double burst_end = 1;                  // ... to leave it
  double burst_loss = 1;                 // ... of loss while in it
  std::chrono::nanoseconds delay{0};     // added to every packet; up to an hour
  std::chrono::nanoseconds jitter{0};    // uniform in [-jitter, +jitter] around the delay; keeps the order unless reorder says otherwise
  double reorder = 0;                    // probability to overtake what is delayed (sent at once)
  double duplicate = 0;                  // probability that a copy follows
  double corrupt = 0;                    // probability that one random bit of an IP packet is flipped, for checksums to find; ARP is left whole
  std::uint64_t rate = 0;                // bits per second; 0 is unlimited
  std::size_t queue_bytes = 256 * 1024;  // of the rate's queue; what does not fit is dropped
  std::size_t held_packets = 16384;      // most packets delayed at once; what does not fit is dropped
  std::uint64_t seed = 1;

  [[nodiscard]] bool is_none() const {
    return loss == 0 && burst_start == 0 && delay.count() == 0 && jitter.count() == 0 && reorder == 0 && duplicate == 0 && corrupt == 0 && rate == 0;
  }
  // EINVAL with a sentence when a value is out of its range.
  [[nodiscard]] Result<void> check() const;
};

// The text forms of the values above, for whoever takes them from people. EINVAL with a sentence otherwise.
Result<double> parse_probability(std::string_view text);                 // "5%", "0.05"
Result<std::chrono::nanoseconds> parse_duration(std::string_view text);  // "80ms", "1.5s", "250us", "100ns", "0"
Result<std::uint64_t> parse_rate(std::string_view text);                 // bits per second: "10mbit", "1.5gbit", "64kbit", "9600bit"

}  // namespace gannet
