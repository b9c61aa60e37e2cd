#include "stack/udp.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "wire/udp.h"

namespace gannet::stack {
namespace {

constexpr std::size_t largest_payload = 65507;  // with an IPv4 header of 20 bytes
constexpr IpAddress any = IpAddress::any(Family::ipv4);

constexpr Error no_broadcast{EACCES, "a broadcast address: set the option broadcast first"};
constexpr Error port_zero{EINVAL, "port 0 is nobody's: name the port to send to"};

}  // namespace

// A socket is what the application sees of it, and its place in the table of ports.
class Udp::Socket final : public Endpoint, public PortBinding {
 public:
  Socket(std::uint32_t id, EndpointGroup& group) : Endpoint(id, group) {}

  SocketGroups groups;
  IpAddress source = any;      // that its datagrams have, unless they name another; any: by route
  bool address_bound = false;  // by bind(), not by connect()
  bool port_bound = false;     // likewise
  Address claimed;             // of a guest: in the kernel
  std::size_t index = 0;       // in sockets_

  // To where the last datagram went, good while path.generation is the host's; and what it was found with.
  Path path;
  IpAddress path_to = any;
  IpAddress path_source = any;
  std::uint32_t path_interface = 0;
  // What IP is to write for whatever goes there. TTL, TOS and options are each datagram's own.
  wire::IpInfo outgoing;
  // When recent_flows_ was last told that something went there, and between which ports.
  std::uint32_t told_tick = 0;
  std::uint32_t told_ports = 0;
};

Udp::Udp(Context& context, IpLayer& ip, Interfaces& interfaces, Multicast& multicast)
    : context_(context),
      ip_(ip),
      interfaces_(interfaces),
      multicast_(multicast),
      ports_({context.rng.next(), context.rng.next()}, {context.config.ephemeral_low, context.config.ephemeral_high}),
      recent_flows_({context.rng.next(), context.rng.next()}) {}

Udp::~Udp() {
  while (!sockets_.empty()) close(*sockets_.back(), Time{});
}

Result<Endpoint*> Udp::open(EndpointGroup& group) {
  if (sockets_.size() == context_.config.sockets) return Error{ENFILE, "the host has as many sockets as it can"};
  auto& socket = sockets_.emplace_back(std::make_unique<Socket>(next_id_++, group));
  socket->index = sockets_.size() - 1;
  return static_cast<Endpoint*>(socket.get());
}

void Udp::close(Endpoint& endpoint, Time now) {
  auto& socket = static_cast<Socket&>(endpoint);
  multicast_.leave_all(socket.groups, now);
  ports_.unbind(socket);
  release_claim(socket);
  const std::size_t index = socket.index;
  std::swap(sockets_[index], sockets_.back());
  sockets_[index]->index = index;
  sockets_.pop_back();
}

void Udp::retire(Endpoint& endpoint, Time now) {
  auto& socket = static_cast<Socket&>(endpoint);
  multicast_.leave_all(socket.groups, now);
  ports_.unbind(socket);
}

Result<void> Udp::bind(Endpoint& endpoint, const Address& local) {
  auto& socket = static_cast<Socket&>(endpoint);
  if (!local.ip.is_ipv4()) return Error{EAFNOSUPPORT, "this host has no IPv6"};
  const AddressKind kind = interfaces_.kind_of(local.ip, 0);
  if (kind == AddressKind::foreign || kind == AddressKind::reserved) return Error{EADDRNOTAVAIL, "not an address of this host"};
  if (socket.is_bound()) return Error{EINVAL, "the socket is bound already"};

  socket.PortBinding::reuse_address = socket.options.reuse_address;
  socket.PortBinding::reuse_port = socket.options.reuse_port;
  if (auto bound = take_port(socket, local); !bound) return bound;
  socket.local = socket.local_address();
  socket.address_bound = kind != AddressKind::any;
  socket.port_bound = local.port != 0;
  // Groups and broadcast addresses receive; they send nothing (RFC 1122 3.2.1.3).
  socket.source = kind == AddressKind::own || kind == AddressKind::loopback ? local.ip : any;
  return {};
}

// The kernel's other programs may have a port that is free here.
Result<void> Udp::take_port(Socket& socket, const Address& local) {
  constexpr int attempts = 64;
  const Claims& claims = context_.claims;
  for (int i = 0;; ++i) {
    auto bound = ports_.bind(socket, local);
    if (!bound || !claims) return bound;
    const Address& address = socket.local_address();
    auto claimed = claims.claim(claims.self, address, socket.PortBinding::reuse_address, socket.PortBinding::reuse_port);
    if (claimed) {
      socket.claimed = address;
      return claimed;
    }
    ports_.unbind(socket);
    if (local.port != 0 || claimed.error().code != EADDRINUSE || i == attempts) return claimed;
  }
}

void Udp::release_claim(Socket& socket) {
  if (socket.claimed.port == 0) return;
  context_.claims.release(context_.claims.self, socket.claimed);
  socket.claimed = {};
}

Result<void> Udp::bind_automatically(Socket& socket) {
  if (take_port(socket, {any, 0})) {
    socket.local = socket.local_address();
    return {};
  }
  return Error{EAGAIN, "no free port is left: every ephemeral port has a socket"};
}

void Udp::update_reuse(Endpoint& endpoint) {
  auto& socket = static_cast<Socket&>(endpoint);
  socket.PortBinding::reuse_address = socket.options.reuse_address;
}

Result<void> Udp::connect(Endpoint& endpoint, const Address& peer) {
  auto& socket = static_cast<Socket&>(endpoint);
  const IpAddress source = socket.address_bound ? socket.source : any;
  const std::uint32_t interface = socket.bound_interface != 0 ? socket.bound_interface
                                  : peer.ip.is_multicast()    ? socket.options.multicast_interface
                                                              : 0;
  const auto path = ip_.find_path(peer.ip, source, interface);
  if (!path) return path.error();
  if (path->kind == PathKind::broadcast && !socket.options.broadcast) return no_broadcast;
  if (!socket.is_bound()) {
    if (auto bound = bind_automatically(socket); !bound) return bound;
  }
  Address actual = peer;
  if (peer.ip.is_any()) actual.ip = path->next_hop;  // 0.0.0.0 is this host
  const IpAddress local = socket.address_bound ? socket.local.ip : path->src;
  if (peer.port == 0) {  // nobody's, but programs learn so which address they would have
    actual = {};
    ports_.disconnect(socket, local);
  } else {
    ports_.connect(socket, local, actual);
  }
  socket.local = socket.local_address();
  socket.peer = actual;
  socket.source = path->src;
  return {};
}

void Udp::disconnect(Endpoint& endpoint) {
  auto& socket = static_cast<Socket&>(endpoint);
  const bool is_fixed = !socket.address_bound && !socket.local.ip.is_any();  // by connect(), to a port or to none
  if (!endpoint.is_connected() && !is_fixed) return;
  socket.peer = {};
  if (!socket.address_bound) socket.source = socket.local.ip = any;
  if (socket.port_bound) {
    ports_.disconnect(socket, socket.local.ip);
  } else {
    ports_.unbind(socket);
    release_claim(socket);
    socket.local.port = 0;
  }
}

SocketGroups& Udp::groups(Endpoint& endpoint) const { return static_cast<Socket&>(endpoint).groups; }

// Leaves it in socket.path, and its addresses in socket.outgoing.
[[gnu::always_inline]] inline Result<void> Udp::find_path(Socket& socket, const IpAddress& dst, const IpAddress& src, std::uint32_t interface) {
  const bool known = ip_.is_current(socket.path) && socket.path_to == dst && socket.path_source == src && socket.path_interface == interface;
  if (known) [[likely]]
    return {};
  return look_up_path(socket, dst, src, interface);
}

Result<void> Udp::look_up_path(Socket& socket, const IpAddress& dst, const IpAddress& src, std::uint32_t interface) {
  auto path = ip_.find_path(dst, src, interface);
  if (!path) return path.error();
  socket.path = *path;
  socket.path_to = dst;
  socket.path_source = src;
  socket.path_interface = interface;
  socket.told_tick = 0;
  // 0.0.0.0 is this host.
  socket.outgoing = {.src = path->src, .dst = dst.is_any() ? path->next_hop : dst, .interface = path->interface, .protocol = wire::protocol_udp};
  return {};
}

Result<std::uint32_t> Udp::path_mtu(Endpoint& endpoint) {
  auto& socket = static_cast<Socket&>(endpoint);
  if (!endpoint.is_connected()) return Error{ENOTCONN, "only a connected socket has a path"};
  if (auto found = find_path(socket, socket.peer.ip, socket.source, socket.bound_interface); !found) return found.error();
  return socket.path.mtu;
}

[[gnu::always_inline]] inline std::expected<void, Drop> Udp::deliver(Socket& socket, Delivery& delivery) {
  if (!delivery.has_checksum && socket.options.require_checksum) [[unlikely]]
    return std::unexpected(Drop::udp_checksum_missing);
  return socket.Endpoint::deliver(delivery);
}

[[gnu::always_inline]] inline void Udp::settle(const Delivery& delivery, std::expected<void, Drop> fate) {
  if (fate) [[likely]] {
    counters_.in_datagrams.add();
    return context_.fates.delivered();
  }
  counters_.in_errors.add();
  // Where a handler answered in the frame, the packet is not there any more; but then it was delivered.
  context_.fates.drop(fate.error(), delivery.ip.packet);
}

void Udp::input(const wire::IpInfo& ip, Frame&& datagram, Time now) {
  const std::span<std::byte> bytes = datagram.bytes();
  const auto udp = wire::parse_udp(ip, bytes, ip.src.is_ipv4() ? wire::ZeroChecksum::allowed : wire::ZeroChecksum::refused);
  if (!udp) [[unlikely]] {
    counters_.in_errors.add();
    return context_.fates.drop(udp.error(), ip.packet);
  }
  Delivery delivery{.ip = ip,
                    .peer_port = udp->src_port,
                    .local_port = udp->dst_port,
                    .payload = bytes.subspan(wire::udp_header_size, udp->user_data.size()),
                    .has_checksum = udp->has_checksum,
                    .now = now,
                    .frame = &datagram};
  if (ip.to_group) [[unlikely]]
    return deliver_to_group(delivery);

  PortBinding* binding = ports_.find(ip.dst, udp->dst_port, ip.src, udp->src_port);
  if (binding == nullptr) [[unlikely]]
    return refuse(delivery);
  auto& socket = static_cast<Socket&>(*binding);
  if (socket.bound_interface != 0 && socket.bound_interface != ip.interface) [[unlikely]]
    return refuse(delivery);
  settle(delivery, deliver(socket, delivery));
}

// A copy for each socket that wants the datagram. Handlers may change it, or answer in its frame: so they come last, the first of them gets the frame
// itself, and the others frames of their own.
void Udp::deliver_to_group(Delivery& delivery) {
  const wire::IpInfo& ip = delivery.ip;
  std::optional<std::expected<void, Drop>> fate;
  const auto note = [&](std::expected<void, Drop> one) {
    if (!fate || !*fate) fate = one;
  };
  Socket* with_handler = nullptr;
  ports_.for_each(delivery.local(), delivery.peer(), [&](PortBinding& binding) {
    auto& socket = static_cast<Socket&>(binding);
    if (socket.bound_interface != 0 && socket.bound_interface != ip.interface) return;
    if (ip.dst.is_multicast() && !Multicast::accepts(socket.groups, ip.dst, ip.interface, ip.src, socket.options.multicast_all)) {
      return note(std::unexpected(socket.groups.find(ip.dst, ip.interface) == nullptr ? Drop::group_not_joined : Drop::source_filtered));
    }
    if (socket.handler.handle == nullptr) return note(deliver(socket, delivery));
    if (with_handler != nullptr) return note(deliver_copy(socket, delivery));
    with_handler = &socket;
  });
  if (with_handler != nullptr) note(deliver(*with_handler, delivery));
  if (!fate) return refuse(delivery);
  settle(delivery, *fate);
}

std::expected<void, Drop> Udp::deliver_copy(Socket& socket, const Delivery& delivery) {
  const std::span<const std::byte> bytes = std::as_const(*delivery.frame).bytes();
  Frame copy = context_.pools.allocate(bytes.size());
  if (!copy) return std::unexpected(Drop::no_frame);
  copy.resize(bytes.size());
  std::ranges::copy(bytes, copy.bytes().begin());
  Delivery second{.ip = delivery.ip,
                  .peer_port = delivery.peer_port,
                  .local_port = delivery.local_port,
                  .payload = copy.bytes().subspan(wire::udp_header_size, delivery.payload.size()),
                  .has_checksum = delivery.has_checksum,
                  .now = delivery.now,
                  .frame = &copy};
  return deliver(socket, second);
}

// Nobody is there. Senders to one address are told so (RFC 1122 4.1.3.1), unless IP knows that they must not be.
void Udp::refuse(Delivery& delivery) {
  if (context_.claims && delivery.ip.looped && !delivery.ip.to_group) return hand_over(delivery);
  counters_.no_ports.add();
  const bool has_other_peer = !delivery.ip.to_group && ports_.has_connected(delivery.local_port);
  context_.fates.drop(has_other_peer ? Drop::udp_wrong_peer : Drop::udp_no_socket, delivery.ip.packet);
  if (!delivery.ip.to_group) ip_.port_unreachable(delivery.ip, delivery.now);
}

// A guest's own addresses are the kernel's too: what no socket here wants may be for another program's. If not, the kernel says so.
void Udp::hand_over(Delivery& delivery) {
  Frame packet = std::move(*delivery.frame);
  packet.prepend(static_cast<std::size_t>(std::as_const(packet).bytes().data() - delivery.ip.packet.data()));
  wire::set_ipv4_id(packet.bytes(), static_cast<std::uint16_t>(Fragmentation::want));
  interfaces_.loopback().send(std::move(packet));
}

bool Udp::icmp_error(const IcmpError& error, Time now) {
  const Address local{error.src, wire::load_be16(error.quote, 0)};
  const Address peer{error.dst, wire::load_be16(error.quote, 2)};
  PortBinding* binding = ports_.find(local, peer);
  if (binding == nullptr || !recent_flows_.contains(local.port, peer, now)) return false;
  auto& socket = static_cast<Socket&>(*binding);
  // Who fragments whatever the path carries need not hear of its MTU.
  if (error.error == EMSGSIZE && socket.options.fragmentation == Fragmentation::never_df) return true;
  socket.report({.code = error.error,
                 .origin = SocketError::Origin::icmp,
                 .type = error.type,
                 .icmp_code = error.code,
                 .mtu = error.mtu,
                 .peer = peer,
                 .offender = error.offender},
                error.hard || (error.error == EMSGSIZE), error.quote.subspan(wire::udp_header_size));
  return true;
}

// Once a second is enough for each flow.
[[gnu::always_inline]] inline void Udp::remember_flow(Socket& socket, std::uint16_t port, Time now) {
  const std::uint32_t tick = RecentFlows::tick_of(now);
  const std::uint32_t ports = std::uint32_t{socket.local.port} << 16 | port;
  if (socket.told_tick == tick && socket.told_ports == ports) [[likely]]
    return;
  socket.told_tick = tick;
  socket.told_ports = ports;
  recent_flows_.remember(socket.local.port, socket.outgoing.dst, port, now);
}

std::size_t Udp::flush(Endpoint& endpoint, Time now, std::size_t budget) {
  auto& socket = static_cast<Socket&>(endpoint);
  SendRequest request;
  std::size_t taken = 0;
  for (; taken < budget; ++taken) {
    const auto next = socket.next_send(request, now);
    if (!next) {
      context_.counters.frames_made.add();  // it never became one, but its end is told as if it had
      context_.fates.drop(next.error());
      continue;
    }
    if (!*next) break;
    [[maybe_unused]] const auto sent = submit(endpoint, request, now);  // what is refused is counted there, and its sender told
    socket.finish_send();
  }
  return taken;
}

void Udp::discard(Endpoint& endpoint, Time now) {
  endpoint.set_pacing_rate(Pacer::unlimited, now);
  SendRequest request;
  const std::uint64_t start = endpoint.taken();
  while (endpoint.taken() - start < send_ring_size) {
    const auto next = endpoint.next_send(request, now);
    if (next && !*next) return;
    context_.counters.frames_made.add();  // as in flush()
    context_.fates.drop(next ? Drop::socket_closed : next.error());
    if (next) endpoint.finish_send();
  }
}

std::expected<PathKind, Drop> Udp::submit(Endpoint& endpoint, const SendRequest& request, Time now) {
  auto& socket = static_cast<Socket&>(endpoint);
  const auto sent = send(endpoint, request, now);
  if (!sent) [[unlikely]]
    return std::unexpected(report_refusal(socket, request, sent.error()));
  return socket.path.kind;
}

Drop Udp::report_refusal(Socket& socket, const SendRequest& request, const Error& error) {
  const Drop reason = count_loss(error);
  socket.refused.add();
  // As on Linux, what the host itself had no room for is lost without a word, unless the application wants to hear every error.
  if (error.code == ENOBUFS && !socket.options.receive_errors) return reason;
  const Address& to = request.header.peer.port == 0 ? socket.peer : request.header.peer;
  const std::uint32_t mtu = error.code == EMSGSIZE && socket.path_to == to.ip ? socket.path.mtu : 0;
  socket.report({.code = error.code, .origin = SocketError::Origin::local, .mtu = mtu, .peer = to, .offender = {}}, true);
  return reason;
}

// A datagram that the application sent and that never became a frame: its end is told as if it had.
Drop Udp::count_loss(const Error& error) {
  const Drop reason = error.code == ENOBUFS ? Drop::no_frame : Drop::send_refused;
  context_.counters.frames_made.add();
  context_.fates.drop(reason);
  return reason;
}

// Leaves the path in socket.path, and what IP is to write in socket.outgoing; returns the port that it goes to. The options are the request's, and
// are to be taken out again.
[[gnu::always_inline]] inline Result<std::uint16_t> Udp::aim(Socket& socket, const SendRequest& request) {
  const RecordHeader& header = request.header;
  Address to = header.peer;
  if (to.port == 0) {
    if (!to.ip.is_any()) return port_zero;
    if (!socket.Endpoint::is_connected()) return Error{EDESTADDRREQ, "the socket is not connected: name the address to send to"};
    to = socket.peer;
  }
  if (socket.local.port == 0) {
    if (auto bound = bind_automatically(socket); !bound) return bound.error();
  }
  const IpAddress& source = header.local.ip.is_any() ? socket.source : header.local.ip;
  const EndpointOptions& options = socket.options;
  const bool multicast = to.ip.is_multicast();
  const std::uint32_t interface = header.interface != 0           ? header.interface
                                  : socket.bound_interface != 0 ? socket.bound_interface
                                  : multicast                   ? options.multicast_interface
                                                                : 0;
  if (auto found = find_path(socket, to.ip, source, interface); !found) return found.error();
  if (socket.path.kind == PathKind::broadcast && !options.broadcast) return no_broadcast;

  const int own_hop_limit = multicast ? options.multicast_ttl : options.ttl >= 0 ? options.ttl : context_.config.ttl;
  socket.outgoing.hop_limit = static_cast<std::uint8_t>(header.hop_limit >= 0 ? header.hop_limit : own_hop_limit);
  socket.outgoing.tos = static_cast<std::uint8_t>(header.tos >= 0 ? header.tos : options.tos);
  socket.outgoing.options = header.ip_options_size != 0 ? std::span(request.ip_options).first(header.ip_options_size)
                                                        : std::span(options.ip_options).first(options.ip_options_size);
  return to.port;
}

std::optional<wire::IpInfo> Udp::preview(Endpoint& endpoint, const SendRequest& request) {
  auto& socket = static_cast<Socket&>(endpoint);
  const auto aimed = aim(socket, request);
  socket.outgoing.options = {};
  if (!aimed) return std::nullopt;
  return socket.outgoing;
}

Result<void> Udp::send(Endpoint& endpoint, const SendRequest& request, Time now) {
  auto& socket = static_cast<Socket&>(endpoint);
  const auto port = aim(socket, request);
  if (!port) [[unlikely]]
    return port.error();
  const std::uint16_t segment_size = request.header.segment_size;
  const bool is_one = segment_size == 0 || request.payload.size() <= segment_size;
  const auto sent = is_one ? send_datagram(socket, *port, request.payload, now) : send_segments(socket, *port, request.payload, segment_size, now);
  socket.outgoing.options = {};  // they may be the request's
  return sent;
}

Result<void> Udp::send_segments(Socket& socket, std::uint16_t port, std::span<const std::byte> payload, std::uint16_t segment_size, Time now) {
  if (payload.size() > max_segments * segment_size) return Error{EINVAL, "more than 128 segments in one send"};
  const std::uint32_t mtu = uses_path_mtu(socket.options.fragmentation) ? socket.path.mtu : socket.path.interface_mtu;
  const bool fits = segment_size + wire::udp_header_size + 20 + socket.outgoing.options.size() <= mtu;
  if (!fits) return Error{EMSGSIZE, "the segments are larger than the path's MTU"};
  if (auto first = send_datagram(socket, port, payload.first(segment_size), now); !first) return first;
  // The send has begun, and what happens to a later segment is a datagram's loss like any other.
  for (payload = payload.subspan(segment_size); !payload.empty(); payload = payload.subspan(std::min<std::size_t>(payload.size(), segment_size))) {
    const auto sent = send_datagram(socket, port, payload.first(std::min<std::size_t>(payload.size(), segment_size)), now);
    if (!sent) static_cast<void>(count_loss(sent.error()));
  }
  return {};
}

// To socket.outgoing.dst, which find_path() left there.
Result<void> Udp::send_datagram(Socket& socket, std::uint16_t port, std::span<const std::byte> payload, Time now) {
  if (payload.size() > largest_payload) return Error{EMSGSIZE, "larger than a datagram can be: 65,507 bytes over IPv4"};
  Frame frame = context_.pools.allocate(wire::udp_header_size + payload.size());
  if (!frame) return Error{ENOBUFS, "the host has no frame left"};
  frame.resize(wire::udp_header_size + payload.size());
  const std::span<std::byte> bytes = frame.bytes();
  wire::ChecksumSum sum;
  sum.add_copy(bytes.subspan(wire::udp_header_size), payload);
  if (socket.options.no_checksum) {
    wire::emit_udp_unchecked(socket.local.port, port, bytes);
  } else {
    wire::emit_udp(socket.outgoing.src, socket.outgoing.dst, socket.local.port, port, bytes, sum);
  }
  auto sent = ip_.output(std::move(frame), socket.outgoing, socket.path, socket.options.fragmentation, now, socket.options.multicast_loop);
  if (!sent) return sent;
  remember_flow(socket, port, now);
  counters_.out_datagrams.add();
  socket.sent.add();
  return {};
}

Result<void> Udp::reply(Endpoint& endpoint, Delivery& delivery, std::size_t size) {
  auto sent = answer(static_cast<Socket&>(endpoint), delivery, size);
  if (!sent) [[unlikely]]
    static_cast<void>(count_loss(sent.error()));
  return sent;
}

[[gnu::always_inline]] inline Result<void> Udp::answer(Socket& socket, Delivery& delivery, std::size_t size) {
  Frame& frame = *delivery.frame;
  if (!frame) [[unlikely]]
    return Error{EINVAL, "this datagram was answered already"};
  if (delivery.peer_port == 0) [[unlikely]]
    return Error{EINVAL, "the peer's port is 0: it wants no answer"};
  const std::size_t length = wire::udp_header_size + size;
  if (length > frame.size() && length > frame.size() + frame.tailroom()) [[unlikely]]
    return Error{EMSGSIZE, "the answer does not fit the frame of the datagram"};
  const IpAddress& source = delivery.ip.to_group ? socket.source : delivery.ip.dst;
  if (auto found = find_path(socket, delivery.ip.src, source, socket.bound_interface); !found) [[unlikely]]
    return found;
  if (length != frame.size()) frame.resize(length);

  const EndpointOptions& options = socket.options;
  wire::IpInfo& ip = socket.outgoing;
  ip.hop_limit = options.ttl >= 0 ? static_cast<std::uint8_t>(options.ttl) : context_.config.ttl;
  ip.tos = options.tos;
  ip.options = std::span(options.ip_options).first(options.ip_options_size);
  if (options.no_checksum) [[unlikely]] {
    wire::emit_udp_unchecked(delivery.local_port, delivery.peer_port, frame.bytes());
  } else {
    wire::emit_udp(ip.src, ip.dst, delivery.local_port, delivery.peer_port, frame.bytes());
  }
  if (auto sent = ip_.output(std::move(frame), ip, socket.path, options.fragmentation, delivery.now); !sent) [[unlikely]]
    return sent;
  remember_flow(socket, delivery.peer_port, delivery.now);
  counters_.out_datagrams.add();
  return {};
}

}  // namespace gannet::stack
