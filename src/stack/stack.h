// A UDP/IP host: frames in, frames out, and the time told from outside. It knows no link, no thread and no clock.
//
//   for each frame that came:  stack.input(interface, frame, now)
//   when next_wakeup() comes:  stack.advance(now)
//   and after either:          send from stack.output(interface).front(), then stack.sent(interface, count)
//
// Owner: an engine.  Thread: its.  Allocates: at its creation, and in the calls that add interfaces, addresses and routes.
// What it is given must outlive it. Its frames go back to the pools when it dies.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/frame.h"
#include "base/rng.h"
#include "base/time.h"
#include "stack/arp.h"
#include "stack/config.h"
#include "stack/context.h"
#include "stack/fates.h"
#include "stack/icmp4.h"
#include "stack/interface.h"
#include "stack/ip_layer.h"
#include "stack/ipv4.h"
#include "stack/multicast.h"
#include "stack/neighbor.h"
#include "stack/pmtu.h"
#include "stack/route.h"
#include "stack/udp.h"

namespace gannet::stack {

class Stack {
 public:
  Stack(FramePools& pools, Rng& rng, const Config& config = {});
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  // Returns the new interface's index, 2 or more: 1 is `lo`.
  Result<std::uint32_t> add_interface(const InterfaceSetup& setup) { return interfaces_.add(setup); }
  // Before any socket: this host is a guest, whose ports and groups are the kernel's too. `lo` has a link from now on, for what is for others there.
  void attach_claims(const Claims& claims);
  // A guest's interface.
  Result<void> remove_interface(std::uint32_t interface) { return interfaces_.remove(interface); }
  Result<void> set_mtu(std::uint32_t interface, std::uint32_t mtu) { return interfaces_.set_mtu(interface, mtu); }
  // An interface that comes up tells of its groups anew.
  Result<void> set_up(std::uint32_t interface, bool up, Time now);
  // Gives an interface an address and its network. It is announced by ARP, and claimed first where Config::arp_probe says so.
  Result<void> add_address(std::uint32_t interface, const IpAddress& ip, std::uint8_t prefix, Time now);
  Result<void> remove_address(std::uint32_t interface, const IpAddress& ip, Time now);
  Result<void> add_route(const Route& route);
  Result<void> remove_route(const Route& route) { return routes_.remove(route); }

  // A frame that came by an interface. It is empty afterwards: somebody took it, or nobody needs it any more.
  void input(std::uint32_t interface, Frame&& frame, Time now) {
    input_frame(interface, std::move(frame), now);
    frame.release();  // NOLINT(bugprone-use-after-move): what nobody moved from is still there
  }
  // The frames that wait to leave by an interface, and how many of the first were sent (and moved from).
  [[nodiscard]] std::span<Frame> output(std::uint32_t interface) { return interfaces_.find(interface)->output().front(); }
  void sent(std::uint32_t interface, std::size_t count);

  [[nodiscard]] Time next_wakeup() const;  // in the past where something waits already: a packet to ourselves
  void advance(Time now);

  [[nodiscard]] IpLayer& ip() { return ip_; }
  [[nodiscard]] Udp& udp() { return udp_; }
  [[nodiscard]] Multicast& multicast() { return multicast_; }
  [[nodiscard]] Interfaces& interfaces() { return interfaces_; }
  [[nodiscard]] const Interfaces& interfaces() const { return interfaces_; }
  [[nodiscard]] Routes& routes() { return routes_; }
  [[nodiscard]] const PathMtus& path_mtus() const { return path_mtus_; }
  [[nodiscard]] Neighbors& neighbors() { return neighbors_; }
  [[nodiscard]] const Reassembly& reassembly() const { return ipv4_.reassembly(); }
  [[nodiscard]] Fates& fates() { return fates_; }
  [[nodiscard]] const Fates& fates() const { return fates_; }
  [[nodiscard]] const IpCounters& counters() const { return context_.counters; }
  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] Context& context() { return context_; }
  [[nodiscard]] std::uint64_t generation() const { return context_.generation; }
  // Frames that are here: waiting for fragments, for a neighbour, to come back to us, or to be sent.
  [[nodiscard]] std::size_t held() const;

 private:
  void input_frame(std::uint32_t index, Frame&& frame, Time now);
  void input_ethernet(Interface& interface, Frame&& frame, Time now);
  void input_other_ethernet(Interface& interface, Frame&& frame, Time now);

  const Config config_;
  Fates fates_;
  Context context_;
  Interfaces interfaces_;
  Routes routes_;
  PathMtus path_mtus_;
  Neighbors neighbors_;
  Arp arp_;
  IpLayer ip_;
  Ipv4 ipv4_;
  Icmp4 icmp_;
  Multicast multicast_;
  Udp udp_;
};

}  // namespace gannet::stack
