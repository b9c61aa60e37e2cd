#include "socket/kernel_socket.h"

#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "socket/message.h"

namespace gannet::socket {
namespace {

// What an ICMP error becomes, and with it the call that happens to come next on the socket.
bool is_network_error(int code) {
  return code == ECONNREFUSED || code == EHOSTUNREACH || code == ENETUNREACH || code == EMSGSIZE || code == EPROTO || code == ENOPROTOOPT ||
         code == EOPNOTSUPP || code == EHOSTDOWN || code == ENONET || code == EACCES;
}

}  // namespace

class KernelSocket::Use {
 public:
  explicit Use(const KernelSocket& socket) : socket_(socket) {
    std::uint32_t users = socket_.users_.load(std::memory_order_relaxed);
    do {
      inside_ = (users & closed_mark) == 0;
    } while (inside_ && !socket_.users_.compare_exchange_weak(users, users + 1, std::memory_order_acquire, std::memory_order_relaxed));
  }
  ~Use() {
    // Nobody enters once the mark stands, so one caller alone sees the count fall to zero beside it.
    if (inside_ && socket_.users_.fetch_sub(1, std::memory_order_acq_rel) == (closed_mark | 1)) ::close(socket_.fd_);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  explicit operator bool() const { return inside_; }
  [[nodiscard]] bool closed_meanwhile() const { return (socket_.users_.load(std::memory_order_acquire) & closed_mark) != 0; }

 private:
  const KernelSocket& socket_;
  bool inside_;
};

Result<std::unique_ptr<KernelSocket>> KernelSocket::open(Family family) {
  const int fd = ::socket(family == Family::ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd == -1) return failure(Call::open, errno);
  std::unique_ptr<KernelSocket> socket(new KernelSocket(fd, family));
  if (family == Family::ipv6) {
    const auto dual = socket->set_number({IPPROTO_IPV6, IPV6_V6ONLY}, 0);
    if (!dual) return dual.error();
  }
  for (const Option option : {Option::receive_metadata, Option::receive_errors}) {
    const auto set = socket->set(option, row_of(option).initial);
    if (!set) return set.error();
  }
  return socket;
}

KernelSocket::~KernelSocket() { (void)KernelSocket::close(); }

Result<void> KernelSocket::bind(const Address& local) {
  const Use use(*this);
  if (!use) return failure(Call::bind, EBADF);
  if (family_ == Family::ipv4 && !local.ip.is_ipv4()) return failure(Call::bind, EAFNOSUPPORT);
  // To an IPv6 socket 0.0.0.0 is "any" as well, of IPv4 alone: v4-mapped.
  const RawAddress raw = RawAddress::from(local, family_);
  if (::bind(fd_, &raw.any, raw.size) == -1) return failure(Call::bind, errno);
  bound_port_ = local_port();
  return {};
}

Result<void> KernelSocket::connect(const Address& peer) {
  const Use use(*this);
  if (!use) return failure(Call::connect, EBADF);
  if (family_ == Family::ipv4 && !peer.ip.is_ipv4()) return failure(Call::connect, EAFNOSUPPORT);
  const RawAddress raw = RawAddress::from(peer, family_);
  while (::connect(fd_, &raw.any, raw.size) == -1) {
    if (errno != EINTR) return failure(Call::connect, errno);
  }
  peer_ = peer.ip.is_ipv4() ? Peer::ipv4 : Peer::ipv6;
  return {};
}

Result<void> KernelSocket::disconnect() {
  const Use use(*this);
  if (!use) return failure(Call::connect, EBADF);
  const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (::connect(fd_, &nobody, sizeof nobody) == -1) return failure(Call::connect, errno);
  peer_ = Peer::none;
  local_port_ = 0;  // a port that connect() or send() chose is given back
  // Linux gives back one that bind() chose, too. A bound address stays bound here.
  const auto local = local_address();
  if (!local || local->port != 0 || bound_port_ == 0) return {};
  const RawAddress raw = RawAddress::from({local->ip, bound_port_, local->scope}, family_);
  if (::bind(fd_, &raw.any, raw.size) == -1) return failure(Call::bind, errno);
  return {};
}

Result<void> KernelSocket::close() {
  const Use use(*this);
  if (!use) return failure(Call::other, EBADF);
  if ((users_.fetch_or(closed_mark, std::memory_order_acq_rel) & closed_mark) != 0) return failure(Call::other, EBADF);
  ::shutdown(fd_, SHUT_RDWR);
  return {};
}

Result<Address> KernelSocket::local_address() const {
  const Use use(*this);
  if (!use) return failure(Call::other, EBADF);
  RawAddress raw = RawAddress::empty();
  if (::getsockname(fd_, &raw.any, &raw.size) == -1) return failure(Call::other, errno);
  return raw.address();
}

Result<Address> KernelSocket::peer_address() const {
  const Use use(*this);
  if (!use) return failure(Call::other, EBADF);
  RawAddress raw = RawAddress::empty();
  if (::getpeername(fd_, &raw.any, &raw.size) == -1) return failure(Call::other, errno);
  return raw.address();
}

struct KernelSocket::Attempt {
  short events;  // what the call waits for: POLLIN or POLLOUT
  Deadline deadline;
  int failures = 0;         // network errors of earlier datagrams that failed it
  bool error_seen = false;  // poll() woke for an error only, and not for what the call waits for
};

// Sending.

class KernelSocket::Outbox {
 public:
  // Lays out datagrams from the front up to one that cannot go with them; that one's error, if it has one, is `error`.
  Outbox(const KernelSocket& socket, std::span<const Outgoing> batch) {
    const Peer peer = socket.peer_.load(std::memory_order_relaxed);
    for (const Outgoing& datagram : batch.first(std::min(batch.size(), max_batch))) {
      if (const auto good = check(datagram, socket.family_); !good) {
        error = good.error();
        return;
      }
      const std::uint16_t segment_size = socket.segment_size_of(datagram);
      if (segment_size != 0 && socket.cannot_segment_.load(std::memory_order_relaxed)) {
        must_cut = true;
        return;
      }
      add(datagram, socket.family_, peer == Peer::ipv6 ? Family::ipv6 : Family::ipv4, segment_size);
    }
  }

  int send(int fd, int flags) {
    if (count > 1) return ::sendmmsg(fd, messages_.data(), static_cast<unsigned>(count), flags);
    return ::sendmsg(fd, &messages_[0].msg_hdr, flags) == -1 ? -1 : 1;
  }

  std::size_t count = 0;
  bool must_cut = false;  // the first that is not laid out needs segments, and the path cannot
  Error error{0, nullptr};

 private:
  void add(const Outgoing& datagram, Family family, Family connected, std::uint16_t segment_size) {
    iovec& data = data_[count];
    data = {const_cast<std::byte*>(datagram.data.data()), datagram.data.size()};
    msghdr& message = messages_[count].msg_hdr;
    message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (datagram.to.port != 0) {
      to_[count] = RawAddress::from(datagram.to, family);
      message.msg_name = &to_[count].any;
      message.msg_namelen = to_[count].size;
    }
    const std::size_t used = build_control(datagram, family_of(datagram, connected), segment_size, control_[count].bytes);
    if (used != 0) {
      message.msg_control = control_[count].bytes.data();
      message.msg_controllen = used;
    }
    ++count;
  }

  struct alignas(cmsghdr) Control {
    std::array<std::byte, send_control_size> bytes;
  };
  std::array<mmsghdr, max_batch> messages_;
  std::array<iovec, max_batch> data_;
  std::array<RawAddress, max_batch> to_;
  std::array<Control, max_batch> control_;
};

Result<std::size_t> KernelSocket::send(std::span<const Outgoing> batch, Deadline deadline) {
  const Use use(*this);
  if (!use) return failure(Call::send, EBADF);
  Outbox outbox(*this, batch);
  if (outbox.count == 0) {
    if (!outbox.must_cut) return outbox.error;
    return send_pieces(batch[0], deadline);
  }
  const int flags = MSG_NOSIGNAL | (deadline.is_forever() ? 0 : MSG_DONTWAIT);
  for (Attempt attempt{POLLOUT, deadline};;) {
    const int sent = outbox.send(fd_, flags);
    if (sent > 0) return static_cast<std::size_t>(sent);
    const int code = errno;
    if (use.closed_meanwhile()) return failure(Call::send, EBADF);
    // The path cannot segment at all (EIO), or not at this size or into so many (EINVAL, EMSGSIZE; by the kernel's age): cut it here.
    if (segment_size_of(batch[0]) != 0 && (code == EIO || code == EINVAL || code == EMSGSIZE)) {
      if (code == EIO) cannot_segment_ = true;
      return send_pieces(batch[0], deadline);
    }
    if (!shall_retry(attempt, code)) return failure(Call::send, code);
  }
}

// Receiving.

class KernelSocket::Inbox {
 public:
  explicit Inbox(std::span<Datagram> batch) : batch_(batch.first(std::min(batch.size(), max_batch))) {}

  int receive(int fd, int flags) {
    for (std::size_t i = 0; i < batch_.size(); ++i) prepare(i);
    if (batch_.size() > 1) return ::recvmmsg(fd, messages_.data(), static_cast<unsigned>(batch_.size()), flags | MSG_TRUNC, nullptr);
    const ssize_t length = ::recvmsg(fd, &messages_[0].msg_hdr, flags | MSG_TRUNC);
    if (length == -1) return -1;
    messages_[0].msg_len = static_cast<unsigned>(length);
    return 1;
  }

  void finish(std::size_t count, std::uint16_t local_port) {
    for (std::size_t i = 0; i < count; ++i) {
      const msghdr& message = messages_[i].msg_hdr;
      const std::span<std::byte> buffer = batch_[i].buffer;
      const std::size_t length = messages_[i].msg_len;
      from_[i].size = message.msg_namelen;
      batch_[i] = Datagram{.data = buffer.first(std::min(length, buffer.size())), .buffer = buffer, .length = length, .peer = from_[i].address()};
      batch_[i].truncated = (message.msg_flags & MSG_TRUNC) != 0;
      batch_[i].local.port = local_port;
      parse_control(std::span(control_[i].bytes).first(message.msg_controllen), batch_[i]);
      if (batch_[i].segment_size >= length) batch_[i].segment_size = 0;  // coalescing was on, yet it is one datagram
    }
  }

 private:
  void prepare(std::size_t i) {
    data_[i] = {batch_[i].buffer.data(), batch_[i].buffer.size()};
    from_[i] = RawAddress::empty();
    messages_[i].msg_len = 0;
    messages_[i].msg_hdr = {.msg_name = &from_[i].any,
                            .msg_namelen = from_[i].size,
                            .msg_iov = &data_[i],
                            .msg_iovlen = 1,
                            .msg_control = control_[i].bytes.data(),
                            .msg_controllen = control_[i].bytes.size(),
                            .msg_flags = 0};
  }

  struct alignas(cmsghdr) Control {
    std::array<std::byte, receive_control_size> bytes;
  };
  std::span<Datagram> batch_;
  std::array<mmsghdr, max_batch> messages_;
  std::array<iovec, max_batch> data_;
  std::array<RawAddress, max_batch> from_;
  std::array<Control, max_batch> control_;
};

Result<std::size_t> KernelSocket::receive(std::span<Datagram> batch, Deadline deadline, Take take) {
  const Use use(*this);
  if (!use) return failure(Call::receive, EBADF);
  Inbox inbox(batch);
  const int flags = (deadline.is_forever() ? MSG_WAITFORONE : MSG_DONTWAIT) | (take == Take::peek ? MSG_PEEK : 0);
  for (Attempt attempt{POLLIN, deadline};;) {
    const int received = inbox.receive(fd_, flags);
    const int code = errno;
    if (use.closed_meanwhile()) return failure(Call::receive, EBADF);
    if (received > 0) {
      inbox.finish(static_cast<std::size_t>(received), local_port());
      return static_cast<std::size_t>(received);
    }
    if (!shall_retry(attempt, code)) return failure(Call::receive, code);
  }
}

Result<SocketError> KernelSocket::receive_error() {
  const Use use(*this);
  if (!use) return failure(Call::receive, EBADF);
  drain_errors();
  const std::scoped_lock lock(errors_mutex_);
  if (error_count_ == 0) return Error{EAGAIN, "no error has been reported"};
  const SocketError oldest = errors_[first_error_];
  first_error_ = (first_error_ + 1) % max_errors;
  --error_count_;
  return oldest;
}

bool KernelSocket::shall_retry(Attempt& attempt, int code) {
  if (code == EINTR) return true;
  if (code == EAGAIN) {
    // A queued error of local origin fails no call and keeps poll() awake until it is taken.
    if (std::exchange(attempt.error_seen, false)) drain_errors();
    return wait(attempt);
  }
  if (!is_network_error(code)) return false;
  drain_errors();
  if (peer_.load(std::memory_order_relaxed) != Peer::none) return false;
  // An error of an earlier datagram has now been used up. A receive goes on, however many come; a send that fails once more means itself.
  return attempt.events == POLLIN || ++attempt.failures < 2;
}

// Until the descriptor is ready, or has an error, or the deadline has passed, which is false.
bool KernelSocket::wait(Attempt& attempt) {
  for (;;) {
    const auto left = attempt.deadline.left();
    if (left.count() == 0) return false;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    pollfd poll{.fd = fd_, .events = attempt.events, .revents = 0};
    const int ready = ::ppoll(&poll, 1, attempt.deadline.is_forever() ? nullptr : &timeout, nullptr);
    if (ready == 0) return false;
    if (ready == -1) continue;  // EINTR: nothing else can happen to one open descriptor
    attempt.error_seen = (poll.revents & attempt.events) == 0;
    return true;
  }
}

void KernelSocket::drain_errors() {
  const std::scoped_lock lock(errors_mutex_);
  for (;;) {
    RawAddress peer = RawAddress::empty();
    alignas(cmsghdr) std::array<std::byte, receive_control_size> control;
    msghdr message{.msg_name = &peer.any,
                   .msg_namelen = peer.size,
                   .msg_iov = nullptr,
                   .msg_iovlen = 0,
                   .msg_control = control.data(),
                   .msg_controllen = control.size(),
                   .msg_flags = 0};
    if (::recvmsg(fd_, &message, MSG_ERRQUEUE | MSG_DONTWAIT) == -1) return;
    peer.size = message.msg_namelen;
    const auto error = parse_error(std::span(control).first(message.msg_controllen), peer.address());
    if (!error) continue;
    if (error_count_ == max_errors) {
      first_error_ = (first_error_ + 1) % max_errors;
      --error_count_;
    }
    errors_[(first_error_ + error_count_++) % max_errors] = *error;
  }
}

std::uint16_t KernelSocket::local_port() const {
  const std::uint16_t known = local_port_.load(std::memory_order_relaxed);
  if (known != 0) return known;
  const auto address = local_address();
  if (!address) return 0;
  local_port_ = address->port;
  return address->port;
}

// Options.

Result<void> KernelSocket::set(Option option, int value) {
  const Use use(*this);
  if (!use) return failure(Call::option, EBADF);
  if (const auto good = check(option, value); !good) return good;
  switch (option) {
    case Option::require_checksum:
      return Error{ENOPROTOOPT, "the kernel cannot require a UDP checksum over IPv4; a Host of ours can"};
    case Option::segment_size:
      segment_size_ = static_cast<std::uint16_t>(value);
      return {};
    case Option::receive_metadata:
      return set_metadata(value);
    case Option::max_pacing_rate:
      if (value == 0) value = row_of(option).initial;  // to the kernel 0 is a rate, of next to nothing
      break;
    default:
      break;
  }
  // An IPv6 socket carries IPv4 too, and keeps the two families' settings apart.
  const OptionRow& row = row_of(option);
  const auto done = set_number(row.ipv4, value);
  if (!done || family_ == Family::ipv4 || row.ipv6 == row.ipv4) return done;
  return set_number(row.ipv6, value);
}

Result<int> KernelSocket::get(Option option) const {
  const Use use(*this);
  if (!use) return failure(Call::option, EBADF);
  switch (option) {
    case Option::require_checksum:
      return Error{ENOPROTOOPT, "the kernel cannot require a UDP checksum over IPv4; a Host of ours can"};
    case Option::segment_size:
      return int{segment_size_.load(std::memory_order_relaxed)};
    case Option::segment_fallbacks:
      return static_cast<int>(segment_fallbacks_.load(std::memory_order_relaxed));
    case Option::overflow_count:
      return overflow_count();
    default:
      break;
  }
  const OptionRow& row = row_of(option);
  const LinuxOption& at = family_ == Family::ipv4 ? row.ipv4 : row.ipv6;
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd_, at.level, at.number, &value, &size) == -1) return failure(Call::option, errno);
  return value;
}

Result<void> KernelSocket::set_number(const LinuxOption& option, int value) {
  if (::setsockopt(fd_, option.level, option.number, &value, sizeof value) == -1) return failure(Call::option, errno);
  return {};
}

Result<void> KernelSocket::set_metadata(int value) {
  static constexpr std::array ipv4{LinuxOption{IPPROTO_IP, IP_PKTINFO}, LinuxOption{IPPROTO_IP, IP_RECVTTL}, LinuxOption{IPPROTO_IP, IP_RECVTOS}};
  static constexpr std::array ipv6{LinuxOption{IPPROTO_IPV6, IPV6_RECVPKTINFO}, LinuxOption{IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
                                   LinuxOption{IPPROTO_IPV6, IPV6_RECVTCLASS}};
  for (const LinuxOption& option : ipv4) {
    if (const auto set = set_number(option, value); !set) return set;
  }
  for (const LinuxOption& option : std::span(ipv6).first(family_ == Family::ipv6 ? ipv6.size() : 0)) {
    if (const auto set = set_number(option, value); !set) return set;
  }
  return {};
}

// SO_RXQ_OVFL itself would tell with the next datagram only, and not of what was dropped since that one was queued.
Result<int> KernelSocket::overflow_count() const {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t size = sizeof memory;
  if (::getsockopt(fd_, SOL_SOCKET, SO_MEMINFO, memory.data(), &size) == -1) return failure(Call::option, errno);
  return static_cast<int>(memory[SK_MEMINFO_DROPS]);
}

Result<void> KernelSocket::set_ip_options(std::span<const std::byte> options) {
  const Use use(*this);
  if (!use) return failure(Call::option, EBADF);
  if (::setsockopt(fd_, IPPROTO_IP, IP_OPTIONS, options.data(), static_cast<socklen_t>(options.size())) == -1) return failure(Call::option, errno);
  return {};
}

Result<void> KernelSocket::change_membership(Membership kind, const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  const Use use(*this);
  if (!use) return failure(Call::membership, EBADF);
  if (family_ == Family::ipv4 && !group.is_ipv4()) return failure(Call::membership, EAFNOSUPPORT);
  static constexpr std::array numbers{MCAST_JOIN_GROUP,         MCAST_LEAVE_GROUP,  MCAST_JOIN_SOURCE_GROUP,
                                      MCAST_LEAVE_SOURCE_GROUP, MCAST_BLOCK_SOURCE, MCAST_UNBLOCK_SOURCE};
  const int level = group.is_ipv4() ? IPPROTO_IP : IPPROTO_IPV6;
  const int number = numbers[static_cast<std::size_t>(kind)];
  const auto copy = [](const IpAddress& ip, sockaddr_storage& to) {
    const RawAddress raw = RawAddress::from({ip}, ip.family);
    std::memcpy(&to, &raw.ipv6, raw.size);
  };
  int done = -1;
  if (kind == Membership::join || kind == Membership::leave) {
    group_req request{.gr_interface = interface, .gr_group = {}};
    copy(group, request.gr_group);
    done = ::setsockopt(fd_, level, number, &request, sizeof request);
  } else {
    group_source_req request{.gsr_interface = interface, .gsr_group = {}, .gsr_source = {}};
    copy(group, request.gsr_group);
    copy(source, request.gsr_source);
    done = ::setsockopt(fd_, level, number, &request, sizeof request);
  }
  if (done == -1) return failure(Call::membership, errno);
  return {};
}

Result<void> KernelSocket::set_multicast_interface(std::uint32_t interface) {
  const Use use(*this);
  if (!use) return failure(Call::option, EBADF);
  const ip_mreqn request{.imr_multiaddr = {}, .imr_address = {}, .imr_ifindex = static_cast<int>(interface)};
  if (::setsockopt(fd_, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request) == -1) return failure(Call::option, errno);
  if (family_ == Family::ipv6) return set_number({IPPROTO_IPV6, IPV6_MULTICAST_IF}, static_cast<int>(interface));
  return {};
}

Result<int> KernelSocket::fd() {
  const Use use(*this);
  if (!use) return failure(Call::other, EBADF);
  return fd_;
}

}  // namespace gannet::socket
