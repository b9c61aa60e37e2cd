#include "stack/interface.h"

#include <algorithm>

namespace gannet::stack {
namespace {

constexpr Error no_interface{ENODEV, "no interface has this index"};
constexpr Error bad_mtu{EINVAL, "an interface's MTU is between 68 and 65535 bytes"};
constexpr bool can_be_mtu(std::uint32_t mtu) { return mtu >= 68 && mtu <= 65535; }

}  // namespace

Interface::Interface(Context& context, std::uint32_t index, const InterfaceSetup& setup)
    : context_(context), index_(index), setup_(setup), output_(index == loopback_index ? 1 : context.config.output_queue) {}

const InterfaceAddress* Interface::source_for(const IpAddress& next_hop) const {
  const InterfaceAddress* best = nullptr;
  for (const InterfaceAddress& address : addresses_) {
    if (!address.usable) continue;
    if (address.contains(next_hop)) return &address;
    if (best == nullptr) best = &address;
  }
  return best;
}

const InterfaceAddress* Interface::find(const IpAddress& ip) const {
  const auto found = std::ranges::find(addresses_, ip, &InterfaceAddress::ip);
  return found == addresses_.end() ? nullptr : &*found;
}

void Interface::send(Frame&& packet, const wire::MacAddress& dst, std::uint16_t ethertype) {
  if (setup_.ethernet) wire::emit_ethernet(dst, setup_.mac, ethertype, packet.prepend(wire::ethernet_header_size));
  send(std::move(packet));
}

Interfaces::Interfaces(Context& context) : context_(context) {
  all_.push_back(std::make_unique<Interface>(context_, loopback_index, InterfaceSetup{.name = "lo", .mtu = loopback_mtu, .ethernet = false}));
  all_.front()->addresses_.push_back({IpAddress::ipv4(127, 0, 0, 1), 8, true});
  by_index_[loopback_index] = all_.front().get();
}

Result<std::uint32_t> Interfaces::add(const InterfaceSetup& setup) {
  if (!can_be_mtu(setup.mtu)) return bad_mtu;
  if (all_.size() >= context_.config.interfaces) return Error{ENOBUFS, "this host has as many interfaces as it is configured for"};
  std::uint32_t index = setup.index;
  if (index == 0) {
    for (index = loopback_index + 1; find(index) != nullptr;) ++index;
  }
  if (find(index) != nullptr) return Error{EEXIST, "another interface has this index"};
  all_.push_back(std::make_unique<Interface>(context_, index, setup));
  if (index < by_index_.size()) by_index_[index] = all_.back().get();
  ++context_.generation;
  return index;
}

Result<void> Interfaces::remove(std::uint32_t index) {
  Interface* interface = find(index);
  if (interface == nullptr) return no_interface;
  if (interface->is_loopback() || !interface->is_guest()) return Error{EINVAL, "only interfaces that are the kernel's too can go"};
  for (FrameQueue& waiting = interface->output(); !waiting.empty(); waiting.pop(1)) {
    context_.fates.drop(Drop::interface_down, waiting.front().front().bytes());
    waiting.front().front().release();
  }
  if (index < by_index_.size()) by_index_[index] = nullptr;
  std::erase_if(all_, [&](const auto& each) { return each.get() == interface; });
  ++context_.generation;
  return {};
}

Result<void> Interfaces::set_mtu(std::uint32_t index, std::uint32_t mtu) {
  Interface* interface = find(index);
  if (interface == nullptr) return no_interface;
  if (!can_be_mtu(mtu)) return bad_mtu;
  interface->setup_.mtu = mtu;
  ++context_.generation;
  return {};
}

void Interfaces::make_loopback_guest() {
  loopback().setup_.guest = true;
  loopback().output_ = FrameQueue(context_.config.output_queue);
  ++context_.generation;
}

Interface* Interfaces::find_high(std::uint32_t index) const {
  const auto found = std::ranges::find(all_, index, [](const auto& each) { return each->index(); });
  return found == all_.end() ? nullptr : found->get();
}

Result<void> Interfaces::set_up(std::uint32_t index, bool up) {
  Interface* interface = find(index);
  if (interface == nullptr) return no_interface;
  interface->up_ = up;
  ++context_.generation;
  return {};
}

Result<void> Interfaces::add_address(std::uint32_t index, const IpAddress& ip, std::uint8_t prefix, bool usable) {
  Interface* interface = find(index);
  if (interface == nullptr) return no_interface;
  const std::uint32_t number = ip.number();
  const bool no_host = !ip.is_ipv4() || number >> 24 == 0 || number >> 28 >= 0xe || (ip.is_loopback() && !interface->is_loopback());
  if (no_host) return Error{EINVAL, "not an address that an interface can have: it is reserved, a group, loopback, or not IPv4"};
  const InterfaceAddress address{ip, prefix, usable};
  if (prefix == 0 || prefix > 32) return Error{EINVAL, "the prefix length of an IPv4 address is 1 to 32"};
  const bool names_the_network = address.has_broadcast() && ((number & ~address.mask()) == 0 || ip == address.broadcast());
  if (names_the_network) return Error{EINVAL, "the first and last address of a network are broadcast addresses, no host's"};
  for (const auto& other : all_) {
    if (other->find(ip) != nullptr) return Error{EEXIST, "this host has the address already"};
  }
  if (interface->addresses_.size() >= context_.config.addresses_per_interface) {
    return Error{ENOBUFS, "the interface has as many addresses as it is configured for"};
  }
  interface->addresses_.push_back(address);
  ++context_.generation;
  return {};
}

Result<void> Interfaces::remove_address(std::uint32_t index, const IpAddress& ip) {
  Interface* interface = find(index);
  if (interface == nullptr) return no_interface;
  if (std::erase_if(interface->addresses_, [&](const InterfaceAddress& address) { return address.ip == ip; }) == 0) {
    return Error{EADDRNOTAVAIL, "the interface does not have this address"};
  }
  ++context_.generation;
  return {};
}

void Interfaces::set_usable(std::uint32_t index, const IpAddress& ip, bool usable) {
  Interface* interface = find(index);
  if (interface == nullptr) return;
  for (InterfaceAddress& address : interface->addresses_) {
    if (address.ip == ip) address.usable = usable;
  }
  ++context_.generation;
}

AddressKind Interfaces::find_kind(const IpAddress& ip, std::uint32_t interface) const {
  if (!ip.is_ipv4()) return AddressKind::foreign;
  const std::uint32_t number = ip.number();
  if (number == 0) return AddressKind::any;
  if (number == 0xffffffff) return AddressKind::broadcast;
  if (ip.is_multicast()) return AddressKind::multicast;
  if (number >> 24 == 0 || number >> 28 == 0xf) return AddressKind::reserved;
  // As on Linux, the loopback network has a broadcast address too, and it never leaves this host.
  if (ip == loopback_broadcast && (interface == 0 || interface == loopback_index)) return AddressKind::broadcast;
  if (ip.is_loopback()) return AddressKind::loopback;
  for (const auto& one : all_) {
    const InterfaceAddress* address = one->find(ip);
    if (address != nullptr && address->usable) return AddressKind::own;
  }
  // {network, subnet, -1}, and 0 in place of -1 as 4.2BSD had it: "a host MUST recognize any of these formats" (RFC 1122 3.3.6).
  for (const auto& one : all_) {
    if (one->is_loopback() || (interface != 0 && one->index() != interface)) continue;
    for (const InterfaceAddress& address : one->addresses()) {
      const std::uint32_t host = number & ~address.mask();
      if (address.has_broadcast() && address.contains(ip) && (host == 0 || host == ~address.mask())) return AddressKind::broadcast;
    }
  }
  return AddressKind::foreign;
}

}  // namespace gannet::stack
