#include "wire/checksum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/rng.h"

namespace gannet::wire {
namespace {

// RFC 1071 as its first page says it: 16-bit big-endian words, one after the other.
class Naive {
 public:
  void add(std::byte byte) {
    sum_ += std::to_integer<std::uint64_t>(byte) << (odd_ ? 0 : 8);
    odd_ = !odd_;
  }
  [[nodiscard]] std::uint16_t folded() const {
    std::uint64_t sum = sum_;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
  }

 private:
  std::uint64_t sum_ = 0;
  bool odd_ = false;
};

std::uint16_t fold(std::uint64_t native) {
  while (native >> 16) native = (native & 0xffff) + (native >> 16);
  return big_endian(static_cast<std::uint16_t>(native));
}

constexpr std::size_t longest = 9001;

std::vector<std::byte> random_bytes(std::size_t size) {
  Rng rng(1071);
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(rng.next());
  return bytes;
}

// Calls check(piece, expected) for every length up to 9001 at each of four alignments.
template <class Check>
void at_every_length(const std::vector<std::byte>& bytes, Check check) {
  for (std::size_t alignment = 0; alignment < 4; ++alignment) {
    Naive naive;
    for (std::size_t length = 0; length <= longest; ++length) {
      ASSERT_NO_FATAL_FAILURE(check(std::span(bytes).subspan(alignment, length), naive.folded())) << length << " at " << alignment;
      naive.add(bytes[alignment + length]);
    }
  }
}

TEST(Checksum, EveryVariantAgreesWithTheNaiveSumAtEveryLengthAndAlignment) {
  const auto bytes = random_bytes(longest + 8);
  at_every_length(bytes, [](std::span<const std::byte> piece, std::uint16_t expected) {
    ASSERT_EQ(fold(sum_scalar(piece)), expected);
    ASSERT_EQ(fold(sum_bytes(piece)), expected);
    ASSERT_EQ(fold(has_avx2() ? sum_avx2(piece) : sum_scalar(piece)), expected);
  });
}

TEST(Checksum, CopiesWhatItSumsAndNothingElse) {
  const auto bytes = random_bytes(longest + 8);
  std::vector<std::byte> to(longest + 8);
  at_every_length(bytes, [&](std::span<const std::byte> piece, std::uint16_t expected) {
    const std::size_t size = piece.size();
    to[size + 1] = std::byte{0xa5};
    ASSERT_EQ(fold(copy_and_sum({to.data() + 1, size}, piece)), expected);
    ASSERT_EQ(std::memcmp(to.data() + 1, piece.data(), size), 0);
    ASSERT_EQ(to[size + 1], std::byte{0xa5});
  });
}

TEST(Checksum, BothCopyingVariantsAgree) {
  const auto bytes = random_bytes(512);
  std::vector<std::byte> to(512);
  for (std::size_t size = 0; size <= 511; ++size) {
    const std::span<const std::byte> piece(bytes.data() + 1, size);
    std::ranges::fill(to, std::byte{0});
    EXPECT_EQ(fold(copy_and_sum_scalar({to.data(), size}, piece)), fold(sum_scalar(piece)));
    EXPECT_TRUE(std::ranges::equal(std::span(to).first(size), piece));
    if (!has_avx2()) continue;
    std::ranges::fill(to, std::byte{0});
    EXPECT_EQ(fold(copy_and_sum_avx2({to.data(), size}, piece)), fold(sum_scalar(piece)));
    EXPECT_TRUE(std::ranges::equal(std::span(to).first(size), piece));
  }
}

// All ones is where carries get lost.
TEST(Checksum, CarriesGoAround) {
  const std::vector<std::byte> ones(longest, std::byte{0xff});
  for (std::size_t length = 2; length < ones.size(); length += 2) {
    ChecksumSum sum;
    sum.add(std::span(ones).first(length));
    ASSERT_EQ(sum.folded(), 0xffff) << length;
  }
}

TEST(Checksum, PiecesAddUpToTheWhole) {
  const auto bytes = random_bytes(200);
  ChecksumSum whole;
  whole.add(bytes);
  for (std::size_t cut = 0; cut <= bytes.size(); cut += 2) {
    ChecksumSum pieces;
    pieces.add(std::span(bytes).first(cut));
    ChecksumSum rest;
    rest.add(std::span(bytes).subspan(cut));
    pieces.add(rest);
    EXPECT_EQ(pieces.folded(), whole.folded()) << cut;
  }
  ChecksumSum header;
  header.add_header<20>(bytes.data());
  ChecksumSum span;
  span.add(std::span(bytes).first(20));
  EXPECT_EQ(header.folded(), span.folded());
}

// RFC 1071 section 3, the worked example.
TEST(Checksum, AgreesWithTheExampleOfRfc1071) {
  const std::array bytes{std::byte{0x00}, std::byte{0x01}, std::byte{0xf2}, std::byte{0x03},
                         std::byte{0xf4}, std::byte{0xf5}, std::byte{0xf6}, std::byte{0xf7}};
  ChecksumSum sum;
  sum.add(bytes);
  EXPECT_EQ(sum.folded(), 0xddf2);
}

// RFC 1624 section 4: the example in which equation 2 goes wrong, then any words at all.
TEST(Checksum, UpdatesIncrementally) {
  EXPECT_EQ(update_checksum(0xdd2f, 0x5555, 0x3285), 0x0000);
  Rng rng(1624);
  for (int i = 0; i < 10'000; ++i) {
    std::array<std::byte, 20> header{};
    for (auto& byte : header) byte = static_cast<std::byte>(rng.next());
    const auto checksum_of = [&] {
      ChecksumSum sum;
      sum.add(header);
      return sum.checksum();
    };
    const auto before = checksum_of();
    const auto old_word = load_be16(header, 8);
    const auto new_word = static_cast<std::uint16_t>(rng.next());
    store_be16(header, 8, new_word);
    ASSERT_EQ(update_checksum(before, old_word, new_word), checksum_of());
  }
}

}  // namespace
}  // namespace gannet::wire
