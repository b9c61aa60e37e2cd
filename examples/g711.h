// G.711, and what hides that some of it is missing: the sound of a telephone, 8000 samples a second of a byte each. For ingest.h and voip.cc.
//
// The Concealer does in short what G.711 Appendix I does: a gap is filled with the last period of the voice, over and over, and fades away within 60
// ms, since nobody's vowel is longer; where the voice comes back, the two are blended. It takes samples of any rate.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace g711 {

enum class Law : std::uint8_t { mu = 0, a = 8 };  // the payload types of RTP (RFC 3551 6)

// µ-law: the magnitude, and 33 in steps of 4, as exponent and four bits of mantissa; all bits inverted.
inline std::int16_t decode_mu(std::uint8_t code) {
  code = static_cast<std::uint8_t>(~code);
  const int magnitude = (((code & 15) << 3 | 0x84) << (code >> 4 & 7)) - 0x84;
  return static_cast<std::int16_t>((code & 0x80) != 0 ? -magnitude : magnitude);
}
inline std::uint8_t encode_mu(std::int16_t sample) {
  const unsigned magnitude = static_cast<unsigned>(std::min(std::abs(int{sample}), 32635)) + 0x84;
  const unsigned exponent = static_cast<unsigned>(std::bit_width(magnitude)) - 8;
  return static_cast<std::uint8_t>(~((sample < 0 ? 0x80u : 0u) | exponent << 4 | (magnitude >> (exponent + 3) & 15)));
}
// A-law: exponent 0 has no hidden bit; every other bit inverted, and the sign is set where the sample is positive.
inline std::int16_t decode_a(std::uint8_t code) {
  code ^= 0x55;
  const int exponent = code >> 4 & 7, mantissa = (code & 15) << 4 | 8;
  const int magnitude = exponent == 0 ? mantissa : (mantissa | 0x100) << (exponent - 1);
  return static_cast<std::int16_t>((code & 0x80) != 0 ? magnitude : -magnitude);
}
inline std::uint8_t encode_a(std::int16_t sample) {
  const auto magnitude = static_cast<unsigned>(sample < 0 ? ~int{sample} : int{sample});
  const unsigned exponent = magnitude < 256 ? 0 : static_cast<unsigned>(std::bit_width(magnitude)) - 8;
  const unsigned code = exponent << 4 | (magnitude >> (exponent == 0 ? 4 : exponent + 3) & 15);
  return static_cast<std::uint8_t>((code | (sample < 0 ? 0u : 0x80u)) ^ 0x55);
}

inline std::vector<std::int16_t> decode(Law law, std::span<const std::byte> codes) {
  std::vector<std::int16_t> samples;
  for (const std::byte code : codes) samples.push_back((law == Law::mu ? decode_mu : decode_a)(std::to_integer<std::uint8_t>(code)));
  return samples;
}
inline std::vector<std::byte> encode(Law law, std::span<const std::int16_t> samples) {
  std::vector<std::byte> codes;
  for (const std::int16_t sample : samples) codes.push_back(static_cast<std::byte>((law == Law::mu ? encode_mu : encode_a)(sample)));
  return codes;
}

class Concealer {
 public:
  explicit Concealer(unsigned rate) : rate_(rate), history_(rate / 20) {}

  // What came: remembered, and after a gap its first 5 ms blended with what the gap was filled with.
  void heard(std::span<std::int16_t> samples) {
    const std::size_t blended = hidden_ == 0 ? 0 : std::min<std::size_t>(samples.size(), rate_ / 200);
    for (std::size_t i = 0; i < blended; ++i) {
      const double part = static_cast<double>(i + 1) / static_cast<double>(blended + 1);
      samples[i] = static_cast<std::int16_t>(std::lround(part * samples[i] + (1 - part) * next()));
    }
    hidden_ = 0;
    remember(samples);
  }
  // What did not: so many samples that are to be heard in its place.
  std::vector<std::int16_t> hide(std::size_t count) {
    if (hidden_ == 0) find_period();
    std::vector<std::int16_t> samples(count);
    for (std::int16_t& sample : samples) sample = static_cast<std::int16_t>(std::lround(next()));
    return samples;
  }

 private:
  // The last period: the distance, of 5 to 15 ms, at which the last 20 ms resemble most what was before them.
  void find_period() {
    const std::size_t size = rate_ / 50, end = history_.size();
    std::size_t best = rate_ / 200;
    double most = 0;
    for (std::size_t lag = rate_ / 200; lag <= rate_ * 3 / 200; ++lag) {
      double common = 0, energy = 1;
      for (std::size_t i = end - size; i < end; ++i) {
        common += static_cast<double>(history_[i]) * history_[i - lag];
        energy += static_cast<double>(history_[i - lag]) * history_[i - lag];
      }
      if (common > 0 && common * common / energy > most) most = common * common / energy, best = lag;
    }
    period_.assign(history_.end() - static_cast<std::ptrdiff_t>(best), history_.end());
    // Its last quarter becomes the one of the period before it, which leads into its beginning: else each repetition would click.
    for (std::size_t quarter = best / 4, i = 0; i < quarter; ++i) {
      const double part = static_cast<double>(i + 1) / static_cast<double>(quarter);
      double& sample = period_[best - quarter + i];
      sample = (1 - part) * sample + part * history_[end - best - quarter + i];
    }
  }
  double next() {
    const double after = static_cast<double>(hidden_) / rate_ - 0.01;  // whole for 10 ms, gone after 60
    const double sample = period_[hidden_ % period_.size()] * std::clamp(1 - after / 0.05, 0.0, 1.0);
    ++hidden_;
    return sample;
  }
  void remember(std::span<const std::int16_t> samples) {
    const std::span<const std::int16_t> last = samples.last(std::min(samples.size(), history_.size()));
    std::shift_left(history_.begin(), history_.end(), static_cast<std::ptrdiff_t>(last.size()));
    std::ranges::copy(last, history_.end() - static_cast<std::ptrdiff_t>(last.size()));
  }

  unsigned rate_;
  std::vector<std::int16_t> history_;  // the last 50 ms: two periods and what is compared
  std::vector<double> period_;
  std::size_t hidden_ = 0;  // samples of this gap so far
};

}  // namespace g711
