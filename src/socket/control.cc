#include "socket/control.h"

#include <algorithm>
#include <cerrno>

#include "socket/options.h"
#include "stack/udp.h"
#include "wire/ipv4.h"

namespace gannet::socket {
namespace {

using Kind = ControlRequest::Kind;

bool is_family(Family family) { return family == Family::ipv4 || family == Family::ipv6; }

// Or shows what a send before it has changed: the first datagram binds.
bool changes_socket(Kind kind) {
  return kind != Kind::peer_address && kind != Kind::get && kind != Kind::membership && kind != Kind::bind_automatically && kind != Kind::too_large;
}

Result<ControlAnswer> bind(stack::Udp& udp, stack::Endpoint& endpoint, const Address& local) {
  if (!local.ip.is_ipv4()) return Error{EAFNOSUPPORT};
  if (const auto bound = udp.bind(endpoint, local); !bound) return bound.error();
  endpoint.bound_port = endpoint.local.port;
  return ControlAnswer{.address = endpoint.local};
}

Result<ControlAnswer> bind_automatically(stack::Udp& udp, stack::Endpoint& endpoint) {
  if (endpoint.local.port == 0) {
    if (const auto bound = udp.bind(endpoint, {IpAddress::any(Family::ipv4), 0}); !bound) return bound.error();
  }
  return ControlAnswer{.address = endpoint.local};
}

Result<ControlAnswer> connect(stack::Udp& udp, stack::Endpoint& endpoint, const Address& peer) {
  if (!peer.ip.is_ipv4()) return Error{EAFNOSUPPORT};
  if (const auto connected = udp.connect(endpoint, peer); !connected) return connected.error();
  return ControlAnswer{.address = endpoint.local};
}

Result<ControlAnswer> disconnect(stack::Udp& udp, stack::Endpoint& endpoint) {
  udp.disconnect(endpoint);
  // A port that bind() chose is given back, as on Linux. A bound address stays bound here.
  if (endpoint.local.port == 0 && endpoint.bound_port != 0) {
    if (const auto bound = udp.bind(endpoint, {endpoint.local.ip, endpoint.bound_port}); !bound) return bound.error();
  }
  return ControlAnswer{.address = endpoint.local};
}

Result<ControlAnswer> set(stack::Udp& udp, stack::Endpoint& endpoint, Option option, int value, Time now) {
  stack::EndpointOptions& options = endpoint.options;
  const bool on = value != 0;
  switch (option) {
    case Option::receive_buffer:
      endpoint.set_receive_limit(static_cast<std::uint64_t>(value) * 2);
      break;
    case Option::send_buffer:
      endpoint.set_send_limit(static_cast<std::uint64_t>(value) * 2);
      break;
    case Option::broadcast:
      options.broadcast = on;
      break;
    case Option::reuse_address:
      options.reuse_address = on;
      udp.update_reuse(endpoint);
      break;
    case Option::reuse_port:
      options.reuse_port = on;
      break;
    case Option::ttl:
      options.ttl = value;
      break;
    case Option::tos:
      options.tos = static_cast<std::uint8_t>(value);
      break;
    case Option::multicast_ttl:
      options.multicast_ttl = static_cast<std::uint8_t>(value == -1 ? 1 : value);
      break;
    case Option::multicast_loop:
      options.multicast_loop = on;
      break;
    case Option::pmtu_discovery:
      options.fragmentation = static_cast<stack::Fragmentation>(value);
      break;
    case Option::no_checksum:
      options.no_checksum = on;
      break;
    case Option::max_pacing_rate:
      endpoint.set_pacing_rate(on ? value : stack::Pacer::unlimited, now);
      break;
    case Option::timestamp:
      options.timestamp = on;
      break;
    case Option::receive_errors:
      options.receive_errors = on;
      break;
    case Option::require_checksum:
      options.require_checksum = on;
      break;
    case Option::multicast_all:
      options.multicast_all = on;
      break;
    case Option::receive_ip_options:
      options.receive_ip_options = on;
      break;
    case Option::segment_coalescing:
      if (on) return Error{ENOPROTOOPT, "our stack hands datagrams over one by one"};
      break;
    default:
      return Error{ENOPROTOOPT, "our stack does not have this option"};
  }
  return ControlAnswer{};
}

Result<int> get(engine::Engine& engine, stack::Endpoint& endpoint, Option option) {
  const stack::EndpointOptions& options = endpoint.options;
  switch (option) {
    case Option::receive_buffer:
      return static_cast<int>(endpoint.receive_limit());
    case Option::send_buffer:
      return static_cast<int>(endpoint.send_limit());
    case Option::broadcast:
      return options.broadcast ? 1 : 0;
    case Option::reuse_address:
      return options.reuse_address ? 1 : 0;
    case Option::reuse_port:
      return options.reuse_port ? 1 : 0;
    case Option::ttl:
      return options.ttl == -1 ? engine.stack().config().ttl : options.ttl;
    case Option::tos:
      return options.tos;
    case Option::multicast_ttl:
      return options.multicast_ttl;
    case Option::multicast_loop:
      return options.multicast_loop ? 1 : 0;
    case Option::pmtu_discovery:
      return static_cast<int>(options.fragmentation);
    case Option::no_checksum:
      return options.no_checksum ? 1 : 0;
    case Option::max_pacing_rate:
      return endpoint.pacing_rate();
    case Option::timestamp:
      return options.timestamp ? 1 : 0;
    case Option::receive_errors:
      return options.receive_errors ? 1 : 0;
    case Option::require_checksum:
      return options.require_checksum ? 1 : 0;
    case Option::multicast_all:
      return options.multicast_all ? 1 : 0;
    case Option::receive_ip_options:
      return options.receive_ip_options ? 1 : 0;
    case Option::segment_coalescing:
      return 0;
    case Option::mtu: {
      const auto mtu = engine.stack().udp().path_mtu(endpoint);
      if (!mtu) return mtu.error();
      return static_cast<int>(*mtu);
    }
    case Option::overflow_count:
      return static_cast<int>(endpoint.overflow());
    default:
      return Error{ENOPROTOOPT, "our stack does not have this option"};
  }
}

Result<void> change_membership(engine::Engine& engine, stack::Endpoint& endpoint, const ControlRequest& request) {
  const bool names_source = request.membership != Membership::join && request.membership != Membership::leave;
  if (!request.group.is_ipv4() || (names_source && !request.source.is_ipv4())) return Error{EAFNOSUPPORT};
  stack::Multicast& multicast = engine.stack().multicast();
  stack::SocketGroups& groups = engine.stack().udp().groups(endpoint);
  const Time now = engine.now();
  switch (request.membership) {
    case Membership::join:
      return multicast.join(groups, request.group, request.interface, now);
    case Membership::leave:
      return multicast.leave(groups, request.group, request.interface, now);
    case Membership::join_source:
      return multicast.join_source(groups, request.group, request.source, request.interface, now);
    case Membership::leave_source:
      return multicast.leave_source(groups, request.group, request.source, request.interface, now);
    case Membership::block_source:
      return multicast.block_source(groups, request.group, request.source, request.interface, now);
    case Membership::unblock_source:
      return multicast.unblock_source(groups, request.group, request.source, request.interface, now);
  }
  return Error{EINVAL};
}

Result<ControlAnswer> set_ip_options(stack::Endpoint& endpoint, const ControlRequest& request) {
  wire::Ipv4Options options(std::span(request.ip_options).first(request.ip_options_size));
  while (options.next()) {
  }
  if (options.malformed()) return Error{EINVAL, "these bytes are no IPv4 options"};
  endpoint.options.ip_options = request.ip_options;
  endpoint.options.ip_options_size = static_cast<std::uint8_t>((request.ip_options_size + 3) / 4 * 4);
  return ControlAnswer{};
}

}  // namespace

Call call_of(Kind kind) {
  switch (kind) {
    case Kind::bind:
      return Call::bind;
    case Kind::bind_automatically:
    case Kind::too_large:
      return Call::send;
    case Kind::connect:
    case Kind::disconnect:
      return Call::connect;
    case Kind::set:
    case Kind::get:
    case Kind::set_ip_options:
      return Call::option;
    case Kind::membership:
    case Kind::multicast_interface:
      return Call::membership;
    case Kind::local_address:
    case Kind::peer_address:
      break;
  }
  return Call::other;
}

Result<void> check(const ControlRequest& request) {
  const bool known = request.kind <= Kind::too_large && static_cast<std::size_t>(request.option) < option_count &&
                     request.membership <= Membership::unblock_source && request.ip_options_size <= request.ip_options.size() &&
                     is_family(request.address.ip.family) && is_family(request.group.family) && is_family(request.source.family);
  if (!known) return Error{EINVAL, "the request makes no sense"};
  if (request.kind == Kind::set) return check(request.option, request.value);
  return {};
}

Result<ControlAnswer> carry_out(engine::Engine& engine, stack::Endpoint& endpoint, const ControlRequest& request) {
  stack::Udp& udp = engine.stack().udp();
  if (changes_socket(request.kind)) engine.send_waiting(endpoint);
  switch (request.kind) {
    case Kind::bind:
      return bind(udp, endpoint, request.address);
    case Kind::bind_automatically:
      return bind_automatically(udp, endpoint);
    case Kind::connect:
      return connect(udp, endpoint, request.address);
    case Kind::disconnect:
      return disconnect(udp, endpoint);
    case Kind::local_address:
      return ControlAnswer{.address = endpoint.local};
    case Kind::peer_address:
      if (!endpoint.is_connected()) return Error{ENOTCONN};
      return ControlAnswer{.address = endpoint.peer};
    case Kind::set:
      return set(udp, endpoint, request.option, request.value, engine.now());
    case Kind::get: {
      const auto value = get(engine, endpoint, request.option);
      if (!value) return value.error();
      return ControlAnswer{.value = *value};
    }
    case Kind::set_ip_options:
      return set_ip_options(endpoint, request);
    case Kind::membership:
      if (const auto changed = change_membership(engine, endpoint, request); !changed) return changed.error();
      return ControlAnswer{};
    case Kind::multicast_interface:
      if (request.interface != 0 && engine.stack().interfaces().find(request.interface) == nullptr) {
        return Error{EADDRNOTAVAIL, "no interface has this index"};
      }
      endpoint.options.multicast_interface = request.interface;
      return ControlAnswer{};
    case Kind::too_large:
      endpoint.queue_error({.code = EMSGSIZE,
                            .origin = SocketError::Origin::local,
                            .mtu = static_cast<std::uint32_t>(request.value),
                            .peer = request.address,
                            .offender = {}});
      return ControlAnswer{};
  }
  return Error{EINVAL};
}

}  // namespace gannet::socket
