#include "link/fault.h"

#include <algorithm>
#include <cmath>

#include "base/rng.h"

namespace gannet::link {

// The random numbers of one decision. splitmix64 is a function of its counter: number i of a stream that starts at `key` is that of key + i * step.
class Fault::Draws {
 public:
  enum Question : std::uint8_t { loss, burst, burst_loss, jitter, reorder, duplicate, corrupt, corrupt_bit, questions };

  Draws(std::uint64_t seed, const Flow& flow, Direction direction, std::uint64_t n) {
    key_ = splitmix64(seed);
    key_ ^= std::uint64_t{flow.key.kind} << 40 | static_cast<std::uint64_t>(direction) << 32 | flow.ordinal;
    key_ = splitmix64(key_);
    key_ += n * questions * step;
  }
  [[nodiscard]] std::uint64_t number(Question question) const {
    std::uint64_t state = key_ + question * step;
    return splitmix64(state);
  }
  [[nodiscard]] double unit(Question question) const { return static_cast<double>(number(question) >> 11) * 0x1p-53; }
  // Never at 0, always at 1.
  [[nodiscard]] bool chance(Question question, double probability) const { return unit(question) < probability; }

 private:
  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15;  // splitmix64's own
  std::uint64_t key_;
};

Verdict Fault::decide(Flow& flow, std::size_t size, Time now) {
  Verdict verdict;
  verdict.release = now;
  if (none_) return verdict;
  FlowState& state = flow.states[static_cast<std::size_t>(direction_)];
  const Draws draws(impairment_.seed, flow, direction_, state.count++);

  verdict.drop = decide_loss(draws, state);
  if (verdict.drop) return verdict;

  const auto departure = leave_line(size, now);
  if (!departure) {
    verdict.drop = Drop::fault_rate_queue_full;
    return verdict;
  }
  verdict.release = *departure;
  if (!draws.chance(Draws::reorder, impairment_.reorder)) {
    const double shift = (2 * draws.unit(Draws::jitter) - 1) * static_cast<double>(impairment_.jitter.count());
    const Time delayed = *departure + impairment_.delay + Duration(std::llround(shift));
    verdict.release = std::max({*departure, delayed, state.last_release});
    state.last_release = verdict.release;
  }
  verdict.duplicate = draws.chance(Draws::duplicate, impairment_.duplicate);
  if (draws.chance(Draws::corrupt, impairment_.corrupt)) verdict.corrupt_bit = draws.number(Draws::corrupt_bit);
  return verdict;
}

std::optional<Drop> Fault::decide_loss(const Draws& draws, FlowState& state) const {
  // The state moves on with every packet, whether it is lost or not.
  state.in_burst = state.in_burst ? !draws.chance(Draws::burst, impairment_.burst_end) : draws.chance(Draws::burst, impairment_.burst_start);
  if (draws.chance(Draws::loss, impairment_.loss)) return Drop::fault_loss;
  if (state.in_burst && draws.chance(Draws::burst_loss, impairment_.burst_loss)) return Drop::fault_burst_loss;
  return std::nullopt;
}

std::optional<Time> Fault::leave_line(std::size_t size, Time now) {
  if (impairment_.rate == 0) return now;
  constexpr std::uint64_t second = 1'000'000'000;
  if (line_free_ > now) {
    // check() bounds the queue to 1 GiB, and with it this product to 64 bits.
    const std::uint64_t queued_bytes = static_cast<std::uint64_t>((line_free_ - now).count()) * impairment_.rate / (8 * second);
    if (queued_bytes + size > impairment_.queue_bytes) return std::nullopt;
  } else {
    line_free_ = now;
    remainder_ = 0;
  }
  const std::uint64_t work = size * 8 * second + remainder_;
  line_free_ += Duration(work / impairment_.rate);
  remainder_ = work % impairment_.rate;
  return line_free_;
}

}  // namespace gannet::link
