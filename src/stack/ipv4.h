// IPv4, in and out: what is for us goes up, what is from us goes to its neighbour, its group or back.
//
// Owner: Stack.  Thread: the engine's.  Allocates: nothing; fragments and copies for ourselves take frames.
// Bounds: the loopback queue (Drop::loopback_queue_full). It is emptied by run_loopback() and never by the call that fills it: no recursion.
// Sources: RFC 791; RFC 1122 3.2.1, 3.3.6; RFC 6864 (identification); RFC 3168 (ECN); RFC 6890 (addresses that no wire carries).
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <gannet/result.h>

#include "base/frame.h"
#include "base/hash.h"
#include "stack/context.h"
#include "stack/interface.h"
#include "stack/neighbor.h"
#include "stack/path.h"
#include "stack/reassembly.h"
#include "wire/ip.h"
#include "wire/ipv4.h"

namespace gannet::stack {

class Icmp4;

class Ipv4 {
 public:
  Ipv4(Context& context, Interfaces& interfaces, Neighbors& neighbors);
  void attach(Icmp4& icmp) { icmp_ = &icmp; }

  // A packet, with what its link padded, that came by an interface.
  void input(Interface& interface, Frame&& packet, bool link_broadcast, Time now);
  // See IpLayer::output.
  Result<void> output(Frame&& payload, const wire::IpInfo& ip, const Path& path, Fragmentation fragmentation, Time now, bool loop);

  // Brings what we sent to ourselves: at most as many packets as waited when it was called.
  void run_loopback(Time now);

  [[nodiscard]] Time next_wakeup() const;
  void advance(Time now);
  // Frames that wait, for their other fragments or in the loopback queue.
  [[nodiscard]] std::size_t held() const { return reassembly_.held() + loopback_count_; }
  [[nodiscard]] const Reassembly& reassembly() const { return reassembly_; }

  void advise_delivery(const Path& path, bool delivers, Time now) {
    if (path.kind == PathKind::unicast && path.via->is_ethernet()) neighbors_.advise(*path.via, path.next_hop, delivers, now);
  }

 private:
  enum class Origin : std::uint8_t { link, kernel, loopback };  // kernel: of a guest, which shares its addresses
  struct Looped {
    Frame packet;
    std::uint32_t interface = 0;
  };

  // A source and destination that may come by an interface, as they stood in a packet.
  struct Accepted {
    std::uint64_t addresses = 0;
    std::uint64_t generation = 0;
    std::uint32_t interface = 0;
    bool to_group = false;
  };

  void input_any(Interface& interface, Frame&& packet, bool link_broadcast, Origin origin, Time now);
  [[nodiscard]] static Origin origin_of(const Interface& interface);
  void drop_received(Drop reason, const Frame& packet);
  [[nodiscard]] std::optional<Drop> check_addresses(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::uint32_t interface,
                                                    bool link_broadcast, Origin origin) const;
  // Of a destination that was accepted: a broadcast address or a group.
  [[nodiscard]] bool is_group(const IpAddress& dst, std::uint32_t interface) const;
  void deliver_parsed(const wire::Ipv4& ipv4, std::uint32_t interface, bool link_broadcast, Origin origin, Frame&& packet, Time now);
  void deliver(const wire::IpInfo& ip, Frame&& packet, Time now);
  Result<void> output_any(Frame&& payload, const wire::IpInfo& ip, const Path& path, Fragmentation fragmentation, std::uint32_t mtu, Time now,
                          bool loop);
  void output_whole(Frame&& payload, const wire::IpInfo& ip, wire::Ipv4Header& header, const Path& path, Fragmentation fragmentation, Time now);
  void output_to_kernel(Frame&& payload, wire::Ipv4Header& header, const Path& path, Fragmentation fragmentation, bool loop);
  Result<void> output_fragments(const Frame& payload, wire::Ipv4Header header, const Path& path, std::uint32_t mtu, Time now);
  void transmit(Frame&& packet, const IpAddress& dst, const Path& path, Time now);
  void transmit_otherwise(Frame&& packet, const IpAddress& dst, const Path& path);
  void loop_copy(const Frame& payload, const wire::Ipv4Header& header, std::uint32_t interface);
  void push_loopback(Frame&& packet, std::uint32_t interface);
  [[nodiscard]] std::uint16_t next_id(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol);

  Context& context_;
  Interfaces& interfaces_;
  Neighbors& neighbors_;
  Icmp4* icmp_ = nullptr;
  std::array<Accepted, 64> accepted_{};
  Reassembly reassembly_;
  std::vector<Looped> loopback_;  // a ring
  std::size_t loopback_first_ = 0, loopback_count_ = 0;
  HashKey id_key_;
  std::array<std::uint16_t, 1024> id_counters_;
};

// The way of nearly every packet out, as part of its callers.
[[gnu::always_inline]] inline Result<void> Ipv4::output(Frame&& payload, const wire::IpInfo& ip, const Path& path, Fragmentation fragmentation,
                                                        Time now, bool loop) {
  const std::size_t size = wire::ipv4_header_size + payload.size();
  const std::uint32_t mtu = uses_path_mtu(fragmentation) ? path.mtu : path.interface_mtu;
  const bool is_plain = path.kind == PathKind::unicast && !path.guest && size <= mtu && ip.options.empty() && ip.hop_limit != 0;
  if (!is_plain) [[unlikely]]
    return output_any(std::move(payload), ip, path, fragmentation, mtu, now, loop);
  wire::Ipv4Header header{.src = ip.src, .dst = ip.dst, .protocol = ip.protocol, .ttl = ip.hop_limit, .tos = ip.tos};
  output_whole(std::move(payload), ip, header, path, fragmentation, now);
  return {};
}

[[gnu::always_inline]] inline void Ipv4::output_whole(Frame&& payload, const wire::IpInfo& ip, wire::Ipv4Header& header, const Path& path,
                                                      Fragmentation fragmentation, Time now) {
  context_.counters.out_requests.add();
  header.dont_fragment = fragmentation == Fragmentation::want ? !path.mtu_is_floor : always_sets_df(fragmentation);
  // A packet that nobody may fragment needs no identification (RFC 6864 section 4).
  if (!header.dont_fragment) [[unlikely]]
    header.id = next_id(ip.src, ip.dst, ip.protocol);
  payload.prepend(header.size());
  wire::emit_ipv4(header, payload.bytes());
  transmit(std::move(payload), ip.dst, path, now);
}

[[gnu::always_inline]] inline void Ipv4::transmit(Frame&& packet, const IpAddress& dst, const Path& path, Time now) {
  if (path.kind != PathKind::unicast || !path.via->is_ethernet()) [[unlikely]]
    return transmit_otherwise(std::move(packet), dst, path);
  context_.counters.frames_made.add();
  neighbors_.output(*path.via, path.next_hop, std::move(packet), now);
}

}  // namespace gannet::stack
