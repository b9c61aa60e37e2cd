#include "wire/checksum.h"

#include <array>
#include <utility>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace gannet::wire {
namespace {

std::uint64_t add_with_carry(std::uint64_t sum, std::uint64_t word) {
  const bool carry = __builtin_add_overflow(sum, word, &sum);
  return sum + carry;
}

#ifdef __x86_64__
// One chain of carries, which compilers do not make of the sum below.
[[gnu::always_inline]] inline std::uint64_t add_64_bytes(std::uint64_t sum, const std::byte* at) {
  asm("addq (%1), %0\n\tadcq 8(%1), %0\n\tadcq 16(%1), %0\n\tadcq 24(%1), %0\n\t"
      "adcq 32(%1), %0\n\tadcq 40(%1), %0\n\tadcq 48(%1), %0\n\tadcq 56(%1), %0\n\tadcq $0, %0"
      : "+r"(sum)
      : "r"(at), "m"(*reinterpret_cast<const std::array<std::byte, 64>*>(at))
      : "cc");
  return sum;
}
#endif

template <std::size_t size>
[[gnu::always_inline]] inline std::uint64_t add_bytes(std::uint64_t sum, const std::byte* at) {
  if constexpr (size == 8) return add_with_carry(sum, load_native<std::uint64_t>(at));
#ifdef __x86_64__
  if constexpr (size == 64) return add_64_bytes(sum, at);
#endif
  if constexpr (size > 8) return add_bytes<size / 2>(add_bytes<size / 2>(sum, at), at + size / 2);
}

// From here on the vector sum, with its setup and its final fold, is faster.
constexpr std::size_t short_limit = 128;

// A short length is a sum of powers of two: no loop, and few branches.
[[gnu::always_inline]] inline std::uint64_t sum_short(std::span<const std::byte> bytes) {
  const std::byte* at = bytes.data();
  const std::size_t size = bytes.size();
  std::uint64_t sum = 0;
  if (size & 64) sum = add_bytes<64>(sum, std::exchange(at, at + 64));
  if (size & 32) sum = add_bytes<32>(sum, std::exchange(at, at + 32));
  if (size & 16) sum = add_bytes<16>(sum, std::exchange(at, at + 16));
  if (size & 8) sum = add_bytes<8>(sum, std::exchange(at, at + 8));
  if ((size & 7) == 0) return sum;
  if (size & 4) sum = add_with_carry(sum, load_native<std::uint32_t>(std::exchange(at, at + 4)));
  if (size & 2) sum = add_with_carry(sum, load_native<std::uint16_t>(std::exchange(at, at + 2)));
  // The odd byte comes first in its 16-bit word, whatever the byte order of the machine.
  if (size & 1) sum = add_with_carry(sum, big_endian(static_cast<std::uint16_t>(std::to_integer<unsigned>(*at) << 8)));
  return sum;
}

}  // namespace

std::uint64_t sum_scalar(std::span<const std::byte> bytes) {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t sum = 0;
  for (; left >= short_limit; at += 64, left -= 64) sum = add_bytes<64>(sum, at);
  return add_with_carry(sum, sum_short({at, left}));
}

std::uint64_t copy_and_sum_scalar(std::span<std::byte> to, std::span<const std::byte> from) {
  ASSERT(to.size() == from.size());
  // What is summed is the copy: whoever can write to `from` may do so meanwhile.
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
  return sum_scalar(to);
}

#ifdef __x86_64__

namespace {

// Sums of 64-bit lanes lose their carries. So the high halves are summed once more by themselves: they cannot overflow, and taking them out of the
// wrapped sums of whole lanes leaves the exact sums of the low halves. Four instructions for 32 bytes.
struct Lanes {
  __m256i whole;
  __m256i high;
};

__attribute__((target("avx2"))) inline void accumulate(Lanes& lanes, __m256i words) {
  lanes.whole = _mm256_add_epi64(lanes.whole, words);
  lanes.high = _mm256_add_epi64(lanes.high, _mm256_srli_epi64(words, 32));
}

__attribute__((target("avx2"))) inline std::uint64_t reduce(const Lanes& a, const Lanes& b) {
  const __m256i whole = _mm256_add_epi64(a.whole, b.whole);
  const __m256i high = _mm256_add_epi64(a.high, b.high);
  const __m256i low = _mm256_sub_epi64(whole, _mm256_slli_epi64(high, 32));
  // Half sums are far below 2^48, and 2^32 is 1 in this arithmetic: the halves just add.
  const __m256i sums = _mm256_add_epi64(low, high);
  const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(pair)) + static_cast<std::uint64_t>(_mm_extract_epi64(pair, 1));
}

}  // namespace

__attribute__((target("avx2"))) std::uint64_t sum_avx2(std::span<const std::byte> bytes) {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  Lanes a{_mm256_setzero_si256(), _mm256_setzero_si256()};
  Lanes b = a;
  for (; left >= 64; at += 64, left -= 64) {
    accumulate(a, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    accumulate(b, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32)));
  }
  return add_with_carry(reduce(a, b), sum_scalar({at, left}));
}

__attribute__((target("avx2"))) std::uint64_t copy_and_sum_avx2(std::span<std::byte> to, std::span<const std::byte> from) {
  ASSERT(to.size() == from.size());
  std::byte* out = to.data();
  const std::byte* at = from.data();
  std::size_t left = from.size();
  Lanes a{_mm256_setzero_si256(), _mm256_setzero_si256()};
  Lanes b = a;
  for (; left >= 64; at += 64, out += 64, left -= 64) {
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), first);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32), second);
    accumulate(a, first);
    accumulate(b, second);
  }
  return add_with_carry(reduce(a, b), copy_and_sum_scalar({out, left}, {at, left}));
}

bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }

#else

std::uint64_t sum_avx2(std::span<const std::byte> bytes) { return sum_scalar(bytes); }
std::uint64_t copy_and_sum_avx2(std::span<std::byte> to, std::span<const std::byte> from) { return copy_and_sum_scalar(to, from); }
bool has_avx2() { return false; }

#endif

std::uint64_t sum_bytes(std::span<const std::byte> bytes) {
  if (bytes.size() < short_limit) return sum_short(bytes);
  return has_avx2() ? sum_avx2(bytes) : sum_scalar(bytes);
}

std::uint64_t copy_and_sum(std::span<std::byte> to, std::span<const std::byte> from) {
  return from.size() >= short_limit && has_avx2() ? copy_and_sum_avx2(to, from) : copy_and_sum_scalar(to, from);
}

}  // namespace gannet::wire
