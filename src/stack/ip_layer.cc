#include "stack/ip_layer.h"

#include <algorithm>

#include "stack/icmp4.h"

namespace gannet::stack {
namespace {

constexpr Error no_route{ENETUNREACH, "no route to the destination: add one, or a default gateway"};

}  // namespace

Result<Path> IpLayer::find_path(const IpAddress& dst, const IpAddress& wanted_src, std::uint32_t wanted_interface) const {
  const std::uint32_t mixed = (dst.number() ^ wanted_src.number() * 31 ^ wanted_interface) * 0x9e3779b1u;
  Remembered& slot = remembered_[mixed >> 26];
  const bool hit =
      slot.path.generation == context_.generation && slot.dst == dst && slot.wanted_src == wanted_src && slot.wanted_interface == wanted_interface;
  if (hit) [[likely]]
    return slot.path;
  auto path = look_up(dst, wanted_src, wanted_interface);
  if (path) slot = {dst, wanted_src, wanted_interface, *path};
  return path;
}

void IpLayer::advise_delivery(const IpAddress& dst, bool delivers, Time now) {
  const auto path = find_path(dst, IpAddress::any(dst.family), 0);
  if (path) ipv4_->advise_delivery(*path, delivers, now);
}

Result<Path> IpLayer::look_up(const IpAddress& dst, const IpAddress& wanted_src, std::uint32_t wanted_interface) const {
  if (!dst.is_ipv4()) return Error{EAFNOSUPPORT, "this host has no IPv6"};
  const AddressKind src_kind = interfaces_.kind_of(wanted_src, 0);
  const bool any_src = wanted_src.is_any();
  if (!any_src && src_kind != AddressKind::own && src_kind != AddressKind::loopback) {
    return Error{EINVAL, "the source address is not one of this host's"};
  }
  Path path{.src = wanted_src, .next_hop = dst, .generation = context_.generation};

  const AddressKind kind = interfaces_.kind_of(dst, wanted_interface);
  if (kind == AddressKind::reserved) return no_route;
  if (kind == AddressKind::own || kind == AddressKind::loopback || kind == AddressKind::any) {
    // Linux too takes 0.0.0.0 as "this host".
    const IpAddress& localhost = interfaces_.loopback().addresses()[0].ip;
    const IpAddress& here = kind == AddressKind::any ? localhost : dst;
    // All of 127/8 is ours, and one address of it speaks.
    if (any_src) path.src = kind == AddressKind::loopback ? localhost : here;
    path.next_hop = here;
    path.via = &interfaces_.loopback();
    path.interface = loopback_index;
    path.mtu = path.interface_mtu = loopback_mtu;
    path.kind = PathKind::local;
    return path;
  }
  if (dst == loopback_broadcast) wanted_interface = loopback_index;
  // What the loopback addresses say stays on this host (RFC 1122 3.2.1.3).
  if (src_kind == AddressKind::loopback && wanted_interface != loopback_index) {
    return Error{EINVAL, "a loopback address cannot be the source of what leaves this host"};
  }

  if (kind == AddressKind::multicast) path.kind = PathKind::multicast;
  if (kind == AddressKind::broadcast) path.kind = PathKind::broadcast;
  const auto found = find_hop(path, dst, wanted_interface);
  if (!found) return found.error();
  Interface& interface = **found;
  if (!interface.is_up()) return Error{ENETDOWN, "the interface to the destination is down"};
  if (any_src) {
    const InterfaceAddress* source = interface.source_for(path.next_hop);
    if (source == nullptr && path.src.is_any()) {
      return Error{EADDRNOTAVAIL, "the interface to the destination has no address (yet): give it one"};
    }
    if (path.src.is_any()) path.src = source->ip;
  }
  path.guest = interface.is_guest();
  path.by_route = wanted_interface == 0 && path.kind == PathKind::unicast;
  path.any_source = path.by_route && any_src;
  path.via = &interface;
  path.interface = interface.index();
  path.interface_mtu = path.mtu = interface.mtu();
  const auto known = path_mtus_.find(dst);
  if (known.mtu != 0 && known.mtu <= path.mtu) {
    path.mtu = known.mtu;
    path.mtu_is_floor = known.is_floor;
  }
  return path;
}

Result<Interface*> IpLayer::find_hop(Path& path, const IpAddress& dst, std::uint32_t wanted_interface) const {
  if (wanted_interface != 0 && interfaces_.find(wanted_interface) == nullptr) return Error{ENODEV, "no interface has this index"};
  // The longest prefix wins, and a network that we are on before a route of the same length.
  Interface* best = nullptr;
  int best_prefix = -1;
  for (const auto& interface : interfaces_.all()) {
    // A guest's networks are among its routes, as in the kernel.
    if (interface->is_loopback() || interface->is_guest() || (wanted_interface != 0 && interface->index() != wanted_interface)) continue;
    for (const InterfaceAddress& address : interface->addresses()) {
      if (!address.contains(dst) || address.prefix <= best_prefix) continue;
      best = interface.get();
      best_prefix = address.prefix;
    }
  }
  const Route* route = routes_.find(dst, wanted_interface);
  if (route != nullptr && route->prefix > best_prefix) {
    best = interfaces_.find(route->interface);
    // Groups and broadcasts are on the link wherever the route leads.
    if (path.kind == PathKind::unicast && !route->gateway.is_any()) path.next_hop = route->gateway;
    if (path.src.is_any() && !route->source.is_any() && interfaces_.kind_of(route->source, 0) == AddressKind::own) path.src = route->source;
  }
  if (best != nullptr) return best;
  // An interface that was asked for is assumed to have the destination on its link, as Linux does.
  if (wanted_interface != 0) return interfaces_.find(wanted_interface);
  if (path.kind == PathKind::unicast) return no_route;
  for (const auto& interface : interfaces_.all()) {
    if (!interface->is_loopback() && interface->is_up()) return interface.get();
  }
  return no_route;
}

void IpLayer::port_unreachable(const wire::IpInfo& ip, Time now) {
  icmp4_->send_error(wire::Icmp4Type::unreachable, wire::unreachable_code::port, 0, ip, now);
}

}  // namespace gannet::stack
