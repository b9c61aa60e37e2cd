// What every layer of a stack is given: the engine's resources, the configuration, and what they count in common.
//
// Owner: Stack.  Thread: the engine's.
#pragma once
#include <cstdint>
#include <optional>

#include "base/counter.h"
#include "base/frame.h"
#include "base/rng.h"
#include "base/time.h"
#include "stack/claims.h"
#include "stack/config.h"
#include "stack/fates.h"
#include "stack/path.h"
#include "wire/drop.h"
#include "wire/ip.h"

namespace gannet::stack {

// The layers above IP, as IP calls them. Plain functions, so that IP can be tested with nothing above it; Stack wires them once.
struct UpperLayers {
  struct Protocol {
    void* layer = nullptr;
    // `payload` begins with the upper layer's header and ends where the packet says, without padding; ip.packet lies in the same frame.
    void (*input)(void* layer, const wire::IpInfo& ip, Frame&& payload, Time now) = nullptr;
    // Whether a live socket sent what the error is about, and recently.
    bool (*icmp_error)(void* layer, const IcmpError& error, Time now) = nullptr;
  };
  struct Groups {
    void* layer = nullptr;
    std::optional<Drop> (*refuses)(void* layer, const IpAddress& group, const IpAddress& src, std::uint32_t interface,
                                   std::uint8_t protocol) = nullptr;
  };

  // For a class with input() and icmp_error().
  template <class Layer>
  static Protocol protocol_of(Layer& layer) {
    Protocol protocol{
        &layer, [](void* self, const wire::IpInfo& ip, Frame&& payload, Time now) { static_cast<Layer*>(self)->input(ip, std::move(payload), now); }};
    if constexpr (requires(const IcmpError& error, Time now) { layer.icmp_error(error, now); }) {
      protocol.icmp_error = [](void* self, const IcmpError& error, Time now) { return static_cast<Layer*>(self)->icmp_error(error, now); };
    }
    return protocol;
  }
  // For a class with refuses(). Without one, this host is in no group.
  template <class Layer>
  static Groups groups_of(Layer& layer) {
    return {&layer, [](void* self, const IpAddress& group, const IpAddress& src, std::uint32_t interface, std::uint8_t protocol) {
              return static_cast<const Layer*>(self)->refuses(group, src, interface, protocol);
            }};
  }

  // Why a packet to the group is not for this host.
  [[nodiscard]] std::optional<Drop> refuses(const IpAddress& group, const IpAddress& src, std::uint32_t interface, std::uint8_t protocol) const {
    return groups.refuses == nullptr ? std::optional(Drop::group_not_joined) : groups.refuses(groups.layer, group, src, interface, protocol);
  }

  Protocol udp, igmp;
  Groups groups;
};

// Frames and packets that passed. With the fates:
//   frames_in + frames_made = frames_out + delivered + consumed + dropped + held
struct IpCounters {
  Counter frames_in;    // that links brought
  Counter frames_out;   // that links took
  Counter frames_made;  // by this host: what its upper layers send, fragments and copies of it, ARP

  // RFC 4293, ipSystemStatsTable.
  Counter in_receives, in_delivers, out_requests;
  Counter reassembly_required, reassembly_done, reassembly_failed;
  Counter out_fragment_required, out_fragments_created;
  // RFC 4293, icmpStatsTable.
  Counter icmp_in_messages, icmp_in_errors, icmp_out_messages, icmp_out_errors;
  Counter icmp_out_limited;  // errors that the rate limit, or a lack of frames, held back
};

struct Context {
  FramePools& pools;
  Rng& rng;
  Fates& fates;
  const Config& config;
  UpperLayers upper{};
  Claims claims{};  // of a guest host
  IpCounters counters{};
  // Grows whenever an interface, address, route or path MTU changes: whoever keeps a Path compares.
  std::uint64_t generation = 1;
};

}  // namespace gannet::stack
