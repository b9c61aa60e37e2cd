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

// As Linux's datagram_poll().
std::uint32_t PosixSocket::shown_events(std::uint32_t events) const {
  const StackSocket* there = stack();
  if (there == nullptr) return events;
  const bool ended = is_shut(SHUT_RD);
  if (there->has_error()) {
    events |= POLLERR;
    if (!there->has_datagram() && !ended) events &= ~static_cast<std::uint32_t>(POLLIN | POLLRDNORM);
  }
  if (ended) events |= POLLIN | POLLRDNORM | POLLRDHUP;
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
  mutex_.lock();
  if (StackSocket* there = stack()) there->before_fork();
}

void PosixSocket::after_fork_in_parent() {
  if (StackSocket* there = stack()) there->after_fork();
  mutex_.unlock();
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
  return (*stack)->connect(*address);
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
  if ((flags & (MSG_OOB | MSG_MORE)) != 0) return Error{EOPNOTSUPP};
  const auto to = destination_of(message);
  if (!to) return to.error();
  Outgoing datagram{.to = *to};
  if (const auto taken = take_control(message, family_, datagram); !taken) return taken.error();
  if (is_shut(SHUT_WR)) return Error{EPIPE};
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  if (datagram.to.port == 0 && !(*stack)->is_connected()) return Error{EDESTADDRREQ};
  if (message.msg_iovlen < 2) {
    datagram.data = Pieces::single(message);
    return send_whole(fd, **stack, datagram, flags);
  }
  if (Pieces::total(message) > Pieces::room) return Error{EMSGSIZE};
  Pieces pieces;
  datagram.data = pieces.gather(message);
  return send_whole(fd, **stack, datagram, flags);
}

Result<std::size_t> PosixSocket::send_whole(int fd, StackSocket& stack, const Outgoing& datagram, int flags) {
  for (;;) {
    if (const int code = stack.take_unconnected_error()) return Error{code};
    const auto sent = stack.send(std::span(&datagram, 1), Deadline::now());
    if (sent) return datagram.data.size();
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
    if (is_shut(SHUT_RD)) {
      // As Linux has it, only who would wait is told of the end.
      const bool waits = (flags & MSG_DONTWAIT) == 0 && (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
      return waits ? Result<std::size_t>(0u) : Error{EAGAIN};
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

// Who waits wakes with the descriptor, and the hub lets go of the socket; only SHUT_RDWR can do that to an AF_UNIX socket without stopping the other
// direction too.
Result<void> PosixSocket::shutdown(int fd, int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return Error{EINVAL};
  {
    const std::lock_guard guard(mutex_);
    const std::uint64_t bits = how == SHUT_RDWR ? 1u << SHUT_RD | 1u << SHUT_WR : 1u << how;
    write_note(shutdown_note, read_note(shutdown_note) | bits);
  }
  const StackSocket* there = stack();
  const bool connected = there != nullptr && there->is_connected();
  if (there != nullptr && how == SHUT_RDWR) ::shutdown(fd, SHUT_RDWR);
  return connected ? Result<void>() : Error{ENOTCONN};  // which it does all the same, as Linux
}

}  // namespace gannet::socket
