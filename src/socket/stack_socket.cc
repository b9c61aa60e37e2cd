#include "socket/stack_socket.h"

#include <algorithm>
#include <cerrno>

namespace gannet::socket {
namespace {

using Kind = ControlRequest::Kind;

// Options that the application's side keeps by itself.
bool is_ours(Option option) {
  return option == Option::segment_size || option == Option::receive_metadata || option == Option::error || option == Option::segment_fallbacks;
}

}  // namespace

StackSocket::StackSocket(Parts parts)
    : attachment_(std::move(parts.attachment)),
      host_(std::move(parts.host)),
      client_(std::move(parts.memory), stack::ClientHooks{this, received, wake_engine}),
      state_(client_.control().application) {
  client_.set_send_ring(parts.send);
  segment_size_ = static_cast<std::uint16_t>(state_.segment_size);
  if (parts.descriptor >= 0) {
    bell_storage_.emplace(client_, parts.descriptor);
    bell_storage_->unwatch();
    bell_.store(&*bell_storage_, std::memory_order_release);
  }
}

StackSocket::~StackSocket() { static_cast<void>(StackSocket::close()); }

void StackSocket::received(void* self, bool emptied) {
  if (auto* bell = static_cast<StackSocket*>(self)->bell_.load(std::memory_order_acquire)) bell->received(emptied);
}

void StackSocket::wake_engine(void* self) {
  auto* socket = static_cast<StackSocket*>(self);
  socket->attachment_->wake_engine(socket->bell_.load(std::memory_order_acquire));
}

Result<ControlAnswer> StackSocket::control(const ControlRequest& request) const {
  if (host_.is_orphaned()) return failure(call_of(request.kind), ENETDOWN);  // who answers would be another hub
  auto answer = attachment_->control(request);
  if (!answer && answer.error().why == nullptr) return failure(call_of(request.kind), answer.error().code);
  return answer;
}

Result<void> StackSocket::bind(const Address& local) {
  const std::lock_guard guard(control_);
  const auto bound = control({.kind = Kind::bind, .address = local});
  if (!bound) return bound.error();
  state_.bound = true;
  state_.from_loopback = bound->address.ip.is_loopback();
  return {};
}

Result<void> StackSocket::bind_automatically() {
  if (state_.bound.load(std::memory_order_relaxed)) return {};
  if (const auto bound = control({.kind = Kind::bind_automatically}); !bound) return bound.error();
  state_.bound = true;
  return {};
}

Result<void> StackSocket::connect(const Address& peer) {
  const std::lock_guard guard(control_);
  const auto connected = control({.kind = Kind::connect, .address = peer});
  if (!connected) return connected.error();
  state_.peer = peer.port != 0 ? std::uint64_t{peer.ip.number()} << 16 | peer.port : 0;
  state_.bound = true;
  state_.from_loopback = connected->address.ip.is_loopback();
  return {};
}

Result<void> StackSocket::disconnect() {
  const std::lock_guard guard(control_);
  const auto disconnected = control({.kind = Kind::disconnect});
  if (!disconnected) return disconnected.error();
  state_.peer = 0;
  state_.bound = disconnected->address.port != 0;
  state_.from_loopback = disconnected->address.ip.is_loopback();
  return {};
}

Result<void> StackSocket::close() {
  if (host_.is_orphaned()) return failure(Call::other, ENETDOWN);
  return attachment_->close();
}

Result<Address> StackSocket::local_address() const {
  const auto answer = control({.kind = Kind::local_address});
  if (!answer) return answer.error();
  return answer->address;
}

Result<Address> StackSocket::peer_address() const {
  const auto answer = control({.kind = Kind::peer_address});
  if (!answer) return answer.error();
  return answer->address;
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
  if (is_over()) return failure(Call::send, over_code());
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
  // Only now, as on Linux: an older datagram's error is kept for a call that would have sent.
  if (const auto code = take_error()) return failure(Call::send, *code);
  if (const auto bound = bind_automatically(); !bound) return bound.error();
  for (;;) {
    const std::size_t sent = client_.send(slots.first(count));
    // Who gets the datagram may close this very socket at once, from another thread: it was sent all the same.
    if (is_over() && (sent == 0 || over_code() == ENETDOWN)) return failure(Call::send, over_code());
    if (sent != 0) {
      attachment_->run();
      return sent;
    }
    auto* bell = bell_.load(std::memory_order_acquire);
    if (bell != nullptr) bell->plug();
    if (deadline.is_now() || !attachment_->wait_writable(client_, bell, deadline)) return failure(Call::send, EAGAIN);
  }
}

Result<void> StackSocket::check_not_shut(const Outgoing& datagram) const {
  if (!sends_no_more()) return {};
  const auto good = check_send(datagram);
  return good ? failure(Call::send, EPIPE) : good.error();
}

// What Linux refuses at once, against the host page.
Result<void> StackSocket::check_send(const Outgoing& datagram) const {
  if (const auto good = check(datagram, Family::ipv4); !good) return good;
  const Address to = destination_of(datagram);
  if (to.port == 0) return failure(Call::send, EDESTADDRREQ);
  if (const auto good = check_source(datagram, to.ip); !good) return good;
  const std::uint16_t segment_size = segment_size_of(datagram);
  if (segment_size != 0 && datagram.data.size() > stack::max_segments * segment_size) return Error{EMSGSIZE, "too many segments for one send"};
  return engine::check_send(host_, {.to = to,
                                    .payload_size = datagram.data.size(),
                                    .ip_options_size = state_.ip_options_size.load(std::memory_order_relaxed),
                                    .segment_size = segment_size,
                                    .interface = leaves_by(datagram.interface, to.ip),
                                    .broadcast = state_.broadcast.load(std::memory_order_relaxed) != 0,
                                    .fragmentation = static_cast<stack::Fragmentation>(state_.fragmentation.load(std::memory_order_relaxed))});
}

Result<void> StackSocket::check_source(const Outgoing& datagram, const IpAddress& to) const {
  const IpAddress& source = datagram.source.ip;
  if (!source.is_any()) {
    if (source.is_multicast() || source.is_limited_broadcast()) return Error{EINVAL, "a group or a broadcast address sends nothing"};
    const auto found = host_.find(source, 0);
    if (found && found->kind != stack::PathKind::local) return Error{ENETUNREACH, "the source is not an address of this host"};
  }
  const bool from_loopback = source.is_any() ? state_.from_loopback.load(std::memory_order_relaxed) != 0 : source.is_loopback();
  if (!from_loopback || to.is_loopback() || to.is_multicast() || leaves_by(datagram.interface, to) == stack::loopback_index) return {};
  const auto found = host_.find(to, datagram.interface);
  if (!found || !found->reachable || found->kind == stack::PathKind::local) return {};
  return Error{EINVAL, "a loopback address cannot be the source of what leaves this host"};
}

std::uint32_t StackSocket::leaves_by(std::uint32_t wanted, const IpAddress& to) const {
  return wanted == 0 && to.is_multicast() ? state_.multicast_interface.load(std::memory_order_relaxed) : wanted;
}

// A datagram may wait in the ring while its socket becomes another's peer: so it names its own, always.
Address StackSocket::destination_of(const Outgoing& datagram) const {
  if (datagram.to.port != 0) return datagram.to;
  const std::uint64_t peer = state_.peer.load(std::memory_order_relaxed);
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

// Why nothing works any more.
int StackSocket::over_code() const { return client_.is_closed() && !client_.has_lost_engine() ? EBADF : ENETDOWN; }

std::optional<int> StackSocket::take_error() {
  if (!client_.has_pending_error()) return std::nullopt;
  const int code = client_.take_error();
  if (code == 0 || state_.peer.load(std::memory_order_relaxed) == 0) return std::nullopt;
  return code;
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
    if (is_over()) return failure(Call::receive, over_code());
    if (const auto code = take_error()) return failure(Call::receive, *code);
    const std::size_t count = take == Take::peek ? (client_.peek(wanted[0]) ? 1u : 0u) : client_.receive(wanted);
    for (std::size_t i = 0; i < count; ++i) fill(batch[i], wanted[i]);
    if (count != 0) return count;
    const auto intent = take == Take::peek ? engine::Intent::look : engine::Intent::take;
    if (!attachment_->wait_readable(client_, bell_.load(std::memory_order_acquire), deadline, intent)) return failure(Call::receive, EAGAIN);
  }
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
  datagram.overflow = header.overflow;
  datagram.truncated = slot.size < header.datagram_size;
  if (state_.metadata.load(std::memory_order_relaxed)) {
    datagram.local = header.local;
    datagram.interface = header.interface;
    datagram.ttl = header.hop_limit;
    datagram.tos = static_cast<std::uint8_t>(header.tos);
  }
  if (state_.timestamp.load(std::memory_order_relaxed)) {
    using std::chrono::system_clock;
    datagram.timestamp = system_clock::time_point(std::chrono::duration_cast<system_clock::duration>(std::chrono::nanoseconds(header.time)));
  }
  datagram.ip_options.size = static_cast<std::uint8_t>(slot.ip_options_size);
  std::copy_n(slot.ip_options.begin(), slot.ip_options_size, datagram.ip_options.bytes.begin());
}

Result<SocketError> StackSocket::receive_error() {
  std::size_t quoted = 0;
  return receive_error({}, quoted);
}

Result<SocketError> StackSocket::receive_error(std::span<std::byte> quote, std::size_t& quoted) {
  if (is_over()) return failure(Call::receive, over_code());
  attachment_->run();
  stack::ReceiveSlot slot;
  slot.buffer = quote;
  if (!client_.receive_error(slot)) return Error{EAGAIN, "no error has been reported"};
  quoted = slot.header.payload_size;
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
  const std::lock_guard guard(control_);
  // Even what the engine need not know is refused once the socket is closed.
  const auto done = is_ours(option) ? control({.kind = Kind::local_address}) : control({.kind = Kind::set, .option = option, .value = value});
  if (!done) return done.error();
  remember(option, value);
  return {};
}

// What sends and receives need to know.
void StackSocket::remember(Option option, int value) {
  if (option == Option::broadcast) state_.broadcast = value != 0;
  if (option == Option::pmtu_discovery) state_.fragmentation = static_cast<std::uint32_t>(value);
  if (option == Option::segment_size) state_.segment_size = segment_size_ = static_cast<std::uint16_t>(value);
  if (option == Option::receive_metadata) state_.metadata = value != 0;
  if (option == Option::timestamp) state_.timestamp = value != 0;
  if (option == Option::receive_errors) state_.receive_errors = value != 0;
}

Result<int> StackSocket::get(Option option) const {
  attachment_->run();  // so that who asks in a loop does not ask for ever
  const auto answer = is_ours(option) ? control({.kind = Kind::local_address}) : control({.kind = Kind::get, .option = option});
  if (!answer) return answer.error();
  switch (option) {
    case Option::segment_size:
      return segment_size_.load();
    case Option::receive_metadata:
      return state_.metadata != 0 ? 1 : 0;
    case Option::error:
      return const_cast<stack::EndpointClient&>(client_).take_error();
    case Option::segment_fallbacks:
      return static_cast<int>(segment_fallbacks_.load());
    default:
      return answer->value;
  }
}

Result<void> StackSocket::set_ip_options(std::span<const std::byte> bytes) {
  ControlRequest request{.kind = Kind::set_ip_options, .ip_options_size = static_cast<std::uint8_t>(bytes.size())};
  if (bytes.size() > request.ip_options.size()) return Error{EINVAL, "IPv4 options are at most 40 bytes"};
  std::ranges::copy(bytes, request.ip_options.begin());
  const std::lock_guard guard(control_);
  if (const auto done = control(request); !done) return done.error();
  state_.ip_options_size = static_cast<std::uint32_t>((bytes.size() + 3) / 4 * 4);
  return {};
}

Result<void> StackSocket::change_membership(Membership kind, const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  const auto done = control({.kind = Kind::membership, .membership = kind, .interface = interface, .group = group, .source = source});
  if (!done) return done.error();
  return {};
}

Result<void> StackSocket::set_multicast_interface(std::uint32_t interface) {
  const std::lock_guard guard(control_);
  if (const auto done = control({.kind = Kind::multicast_interface, .interface = interface}); !done) return done.error();
  state_.multicast_interface = interface;
  return {};
}

Result<int> StackSocket::fd() {
  const std::lock_guard guard(bell_mutex_);
  if (client_.is_closed()) return failure(Call::other, EBADF);
  if (bell_storage_ && !bell_fd_) return Error{ENOTSUP, "the descriptor is its owner's"};
  if (bell_storage_) return bell_fd_.get();
  auto opened = attachment_->open_bell();
  if (!opened) return opened.error();
  bell_fd_ = std::move(*opened);
  bell_storage_.emplace(client_, bell_fd_.get());
  bell_.store(&*bell_storage_, std::memory_order_release);
  return bell_fd_.get();
}

void StackSocket::look_at_bell() {
  auto* bell = bell_.load(std::memory_order_acquire);
  if (bell != nullptr && !bell->look_for_death() && !client_.has_news()) bell->received(true);
}

void StackSocket::watch_bell() {
  if (auto* bell = bell_.load(std::memory_order_acquire)) bell->watch();
}

Result<void> StackSocket::wait_for_token(int descriptor) {
  auto* bell = bell_.load(std::memory_order_acquire);
  if (bell == nullptr) return Error{EAGAIN};
  const int code = bell->wait(descriptor);
  if (code != 0) return Error{code};
  return {};
}

void StackSocket::move_bell(int descriptor) {
  if (auto* bell = bell_.load(std::memory_order_acquire)) bell->move_to(descriptor);
}

void StackSocket::watch_edges() {
  if (auto* bell = bell_.load(std::memory_order_acquire)) bell->watch_edges();
}

void StackSocket::report_too_large(const Outgoing& datagram) {
  if (state_.receive_errors.load(std::memory_order_relaxed) == 0) return;
  const Address to = destination_of(datagram);
  const auto found = host_.find(to.ip, 0);
  std::uint32_t mtu = found ? found->mtu : stack::loopback_mtu;
  if (found && found->kind != stack::PathKind::local) mtu = std::min(mtu, host_.find_path_mtu(to.ip).value_or(mtu));
  // As Linux has it, the port is the peer's and not the datagram's.
  const Address shown{to.ip, static_cast<std::uint16_t>(state_.peer.load(std::memory_order_relaxed))};
  static_cast<void>(control({.kind = Kind::too_large, .value = static_cast<std::int32_t>(std::min(mtu, stack::loopback_mtu)), .address = shown}));
}

void StackSocket::before_fork() {
  control_.lock();
  share();
}

void StackSocket::share() {
  if (auto* bell = bell_.load(std::memory_order_acquire)) bell->share();
}

Result<void> StackSocket::renew_send_ring() {
  const auto ring = attachment_->open_send_ring();
  if (!ring) return ring.error();
  client_.set_send_ring(*ring);
  return {};
}

}  // namespace gannet::socket
