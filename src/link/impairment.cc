#include <gannet/impairment.h>

#include <charconv>
#include <cmath>
#include <optional>

namespace gannet {
namespace {

using namespace std::chrono_literals;

// The number at the front of `text`, not negative, and the unit behind it. No exponents, no infinities: nobody means them.
struct Quantity {
  double number;
  std::string_view unit;
};
std::optional<Quantity> parse_quantity(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  return Quantity{number, text.substr(static_cast<std::size_t>(end - text.data()))};
}

struct Unit {
  std::string_view name;
  double factor;
};
template <std::size_t Count>
std::optional<double> factor_of(std::string_view name, const Unit (&units)[Count]) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

constexpr Unit time_units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
constexpr Unit rate_units[] = {{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}};

constexpr auto longest_delay = std::chrono::nanoseconds(1h);
constexpr std::uint64_t highest_rate = 1'000'000'000'000;
constexpr std::size_t largest_queue = std::size_t{1} << 30;
constexpr std::size_t most_held = std::size_t{1} << 20;

bool is_probability(double value) { return value >= 0 && value <= 1; }  // false for NaN

}  // namespace

Result<void> Impairment::check() const {
  for (const double value : {loss, burst_start, burst_end, burst_loss, reorder, duplicate, corrupt}) {
    if (!is_probability(value)) return Error{EINVAL, "a probability of an impairment is out of its range: give 0 to 1, or 0% to 100%"};
  }
  if (burst_start > 0 && burst_end == 0) return Error{EINVAL, "a burst of losses that never ends: give burst_end a probability above 0"};
  if (delay < 0ns || delay > longest_delay) return Error{EINVAL, "the delay of an impairment is out of its range: give 0 to 1 hour"};
  if (jitter < 0ns || jitter > longest_delay) return Error{EINVAL, "the jitter of an impairment is out of its range: give 0 to 1 hour"};
  if (rate > highest_rate) return Error{EINVAL, "the rate of an impairment is out of its range: give up to 1000gbit, or 0 for no limit"};
  if (queue_bytes == 0 || queue_bytes > largest_queue) return Error{EINVAL, "the queue of an impairment is out of its range: give 1 byte to 1 GiB"};
  if (held_packets == 0 || held_packets > most_held)
    return Error{EINVAL, "an impairment can hold 1 to 1048576 packets: choose held_packets among them"};
  return {};
}

Result<double> parse_probability(std::string_view text) {
  const auto quantity = parse_quantity(text);
  if (quantity && (quantity->unit.empty() || quantity->unit == "%")) {
    const double value = quantity->unit.empty() ? quantity->number : quantity->number / 100;
    if (is_probability(value)) return value;
  }
  return Error{EINVAL, "not a probability: give 0% to 100%, or 0 to 1, such as 5% or 0.05"};
}

Result<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (text == "0") return 0ns;
  if (const auto quantity = parse_quantity(text)) {
    const auto factor = factor_of(quantity->unit, time_units);
    if (factor && quantity->number * *factor < 9e18) return std::chrono::nanoseconds(std::llround(quantity->number * *factor));
  }
  return Error{EINVAL, "not a duration: give a number with its unit (ns, us, ms or s), such as 80ms or 1.5s"};
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  if (const auto quantity = parse_quantity(text)) {
    const auto factor = factor_of(quantity->unit, rate_units);
    const double rate = factor ? quantity->number * *factor : 0;
    if (rate >= 1 && rate <= static_cast<double>(highest_rate)) return static_cast<std::uint64_t>(std::llround(rate));
  }
  return Error{EINVAL,
               "not a rate: give 1bit to 1000gbit per second with its unit (bit, kbit, mbit or gbit), such as 10mbit; leave it out for no limit"};
}

}  // namespace gannet
