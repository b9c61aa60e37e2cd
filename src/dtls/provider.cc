#include "dtls/provider.h"

#include <algorithm>

namespace gannet::dtls {
namespace {

using socket::Membership, socket::Take;

// The endpoint's time is that of the steady clock.
Time now() { return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch())); }
Deadline deadline_of(Time time) {
  return time == never ? Deadline::forever() : Deadline(std::chrono::steady_clock::time_point(time.time_since_epoch()));
}
Deadline earlier(const Deadline& a, const Deadline& b) { return a.at() < b.at() ? a : b; }

// Errors of a send that another try does not mend: a handshake need not wait for its end.
bool is_final(int code) {
  return code == ECONNREFUSED || code == EHOSTUNREACH || code == ENETUNREACH || code == EAFNOSUPPORT || code == EINVAL || code == EACCES;
}

Error closed() { return {EBADF, "the socket is closed"}; }

}  // namespace

Provider::Provider(Socket under, std::unique_ptr<Context> context, const HashKey& key)
    : under_(std::move(under)), endpoint_(std::move(context), key, now()) {}

Provider::~Provider() { static_cast<void>(close()); }

Result<void> Provider::bind(const Address& local) { return under_.bind(local); }

Result<void> Provider::connect(const Address& peer) {
  const std::lock_guard one_at_a_time(connecting_);
  std::unique_lock lock(state_);
  if (is_closed_) return closed();
  awaited_ = peer;
  await_result_.reset();
  if (endpoint_.find(peer) != nullptr) await_result_.emplace();
  if (const auto begun = endpoint_.connect(peer, now()); !begun) return begun;
  flush();
  dispatch();
  const auto shaken = await(lock);
  awaited_.reset();
  if (!shaken) return shaken;
  if (endpoint_.find(peer) == nullptr) return Error{ECONNRESET, "hands were shaken, and then the peer said farewell"};
  peer_ = peer;
  peer_is_gone_ = false;
  return {};
}

// Somebody has to receive meanwhile: another thread, which is in receive(), or else this one.
Result<void> Provider::await(std::unique_lock<std::mutex>& lock) {
  for (;;) {
    if (is_closed_) return closed();
    if (await_result_) return *await_result_;
    const Deadline wakeup = deadline_of(endpoint_.next_wakeup());
    if (!is_receiving_) {
      if (const auto pumped = pump(lock, wakeup); !pumped) return pumped;
      continue;
    }
    wait(lock, wakeup);
    endpoint_.advance(now());
    flush();
    dispatch();
  }
}

Result<void> Provider::disconnect() {
  const std::lock_guard lock(state_);
  if (const auto peer = std::exchange(peer_, std::nullopt)) static_cast<void>(endpoint_.close(*peer));
  peer_is_gone_ = false;
  flush();
  dispatch();
  return {};
}

Result<void> Provider::close() {
  {
    const std::lock_guard lock(state_);
    if (is_closed_) return closed();
    endpoint_.close_all();
    flush();
    dispatch();
    is_closed_ = true;
    changed_.notify_all();
  }
  return under_.close();
}

Result<Address> Provider::local_address() const { return under_.local_address(); }

Result<Address> Provider::peer_address() const {
  const std::lock_guard lock(state_);
  if (!peer_) return Error{ENOTCONN, "the socket has no peer: connect() it first"};
  return *peer_;
}

Result<std::size_t> Provider::send(std::span<const Outgoing> batch, Deadline deadline) {
  std::unique_lock lock(state_);
  while (is_sending_) {
    if (deadline.left() == 0ns) return Error{EAGAIN, "another thread was sending until the deadline"};
    wait(lock, deadline);
  }
  is_sending_ = true;
  letters_.clear();
  const auto sealed = seal(batch.first(std::min(batch.size(), socket::max_batch)));
  lock.unlock();
  const auto sent = sealed ? send_letters(deadline) : sealed;
  lock.lock();
  is_sending_ = false;
  changed_.notify_all();
  return sent;
}

Result<std::size_t> Provider::send_letters(Deadline deadline) {
  std::size_t sent = 0;
  const auto letters = letters_.batch();
  while (sent < letters.size()) {
    const auto more = under_.send_batch(letters.subspan(sent), deadline);
    if (!more && sent == 0) return more.error();
    if (!more) break;
    sent += *more;
  }
  return sent;
}

// Returns how many of them, from the front, are sealed; an error is about the first.
Result<std::size_t> Provider::seal(std::span<const Outgoing> batch) {
  if (is_closed_) return closed();
  std::size_t count = 0;
  for (const Outgoing& datagram : batch) {
    const Result<void> sealed = [&]() -> Result<void> {
      if (datagram.segment_size != 0) return Error{EOPNOTSUPP, "a sealed datagram is not cut into segments"};
      if (datagram.to.port == 0 && !peer_) return Error{EDESTADDRREQ, "the socket has no peer: connect() it, or say where to send"};
      return endpoint_.send(datagram.to.port != 0 ? datagram.to : *peer_, datagram, letters_);
    }();
    if (!sealed && count == 0) return sealed.error();
    if (!sealed) break;
    ++count;
  }
  return count;
}

Result<std::size_t> Provider::receive(std::span<Datagram> batch, Deadline deadline, Take how) {
  std::unique_lock lock(state_);
  for (int round = 0;; ++round) {
    if (is_closed_) return closed();
    if (const std::size_t count = take(batch, how); count > 0) return count;
    if (std::exchange(peer_is_gone_, false)) return Error{ECONNRESET, "the peer is none any more: it said farewell, is silent, or began anew"};
    // Where time is up, what is there is looked at all the same, so that what was for nobody here hides nothing. A flood of it does not keep us.
    const bool may_look = !is_receiving_ && (round == 0 || (is_behind_ && round < most_rounds));
    if (deadline.left() == 0ns && !may_look) return Error{EAGAIN, "nothing came before the deadline"};
    if (is_receiving_) {
      wait(lock, deadline);
    } else if (const auto pumped = pump(lock, earlier(deadline, deadline_of(endpoint_.next_wakeup()))); !pumped) {
      return pumped.error();
    }
  }
}

void Provider::wait(std::unique_lock<std::mutex>& lock, Deadline deadline) {
  if (deadline.is_forever()) {
    changed_.wait(lock);
  } else {
    changed_.wait_until(lock, deadline.at());
  }
}

std::size_t Provider::take(std::span<Datagram> batch, Take how) {
  std::size_t count = 0;
  for (Datagram& datagram : batch) {
    if (endpoint_.inbox().is_empty()) break;
    endpoint_.inbox().take(datagram, how == Take::peek);
    ++count;
    if (how == Take::peek) break;
  }
  return count;
}

Result<void> Provider::pump(std::unique_lock<std::mutex>& lock, Deadline deadline) {
  is_receiving_ = true;
  lock.unlock();
  const auto datagrams = under_.receive_borrowed(socket::max_batch, deadline);
  lock.lock();
  is_receiving_ = false;
  is_behind_ = datagrams && datagrams->size() == socket::max_batch;
  changed_.notify_all();
  if (!datagrams && datagrams.error().code == EBADF) return closed();
  if (!datagrams && datagrams.error().code != EAGAIN) return datagrams.error();
  const Time at = now();
  if (datagrams) {
    for (const Datagram& datagram : *datagrams) {
      datagram.truncated ? endpoint_.drop(Drop::dtls_record_malformed) : endpoint_.input(datagram, at);
    }
  }
  while (const auto error = under_.receive_error()) {
    if (is_final(error->code)) endpoint_.unreachable(error->peer, error->code);
  }
  endpoint_.advance(at);
  flush();
  dispatch();
  return {};
}

void Provider::flush() {
  Outbox& outbox = endpoint_.outbox();
  std::span<const Outgoing> rest = outbox.batch();
  while (!rest.empty()) {
    const auto sent = under_.send_batch(rest.first(std::min(rest.size(), socket::max_batch)), Deadline::now());
    if (!sent && sent.error().code == EAGAIN) {
      endpoint_.drop(Drop::dtls_send_queue_full, rest.size());
      break;
    }
    if (!sent) endpoint_.drop(Drop::send_refused);
    if (!sent && is_final(sent.error().code)) endpoint_.unreachable(rest.front().to, sent.error().code);
    rest = rest.subspan(sent ? *sent : 1);
  }
  outbox.clear();
}

void Provider::dispatch() {
  for (const DtlsEvent& event : endpoint_.take_events()) {
    if (awaited_ == event.peer.address && !await_result_) {
      if (event.kind == DtlsEvent::Kind::connected) await_result_.emplace();
      if (event.kind == DtlsEvent::Kind::failed) await_result_.emplace(event.why);
    }
    if (event.kind == DtlsEvent::Kind::closed && peer_ == event.peer.address) {
      peer_.reset();
      peer_is_gone_ = true;
    }
    if (endpoint_.context().options().on_event) endpoint_.context().options().on_event(event);
  }
}

Result<SocketError> Provider::receive_error() { return Error{EAGAIN, "what the network reports is taken into account inside"}; }

Result<void> Provider::set(Option option, int value) {
  if (option == Option::segment_size || option == Option::segment_coalescing) return Error{ENOPROTOOPT, "sealed datagrams have no segments"};
  return under_.set(option, value);
}

Result<int> Provider::get(Option option) const {
  if (option != Option::mtu) return under_.get(option);
  const std::lock_guard lock(state_);
  if (!peer_) return Error{ENOTCONN, "the socket has no peer: connect() it first"};
  return static_cast<int>(endpoint_.context().options().mtu);
}

Result<void> Provider::set_ip_options(std::span<const std::byte> options) { return under_.set_ip_options(options); }

Result<void> Provider::change_membership(Membership /*kind*/, const IpAddress& /*group*/, const IpAddress& /*source*/, std::uint32_t /*interface*/) {
  return Error{EOPNOTSUPP, "DTLS is between two: there are no groups"};
}

Result<void> Provider::set_multicast_interface(std::uint32_t /*interface*/) { return Error{EOPNOTSUPP, "DTLS is between two: there are no groups"}; }

Result<int> Provider::fd() { return under_.fd(); }

Result<DtlsPeer> Provider::peer(const Address& address) const {
  const std::lock_guard lock(state_);
  const Association* found = endpoint_.find(address);
  if (found == nullptr) return Error{ENOTCONN, "it is no peer"};
  return found->peer();
}

std::vector<DtlsPeer> Provider::peers() const {
  const std::lock_guard lock(state_);
  return endpoint_.peers();
}

std::size_t Provider::peer_count() const {
  const std::lock_guard lock(state_);
  return endpoint_.peer_count();
}

Result<void> Provider::close_peer(const Address& address) {
  const std::lock_guard lock(state_);
  const auto done = endpoint_.close(address);
  flush();
  dispatch();
  return done;
}

Result<std::size_t> Provider::max_payload(const Address& peer) const {
  const std::lock_guard lock(state_);
  const Association* found = endpoint_.find(peer);
  if (found == nullptr) return Error{ENOTCONN, "it is no peer"};
  return found->max_payload();
}

Deadline Provider::next_wakeup() const {
  const std::lock_guard lock(state_);
  const bool is_now = !endpoint_.inbox().is_empty() || is_behind_;
  return is_now ? Deadline(std::chrono::steady_clock::now()) : deadline_of(endpoint_.next_wakeup());
}

std::vector<Count> Provider::drops() const {
  const std::lock_guard lock(state_);
  std::vector<Count> counts;
  for (std::size_t i = 0; i < drop_count; ++i) {
    const auto reason = static_cast<Drop>(i);
    if (endpoint_.dropped(reason) != 0) counts.push_back({std::string(name_of(reason)), endpoint_.dropped(reason)});
  }
  return counts;
}

}  // namespace gannet::dtls
