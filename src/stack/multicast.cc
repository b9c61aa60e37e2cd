#include "stack/multicast.h"

#include <algorithm>
#include <array>
#include <utility>

#include "stack/ip_layer.h"
#include "wire/ipv4.h"

namespace gannet::stack {
namespace {

constexpr Error no_group{EINVAL, "not a multicast address: IPv4 groups are 224.0.0.0 to 239.255.255.255"};
constexpr Error sources_wanted{EINVAL, "232.0.0.0/8 is for source-specific groups: join naming a source"};
constexpr Error too_many_sources{ENOBUFS, "more sources than a filter can have"};

constexpr std::array router_alert = {std::byte{wire::ipv4_option::router_alert}, std::byte{4}, std::byte{0}, std::byte{0}};
constexpr std::uint8_t internetwork_control = 0xc0;  // RFC 9776 section 4: the precedence of IGMP messages

Error error_of(int code) {
  switch (code) {
    case EADDRNOTAVAIL:
      return {code, "the socket has not joined this group there"};
    default:
      return {code, "the socket has not joined this group there, or in the other way: from all sources, or from single ones"};
  }
}

}  // namespace

const SocketGroups::Membership* SocketGroups::find(const IpAddress& group, std::uint32_t interface) const {
  for (const Membership& membership : all_) {
    if (membership.interface == interface && membership.group == group) return &membership;
  }
  return nullptr;
}

Multicast::Multicast(Context& context, IpLayer& ip, Interfaces& interfaces)
    : context_(context),
      ip_(ip),
      interfaces_(interfaces),
      members_(0, KeyHash{{context.rng.next(), context.rng.next()}}),
      igmp_(context.config, context.rng,
            {[](void* self, std::uint32_t interface, const IpAddress& dst, std::span<const std::byte> message, Time now) {
               static_cast<Multicast*>(self)->send(interface, dst, message, now);
             },
             this}) {}

Multicast::~Multicast() {
  ASSERT(members_.empty());  // a socket that outlived us would point here
}

Result<void> Multicast::join(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, Time now) {
  if (group.is_multicast() && is_source_specific(group)) return sources_wanted;
  return add(socket, group, interface, {.mode = FilterMode::exclude}, now);
}

Result<void> Multicast::leave(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, Time now) {
  if (!group.is_multicast()) return no_group;
  const auto membership = find_joined(socket, group, interface, EADDRNOTAVAIL);
  if (!membership) return membership.error();
  remove(socket, *membership, now);
  return {};
}

Result<void> Multicast::join_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now) {
  const auto index = find_interface(group, interface);
  if (!index) return index.error();
  const auto membership = find_joined(socket, group, *index, EINVAL);
  if (!membership) return add(socket, group, *index, {.mode = FilterMode::include, .sources = {source}}, now);

  SourceFilter& filter = (*membership)->filter;
  if (filter.mode != FilterMode::include) return error_of(EINVAL);
  if (filter.contains(source)) return Error{EADDRNOTAVAIL, "the socket has joined the group from this source already"};
  if (filter.sources.size() == context_.config.sources_per_filter) return too_many_sources;
  filter.add(source);
  return update({group, *index}, now);
}

Result<void> Multicast::leave_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now) {
  const auto membership = find_joined(socket, group, interface, EINVAL);
  if (!membership) return membership.error();
  SourceFilter& filter = (*membership)->filter;
  if (filter.mode != FilterMode::include) return error_of(EINVAL);
  if (!filter.remove(source)) return Error{EADDRNOTAVAIL, "the socket has not joined the group from this source"};
  if (filter.is_nothing()) {
    remove(socket, *membership, now);
  } else {
    return update({group, (*membership)->interface}, now);
  }
  return {};
}

Result<void> Multicast::block_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now) {
  const auto membership = find_joined(socket, group, interface, EINVAL);
  if (!membership) return membership.error();
  SourceFilter& filter = (*membership)->filter;
  if (filter.mode != FilterMode::exclude) return error_of(EINVAL);
  if (filter.contains(source)) return Error{EADDRNOTAVAIL, "the source is blocked already"};
  if (filter.sources.size() == context_.config.sources_per_filter) return too_many_sources;
  filter.add(source);
  return update({group, (*membership)->interface}, now);
}

Result<void> Multicast::unblock_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now) {
  const auto membership = find_joined(socket, group, interface, EINVAL);
  if (!membership) return membership.error();
  SourceFilter& filter = (*membership)->filter;
  if (filter.mode != FilterMode::exclude) return error_of(EINVAL);
  if (!filter.remove(source)) return Error{EADDRNOTAVAIL, "the source is not blocked"};
  return update({group, (*membership)->interface}, now);
}

Result<void> Multicast::set_filter(SocketGroups& socket, const IpAddress& group, SourceFilter filter, std::uint32_t interface, Time now) {
  const auto membership = find_joined(socket, group, interface, EINVAL);
  if (!membership) return membership.error();
  if (filter.mode == FilterMode::exclude && is_source_specific(group)) return sources_wanted;
  if (filter.sources.size() > context_.config.sources_per_filter) return too_many_sources;
  std::ranges::sort(filter.sources);
  const auto twice = std::ranges::unique(filter.sources);
  filter.sources.erase(twice.begin(), twice.end());
  if (filter.is_nothing()) {
    remove(socket, *membership, now);
    return {};
  }
  (*membership)->filter = std::move(filter);
  return update({group, (*membership)->interface}, now);
}

void Multicast::leave_all(SocketGroups& socket, Time now) {
  while (!socket.all_.empty()) remove(socket, &socket.all_.back(), now);
}

std::optional<Drop> Multicast::refuses(const IpAddress& group, const IpAddress& src, std::uint32_t interface, std::uint8_t protocol) const {
  if (group == wire::igmp_all_hosts) return std::nullopt;
  const auto members = members_.find({group, interface});
  if (members == members_.end()) return Drop::group_not_joined;
  // IGMP's queries come to the group from a router, which is none of its sources.
  if (protocol == wire::protocol_igmp || members->second.sum.allows(src)) return std::nullopt;
  return Drop::source_filtered;
}

bool Multicast::accepts(const SocketGroups& socket, const IpAddress& group, std::uint32_t interface, const IpAddress& source, bool all) {
  const auto* membership = socket.find(group, interface);
  return membership == nullptr ? all : membership->filter.allows(source);
}

void Multicast::input(const wire::IpInfo& ip, Frame message, Time now) {
  const auto taken = igmp_.input(ip, std::as_const(message).bytes(), now);
  if (taken) {
    context_.fates.consumed();
  } else {
    context_.fates.drop(taken.error(), ip.packet);
  }
}

void Multicast::advance(Time now) {
  refresh(now);
  igmp_.advance(now);
}

void Multicast::refresh(Time now) {
  if (std::exchange(generation_, context_.generation) == context_.generation) return;
  if (context_.claims) return;  // the kernel tells of them
  could_send_.resize(interfaces_.all().size());
  for (std::size_t i = 0; i < could_send_.size(); ++i) {
    const Interface& interface = *interfaces_.all()[i];
    const bool can_send = interface.is_up() && interface.source_for(IpAddress::any(Family::ipv4)) != nullptr;
    const bool could_send = could_send_[i];
    could_send_[i] = can_send;
    if (can_send && !could_send) igmp_.announce(interface.index(), now);
  }
}

Result<std::uint32_t> Multicast::find_interface(const IpAddress& group, std::uint32_t interface) const {
  if (!group.is_ipv4() || !group.is_multicast()) return no_group;
  if (interface != 0) {
    if (interfaces_.find(interface) == nullptr) return Error{ENODEV, "no interface has this index"};
    return interface;
  }
  const auto path = ip_.find_path(group, IpAddress::any(group.family), 0);
  if (!path) return Error{ENODEV, "no interface for this group: name one, or add a route"};
  return path->interface;
}

Result<SocketGroups::Membership*> Multicast::find_joined(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, int error) {
  for (SocketGroups::Membership& membership : socket.all_) {
    if (membership.group == group && (interface == 0 || membership.interface == interface)) return &membership;
  }
  return error_of(error);
}

Result<void> Multicast::add(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, SourceFilter filter, Time now) {
  const auto index = find_interface(group, interface);
  if (!index) return index.error();
  if (socket.find(group, *index) != nullptr) return Error{EADDRINUSE, "the socket has joined this group there already"};
  if (socket.all_.size() == context_.config.memberships_per_socket) return Error{ENOBUFS, "the socket has joined as many groups as it can"};
  const Key key{group, *index};
  if (members_.size() == context_.config.groups && !members_.contains(key)) return Error{ENOBUFS, "this host has joined as many groups as it can"};
  socket.all_.push_back({group, *index, std::move(filter)});
  members_[key].sockets.push_back(&socket);
  auto updated = update(key, now);
  if (!updated) remove(socket, &socket.all_.back(), now);
  return updated;
}

void Multicast::remove(SocketGroups& socket, SocketGroups::Membership* membership, Time now) {
  const Key key{membership->group, membership->interface};
  socket.all_.erase(socket.all_.begin() + (membership - socket.all_.data()));
  std::vector<SocketGroups*>& sockets = members_[key].sockets;
  std::erase(sockets, &socket);
  static_cast<void>(update(key, now));  // to want less fails only where the interface is gone
  if (sockets.empty()) members_.erase(key);
}

// RFC 9776 3.2: the interface's filter is the sum of its sockets'.
Result<void> Multicast::update(const Key& key, Time now) {
  Members& members = members_[key];
  members.sum = {};
  for (const SocketGroups* socket : members.sockets) members.sum.merge(socket->find(key.group, key.interface)->filter);
  const Claims& claims = context_.claims;
  if (claims) return claims.update_group(claims.self, key.group, key.interface, members.sum);
  if (key.interface != loopback_index) igmp_.set(key.interface, key.group, members.sum, now);
  return {};
}

void Multicast::send(std::uint32_t interface, const IpAddress& dst, std::span<const std::byte> message, Time now) {
  const auto path = ip_.find_path(dst, IpAddress::any(Family::ipv4), interface);
  if (!path) return;  // the interface is down, or has no address yet: refresh() tells of the group when that changes
  Frame frame = context_.pools.allocate(message.size());
  if (!frame) {
    context_.counters.frames_made.add();
    return context_.fates.drop(Drop::no_frame);
  }
  frame.resize(message.size());
  std::ranges::copy(message, frame.bytes().begin());
  const wire::IpInfo ip{.src = path->src,
                        .dst = dst,
                        .interface = interface,
                        .protocol = wire::protocol_igmp,
                        .hop_limit = 1,
                        .tos = internetwork_control,
                        .options = router_alert};
  if (ip_.output(std::move(frame), ip, *path, Fragmentation::want, now)) return;
  context_.counters.frames_made.add();
  context_.fates.drop(Drop::ip_too_big);
}

}  // namespace gannet::stack
