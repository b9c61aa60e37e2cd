#include "stack/ipv4.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "stack/icmp4.h"
#include "wire/icmp4.h"

namespace gannet::stack {
namespace {

// A permutation of the 16-bit numbers that only the holder of `secret` knows: four Feistel rounds.
std::uint16_t permute(std::uint16_t number, std::uint64_t secret) {
  auto left = static_cast<std::uint8_t>(number >> 8);
  auto right = static_cast<std::uint8_t>(number);
  for (unsigned round = 0; round < 4; ++round) {
    std::uint64_t mixed = (secret + round) ^ std::uint64_t{right} << 48;
    mixed = splitmix64(mixed);
    left = std::exchange(right, static_cast<std::uint8_t>(left ^ mixed));
  }
  return static_cast<std::uint16_t>(left << 8 | right);
}

// 224.0.0/24: never past a router.
bool is_link_local_group(const IpAddress& ip) { return ip.number() >> 8 == 0xe00000; }

}  // namespace

Ipv4::Ipv4(Context& context, Interfaces& interfaces, Neighbors& neighbors)
    : context_(context),
      interfaces_(interfaces),
      neighbors_(neighbors),
      reassembly_(context),
      loopback_(std::bit_ceil(context.config.loopback_queue)),
      id_key_{context.rng.next(), context.rng.next()} {
  for (auto& counter : id_counters_) counter = static_cast<std::uint16_t>(context.rng.next());
}

void Ipv4::input(Interface& interface, Frame&& packet, bool link_broadcast, Time now) {
  const auto bytes = std::as_const(packet).bytes();
  const std::size_t size = wire::plain_ipv4_size(bytes);
  if (link_broadcast || size == 0) [[unlikely]] {
    return input_any(interface, std::move(packet), link_broadcast, origin_of(interface), now);
  }
  // Source and destination stand side by side: were they good together before?
  std::uint64_t addresses;
  std::memcpy(&addresses, bytes.data() + 12, sizeof addresses);
  Accepted& accepted = accepted_[(addresses * 0x9e3779b97f4a7c15) >> 58];
  bool to_group = accepted.to_group;
  if (accepted.addresses != addresses || accepted.interface != interface.index() || accepted.generation != context_.generation) [[unlikely]] {
    const wire::IpInfo ip = wire::plain_ipv4_info(bytes.first(size), interface.index(), false);
    const auto bad = check_addresses(ip.src, ip.dst, ip.protocol, interface.index(), false, origin_of(interface));
    if (bad) return drop_received(*bad, packet);
    to_group = is_group(ip.dst, interface.index());
    // Who is in a group changes without a new generation, so that is asked every time.
    if (!ip.dst.is_multicast()) accepted = {addresses, context_.generation, interface.index(), to_group};
  }
  context_.counters.in_receives.add();
  const wire::IpInfo ip = wire::plain_ipv4_info(bytes.first(size), interface.index(), to_group);
  packet.narrow(wire::ipv4_header_size, size - wire::ipv4_header_size);
  deliver(ip, std::move(packet), now);
}

void Ipv4::input_any(Interface& interface, Frame&& packet, bool link_broadcast, Origin origin, Time now) {
  const auto ipv4 = wire::parse_ipv4(std::as_const(packet).bytes());
  if (!ipv4) return drop_received(ipv4.error(), packet);
  const auto bad = check_addresses(ipv4->src, ipv4->dst, ipv4->protocol, interface.index(), link_broadcast, origin);
  if (bad) return drop_received(*bad, packet);
  if (wire::has_source_route(ipv4->options)) return drop_received(Drop::ip_source_route, packet);
  context_.counters.in_receives.add();
  if (!ipv4->is_fragment()) return deliver_parsed(*ipv4, interface.index(), link_broadcast, origin, std::move(packet), now);

  Frame whole = reassembly_.input(*ipv4, interface.index(), link_broadcast, std::move(packet), now);
  if (!whole) return;
  const auto reassembled = wire::parse_ipv4(std::as_const(whole).bytes());
  ASSERT(reassembled.has_value());
  deliver_parsed(*reassembled, interface.index(), link_broadcast, origin, std::move(whole), now);
}

Ipv4::Origin Ipv4::origin_of(const Interface& interface) { return interface.is_guest() ? Origin::kernel : Origin::link; }

void Ipv4::drop_received(Drop reason, const Frame& packet) {
  context_.counters.in_receives.add();
  context_.fates.drop(reason, packet.bytes());
}

std::optional<Drop> Ipv4::check_addresses(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::uint32_t interface,
                                          bool link_broadcast, Origin origin) const {
  const bool from_link = origin == Origin::link;
  switch (interfaces_.kind_of(src, interface)) {
    case AddressKind::foreign:
      break;
    case AddressKind::own:
      if (from_link) return Drop::ip_source_is_ours;
      break;
    case AddressKind::loopback:
      if (from_link) return Drop::ip_source_invalid;
      break;
    case AddressKind::any:
      // A host that has no address yet asks for one (RFC 951), or speaks IGMP (RFC 9776 4.2.13).
      if (!dst.is_limited_broadcast() && !is_link_local_group(dst)) return Drop::ip_source_invalid;
      break;
    case AddressKind::broadcast:
    case AddressKind::multicast:
    case AddressKind::reserved:
      return Drop::ip_source_invalid;
  }
  switch (interfaces_.kind_of(dst, interface)) {
    case AddressKind::own:
      return link_broadcast ? std::optional(Drop::ip_unicast_in_broadcast_frame) : std::nullopt;
    case AddressKind::broadcast:
    case AddressKind::any:  // 4.2BSD's limited broadcast (RFC 1122 3.3.6)
      return std::nullopt;
    case AddressKind::multicast:
      return context_.upper.refuses(dst, src, interface, protocol);
    case AddressKind::loopback:
      return from_link ? std::optional(Drop::ip_destination_invalid) : std::nullopt;
    case AddressKind::reserved:
      return Drop::ip_destination_invalid;
    case AddressKind::foreign:
      break;
  }
  return Drop::ip_not_for_us;
}

bool Ipv4::is_group(const IpAddress& dst, std::uint32_t interface) const {
  const AddressKind kind = interfaces_.kind_of(dst, interface);
  return kind != AddressKind::own && kind != AddressKind::loopback;
}

void Ipv4::deliver_parsed(const wire::Ipv4& ipv4, std::uint32_t interface, bool link_broadcast, Origin origin, Frame&& packet, Time now) {
  wire::IpInfo ip = ipv4.info(interface, link_broadcast);
  ip.to_group = is_group(ip.dst, interface);
  ip.looped = origin == Origin::loopback;
  packet.narrow(ipv4.packet.size() - ipv4.payload.size(), ipv4.payload.size());
  deliver(ip, std::move(packet), now);
}

[[gnu::always_inline]] inline void Ipv4::deliver(const wire::IpInfo& ip, Frame&& packet, Time now) {
  const UpperLayers& upper = context_.upper;
  if (ip.protocol == wire::protocol_udp && upper.udp.input != nullptr) [[likely]] {
    context_.counters.in_delivers.add();
    return upper.udp.input(upper.udp.layer, ip, std::move(packet), now);
  }
  if (ip.protocol == wire::protocol_icmp) {
    context_.counters.in_delivers.add();
    return icmp_->input(ip, std::move(packet), now);
  }
  if (ip.protocol == wire::protocol_igmp && upper.igmp.input != nullptr) {
    context_.counters.in_delivers.add();
    return upper.igmp.input(upper.igmp.layer, ip, std::move(packet), now);
  }
  icmp_->send_error(wire::Icmp4Type::unreachable, wire::unreachable_code::protocol, 0, ip, now);
  context_.fates.drop(Drop::ip_protocol_unknown, ip.packet);
}

Result<void> Ipv4::output_any(Frame&& payload, const wire::IpInfo& ip, const Path& path, Fragmentation fragmentation, std::uint32_t mtu, Time now,
                              bool loop) {
  wire::Ipv4Header header{.src = ip.src, .dst = ip.dst, .protocol = ip.protocol, .ttl = ip.hop_limit, .tos = ip.tos, .options = ip.options};
  const std::size_t size = header.size() + payload.size();
  if (size > wire::ipv4_packet_max) return Error{EMSGSIZE, "larger than an IPv4 packet can be: 65,535 bytes with its headers"};
  if (size > mtu && !may_fragment(fragmentation)) {
    return Error{EMSGSIZE, "larger than the path's MTU, and the socket asked that it not be fragmented"};
  }
  // RFC 1122 3.3.6, RFC 1112 6.1: whoever sends to a broadcast address or a group is part of it.
  const bool is_heard_here = path.kind == PathKind::broadcast || (path.kind == PathKind::multicast && (loop || path.interface == loopback_index) &&
                                                                  !context_.upper.refuses(ip.dst, ip.src, path.interface, ip.protocol));
  if (is_heard_here && (path.interface != loopback_index || path.guest)) loop_copy(payload, header, path.interface);
  if (ip.hop_limit == 0) {
    if (path.kind != PathKind::multicast) return Error{EINVAL, "a TTL of 0 is for multicast that stays on this host"};
    if (!path.guest) return {};  // a guest shares its host with other programs, whom the kernel tells
  }
  if (path.guest) {
    output_to_kernel(std::move(payload), header, path, fragmentation, loop);
    return {};
  }
  if (size > mtu) return output_fragments(payload, header, path, mtu, now);
  output_whole(std::move(payload), ip, header, path, fragmentation, now);
  return {};
}

// Whole: the kernel fragments.
void Ipv4::output_to_kernel(Frame&& payload, wire::Ipv4Header& header, const Path& path, Fragmentation fragmentation, bool loop) {
  if (header.protocol != wire::protocol_udp) {  // only what a socket sent leaves a guest
    context_.counters.frames_made.add();
    return context_.fates.drop(Drop::ip_guest_protocol, payload.bytes());
  }
  context_.counters.out_requests.add();
  context_.counters.frames_made.add();
  unsigned note = static_cast<unsigned>(fragmentation);
  if (!loop) note |= wire::guest_note::no_loop;
  if (path.by_route) note |= wire::guest_note::by_route;
  if (path.any_source) note |= wire::guest_note::any_source;
  header.id = static_cast<std::uint16_t>(note);
  payload.prepend(header.size());
  wire::emit_ipv4(header, payload.bytes());
  path.via->send(std::move(payload));
}

Result<void> Ipv4::output_fragments(const Frame& payload, wire::Ipv4Header header, const Path& path, std::uint32_t mtu, Time now) {
  if (mtu < header.size() + 8) return Error{EMSGSIZE, "the path's MTU has no room for a fragment with these IP options"};
  const std::size_t chunk = (mtu - header.size()) & ~std::size_t{7};
  const std::size_t count = (payload.size() + chunk - 1) / chunk;
  const FramePool& pool =
      header.size() + chunk + frame_headroom <= context_.pools.small->chunk_size() ? *context_.pools.small : *context_.pools.large;
  if (pool.available() < count) return Error{ENOBUFS, "the pool of frames has too few for all fragments of the datagram"};

  context_.counters.out_requests.add();
  context_.counters.out_fragment_required.add();
  std::array<std::byte, wire::ipv4_options_max> copied;
  header.id = next_id(header.src, header.dst, header.protocol);
  for (std::size_t offset = 0; offset < payload.size(); offset += chunk) {
    const auto part = payload.bytes().subspan(offset, std::min(chunk, payload.size() - offset));
    header.fragment_offset = static_cast<std::uint16_t>(offset);
    header.more_fragments = offset + part.size() < payload.size();
    Frame fragment = context_.pools.allocate(header.size() + chunk);
    ASSERT(fragment);
    fragment.resize(part.size());
    std::memcpy(fragment.bytes().data(), part.data(), part.size());
    fragment.prepend(header.size());
    wire::emit_ipv4(header, fragment.bytes());
    context_.counters.out_fragments_created.add();
    transmit(std::move(fragment), header.dst, path, now);
    if (offset == 0 && !header.options.empty()) header.options = std::span(copied).first(wire::copied_options(header.options, copied));
  }
  return {};
}

// To ourselves, by a link without neighbours, or to all of them.
void Ipv4::transmit_otherwise(Frame&& packet, const IpAddress& dst, const Path& path) {
  if (path.interface == loopback_index) return push_loopback(std::move(packet), loopback_index);
  context_.counters.frames_made.add();
  const auto mac = path.kind == PathKind::multicast ? wire::MacAddress::of_group(dst) : wire::MacAddress::broadcast();
  path.via->send(std::move(packet), mac, wire::ethertype_ipv4);
}

void Ipv4::loop_copy(const Frame& payload, const wire::Ipv4Header& header, std::uint32_t interface) {
  Frame copy = context_.pools.allocate(header.size() + payload.size());
  if (!copy) {
    context_.counters.frames_made.add();
    return context_.fates.drop(Drop::no_frame);
  }
  copy.resize(payload.size());
  std::ranges::copy(payload.bytes(), copy.bytes().begin());
  copy.prepend(header.size());
  wire::emit_ipv4(header, copy.bytes());
  push_loopback(std::move(copy), interface);
}

void Ipv4::push_loopback(Frame&& packet, std::uint32_t interface) {
  context_.counters.frames_made.add();
  if (loopback_count_ == loopback_.size()) return context_.fates.drop(Drop::loopback_queue_full, packet.bytes());
  loopback_[(loopback_first_ + loopback_count_++) & (loopback_.size() - 1)] = {std::move(packet), interface};
}

void Ipv4::run_loopback(Time now) {
  for (std::size_t left = loopback_count_; left != 0; --left) {
    Looped& slot = loopback_[loopback_first_];
    loopback_first_ = (loopback_first_ + 1) & (loopback_.size() - 1);
    --loopback_count_;
    Interface& interface = *interfaces_.find(slot.interface);
    Frame packet = std::move(slot.packet);  // whoever delivers it need not take it, and it is not to stay in the queue
    input_any(interface, std::move(packet), false, Origin::loopback, now);
  }
}

Time Ipv4::next_wakeup() const { return loopback_count_ != 0 ? Time::min() : reassembly_.next_wakeup(); }

void Ipv4::advance(Time now) {
  Frame first;
  while (reassembly_.expire_one(now, first)) {
    if (!first) continue;
    const auto fragment = wire::parse_ipv4(std::as_const(first).bytes());
    ASSERT(fragment.has_value());
    wire::IpInfo ip = fragment->info();
    ip.packet = fragment->packet;
    icmp_->send_error(wire::Icmp4Type::time_exceeded, wire::time_exceeded_code::in_reassembly, 0, ip, now);
    context_.fates.drop(Drop::fragment_timeout, ip.packet);
    first.release();
  }
  run_loopback(now);
}

// RFC 6864 4.3, RFC 7739: no number comes back for a source, destination and protocol within 65,536 packets, and none tells the next. Flows that
// share a counter merely skip numbers.
std::uint16_t Ipv4::next_id(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol) {
  const std::uint64_t secret = siphash(id_key_, src, dst, protocol);
  return permute(id_counters_[secret % id_counters_.size()]++, secret);
}

}  // namespace gannet::stack
