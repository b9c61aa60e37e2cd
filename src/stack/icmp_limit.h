// How many ICMP errors we send: a bucket of tokens for all of them, and one for each destination.
//
// The destination's bucket is asked first, so that a flood from one sender does not use up what belongs to all. The common bucket takes a random
// number of tokens, one on average, so that nobody can count it to learn which of our ports are open (CVE-2020-25705). Owner: Icmp4.  Thread: the
// engine's.  Allocates: once.  Bound: 256 buckets; destinations that fall into the same one share it. Sources: RFC 4443 2.4f; RFC 1812 4.3.2.8.
#pragma once
#include <vector>

#include <gannet/address.h>

#include "base/hash.h"
#include "base/token_bucket.h"
#include "stack/context.h"

namespace gannet::stack {

class IcmpLimit {
 public:
  explicit IcmpLimit(Context& context);
  // Whether an error to `dst` may be sent now; if so, it is counted.
  [[nodiscard]] bool allow(const IpAddress& dst, Time now);

 private:
  Context& context_;
  HashKey key_;  // nobody outside can aim at another's bucket
  TokenBucket all_;
  std::vector<TokenBucket> destinations_;
};

}  // namespace gannet::stack
