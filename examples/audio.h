// Sound for a machine that listens: resampled to the rate that it was made for, in windows of a fixed length. And the lengths of Opus packets, which
// tell where its frames begin without decoding them (RFC 6716 3). For ingest.h.
#pragma once
#include <functional>
#include <numbers>
#include <numeric>
#include <optional>

#include "g711.h"

namespace audio {

struct Window {
  std::int64_t first = 0;  // which sample of the stream, at the new rate, its first one is: its time
  std::span<const std::int16_t> samples;
  std::size_t concealed = 0;  // how many of them nobody sent
};

// From any rate to any other: a sinc under a Hann window, 16 of its zeros to each side, cut off at the lower rate; each output falls between two
// inputs at one of `up` places, for each of which the filter is worked out once. The same rate passes unchanged. It delays by `half` inputs, 2 ms of
// a telephone.
class Windows {
 public:
  // Rates in Hz; the sink is called with each window of `size` samples as soon as it is full.
  Windows(unsigned from, unsigned to, std::size_t size, std::function<void(const Window&)> sink)
      : up_(to / std::gcd(from, to)), down_(from / std::gcd(from, to)), size_(size), sink_(std::move(sink)) {
    const double cutoff = up_ == down_ ? 1 : std::min(1.0, static_cast<double>(to) / from) * 0.95;
    half_ = up_ == down_ ? 1 : static_cast<std::size_t>(std::ceil(16 / cutoff));
    for (std::size_t phase = 0; phase < up_; ++phase) {
      const std::size_t begin = filter_.size();
      double sum = 0;
      for (std::size_t tap = 0; tap < 2 * half_; ++tap) {
        const double at = static_cast<double>(tap) - static_cast<double>(half_ - 1) - static_cast<double>(phase) / static_cast<double>(up_);
        const double x = std::numbers::pi * cutoff * at, hann = std::cos(std::numbers::pi / 2 * at / static_cast<double>(half_));
        sum += filter_.emplace_back((x == 0 ? 1 : std::sin(x) / x) * hann * hann);
      }
      for (std::size_t tap = begin; tap < filter_.size(); ++tap) filter_[tap] /= sum;
    }
    input_.assign(half_ - 1, {});
  }

  void add(std::span<const std::int16_t> samples, bool is_concealed) {
    for (const std::int16_t sample : samples) {
      input_.push_back({sample, is_concealed});
      for (; at_ / up_ + 2 * half_ <= input_.size(); at_ += down_) output();
      if (const std::size_t done = at_ / up_; done >= 4096) {
        input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(done));
        at_ -= done * up_;
      }
    }
  }
  // The stream is over: what the filter holds comes out.
  void finish() { add(std::vector<std::int16_t>(half_), false); }
  // Time passes in which nothing was sent, and nothing is missing. The window that was not full is left out.
  void skip(std::uint64_t inputs) {
    finish();
    first_ += static_cast<std::int64_t>(window_.size() + inputs * up_ / down_);
    window_.clear(), concealed_ = 0;
    input_.assign(half_ - 1, {}), at_ = 0;
  }

 private:
  struct Input {
    std::int16_t sample = 0;
    bool is_concealed = false;
  };

  void output() {
    const std::size_t begin = at_ / up_;
    const double* taps = &filter_[at_ % up_ * 2 * half_];
    double sum = 0;
    for (std::size_t tap = 0; tap < 2 * half_; ++tap) sum += taps[tap] * input_[begin + tap].sample;
    window_.push_back(static_cast<std::int16_t>(std::clamp(std::lround(sum), -32768L, 32767L)));
    concealed_ += input_[begin + half_ - 1].is_concealed ? 1 : 0;
    if (window_.size() < size_) return;
    sink_({.first = first_, .samples = window_, .concealed = concealed_});
    first_ += static_cast<std::int64_t>(window_.size());
    window_.clear(), concealed_ = 0;
  }

  std::size_t up_, down_, size_, half_ = 0;
  std::function<void(const Window&)> sink_;
  std::vector<double> filter_;  // by place, then by tap
  std::vector<Input> input_;
  std::size_t at_ = 0;  // the next output, in 1/up_ of an input from the first one held
  std::vector<std::int16_t> window_;
  std::size_t concealed_ = 0;
  std::int64_t first_ = 0;
};

struct OpusLength {
  unsigned frames = 0, samples = 0;  // samples of all of them together, at 48 kHz, which is the clock of Opus in RTP (RFC 7587 4.1)
};
// Of a packet, by its first byte, and where that says so its second. Nothing where it breaks the rules of RFC 6716 3.4 that can be seen from them.
inline std::optional<OpusLength> opus_length(std::span<const std::byte> packet) {
  constexpr std::size_t most_frames = 48, largest_frame = 1275;  // [R2, R5]; nobody pads beyond that
  if (packet.empty() || packet.size() > most_frames * (largest_frame + 2)) return {};
  const auto toc = std::to_integer<unsigned>(packet[0]), config = toc >> 3;
  constexpr unsigned silk[] = {480, 960, 1920, 2880}, hybrid[] = {480, 960};
  const unsigned frame = config < 12 ? silk[config & 3] : config < 16 ? hybrid[config & 1] : 120u << (config & 3);
  OpusLength length{.frames = (toc & 3) == 0 ? 1u : 2u, .samples = 0};
  if ((toc & 3) == 1 && packet.size() % 2 == 0) return {};  // two of one size [R3]
  if ((toc & 3) == 3) {
    if (packet.size() < 2) return {};  // [R6]
    length.frames = std::to_integer<unsigned>(packet[1]) & 63;
  }
  length.samples = length.frames * frame;
  if (length.frames == 0 || length.samples > 5760) return {};  // 120 ms at most [R5]
  return length;
}

}  // namespace audio
