#include "socket/stack_socket.h"

#include <algorithm>
#include <cerrno>

#include "stack/udp.h"

namespace gannet::socket {
namespace {

using engine::Moment;

constexpr std::size_t max_segments = 128;  // of one record, as Linux's UDP_MAX_SEGMENTS

Error explained(Call call, const Error& error) { return error.why != nullptr ? error : failure(call, error.code); }

}  // namespace

template <class Work>
auto StackSocket::in_engine(Call call, Work&& work) const -> std::invoke_result_t<Work&, stack::Endpoint&> {
  auto answer = engine_.call([&]() -> std::invoke_result_t<Work&, stack::Endpoint&> {
    if (endpoint_ == nullptr) return failure(call, EBADF);
    return work(*endpoint_);
  });
  if (!answer) return explained(call, answer.error());
  return answer;
}

template <class Work>
Result<void> StackSocket::change(Call call, Work&& work) const {
  return in_engine(call, [&](stack::Endpoint& endpoint) -> Result<void> {
    engine_.send_waiting(endpoint);
    return work(endpoint);
  });
}

Result<std::unique_ptr<StackSocket>> StackSocket::open(engine::Engine& engine) {
  const auto endpoint = engine.call([&] { return engine.open_endpoint(); });
  if (!endpoint) return endpoint.error();
  (*endpoint)->options.receive_errors = true;  // nobody else knows the endpoint yet
  std::unique_ptr<StackSocket> socket(new StackSocket(engine, **endpoint));
  const auto ring = socket->in_engine(Call::open, [](stack::Endpoint& e) { return e.add_send_ring(); });
  if (!ring) return ring.error();
  socket->client_.set_send_ring(*ring);
  return socket;
}

StackSocket::StackSocket(engine::Engine& engine, stack::Endpoint& endpoint)
    : engine_(engine),
      host_(engine.host_page()),
      endpoint_(&endpoint),
      slot_(endpoint.slot),
      client_(endpoint.memory(), stack::ClientHooks{this, received, wake_engine}) {}

StackSocket::~StackSocket() { static_cast<void>(StackSocket::close()); }

void StackSocket::received(void* self, bool emptied) {
  if (auto* bell = static_cast<StackSocket*>(self)->bell_.load(std::memory_order_acquire)) bell->received(emptied);
}

void StackSocket::wake_engine(void* self) {
  auto* socket = static_cast<StackSocket*>(self);
  socket->engine_.notify_sends(socket->slot_);
}

Result<void> StackSocket::bind(const Address& local) {
  if (!local.ip.is_ipv4()) return failure(Call::bind, EAFNOSUPPORT);
  return change(Call::bind, [&](stack::Endpoint& endpoint) {
    auto bound = engine_.stack().udp().bind(endpoint, local);
    if (bound) {
      bound_ = true;
      bound_port_ = endpoint.local.port;
    }
    return bound;
  });
}

Result<void> StackSocket::connect(const Address& peer) {
  if (!peer.ip.is_ipv4()) return failure(Call::connect, EAFNOSUPPORT);
  return change(Call::connect, [&](stack::Endpoint& endpoint) {
    auto connected = engine_.stack().udp().connect(endpoint, peer);
    if (connected) {
      peer_ = std::uint64_t{peer.ip.number()} << 16 | peer.port;
      bound_ = true;
    }
    return connected;
  });
}

Result<void> StackSocket::disconnect() {
  return change(Call::connect, [&](stack::Endpoint& endpoint) -> Result<void> {
    engine_.stack().udp().disconnect(endpoint);
    peer_ = 0;
    // A port that bind() chose is given back, as on Linux. A bound address stays bound here.
    if (endpoint.local.port == 0 && bound_port_ != 0) {
      if (auto bound = engine_.stack().udp().bind(endpoint, {endpoint.local.ip, bound_port_}); !bound) return bound;
    }
    bound_ = endpoint.local.port != 0;
    return {};
  });
}

Result<void> StackSocket::close() {
  return in_engine(Call::other, [&](stack::Endpoint& endpoint) -> Result<void> {
    endpoint_ = nullptr;
    engine_.close_endpoint(endpoint);
    return {};
  });
}

Result<Address> StackSocket::local_address() const {
  return in_engine(Call::other, [](const stack::Endpoint& endpoint) -> Result<Address> { return endpoint.local; });
}

Result<Address> StackSocket::peer_address() const {
  return in_engine(Call::other, [](const stack::Endpoint& endpoint) -> Result<Address> {
    if (!endpoint.is_connected()) return failure(Call::other, ENOTCONN);
    return endpoint.peer;
  });
}

// Sending.

Result<std::size_t> StackSocket::send(std::span<const Outgoing> batch, Deadline deadline) {
  if (batch.size() == 1) {
    stack::SendSlot slot;
    return send(batch, std::span(&slot, 1), deadline);
  }
  std::array<stack::SendSlot, max_batch> slots;
  return send(batch, slots, deadline);
}

Result<std::size_t> StackSocket::send(std::span<const Outgoing> batch, std::span<stack::SendSlot> slots, Deadline deadline) {
  if (client_.is_closed()) return failure(Call::send, EBADF);
  if (const auto code = take_error()) return failure(Call::send, *code);
  std::size_t count = 0;
  for (; count < std::min(batch.size(), slots.size()); ++count) {
    const auto good = check_send(batch[count]);
    if (!good && count == 0) {
      if (good.error().code == EMSGSIZE && segment_size_of(batch[0]) != 0) return send_pieces(batch[0], deadline);
      return good.error();
    }
    if (!good) break;  // what is before it goes out; it is the next call's
    lay_out(batch[count], slots[count]);
  }
  if (!bound_.load(std::memory_order_relaxed)) {
    if (const auto bound = bind_automatically(); !bound) return bound.error();
  }
  for (;;) {
    const std::size_t sent = client_.send(slots.first(count));
    if (client_.is_closed()) return failure(Call::send, EBADF);
    if (sent != 0) {
      if (!engine_.has_thread()) engine_.run_once(Moment::min());
      return sent;
    }
    if (auto* bell = bell_.load(std::memory_order_acquire)) bell->plug();
    if (deadline.is_now() || !wait_writable(deadline)) return failure(Call::send, EAGAIN);
  }
}

// What Linux refuses at once, against the host page.
Result<void> StackSocket::check_send(const Outgoing& datagram) const {
  if (const auto good = check(datagram, Family::ipv4); !good) return good;
  const Address to = destination_of(datagram);
  if (to.port == 0) return failure(Call::send, EDESTADDRREQ);
  if (!datagram.source.ip.is_any()) {
    const auto source = host_.find(datagram.source.ip, 0);
    if (source && source->kind != stack::PathKind::local) return Error{EINVAL, "the source is not an address of this host"};
  }
  const std::uint16_t segment_size = segment_size_of(datagram);
  if (segment_size != 0 && datagram.data.size() > max_segments * segment_size) return Error{EMSGSIZE, "too many segments for one send"};
  return engine::check_send(host_, {.to = to,
                                    .payload_size = datagram.data.size(),
                                    .ip_options_size = ip_options_size_.load(std::memory_order_relaxed),
                                    .segment_size = segment_size,
                                    .interface = datagram.interface,
                                    .broadcast = broadcast_.load(std::memory_order_relaxed),
                                    .fragmentation = fragmentation_.load(std::memory_order_relaxed)});
}

// A datagram may wait in the ring while its socket becomes another's peer: so it names its own, always.
Address StackSocket::destination_of(const Outgoing& datagram) const {
  if (datagram.to.port != 0) return datagram.to;
  const std::uint64_t peer = peer_.load(std::memory_order_relaxed);
  return {IpAddress::ipv4(static_cast<std::uint32_t>(peer >> 16)), static_cast<std::uint16_t>(peer)};
}

void StackSocket::lay_out(const Outgoing& datagram, stack::SendSlot& slot) const {
  slot.header.peer = destination_of(datagram);
  slot.header.local = datagram.source;
  slot.header.interface = datagram.interface;
  slot.header.hop_limit = static_cast<std::int16_t>(datagram.ttl);
  slot.header.tos = static_cast<std::int16_t>(datagram.tos);
  slot.header.segment_size = segment_size_of(datagram);
  slot.payload = datagram.data;
}

// Segments that no packet has room for, or more of them than one record may have: one by one, fragmented where that is allowed.
Result<std::size_t> StackSocket::send_pieces(const Outgoing& datagram, Deadline deadline) {
  segment_fallbacks_.fetch_add(1, std::memory_order_relaxed);
  Outgoing piece = datagram;
  const std::uint16_t size = segment_size_of(datagram);
  for (std::span<const std::byte> rest = datagram.data; !rest.empty(); rest = rest.subspan(piece.data.size())) {
    piece.data = rest.first(std::min<std::size_t>(size, rest.size()));
    piece.segment_size = size;  // no less than the piece, so that it is not cut again
    const auto sent = send(std::span(&piece, 1), deadline);
    if (!sent) return sent.error();
  }
  return std::size_t{1};
}

std::uint16_t StackSocket::segment_size_of(const Outgoing& datagram) const {
  const std::uint16_t size = datagram.segment_size != 0 ? datagram.segment_size : segment_size_.load(std::memory_order_relaxed);
  return datagram.data.size() > size ? size : std::uint16_t{0};
}

Result<void> StackSocket::bind_automatically() {
  return in_engine(Call::send, [&](stack::Endpoint& endpoint) -> Result<void> {
    if (endpoint.local.port == 0) {
      if (auto bound = engine_.stack().udp().bind(endpoint, {IpAddress::any(Family::ipv4), 0}); !bound) return bound;
    }
    bound_ = true;
    return {};
  });
}

std::optional<int> StackSocket::take_error() {
  if (!client_.has_pending_error()) return std::nullopt;
  const int code = client_.take_error();
  if (code == 0 || peer_.load(std::memory_order_relaxed) == 0) return std::nullopt;
  return code;
}

bool StackSocket::wait_writable(Deadline deadline) {
  if (engine_.has_thread()) return engine::wait_writable(client_, deadline.at());
  engine_.run_once(deadline.at());
  return client_.has_send_space() || deadline.is_forever() || std::chrono::steady_clock::now() < deadline.at();
}

// Receiving.

Result<std::size_t> StackSocket::receive(std::span<Datagram> batch, Deadline deadline, Take take) {
  if (batch.size() == 1 || take == Take::peek) {
    stack::ReceiveSlot slot;
    return receive(batch.first(1), std::span(&slot, 1), deadline, take);
  }
  std::array<stack::ReceiveSlot, max_batch> slots;
  return receive(batch, slots, deadline, take);
}

Result<std::size_t> StackSocket::receive(std::span<Datagram> batch, std::span<stack::ReceiveSlot> slots, Deadline deadline, Take take) {
  const auto wanted = slots.first(std::min(batch.size(), slots.size()));
  for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i].buffer = batch[i].buffer;
  for (;;) {
    if (client_.is_closed()) return failure(Call::receive, EBADF);
    if (const auto code = take_error()) return failure(Call::receive, *code);
    const std::size_t count = take == Take::peek ? (client_.peek(wanted[0]) ? 1u : 0u) : client_.receive(wanted);
    for (std::size_t i = 0; i < count; ++i) fill(batch[i], wanted[i]);
    if (count != 0) return count;
    if (!wait_readable(deadline, take)) return failure(Call::receive, EAGAIN);
  }
}

bool StackSocket::wait_readable(Deadline deadline, Take take) {
  const auto intent = take == Take::peek ? engine::Intent::look : engine::Intent::take;
  if (engine_.has_thread()) return !deadline.is_now() && engine::wait_readable(client_, deadline.at(), intent);
  engine_.run_once(deadline.at());
  if (client_.has_news() || client_.is_closed()) return true;
  return !deadline.is_now() && (deadline.is_forever() || std::chrono::steady_clock::now() < deadline.at());
}

void StackSocket::fill(Datagram& datagram, const stack::ReceiveSlot& slot) const {
  const stack::RecordHeader& header = slot.header;
  const std::span<std::byte> buffer = datagram.buffer;
  datagram = {};
  datagram.buffer = buffer;
  datagram.data = buffer.first(slot.size);
  datagram.length = header.datagram_size;
  datagram.peer = header.peer;
  datagram.local.port = header.local.port;
  datagram.segment_size = header.segment_size;
  datagram.truncated = slot.size < header.datagram_size;
  if (metadata_.load(std::memory_order_relaxed)) {
    datagram.local = header.local;
    datagram.interface = header.interface;
    datagram.ttl = header.hop_limit;
    datagram.tos = static_cast<std::uint8_t>(header.tos);
  }
  if (timestamp_.load(std::memory_order_relaxed)) {
    using std::chrono::system_clock;
    datagram.timestamp = system_clock::time_point(std::chrono::duration_cast<system_clock::duration>(std::chrono::nanoseconds(header.time)));
  }
  datagram.ip_options.size = static_cast<std::uint8_t>(slot.ip_options_size);
  std::copy_n(slot.ip_options.begin(), slot.ip_options_size, datagram.ip_options.bytes.begin());
}

Result<SocketError> StackSocket::receive_error() {
  if (client_.is_closed()) return failure(Call::receive, EBADF);
  if (!engine_.has_thread()) engine_.run_once(Moment::min());
  stack::ReceiveSlot slot;
  if (!client_.receive_error(slot)) return Error{EAGAIN, "no error has been reported"};
  const stack::RecordHeader& header = slot.header;
  SocketError error;
  error.code = header.error_code;
  error.origin = static_cast<SocketError::Origin>(header.error_origin);
  error.type = header.error_type;
  error.icmp_code = header.error_icmp_code;
  error.mtu = header.error_mtu;
  error.peer = header.peer;
  error.offender = header.error_offender;
  return error;
}

// Options and groups.

Result<void> StackSocket::set(Option option, int value) {
  if (const auto good = check(option, value); !good) return good;
  return change(Call::option, [&](stack::Endpoint& endpoint) { return apply(option, value, endpoint); });
}

Result<void> StackSocket::apply(Option option, int value, stack::Endpoint& endpoint) {
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
      broadcast_ = options.broadcast = on;
      break;
    case Option::reuse_address:
      options.reuse_address = on;
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
      fragmentation_ = options.fragmentation = static_cast<stack::Fragmentation>(value);
      break;
    case Option::no_checksum:
      options.no_checksum = on;
      break;
    case Option::segment_size:
      segment_size_ = static_cast<std::uint16_t>(value);
      break;
    case Option::max_pacing_rate:
      endpoint.set_pacing_rate(on ? value : stack::Pacer::unlimited, engine_.now());
      break;
    case Option::receive_metadata:
      metadata_ = on;
      break;
    case Option::timestamp:
      timestamp_ = options.timestamp = on;
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
  return {};
}

Result<int> StackSocket::get(Option option) const {
  if (!engine_.has_thread()) engine_.run_once(Moment::min());  // so that who asks in a loop does not ask for ever
  return in_engine(Call::option, [&](stack::Endpoint& endpoint) { return ask(option, endpoint); });
}

Result<int> StackSocket::ask(Option option, stack::Endpoint& endpoint) const {
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
      return options.ttl == -1 ? engine_.stack().config().ttl : options.ttl;
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
    case Option::segment_size:
      return segment_size_.load();
    case Option::max_pacing_rate:
      return endpoint.pacing_rate();
    case Option::receive_metadata:
      return metadata_ ? 1 : 0;
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
      const auto mtu = engine_.stack().udp().path_mtu(endpoint);
      if (!mtu) return mtu.error();
      return static_cast<int>(*mtu);
    }
    case Option::error:
      return const_cast<stack::EndpointClient&>(client_).take_error();
    case Option::overflow_count:
      return static_cast<int>(endpoint.overflow());
    case Option::segment_fallbacks:
      return static_cast<int>(segment_fallbacks_.load(std::memory_order_relaxed));
  }
  return Error{ENOPROTOOPT, "our stack does not have this option"};
}

Result<void> StackSocket::set_ip_options(std::span<const std::byte> bytes) {
  if (bytes.size() > 40) return Error{EINVAL, "IPv4 options are at most 40 bytes"};
  return change(Call::option, [&](stack::Endpoint& endpoint) -> Result<void> {
    endpoint.options.ip_options = {};
    std::ranges::copy(bytes, endpoint.options.ip_options.begin());
    ip_options_size_ = endpoint.options.ip_options_size = static_cast<std::uint8_t>((bytes.size() + 3) / 4 * 4);
    return {};
  });
}

Result<void> StackSocket::change_membership(Membership kind, const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  if (!group.is_ipv4()) return failure(Call::membership, EAFNOSUPPORT);
  return in_engine(Call::membership, [&](stack::Endpoint& endpoint) -> Result<void> {
    stack::Multicast& multicast = engine_.stack().multicast();
    stack::SocketGroups& groups = engine_.stack().udp().groups(endpoint);
    const Time now = engine_.now();
    switch (kind) {
      case Membership::join:
        return multicast.join(groups, group, interface, now);
      case Membership::leave:
        return multicast.leave(groups, group, interface, now);
      case Membership::join_source:
        return multicast.join_source(groups, group, source, interface, now);
      case Membership::leave_source:
        return multicast.leave_source(groups, group, source, interface, now);
      case Membership::block_source:
        return multicast.block_source(groups, group, source, interface, now);
      case Membership::unblock_source:
        return multicast.unblock_source(groups, group, source, interface, now);
    }
    return failure(Call::membership, EINVAL);
  });
}

Result<void> StackSocket::set_multicast_interface(std::uint32_t interface) {
  return change(Call::membership, [&](stack::Endpoint& endpoint) -> Result<void> {
    if (interface != 0 && engine_.stack().interfaces().find(interface) == nullptr) return Error{EADDRNOTAVAIL, "no interface has this index"};
    endpoint.options.multicast_interface = interface;
    return {};
  });
}

Result<int> StackSocket::fd() {
  const std::lock_guard guard(bell_mutex_);
  if (client_.is_closed()) return failure(Call::other, EBADF);
  if (bell_storage_) return bell_fd_.get();
  auto opened = in_engine(Call::other, [&](stack::Endpoint& endpoint) { return engine_.open_bell(endpoint); });
  if (!opened) return opened.error();
  bell_fd_ = std::move(*opened);
  bell_storage_.emplace(client_, bell_fd_.get());
  bell_.store(&*bell_storage_, std::memory_order_release);
  return bell_fd_.get();
}

}  // namespace gannet::socket
