// How many ICMP errors we send: a bucket of tokens for all of them, and one for each destination.
//
// The destination's bucket is asked first, so that a flood from one sender does not use up what belongs to all. The common bucket takes a random
// number of tokens, one on average, so that nobody can count it to learn which of our ports are open (CVE-2020-25705). Owner: Icmp4.  Thread: the
// engine's.  Allocates: nothing.  Bound: 256 buckets; destinations that fall into the same one share it. Sources: RFC 4443 2.4f; RFC 1812 4.3.2.8.
#pragma once
#include <array>
#include <cstdint>

#include <gannet/address.h>

#include "stack/context.h"

namespace gannet::stack {

class IcmpLimit {
 public:
  explicit IcmpLimit(Context& context);
  // Whether an error to `dst` may be sent now; if so, it is counted.
  [[nodiscard]] bool allow(const IpAddress& dst, Time now);

 private:
  struct Bucket {
    double tokens = -1;  // -1: never used, so full
    Time filled{};
  };
  // Adds what has flowed in since; whether there is a token.
  static bool fill(Bucket& bucket, std::uint32_t rate, std::uint32_t burst, Time now);

  Context& context_;
  std::uint64_t key_;
  Bucket all_;
  std::array<Bucket, 256> destinations_;
};

}  // namespace gannet::stack
