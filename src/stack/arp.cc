#include "stack/arp.h"

#include <algorithm>
#include <utility>

#include "stack/neighbor.h"

namespace gannet::stack {
namespace {

// RFC 5227 section 1.1.
constexpr Duration probe_wait = 1s;
constexpr unsigned probe_count = 3;
constexpr Duration probe_min = 1s;
constexpr Duration probe_max = 2s;
constexpr Duration announce_wait = 2s;
constexpr unsigned announce_count = 2;
constexpr Duration announce_interval = 2s;
constexpr Duration defend_interval = 10s;

}  // namespace

void send_arp(Context& context, Interface& interface, const wire::Arp& arp, const wire::MacAddress& to) {
  context.counters.frames_made.add();
  Frame frame = context.pools.small->allocate();
  if (!frame) return context.fates.drop(Drop::no_frame);
  frame.resize(wire::arp_size);
  wire::emit_arp(arp, frame.bytes());
  interface.send(std::move(frame), to, wire::ethertype_arp);
}

void send_arp_request(Context& context, Interface& interface, const IpAddress& target, const wire::MacAddress& to) {
  const InterfaceAddress* source = interface.source_for(target);
  const IpAddress sender = source != nullptr ? source->ip : IpAddress::any(Family::ipv4);
  send_arp(context, interface, {wire::ArpOperation::request, interface.mac(), sender, {}, target}, to);
}

void Arp::input(Interface& interface, Frame frame, std::size_t header_size, Time now) {
  Fates& fates = context_.fates;
  const auto arp = wire::parse_arp(std::as_const(frame).bytes().subspan(header_size));
  if (!arp) return fates.drop(arp.error(), frame.bytes());
  if (arp->sender_mac.is_multicast() || arp->sender_mac.is_zero()) return fates.drop(Drop::arp_malformed, frame.bytes());
  if (defend(interface, *arp, now)) return fates.consumed();

  const AddressKind sender = interfaces_.kind_of(arp->sender_ip, interface.index());
  if (sender != AddressKind::foreign && sender != AddressKind::any) return fates.drop(Drop::arp_malformed, frame.bytes());
  // Whoever is in the table is brought up to date; an entry is only made for a neighbour that asks for us (RFC 826), so strangers' gossip fills
  // nothing.
  const bool is_known = sender == AddressKind::foreign && neighbors_.heard(interface, arp->sender_ip, arp->sender_mac, now);
  const InterfaceAddress* target = interface.find(arp->target_ip);
  const bool is_for_us = target != nullptr && target->usable;
  if (!is_for_us || arp->operation != wire::ArpOperation::request) {
    return is_known ? fates.consumed() : fates.drop(Drop::arp_not_for_us, frame.bytes());
  }
  if (sender == AddressKind::foreign && target->contains(arp->sender_ip)) {
    neighbors_.heard_request(interface, arp->sender_ip, arp->sender_mac, now);
  }
  send_arp(context_, interface, {wire::ArpOperation::reply, interface.mac(), target->ip, arp->sender_mac, arp->sender_ip}, arp->sender_mac);
  fates.consumed();
}

bool Arp::defend(Interface& interface, const wire::Arp& arp, Time now) {
  if (arp.sender_mac == interface.mac()) return false;
  for (Claim& claim : claims_) {
    if (claim.interface != interface.index()) continue;
    const bool is_probed = claim.phase == Phase::probing && arp.sender_ip.is_any() && arp.target_ip == claim.ip;
    if (arp.sender_ip != claim.ip && !is_probed) continue;
    if (claim.phase == Phase::probing) {
      claim.phase = Phase::lost;
      claim.next = never;
    } else if (claim.phase != Phase::lost && now >= claim.may_defend) {
      announce(interface, claim.ip);
      claim.may_defend = now + defend_interval;
    }
    return true;
  }
  return false;
}

void Arp::claim(Interface& interface, const IpAddress& ip, Time now) {
  Claim claim{interface.index(), ip, Phase::announcing, 0, now, now};
  if (context_.config.arp_probe) {
    claim.phase = Phase::probing;
    claim.next = now + random_between(0s, probe_wait);
    interfaces_.set_usable(interface.index(), ip, false);
  } else {
    step(interface, claim, now);
  }
  claims_.push_back(claim);
}

void Arp::release(std::uint32_t interface, const IpAddress& ip) {
  std::erase_if(claims_, [&](const Claim& claim) { return claim.interface == interface && claim.ip == ip; });
}

Time Arp::next_wakeup() const {
  Time next = never;
  for (const Claim& claim : claims_) next = std::min(next, claim.next);
  return next;
}

void Arp::advance(Time now) {
  for (Claim& claim : claims_) {
    if (claim.next <= now) step(*interfaces_.find(claim.interface), claim, now);
  }
}

void Arp::step(Interface& interface, Claim& claim, Time now) {
  if (claim.phase == Phase::probing && claim.sent < probe_count) {
    send_arp(context_, interface, {wire::ArpOperation::request, interface.mac(), IpAddress::any(Family::ipv4), {}, claim.ip});
    ++claim.sent;
    claim.next = now + (claim.sent < probe_count ? random_between(probe_min, probe_max) : announce_wait);
    return;
  }
  if (claim.phase == Phase::probing) {
    interfaces_.set_usable(claim.interface, claim.ip, true);
    claim.phase = Phase::announcing;
    claim.sent = 0;
  }
  announce(interface, claim.ip);
  if (++claim.sent < announce_count) {
    claim.next = now + announce_interval;
  } else {
    claim.phase = Phase::held;
    claim.next = never;
  }
}

void Arp::announce(Interface& interface, const IpAddress& ip) {
  send_arp(context_, interface, {wire::ArpOperation::request, interface.mac(), ip, {}, ip});
}

Duration Arp::random_between(Duration low, Duration high) {
  return low + Duration(static_cast<Duration::rep>(context_.rng.unit() * static_cast<double>((high - low).count())));
}

}  // namespace gannet::stack
