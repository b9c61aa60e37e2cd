// A keyed hash for whatever an attacker must not predict: ephemeral ports, identifiers, the buckets of tables whose keys come from the network.
//
// SipHash-2-4. The key is injected: from the system's randomness in earnest, from a seed in tests.
// Thread: any; plain values.  Allocates: never.
// Sources: Aumasson and Bernstein, "SipHash: a fast short-input PRF"; RFC 6056 and RFC 6864 ask for such a function.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <gannet/address.h>

namespace gannet {

struct HashKey {
  std::uint64_t k0 = 0;
  std::uint64_t k1 = 0;
};

// Two words multiplied, both halves of the product mixed. Some ten times cheaper than SipHash, and enough for the buckets of a table where one of the
// words hides a key; never for what is shown to anybody.
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// The running state: add words of eight bytes, then finish() with what is left of the message.
class SipHash {
 public:
  explicit constexpr SipHash(const HashKey& key)
      : v0_(key.k0 ^ 0x736f6d6570736575), v1_(key.k1 ^ 0x646f72616e646f6d), v2_(key.k0 ^ 0x6c7967656e657261), v3_(key.k1 ^ 0x7465646279746573) {}

  constexpr void add(std::uint64_t word) {
    size_ += 8;
    absorb(word);
  }
  // `tail` holds the last 0 to 7 bytes, the first of them lowest.
  [[nodiscard]] constexpr std::uint64_t finish(std::uint64_t tail = 0, std::size_t tail_size = 0) {
    absorb(tail | (size_ + tail_size) << 56);
    v2_ ^= 0xff;
    for (int i = 0; i < 4; ++i) round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  constexpr void absorb(std::uint64_t word) {
    v3_ ^= word;
    round();
    round();
    v0_ ^= word;
  }
  constexpr void round() {
    v0_ += v1_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v3_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ += v3_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ += v1_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }
  std::uint64_t v0_, v1_, v2_, v3_;
  std::uint64_t size_ = 0;
};

// The hash of any bytes. On a big-endian machine other numbers come out, which nobody compares.
[[nodiscard]] inline std::uint64_t siphash(const HashKey& key, std::span<const std::byte> bytes) {
  SipHash hash(key);
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    hash.add(word);
  }
  std::uint64_t tail = 0;
  if (!bytes.empty()) std::memcpy(&tail, bytes.data(), bytes.size());
  return hash.finish(tail, bytes.size());
}

// The hash of an address, or of two with a number beside them (ports, a protocol, an interface): what tables and identifiers are keyed by.
inline void add_address(SipHash& hash, const IpAddress& ip) {
  std::uint64_t words[2];
  std::memcpy(words, ip.bytes.data(), sizeof words);
  hash.add(words[0]);
  if (!ip.is_ipv4()) hash.add(words[1]);
}
[[nodiscard]] inline std::uint64_t siphash(const HashKey& key, const IpAddress& ip, std::uint64_t number = 0) {
  SipHash hash(key);
  add_address(hash, ip);
  hash.add(number);
  return hash.finish();
}
[[nodiscard]] inline std::uint64_t siphash(const HashKey& key, const IpAddress& a, const IpAddress& b, std::uint64_t number = 0) {
  SipHash hash(key);
  add_address(hash, a);
  add_address(hash, b);
  hash.add(number);
  return hash.finish();
}

}  // namespace gannet
