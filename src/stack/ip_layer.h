// IP, to the layers above it: where a destination is, and taking packets there. No version of IP is mentioned above this header.
//
//   Udp, Icmp4, Multicast -> find_path() once, output() per packet -> Ipv4 -> Neighbors -> Interface
//   Interface -> Ipv4 -> UpperLayers::Protocol::input
//
// Owner: Stack.  Thread: the engine's.  Allocates: nothing.
// Sources: RFC 1122 3.3.1 (routing), 3.3.4.3 (source address), 3.4 (the interface to IP: GET_SRCADDR is find_path().src, GET_MAXSIZES is
// max_payload() and path.mtu, ADVISE_DELIVPROB is advise_delivery(), RECV_ICMP is UpperLayers); RFC 8085 3.2.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/frame.h"
#include "stack/context.h"
#include "stack/interface.h"
#include "stack/ipv4.h"
#include "stack/path.h"
#include "stack/pmtu.h"
#include "stack/route.h"
#include "wire/ip.h"

namespace gannet::stack {

class Icmp4;

class IpLayer {
 public:
  IpLayer(Context& context, Interfaces& interfaces, Routes& routes, PathMtus& path_mtus)
      : context_(context), interfaces_(interfaces), routes_(routes), path_mtus_(path_mtus) {}
  void attach(Ipv4& ipv4, Icmp4& icmp4) {
    ipv4_ = &ipv4;
    icmp4_ = &icmp4;
  }

  // The path to `dst`. `wanted_src` is any, or an address of ours (EINVAL otherwise, as on Linux); `wanted_interface` is 0, or the only one to leave
  // by (ENODEV when there is none such). ENETUNREACH without a route, ENETDOWN where the interface is down. An own address as destination is
  // PathKind::local, by lo. Groups and 255.255.255.255 without a wanted interface or a route go by the first interface that is up and not lo.
  [[nodiscard]] Result<Path> find_path(const IpAddress& dst, const IpAddress& wanted_src, std::uint32_t wanted_interface) const;
  [[nodiscard]] bool is_current(const Path& path) const { return path.generation == context_.generation; }

  // Sends one packet. `payload` begins with the upper header and has room for ours in front; ip.src, dst, protocol, hop_limit, tos and options go
  // into the header (src: that of the path). EMSGSIZE when it is too large for what `fragmentation` allows, ENOBUFS when no frame is left for
  // fragments; then nothing was sent, and the caller says so. Once taken, a packet that dies is a counted Drop. Broadcasts are heard on this host
  // too; multicasts where `loop` says so and a socket here is a member (hop_limit 0: here only).
  [[gnu::always_inline]] Result<void> output(Frame&& payload, const wire::IpInfo& ip, const Path& path, Fragmentation fragmentation, Time now,
                                             bool loop = false) {
    return ipv4_->output(std::move(payload), ip, path, fragmentation, now, loop);
  }

  // Whether packets to `dst` arrive, as far as the layers above can tell: advice to whoever keeps the next hops.
  void advise_delivery(const IpAddress& dst, bool delivers, Time now);

  // Tells the sender of a packet that nobody listens at its port, if it may be told (RFC 1122 3.2.2). The frame's fate is the caller's to count.
  void port_unreachable(const wire::IpInfo& ip, Time now);

  [[nodiscard]] bool is_own_address(const IpAddress& ip) const {
    const AddressKind kind = interfaces_.kind_of(ip, 0);
    return kind == AddressKind::own || kind == AddressKind::loopback;
  }
  [[nodiscard]] bool is_broadcast(const IpAddress& ip, std::uint32_t interface) const {
    return interfaces_.kind_of(ip, interface) == AddressKind::broadcast;
  }
  [[nodiscard]] std::uint64_t generation() const { return context_.generation; }
  // The largest payload of a packet without options, sent or received: 65,515 over IPv4.
  [[nodiscard]] static std::size_t max_payload(Family) { return 65515; }

 private:
  [[nodiscard]] Result<Path> look_up(const IpAddress& dst, const IpAddress& wanted_src, std::uint32_t wanted_interface) const;
  // The interface to leave by; sets path.next_hop where that is a gateway, and path.src where that is still any and the route prefers one.
  [[nodiscard]] Result<Interface*> find_hop(Path& path, const IpAddress& dst, std::uint32_t wanted_interface) const;

  struct Remembered {
    IpAddress dst, wanted_src;
    std::uint32_t wanted_interface = 0;
    Path path;
  };

  Context& context_;
  Interfaces& interfaces_;
  Routes& routes_;
  PathMtus& path_mtus_;
  Ipv4* ipv4_ = nullptr;
  Icmp4* icmp4_ = nullptr;
  mutable std::array<Remembered, 64> remembered_;
};

}  // namespace gannet::stack
