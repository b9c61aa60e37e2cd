// The Internet checksum (RFC 1071) as a running sum, so that a pseudo-header, a header and a payload add up without being copied together.
//
// The sum runs over 64-bit words in the machine's own byte order with the carry brought around, which RFC 1071 2(B) allows, and is swapped once
// at the end. Long pieces take AVX2 where the processor has it.
// Thread: any; plain values.  Allocates: never.
// Sources: RFC 1071; RFC 1624 (incremental update); RFC 768 and RFC 8200 8.1 (pseudo-headers).
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <gannet/address.h>

#include "base/assert.h"
#include "wire/endian.h"

namespace gannet::wire {

// The end-around-carry sum of `bytes` as native 64-bit words, an odd tail padded with zeros. The variants exist for the tests; use ChecksumSum.
[[nodiscard]] std::uint64_t sum_scalar(std::span<const std::byte> bytes);
[[nodiscard]] std::uint64_t sum_avx2(std::span<const std::byte> bytes);  // only where has_avx2()
[[nodiscard]] std::uint64_t sum_bytes(std::span<const std::byte> bytes);
// The same while copying to `to`, which is as long and does not overlap.
[[nodiscard]] std::uint64_t copy_and_sum_scalar(std::span<std::byte> to, std::span<const std::byte> from);
[[nodiscard]] std::uint64_t copy_and_sum_avx2(std::span<std::byte> to, std::span<const std::byte> from);
[[nodiscard]] std::uint64_t copy_and_sum(std::span<std::byte> to, std::span<const std::byte> from);
[[nodiscard]] bool has_avx2();

template <class Word>
[[nodiscard]] inline Word load_native(const std::byte* at) {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

class ChecksumSum {
 public:
  // Adds bytes as big-endian 16-bit words. Every piece but the last must have an even length.
  void add(std::span<const std::byte> bytes) { add_native(sum_bytes(bytes)); }
  // The same for a header whose size is known, without a call.
  template <std::size_t size>
  void add_header(const std::byte* bytes);
  // Adds a number as its big-endian 16-bit words.
  void add(std::uint32_t value) { add_native(big_endian(value)); }
  void add(std::uint64_t value) { add_native(big_endian(value)); }
  void add_pseudo_header(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::uint32_t upper_length) {
    add_native(first_words(src, dst) + big_endian(upper_length) + big_endian(std::uint32_t{protocol}));
    if (src.is_ipv4()) return;
    for (const IpAddress* ip : {&src, &dst}) {
      add_native(load_native<std::uint32_t>(ip->bytes.data() + 4));
      add_native(load_native<std::uint64_t>(ip->bytes.data() + 8));
    }
  }
  // IPv4 addresses.
  void add_addresses(const IpAddress& src, const IpAddress& dst) { add_native(first_words(src, dst)); }
  // Copies `from` to `to`, which has the same size, and adds it on the way.
  void add_copy(std::span<std::byte> to, std::span<const std::byte> from) { add_native(copy_and_sum(to, from)); }
  void add(const ChecksumSum& other) { add_native(other.sum_); }

  // Over the bytes added, a correct checksum among them, everything agrees: the sum is all ones, that is, a multiple of 0xffff other than zero. (The
  // byte order and the folding do not matter to that.)
  [[nodiscard]] bool agrees() const { return sum_ % 0xffff == 0 && sum_ != 0; }
  // The sum in 16 bits.
  [[nodiscard]] std::uint16_t folded() const {
    // A word and itself with its halves exchanged: the upper half of their sum is the sum of the halves with the carry brought around.
    const auto half = static_cast<std::uint32_t>((sum_ + std::rotl(sum_, 32)) >> 32);
    return big_endian(static_cast<std::uint16_t>((half + std::rotl(half, 16)) >> 16));
  }
  // What goes into a checksum field that was zero while the sum was made.
  [[nodiscard]] std::uint16_t checksum() const { return static_cast<std::uint16_t>(~folded()); }

 private:
  // Numbers below 2^32: the sum of four needs no carry. The unused tail of an IPv4 address is zero and adds nothing.
  static std::uint64_t first_words(const IpAddress& src, const IpAddress& dst) {
    return std::uint64_t{load_native<std::uint32_t>(src.bytes.data())} + load_native<std::uint32_t>(dst.bytes.data());
  }
  void add_native(std::uint64_t words) { sum_ += static_cast<std::uint64_t>(__builtin_add_overflow(sum_, words, &sum_)); }

  std::uint64_t sum_ = 0;
};

template <std::size_t size>
inline void ChecksumSum::add_header(const std::byte* bytes) {
  static_assert(size % 4 == 0);
  for (std::size_t i = 0; i + 8 <= size; i += 8) add_native(load_native<std::uint64_t>(bytes + i));
  if constexpr (size % 8 != 0) add_native(load_native<std::uint32_t>(bytes + size - 4));
}

// The checksum after one 16-bit word under it changed (RFC 1624, equation 3).
[[nodiscard]] constexpr std::uint16_t update_checksum(std::uint16_t checksum, std::uint16_t old_word, std::uint16_t new_word) {
  std::uint32_t sum = static_cast<std::uint16_t>(~checksum);
  sum += static_cast<std::uint16_t>(~old_word);
  sum += new_word;
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<std::uint16_t>(~sum);
}

}  // namespace gannet::wire
