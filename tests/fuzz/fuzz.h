// What the fuzz targets share. A target is one function over any bytes; EXPECT ends the process where a promise is broken, and libFuzzer keeps the
// input.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "wire/checksum.h"

#define EXPECT(condition)                                                                \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace gannet::fuzz {

using Bytes = std::vector<std::byte>;

inline std::span<const std::byte> input(const std::uint8_t* data, std::size_t size) { return std::as_bytes(std::span(data, size)); }

inline bool same(std::span<const std::byte> a, std::span<const std::byte> b) { return std::ranges::equal(a, b); }

inline bool within(std::span<const std::byte> inner, std::span<const std::byte> outer) {
  return inner.empty() || (inner.data() >= outer.data() && inner.data() + inner.size() <= outer.data() + outer.size());
}

// A fuzzer does not guess checksums. The input with the checksum at `at` made right over its first `size` bytes, where there are so many.
inline Bytes with_checksum(std::span<const std::byte> bytes, std::size_t at, std::size_t size) {
  Bytes repaired(bytes.begin(), bytes.end());
  if (size > repaired.size() || at + 2 > size) return repaired;
  wire::store_be16(repaired, at, 0);
  wire::ChecksumSum sum;
  sum.add(std::span(repaired).first(size));
  wire::store_be16(repaired, at, sum.checksum());
  return repaired;
}

}  // namespace gannet::fuzz
