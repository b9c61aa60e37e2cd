#include "base/hash.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace gannet {
namespace {

// The key and the messages of the reference implementation: 00 01 02 ... 0f, and 00 01 02 ... of each length.
constexpr HashKey reference_key{0x0706050403020100, 0x0f0e0d0c0b0a0908};

std::array<std::byte, 64> counting() {
  std::array<std::byte, 64> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

// X9: the published vectors; the one for length 15 stands in the paper's appendix.
TEST(SipHash, AgreesWithTheReferenceVectors) {
  const auto message = counting();
  const auto hash = [&](std::size_t size) { return siphash(reference_key, std::span(message).first(size)); };
  EXPECT_EQ(hash(0), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(hash(1), 0x74f839c593dc67fdu);
  EXPECT_EQ(hash(2), 0x0d6c8009d9a94f5au);
  EXPECT_EQ(hash(3), 0x85676696d7fb7e2du);
  EXPECT_EQ(hash(7), 0xab0200f58b01d137u);
  EXPECT_EQ(hash(8), 0x93f5f5799a932462u);
  EXPECT_EQ(hash(9), 0x9e0082df0ba9e4b0u);
  EXPECT_EQ(hash(15), 0xa129ca6149be45e5u);
  EXPECT_EQ(hash(16), 0x3f2acc7f57c29bdbu);
  EXPECT_EQ(hash(63), 0x958a324ceb064572u);
}

TEST(SipHash, AddressesPortsAndKeysAllCount) {
  const auto a = IpAddress::ipv4(10, 7, 0, 1);
  const auto b = IpAddress::ipv4(10, 7, 0, 2);
  auto c = IpAddress::any(Family::ipv6);
  auto d = c;
  d.bytes[15] = std::byte{1};
  const HashKey other{1, 2};
  const std::set<std::uint64_t> hashes{siphash(reference_key, a),    siphash(reference_key, a, 1), siphash(reference_key, a, b),
                                       siphash(reference_key, b, a), siphash(other, a, b),         siphash(reference_key, a, b, 7),
                                       siphash(reference_key, c),    siphash(reference_key, d),    siphash(reference_key, c, d)};
  EXPECT_EQ(hashes.size(), 9u);
}

}  // namespace
}  // namespace gannet
