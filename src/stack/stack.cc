#include "stack/stack.h"

#include <algorithm>
#include <utility>

namespace gannet::stack {

Stack::Stack(FramePools& pools, Rng& rng, const Config& config)
    : config_(config),
      context_{pools, rng, fates_, config_},
      interfaces_(context_),
      routes_(context_),
      path_mtus_(context_),
      neighbors_(context_, interfaces_),
      arp_(context_, interfaces_, neighbors_),
      ip_(context_, interfaces_, routes_, path_mtus_),
      ipv4_(context_, interfaces_, neighbors_),
      icmp_(context_, ip_, interfaces_, path_mtus_),
      multicast_(context_, ip_, interfaces_),
      udp_(context_, ip_, interfaces_, multicast_) {
  ipv4_.attach(icmp_);
  ip_.attach(ipv4_, icmp_);
  context_.upper.udp = UpperLayers::protocol_of(udp_);
  context_.upper.igmp = UpperLayers::protocol_of(multicast_);
  context_.upper.groups = UpperLayers::groups_of(multicast_);
}

void Stack::attach_claims(const Claims& claims) {
  context_.claims = claims;
  interfaces_.make_loopback_guest();
}

Result<void> Stack::set_up(std::uint32_t interface, bool up, Time now) {
  if (auto set = interfaces_.set_up(interface, up); !set) return set;
  multicast_.refresh(now);
  return {};
}

Result<void> Stack::add_address(std::uint32_t interface, const IpAddress& ip, std::uint8_t prefix, Time now) {
  if (auto added = interfaces_.add_address(interface, ip, prefix); !added) return added;
  Interface& owner = *interfaces_.find(interface);
  if (owner.is_ethernet()) arp_.claim(owner, ip, now);
  multicast_.refresh(now);
  return {};
}

Result<void> Stack::remove_address(std::uint32_t interface, const IpAddress& ip, Time now) {
  arp_.release(interface, ip);
  if (auto removed = interfaces_.remove_address(interface, ip); !removed) return removed;
  multicast_.refresh(now);
  return {};
}

Result<void> Stack::add_route(const Route& route) {
  const Interface* interface = interfaces_.find(route.interface);
  if (interface == nullptr || (interface->is_loopback() && !interface->is_guest())) {
    return Error{ENODEV, "a route leads by an interface of this host, and only a guest's by lo"};
  }
  return routes_.add(route);
}

void Stack::input_frame(std::uint32_t index, Frame&& frame, Time now) {
  context_.counters.frames_in.add();
  Interface* interface = interfaces_.find(index);
  if (interface == nullptr || !interface->is_up()) [[unlikely]]
    return fates_.drop(Drop::interface_down, frame.bytes());
  if (!interface->is_ethernet()) return ipv4_.input(*interface, std::move(frame), false, now);
  input_ethernet(*interface, std::move(frame), now);
}

void Stack::input_ethernet(Interface& interface, Frame&& frame, Time now) {
  const auto bytes = std::as_const(frame).bytes();
  const bool is_plain = bytes.size() >= wire::ethernet_header_size && wire::load_be16(bytes, 12) == wire::ethertype_ipv4 &&
                        wire::is_mac_at(bytes, 0, interface.mac()) && !wire::is_mac_at(bytes, 6, interface.mac());
  if (!is_plain) [[unlikely]]
    return input_other_ethernet(interface, std::move(frame), now);
  frame.trim_front(wire::ethernet_header_size);
  ipv4_.input(interface, std::move(frame), false, now);
}

// For the link's broadcast address or a group; tagged, or with LLC/SNAP; or not IPv4.
void Stack::input_other_ethernet(Interface& interface, Frame&& frame, Time now) {
  const auto ethernet = wire::parse_ethernet(std::as_const(frame).bytes());
  if (!ethernet) return fates_.drop(ethernet.error(), frame.bytes());
  if (ethernet->src == interface.mac()) return fates_.drop(Drop::ethernet_own_frame, frame.bytes());
  const bool link_broadcast = ethernet->dst.is_multicast();
  if (!link_broadcast && ethernet->dst != interface.mac()) return fates_.drop(Drop::ethernet_not_for_us, frame.bytes());
  if (ethernet->vlan != 0) return fates_.drop(Drop::ethernet_vlan_unknown, frame.bytes());

  if (ethernet->type == wire::ethertype_arp) return arp_.input(interface, std::move(frame), ethernet->header_size, now);
  if (ethernet->type == wire::ethertype_ipv4) {
    frame.trim_front(ethernet->header_size);
    return ipv4_.input(interface, std::move(frame), link_broadcast, now);
  }
  fates_.drop(Drop::ethernet_type_unknown, frame.bytes());
}

void Stack::sent(std::uint32_t interface, std::size_t count) {
  interfaces_.find(interface)->output().pop(count);
  context_.counters.frames_out.add(count);
}

Time Stack::next_wakeup() const {
  return std::min({ipv4_.next_wakeup(), neighbors_.next_wakeup(), arp_.next_wakeup(), path_mtus_.next_wakeup(), multicast_.next_wakeup()});
}

void Stack::advance(Time now) {
  path_mtus_.advance(now);
  arp_.advance(now);
  multicast_.advance(now);
  neighbors_.advance(now);
  ipv4_.advance(now);
}

std::size_t Stack::held() const {
  std::size_t held = neighbors_.held() + ipv4_.held();
  for (const auto& interface : interfaces_.all()) held += std::as_const(*interface).output().size();
  return held;
}

}  // namespace gannet::stack
