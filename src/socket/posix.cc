#include "socket/posix.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace gannet::socket {
namespace {

// So often in a row may a program ask in vain before it is taken for one that spins.
constexpr std::uint32_t fruitless_before_yield = 4;

Error system_error() { return Error{errno}; }

// The address that an answer would come from: of a group or a broadcast, one of the interface's.
IpAddress own_address(const engine::HostView& host, const Datagram& datagram) {
  const auto found = host.find(datagram.local.ip, 0);
  return found && found->kind == stack::PathKind::local ? datagram.local.ip : host.address_of(datagram.interface);
}

}  // namespace

// A message's bytes in one piece: the program's own where it has but one, else a copy on the caller's stack.
struct PosixSocket::Pieces {
  static constexpr std::size_t room = 65536;
  std::array<std::byte, room> bytes;  // not initialised

  static std::size_t total(const msghdr& message) {
    std::size_t size = 0;
    for (const iovec& piece : std::span(message.msg_iov, message.msg_iovlen)) size += piece.iov_len;
    return size;
  }
  static std::span<std::byte> single(const msghdr& message) {
    if (message.msg_iovlen == 0) return {};
    return {static_cast<std::byte*>(message.msg_iov[0].iov_base), message.msg_iov[0].iov_len};
  }
  std::span<const std::byte> gather(const msghdr& message) {
    std::size_t at = 0;
    for (const iovec& piece : std::span(message.msg_iov, message.msg_iovlen)) {
      if (piece.iov_len != 0) std::memcpy(bytes.data() + at, piece.iov_base, piece.iov_len);
      at += piece.iov_len;
    }
    return std::span(bytes).first(at);
  }
  void scatter(std::size_t size, const msghdr& message) const {
    std::size_t at = 0;
    for (const iovec& piece : std::span(message.msg_iov, message.msg_iovlen)) {
      const std::size_t here = std::min(piece.iov_len, size - at);
      if (here != 0) std::memcpy(piece.iov_base, bytes.data() + at, here);
      at += here;
    }
  }
};

// Attaching.

Result<void> PosixSocket::attach(int fd) {
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  (*stack)->watch_bell();
  return {};
}

Result<void> PosixSocket::attach_for_edges(int fd) {
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  (*stack)->watch_edges();
  return {};
}

void PosixSocket::follow(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0) static_cast<void>(attach(fd));
}

Result<StackSocket*> PosixSocket::attached(int fd) {
  if (StackSocket* there = stack(); there != nullptr && !forked_.load(std::memory_order_relaxed)) return there;
  const std::lock_guard guard(mutex_);
  if (StackSocket* there = stack()) {
    if (forked_.load(std::memory_order_relaxed)) {
      if (const auto renewed = there->renew_send_ring(); !renewed) return renewed.error();
      forked_ = false;
    }
    return there;
  }
  auto opened = open(fd);
  if (!opened) return opened.error();
  owned_ = std::move(*opened);
  forked_ = false;
  stack_.store(owned_.get(), std::memory_order_release);
  return owned_.get();
}

Result<std::unique_ptr<StackSocket>> PosixSocket::open(int fd) {
  auto opened = attach_(fd);
  if (!opened) return opened.error().code == ECONNREFUSED ? Error{ENETDOWN, "no hub runs here any more"} : opened.error();
  for (std::size_t i = 0; i < early_.size(); ++i) {
    if (!early_[i]) continue;
    if (const auto done = (*opened)->set(static_cast<Option>(i), *early_[i]); !done) return done.error();
  }
  for (std::size_t i = 0; i < note_count; ++i) {
    if (const std::uint64_t early = early_notes_[i]; early != 0) (*opened)->notes()[i] = early;
  }
  return opened;
}

// As Linux's datagram_poll(). What was shut for reading the descriptor shows by itself.
std::uint32_t PosixSocket::shown_events(std::uint32_t events) const {
  const StackSocket* there = stack();
  if (there == nullptr) return events;
  const bool ended = there->receives_no_more();
  if (there->has_error()) {
    events |= POLLERR;
    if (!there->has_datagram() && !ended) events &= ~static_cast<std::uint32_t>(POLLIN | POLLRDNORM);
  }
  if (ended && there->sends_no_more()) events |= POLLHUP;
  return events;
}

void PosixSocket::move_to(int fd) {
  if (StackSocket* there = stack()) there->move_bell(fd);
}

Result<void> PosixSocket::share(int fd) {
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  (*stack)->share();
  return {};
}

bool PosixSocket::is_unsettled() {
  const std::lock_guard guard(mutex_);
  if (stack() != nullptr) return false;
  return std::ranges::any_of(early_, [](const auto& each) { return each.has_value(); }) ||
         std::ranges::any_of(early_notes_, [](const auto& each) { return each != 0; });
}

// What is opened here is not kept: whoever uses the socket next, here or there, gets rings of his own.
Result<void> PosixSocket::settle(int fd) {
  const std::lock_guard guard(mutex_);
  if (stack() != nullptr) return {};
  if (const auto opened = open(fd); !opened) return opened.error();
  early_ = {};
  for (auto& note : early_notes_) note = 0;
  return {};
}

void PosixSocket::before_fork() {
  cork_.mutex.lock();
  mutex_.lock();
  if (StackSocket* there = stack()) there->before_fork();
}

void PosixSocket::after_fork_in_parent() {
  if (StackSocket* there = stack()) there->after_fork();
  mutex_.unlock();
  cork_.mutex.unlock();
}

void PosixSocket::after_fork_in_child() {
  forked_ = true;
  after_fork_in_parent();
}

// To be written under the lock, where the socket may be attached meanwhile.
std::span<std::atomic<std::uint64_t>, PosixSocket::note_count> PosixSocket::notes() const {
  if (const StackSocket* there = stack()) return there->notes().first<note_count>();
  return early_notes_;
}

std::uint64_t PosixSocket::read_note(Note which) const { return notes()[which].load(std::memory_order_relaxed); }
void PosixSocket::write_note(Note which, std::uint64_t value) { notes()[which] = value; }

Result<void> PosixSocket::bind(int fd, const sockaddr* local, socklen_t size) {
  if (family_ == Family::ipv6) return bind_inet6(fd, local, size);
  const auto address = parse_address(local, size);
  if (!address) return address.error();
  if (local->sa_family == AF_UNSPEC && !address->ip.is_any()) return Error{EAFNOSUPPORT};
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  return (*stack)->bind(*address);
}

Result<void> PosixSocket::connect(int fd, const sockaddr* peer, socklen_t size) {
  if (peer == nullptr) return Error{EFAULT};
  if (size < sizeof peer->sa_family) return Error{EINVAL};
  if (peer->sa_family == AF_UNSPEC) {
    StackSocket* there = stack();
    return there != nullptr ? there->disconnect() : Result<void>();
  }
  const auto given = parse_peer(peer, size);
  if (!given) return given.error();
  const auto address = reach_by_ipv4(*given);
  if (!address) return address.error();
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  const std::lock_guard guard(cork_.mutex);
  const auto connected = (*stack)->connect(*address);
  if (connected) cork_.turn_to_peer();
  return connected;
}

Result<void> PosixSocket::local_address(sockaddr* local, socklen_t* size) const {
  const StackSocket* there = stack();
  const auto address = there != nullptr ? there->local_address() : Result<Address>(Address{});
  if (!address) return address.error();
  build_address(show(*address), family_, local, size);
  return {};
}

Result<void> PosixSocket::peer_address(sockaddr* peer, socklen_t* size) const {
  const StackSocket* there = stack();
  if (there == nullptr) return Error{ENOTCONN};
  const auto address = there->peer_address();
  if (!address) return address.error();
  build_address(*address, family_, peer, size);
  return {};
}

// Sending.

Result<std::size_t> PosixSocket::send(int fd, const msghdr& message, int flags) {
  if ((flags & MSG_OOB) != 0) return Error{EOPNOTSUPP};
  if ((flags & MSG_MORE) != 0 || cork_.is_used()) return send_corked(fd, message, flags);
  auto datagram = address(fd, message);
  if (!datagram) return datagram.error();
  if (message.msg_iovlen < 2) {
    datagram->data = Pieces::single(message);
    if (const auto open = stack()->check_not_shut(*datagram); !open) return open.error();
    return send_whole(fd, *stack(), *datagram, flags);
  }
  if (Pieces::total(message) > Pieces::room) return Error{EMSGSIZE};
  Pieces pieces;
  datagram->data = pieces.gather(message);
  if (const auto open = stack()->check_not_shut(*datagram); !open) return open.error();
  return send_whole(fd, *stack(), *datagram, flags);
}

// A send that fails has bound the socket all the same, as on Linux.
Result<Outgoing> PosixSocket::address(int fd, const msghdr& message) {
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  if (const auto bound = (*stack)->bind_automatically(); !bound) return bound.error();
  const auto to = destination_of(message);
  if (!to) return to.error();
  if (to->port == 0 && !(*stack)->is_connected()) return Error{EDESTADDRREQ};
  Outgoing datagram{.to = *to};
  if (const auto taken = take_control(message, family_, datagram); !taken) return taken.error();
  return datagram;
}

// As Linux: the first call says where to, and what the later ones say of that is not even read; one that is too much loses all.
Result<std::size_t> PosixSocket::send_corked(int fd, const msghdr& message, int flags) {
  const std::lock_guard guard(cork_.mutex);
  if (!cork_.is_pending()) {
    const auto datagram = address(fd, message);
    if (!datagram) return datagram.error();
    if (stack()->sends_no_more()) return Error{EPIPE};
    cork_.begin(*datagram);
  }
  if (!cork_.append(std::span(message.msg_iov, message.msg_iovlen))) {
    stack()->report_too_large(cork_.whole());
    cork_.drop();
    return Error{EMSGSIZE};
  }
  const std::size_t size = Pieces::total(message);
  if ((flags & MSG_MORE) != 0 || cork_.is_corked()) return size;
  if (const auto sent = send_pending(fd, flags); !sent) return sent.error();
  return size;
}

Result<void> PosixSocket::send_pending(int fd, int flags) {
  if (!cork_.is_pending()) return {};
  const auto stack = attached(fd);
  const auto sent = stack ? send_whole(fd, **stack, cork_.whole(), flags) : Result<std::size_t>(stack.error());
  cork_.drop();
  return sent ? Result<void>() : sent.error();
}

Result<void> PosixSocket::set_cork(int fd, bool on) {
  const std::lock_guard guard(cork_.mutex);
  cork_.set_corked(on);
  return on ? Result<void>() : send_pending(fd, 0);
}

Result<std::size_t> PosixSocket::send_whole(int fd, StackSocket& stack, const Outgoing& datagram, int flags) {
  for (;;) {
    if (const int code = stack.take_unconnected_error()) return Error{code};
    const auto sent = stack.send(std::span(&datagram, 1), Deadline::now());
    if (sent) return datagram.data.size();
    if (sent.error().code == EMSGSIZE && datagram.data.size() < Pieces::room) {
      stack.report_too_large(datagram);
    }
    if (sent.error().code != EAGAIN) return sent.error();
    if (const auto waited = wait_writable(fd, stack, flags); !waited) return waited.error();
  }
}

Result<std::size_t> PosixSocket::send_batch(int fd, std::span<mmsghdr> batch, int flags) {
  std::size_t count = 0;
  for (mmsghdr& each : batch) {
    const auto sent = send(fd, each.msg_hdr, flags);
    if (!sent && count == 0) return sent.error();
    if (!sent) break;
    each.msg_len = static_cast<unsigned>(*sent);
    ++count;
  }
  return count;
}

// There is no blocking call for room that changes nothing, so this one polls.
Result<void> PosixSocket::wait_writable(int fd, StackSocket& stack, int flags) {
  const int status = ::fcntl(fd, F_GETFL);
  if (status < 0) return system_error();
  if ((flags & MSG_DONTWAIT) != 0 || (status & O_NONBLOCK) != 0) return Error{EAGAIN};
  timeval timeout{};
  socklen_t size = sizeof timeout;
  if (::getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, &size) != 0) return system_error();
  const timespec limit{timeout.tv_sec, timeout.tv_usec * 1000};
  const bool limited = timeout.tv_sec != 0 || timeout.tv_usec != 0;
  pollfd wait{fd, POLLOUT, 0};
  const int ready = ::ppoll(&wait, 1, limited ? &limit : nullptr, nullptr);
  if (ready < 0) return system_error();
  if (ready == 0) return Error{EAGAIN};
  if ((wait.revents & POLLHUP) != 0) stack.look_at_bell();
  return {};
}

// Receiving.

Result<std::size_t> PosixSocket::receive(int fd, msghdr& message, int flags) {
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  if (message.msg_iovlen < 2) return receive_whole(fd, **stack, Pieces::single(message), message, flags);
  Pieces pieces;
  const auto room = std::span(pieces.bytes).first(std::min(Pieces::total(message), Pieces::room));
  const auto size = receive_whole(fd, **stack, room, message, flags);
  if (size) pieces.scatter(std::min(*size, room.size()), message);
  return size;
}

Result<std::size_t> PosixSocket::receive_whole(int fd, StackSocket& stack, std::span<std::byte> buffer, msghdr& message, int flags) {
  message.msg_flags = 0;
  if ((flags & MSG_ERRQUEUE) != 0) return receive_error(buffer, message);
  Datagram datagram{.buffer = buffer};
  for (;;) {
    const auto take = (flags & MSG_PEEK) != 0 ? Take::peek : Take::remove;
    datagram.buffer = buffer;
    if (const int code = stack.take_unconnected_error()) return Error{code};
    const auto count = stack.receive(std::span(&datagram, 1), Deadline::now(), take);
    if (count) {
      if (fruitless_.load(std::memory_order_relaxed) != 0) fruitless_.store(0, std::memory_order_relaxed);
      break;
    }
    if (stack.receives_no_more()) {
      // As Linux has it, only who would wait is told of the end.
      const bool waits = (flags & MSG_DONTWAIT) == 0 && (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
      if (!waits) return Error{EAGAIN};
      message.msg_namelen = 0;
      message.msg_controllen = 0;
      return 0u;
    }
    if (count.error().code != EAGAIN) return count.error();
    if (const auto waited = wait_readable(fd, stack, flags); !waited) return waited.error();
  }
  if (message.msg_name != nullptr) build_address(datagram.peer, family_, static_cast<sockaddr*>(message.msg_name), &message.msg_namelen);
  if (datagram.truncated) message.msg_flags |= MSG_TRUNC;
  const Wanted wanted = this->wanted();
  put_control(datagram, wanted, wanted.packet_info ? own_address(stack.host(), datagram) : IpAddress{}, message);
  return (flags & MSG_TRUNC) != 0 ? datagram.length : datagram.data.size();
}

Result<std::size_t> PosixSocket::receive_error(std::span<std::byte> buffer, msghdr& message) {
  std::size_t quoted = 0;
  const auto error = stack()->receive_error(buffer, quoted);
  if (!error) return error.error();
  if (message.msg_name != nullptr) build_address(error->peer, family_, static_cast<sockaddr*>(message.msg_name), &message.msg_namelen);
  message.msg_flags |= MSG_ERRQUEUE;
  if (quoted > buffer.size()) message.msg_flags |= MSG_TRUNC;
  put_error(*error, family_, message);
  return std::min(quoted, buffer.size());
}

Result<std::size_t> PosixSocket::receive_batch(int fd, std::span<mmsghdr> batch, int flags, timespec* timeout) {
  const auto start = timeout != nullptr ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
  const auto allowed =
      timeout != nullptr ? std::chrono::seconds(timeout->tv_sec) + std::chrono::nanoseconds(timeout->tv_nsec) : std::chrono::nanoseconds();
  std::size_t count = 0;
  for (mmsghdr& each : batch) {
    const auto size = receive(fd, each.msg_hdr, flags & ~MSG_WAITFORONE);
    if (!size && count == 0) return size.error();
    if (!size) break;
    each.msg_len = static_cast<unsigned>(*size);
    ++count;
    if ((flags & MSG_WAITFORONE) != 0) flags |= MSG_DONTWAIT;
    if (timeout != nullptr && std::chrono::steady_clock::now() - start >= allowed) break;
  }
  return count;
}

// The kernel waits for a token as it waits for a datagram: O_NONBLOCK, SO_RCVTIMEO, EINTR and SA_RESTART are its own.
Result<void> PosixSocket::wait_readable(int fd, StackSocket& stack, int flags) {
  if ((flags & MSG_DONTWAIT) != 0) {
    // Who spins may do so on the core that its answer needs.
    if (fruitless_.fetch_add(1, std::memory_order_relaxed) >= fruitless_before_yield) ::sched_yield();
    return Error{EAGAIN};
  }
  return stack.wait_for_token(fd);
}

Result<int> PosixSocket::readable_bytes() {
  StackSocket* there = stack();
  if (there == nullptr) return 0;
  Datagram datagram;
  const auto count = there->receive(std::span(&datagram, 1), Deadline::now(), Take::peek);
  return count ? static_cast<int>(datagram.length) : 0;
}

// The descriptor is shut for reading only, which wakes who waits and shows them the end: shut for sending, it would be an end to the hub. An
// unconnected socket is shut all the same, as on Linux.
Result<void> PosixSocket::shutdown(int fd, int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return Error{EINVAL};
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  (*stack)->shut((how != SHUT_WR ? stack::shut_receive : 0) | (how != SHUT_RD ? stack::shut_send : 0));
  if (how != SHUT_WR) ::shutdown(fd, SHUT_RD);
  return (*stack)->is_connected() ? Result<void>() : Error{ENOTCONN};
}

}  // namespace gannet::socket
