// A UDP socket as a program knows it from the C library: the calls of socket(7) with Linux's errno, flags and structures, over our own stack.
//
//   program -> send(), receive(), set_option() .. -> StackSocket -> rings, hub
//
// The descriptor is an AF_UNIX stream socket, the doorbell (docs/READINESS.md), and the program's own: it polls it, duplicates and closes it, and
// sets O_NONBLOCK and SO_RCVTIMEO there. A call that has to wait lets the kernel wait for a token with those settings, so that time-outs and signals
// (SA_RESTART) are the kernel's too. Nothing is asked of the hub before the first bind, connect, send, receive or wait; options are kept until then.
// Each call is given the number by which the program knows the descriptor.
// An AF_INET6 socket is the same to IPv4; posix_inet6.h says what more it is.
//
// Differs from Linux: a send that waits for room fails with EINTR whatever SA_RESTART says; what was put together with MSG_MORE or UDP_CORK is each
// process's own after a fork, and not for signal handlers; connected to port 0, a send without an address is EDESTADDRREQ; an attached socket takes
// IPV6_V6ONLY no more (EINVAL).
// Owner: the table of descriptors (src/preload).  Thread: any, at once; signal handlers may send and receive on an attached socket.
// Allocates: when it is attached.  Sources: Linux's socket(7), udp(7), ip(7), ipv6(7), send(2), recv(2).
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "base/fd.h"
#include "socket/cork.h"
#include "socket/options.h"
#include "socket/posix_inet6.h"
#include "socket/posix_message.h"
#include "socket/stack_socket.h"

namespace gannet::socket {

class PosixSocket {
 public:
  // Makes a descriptor that nobody connected yet a socket of the hub.
  using Attach = Result<std::unique_ptr<StackSocket>> (*)(int fd);
  PosixSocket(Attach how, Family family) : attach_(how), family_(family) {}

  // Before a wait call, which would find a descriptor hung up that nobody connected.
  Result<void> attach(int fd);
  // The same, where the wait is for edges (EPOLLET).
  Result<void> attach_for_edges(int fd);
  // What a wait call is to say where the descriptor shows `events`: a pending error is POLLERR, and POLLIN a datagram or an end.
  [[nodiscard]] std::uint32_t shown_events(std::uint32_t events) const;
  // Attaches it too, where another process that has the descriptor did.
  void follow(int fd);
  [[nodiscard]] bool is_attached() const { return stack() != nullptr && !forked_.load(std::memory_order_relaxed); }

  Result<void> bind(int fd, const sockaddr* local, socklen_t size);
  Result<void> connect(int fd, const sockaddr* peer, socklen_t size);
  Result<void> local_address(sockaddr* local, socklen_t* size) const;
  Result<void> peer_address(sockaddr* peer, socklen_t* size) const;

  // sendmsg(2) and recvmsg(2).
  Result<std::size_t> send(int fd, const msghdr& message, int flags);
  Result<std::size_t> receive(int fd, msghdr& message, int flags);
  // recvmmsg(2); `timeout` is looked at after each datagram, as on Linux.
  Result<std::size_t> receive_batch(int fd, std::span<mmsghdr> batch, int flags, timespec* timeout);
  Result<std::size_t> send_batch(int fd, std::span<mmsghdr> batch, int flags);

  Result<void> set_option(int fd, int level, int name, const void* value, socklen_t size);
  Result<void> get_option(int fd, int level, int name, void* value, socklen_t* size);
  Result<int> readable_bytes();  // FIONREAD: the size of the next datagram
  Result<void> shutdown(int fd, int how);

  // Whether this setsockopt() makes it an IPV6_V6ONLY socket, which IPv4 is not to reach. It is then to become this one of the kernel's, for good.
  [[nodiscard]] bool becomes_ipv6_only(int level, int name, const void* value, socklen_t size) const;
  Result<Fd> ipv6_only(int fd);

  // The number that the socket was attached under is about to be closed; `fd` is another one of it.
  void move_to(int fd);
  // Another process is about to get the descriptor.
  Result<void> share(int fd);
  // The same, where that process is another program in our place, or has our memory: what was set is the hub's to know from now on.
  Result<void> settle(int fd);
  [[nodiscard]] bool is_unsettled();
  void before_fork();
  void after_fork_in_parent();
  void after_fork_in_child();

 private:
  struct Pieces;  // the bytes of a message, in one piece
  Result<StackSocket*> attached(int fd);
  Result<std::unique_ptr<StackSocket>> open(int fd);  // with all that was set early; locked
  [[nodiscard]] StackSocket* stack() const { return stack_.load(std::memory_order_acquire); }
  Result<void> wait_readable(int fd, StackSocket& stack, int flags);
  static Result<void> wait_writable(int fd, StackSocket& stack, int flags);
  Result<std::size_t> send_corked(int fd, const msghdr& message, int flags);
  Result<Outgoing> address(int fd, const msghdr& message);  // all of a datagram but its bytes
  Result<void> send_pending(int fd, int flags);
  Result<void> set_cork(int fd, bool on);
  Result<std::size_t> send_whole(int fd, StackSocket& stack, const Outgoing& datagram, int flags);
  Result<std::size_t> receive_whole(int fd, StackSocket& stack, std::span<std::byte> buffer, msghdr& message, int flags);
  Result<std::size_t> receive_error(std::span<std::byte> buffer, msghdr& message);

  // Names and options where there are AF_INET6 sockets (posix_inet6.cc).
  Result<void> bind_inet6(int fd, const sockaddr* local, socklen_t size);
  [[nodiscard]] bool is_bound() const;
  [[nodiscard]] Result<Address> parse_peer(const sockaddr* raw, socklen_t size) const;
  [[nodiscard]] Result<Address> reach_by_ipv4(const Address& peer) const;
  [[nodiscard]] Result<Address> destination_of(const msghdr& message) const;  // port 0: none
  [[nodiscard]] Address show(const Address& local) const;
  Result<void> set_inet6_option(int fd, int name, std::span<const std::byte> value);
  Result<int> get_inet6_option(int fd, int name);

  Result<void> set_wanted(int fd, int level, int name, bool on);
  Result<void> set_table_option(int fd, Option option, int value);
  Result<int> get_table_option(int fd, Option option);
  Result<void> get_memory(int fd, void* value, socklen_t* size);
  Result<void> set_group_option(int fd, int name, std::span<const std::byte> value);
  Result<void> set_multicast_interface(StackSocket& stack, std::span<const std::byte> value);
  [[nodiscard]] std::optional<int> wanted_value(int level, int name) const;

  // What all processes with this socket share: words in its memory, once it is attached.
  enum Note : std::uint8_t {
    wanted_note,             // Wanted
    multicast_address_note,  // IP_MULTICAST_IF, as it is shown
    mapped_note,             // 1: bound to ::ffff:0.0.0.0 or another address, and not to `::`
    inet6_note,              // Inet6Options from here on
    note_count = inet6_note + Inet6Options::count,
  };
  [[nodiscard]] std::uint64_t read_note(Note which) const;
  void write_note(Note which, std::uint64_t value);
  [[nodiscard]] std::span<std::atomic<std::uint64_t>, note_count> notes() const;
  [[nodiscard]] Inet6Options inet6_options() const { return Inet6Options(notes().subspan<inet6_note>()); }
  [[nodiscard]] Wanted wanted() const { return std::bit_cast<Wanted>(read_note(wanted_note)); }

  const Attach attach_;
  const Family family_;
  std::mutex mutex_;  // attaching, options before it
  std::unique_ptr<StackSocket> owned_;
  std::atomic<StackSocket*> stack_ = nullptr;
  std::array<std::optional<int>, option_count> early_{};  // options that were set before it was attached
  mutable std::array<std::atomic<std::uint64_t>, note_count> early_notes_{};
  std::atomic<bool> forked_ = false;  // no send ring of this process's own yet
  Cork cork_;
  std::atomic<std::uint32_t> fruitless_ = 0;  // receives in a row that found nothing and were not to wait
};

}  // namespace gannet::socket
