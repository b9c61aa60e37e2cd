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
#include "stack/path.h"
#include "stack/reassembly.h"
#include "wire/ip.h"
#include "wire/ipv4.h"

namespace gannet::stack {

class Icmp4;
class Neighbors;

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

 private:
  enum class Origin : std::uint8_t { link, loopback };
  struct Looped {
    Frame packet;
    std::uint32_t interface = 0;
  };

  // A source and destination that may come by an interface, as they stood in a packet.
  struct Accepted {
    std::uint64_t addresses = 0;
    std::uint64_t generation = 0;
    std::uint32_t interface = 0;
  };

  void input_any(Interface& interface, Frame&& packet, bool link_broadcast, Origin origin, Time now);
  void drop_received(Drop reason, const Frame& packet);
  [[nodiscard]] std::optional<Drop> check_addresses(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::uint32_t interface,
                                                    bool link_broadcast, Origin origin) const;
  void deliver_parsed(const wire::Ipv4& ipv4, std::uint32_t interface, bool link_broadcast, Frame&& packet, Time now);
  void deliver(const wire::IpInfo& ip, Frame&& packet, Time now);
  Result<void> output_any(Frame&& payload, const wire::IpInfo& ip, const Path& path, Fragmentation fragmentation, std::uint32_t mtu, Time now,
                          bool loop);
  void output_whole(Frame&& payload, const wire::IpInfo& ip, wire::Ipv4Header& header, const Path& path, Fragmentation fragmentation, Time now);
  Result<void> output_fragments(const Frame& payload, wire::Ipv4Header header, const Path& path, std::uint32_t mtu, Time now);
  void transmit(Frame&& packet, const IpAddress& dst, const Path& path, Time now);
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

}  // namespace gannet::stack
