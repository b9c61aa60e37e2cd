// Random numbers for simulation, jitter and spreading: fast, seeded, the same everywhere. Never for secrets: see hash.h for what an attacker must
// not guess.
//
// xoshiro256++ (Blackman and Vigna, 2019), its state filled by splitmix64 from a 64-bit seed. Satisfies std::uniform_random_bit_generator.
// Owner: whoever it was injected into.  Thread: one.  Allocates: never.
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "base/assert.h"

namespace gannet {

// One step of splitmix64: spreads `state` over 64 bits, so that neighbouring seeds give unrelated numbers.
constexpr std::uint64_t splitmix64(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

class Rng {
 public:
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }

  explicit constexpr Rng(std::uint64_t seed) {
    for (auto& word : state_) word = splitmix64(seed);
  }

  constexpr std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  constexpr result_type operator()() { return next(); }

  // Uniform over 0 .. bound-1, without bias (Lemire's multiplication, rejecting the uneven rest). `bound` is at least 1.
  constexpr std::uint32_t below(std::uint32_t bound) {
    ASSERT(bound != 0);
    std::uint64_t product = (next() >> 32) * bound;
    if (static_cast<std::uint32_t>(product) < bound) {
      const std::uint32_t threshold = (0u - bound) % bound;
      while (static_cast<std::uint32_t>(product) < threshold) product = (next() >> 32) * bound;
    }
    return static_cast<std::uint32_t>(product >> 32);
  }
  // Uniform over low .. high, both included.
  constexpr std::uint32_t between(std::uint32_t low, std::uint32_t high) {
    ASSERT(low <= high);
    const std::uint32_t width = high - low + 1;
    return width == 0 ? static_cast<std::uint32_t>(next() >> 32) : low + below(width);
  }
  // Uniform over [0, 1).
  constexpr double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // True with this probability: never at 0, always at 1.
  constexpr bool chance(double probability) { return unit() < probability; }

 private:
  std::array<std::uint64_t, 4> state_;
};

}  // namespace gannet
