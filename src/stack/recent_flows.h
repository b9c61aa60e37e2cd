// Where this host has sent lately: what an ICMP error must be about to be believed (RFC 8085 5.2).
//
// A table of fingerprints of flows with the time of their last datagram. Flows that meet in one slot displace each other: the later one is
// remembered, and an error about the earlier is lost, as any ICMP message may be. Owner: Udp.  Thread: the engine's.  Allocates: once.  Bound: 4,096
// flows.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include <gannet/address.h>

#include "base/hash.h"
#include "base/time.h"

namespace gannet::stack {

class RecentFlows {
 public:
  explicit RecentFlows(const HashKey& key) : key_(key), slots_(std::make_unique<Slots>()) {}

  void remember(std::uint16_t local_port, const IpAddress& peer, std::uint16_t peer_port, Time now) {
    const std::uint64_t hash = hash_of(local_port, peer, peer_port);
    (*slots_)[hash % slot_count] = {static_cast<std::uint32_t>(hash >> 32), tick_of(now)};
  }
  // Whether something went there within about two minutes: longer than any packet lives (RFC 1122 3.2.1.7).
  [[nodiscard]] bool contains(std::uint16_t local_port, const Address& peer, Time now) const {
    const std::uint64_t hash = hash_of(local_port, peer.ip, peer.port);
    const Slot& slot = (*slots_)[hash % slot_count];
    return slot.tick != 0 && slot.fingerprint == static_cast<std::uint32_t>(hash >> 32) && tick_of(now) - slot.tick <= 112;
  }

  // Times that nothing above can tell apart: 2^30 ns, a little more than a second; never 0.
  static std::uint32_t tick_of(Time time) { return static_cast<std::uint32_t>(time.time_since_epoch().count() >> 30) + 1; }

 private:
  struct Slot {
    std::uint32_t fingerprint = 0;
    std::uint32_t tick = 0;  // 0: never used
  };
  static constexpr std::size_t slot_count = 4096;
  using Slots = std::array<Slot, slot_count>;

  [[nodiscard]] std::uint64_t hash_of(std::uint16_t local_port, const IpAddress& peer, std::uint16_t peer_port) const {
    std::uint64_t words[2];
    std::memcpy(words, peer.bytes.data(), sizeof words);
    return mix(words[0] ^ key_.k0 ^ (std::uint64_t{local_port} << 48 | std::uint64_t{peer_port} << 32), words[1] ^ key_.k1);
  }

  HashKey key_;
  std::unique_ptr<Slots> slots_;
};

}  // namespace gannet::stack
