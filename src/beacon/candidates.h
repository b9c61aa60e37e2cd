// Those who were heard of, and are to be asked, or were asked, before they are believed.
//
// Nothing depends on a candidate's place here: its answer proves itself (Cookies). A place only serves to ask later rather than at once, again, and
// not twice. So the table is small: buckets of four, chosen by a keyed hash, and who comes to a full one takes the place of another at random. Owner:
// Node.  Thread: its.  Allocates: at construction.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <gannet/address.h>

#include "base/hash.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/token_bucket.h"
#include "beacon/drop.h"

namespace gannet::beacon {

enum class Door : std::uint8_t;

// Where a datagram came from and to, or is to go to and from.
struct Route {
  Address peer{};
  IpAddress local{};            // of ours; any: the system chooses
  std::uint32_t interface = 0;  // 0: the system chooses
  Door door{};
};

struct Candidate {
  std::uint64_t id = 0;  // 0: a free place
  std::uint32_t incarnation = 0;
  Route route{};
  std::uint32_t group_interface = 0;  // by which its multicast came; 0: it came by unicast
  std::size_t heard_size = 0;         // of its datagram; 0: it was heard of through a seed, and is asked in full
  Time due{};                         // when it is asked, or the answer does not come any more
  std::uint8_t left = 1;              // times that it is still to be asked
};

class Candidates {
 public:
  static constexpr std::size_t ways = 4, bucket_count = 128;
  static constexpr std::size_t room = ways * bucket_count;
  static constexpr Duration patience = 500ms;  // for an answer, before it is asked again

  Candidates(const HashKey& key, Rng& rng, DropCounts& drops) : key_(key), rng_(rng), drops_(drops), places_(room) {}

  void add(const Candidate& candidate);
  // Its answer came.
  std::optional<Candidate> take(std::uint64_t id, const Address& source);
  // Calls `ask` for each that is to be asked now; where that is false, there was no leave to ask.
  void advance(Time now, const std::function<bool(const Candidate&)>& ask);
  [[nodiscard]] Time next_due() const { return next_due_; }

 private:
  Candidate* bucket_of(std::uint64_t id, const Address& source);

  HashKey key_;
  Rng& rng_;
  DropCounts& drops_;
  std::vector<Candidate> places_;
  Time next_due_ = never;
};

// What a question carries, and its answer repeats: a hash of the address that was asked, of whom (0, 0: whoever is there) and of the time, so that a
// question is remembered by nobody. Good for 8 to 16 seconds.
class Cookies {
 public:
  explicit Cookies(const HashKey& key) : key_(key) {}
  [[nodiscard]] std::uint64_t make(const Address& asked, std::uint64_t id, std::uint32_t incarnation, Time now) const {
    return make(asked, id, incarnation, slot(now));
  }
  [[nodiscard]] bool is_good(std::uint64_t echo, const Address& source, std::uint64_t id, std::uint32_t incarnation, Time now) const {
    return echo == make(source, id, incarnation, slot(now)) || echo == make(source, id, incarnation, slot(now) - 1);
  }
  static constexpr Duration longest_validity = 16s;

 private:
  static std::int64_t slot(Time now) { return now.time_since_epoch() / Duration(8s); }
  [[nodiscard]] std::uint64_t make(const Address& address, std::uint64_t id, std::uint32_t incarnation, std::int64_t slot) const {
    SipHash hash(key_);
    add_address(hash, address.ip);
    hash.add(address.port);
    hash.add(id);
    hash.add(incarnation);
    hash.add(static_cast<std::uint64_t>(slot));
    const std::uint64_t cookie = hash.finish();
    return cookie != 0 ? cookie : 1;
  }
  HashKey key_;
};

// What one host may have any number of: an IPv4 address, the /64 of an IPv6 one. Link-local ones are of as many hosts as there are on a link.
inline IpAddress prefix_of(IpAddress ip) {
  if (!ip.is_ipv4() && !ip.is_link_local()) std::fill(ip.bytes.begin() + 8, ip.bytes.end(), std::byte{});
  return ip;
}

// So many a second, so many at once.
struct Rate {
  std::uint64_t per_second, burst;
};

// So much in all, twice: for those on a network of ours and for those beyond, so that who forges addresses all over the world takes nothing from our
// neighbours; and so much for each prefix (prefix_of), of prefixes that share a bucket as one.
class Limits {
 public:
  Limits(const HashKey& key, Rate all, Rate each)
      : key_(key), near_(all.per_second, all.burst), far_(all.per_second, all.burst), each_(bucket_count, TokenBucket(each.per_second, each.burst)) {}
  bool take(const IpAddress& address, bool is_near, Time now, std::uint64_t count = 1) {
    TokenBucket& one = each_[siphash(key_, prefix_of(address)) % bucket_count];
    return one.ready_at(now, count) <= now && (is_near ? near_ : far_).take(now, count) && one.take(now, count);
  }

 private:
  static constexpr std::size_t bucket_count = 256;
  HashKey key_;
  TokenBucket near_, far_;
  std::vector<TokenBucket> each_;
};

}  // namespace gannet::beacon
