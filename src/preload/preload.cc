// libgannet-preload.so: the C library's socket calls, for AF_INET and AF_INET6 datagram sockets carried out by our stack, in the hub that
// GANNET_HUB names.
//
// Everything else goes to the C library untouched: so do these calls on any other descriptor, and all of them where GANNET_HUB is not set. Here are
// the calls of sockets; those that make, copy and close descriptors are in descriptors.cc, those that wait in wait.cc.
// Thread: any; signal handlers may send and receive.  Allocates: when a socket is opened and attached.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "base/fd.h"
#include "preload/by_number.h"
#include "preload/process.h"
#include "preload/real.h"

namespace gannet::preload {

namespace {

template <class T>
T fail(int code) {
  errno = code;
  return -1;
}

// As the C library says it.
int status_of(const Result<void>& result) { return result ? 0 : fail<int>(result.error().code); }
template <class T>
T value_of(const Result<std::size_t>& result) {
  return result ? static_cast<T>(*result) : fail<T>(result.error().code);
}

msghdr message_of(const iovec* pieces, std::size_t count, void* name = nullptr, socklen_t name_size = 0) {
  msghdr message{};
  message.msg_name = name;
  message.msg_namelen = name_size;
  message.msg_iov = const_cast<iovec*>(pieces);
  message.msg_iovlen = count;
  return message;
}

ssize_t send_one(Table::Use& socket, int fd, const void* data, size_t size, int flags, const sockaddr* to = nullptr, socklen_t to_size = 0) {
  const iovec piece{const_cast<void*>(data), size};
  return value_of<ssize_t>(socket->send(fd, message_of(&piece, 1, const_cast<sockaddr*>(to), to_size), flags));
}

ssize_t receive_one(Table::Use& socket, int fd, void* data, size_t size, int flags, sockaddr* from = nullptr, socklen_t* from_size = nullptr) {
  const iovec piece{data, size};
  msghdr message = message_of(&piece, 1, from, from_size != nullptr ? *from_size : 0);
  const auto received = socket->receive(fd, message, flags);
  if (received && from_size != nullptr) *from_size = message.msg_namelen;
  return value_of<ssize_t>(received);
}

// An IPv6-only socket, under all its numbers.
int leave_to_kernel(Table::Use& socket, int fd) {
  const auto kernel = socket->ipv6_only(fd);
  if (!kernel) return fail<int>(kernel.error().code);
  return table.replace(fd, kernel->get()) ? 0 : fail<int>(EINVAL);
}

// A new descriptor of the kernel's: what stood in the table under its number is no more.
int made(int fd) {
  if (fd >= 0) table.remove(fd);
  return fd;
}

int number_of(void* cookie) { return static_cast<int>(reinterpret_cast<std::intptr_t>(cookie)); }

}  // namespace
}  // namespace gannet::preload

using namespace gannet::preload;

extern "C" {

GANNET_INTERPOSED int socket(int domain, int type, int protocol) noexcept {
  constexpr int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  const bool udp = (domain == AF_INET || domain == AF_INET6) && (type & ~flags) == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP);
  if (!udp || hub_address().name.empty()) return made(real().socket(domain, type, protocol));
  const auto family = domain == AF_INET ? gannet::Family::ipv4 : gannet::Family::ipv6;
  gannet::Fd fd = gannet::hub::make_doorbell(type & flags, family);
  if (!fd) return -1;
  if (!table.add(fd.get(), attach, family)) return fail<int>(EMFILE);
  return fd.release();
}

GANNET_INTERPOSED int socketpair(int domain, int type, int protocol, int* ends) noexcept {
  const int status = real().socketpair(domain, type, protocol, ends);
  for (int i = 0; status == 0 && i < 2; ++i) made(ends[i]);
  return status;
}

GANNET_INTERPOSED int bind(int fd, const sockaddr* local, socklen_t size) noexcept {
  auto socket = table.find_certain(fd);
  return socket ? status_of(socket->bind(fd, local, size)) : real().bind(fd, local, size);
}

GANNET_INTERPOSED int connect(int fd, const sockaddr* peer, socklen_t size) {
  auto socket = table.find_certain(fd);
  return socket ? status_of(socket->connect(fd, peer, size)) : real().connect(fd, peer, size);
}

GANNET_INTERPOSED int getsockname(int fd, sockaddr* local, socklen_t* size) noexcept {
  auto socket = table.find_certain(fd);
  return socket ? status_of(socket->local_address(local, size)) : real().getsockname(fd, local, size);
}

GANNET_INTERPOSED int getpeername(int fd, sockaddr* peer, socklen_t* size) noexcept {
  auto socket = table.find_certain(fd);
  return socket ? status_of(socket->peer_address(peer, size)) : real().getpeername(fd, peer, size);
}

// Sending.

GANNET_INTERPOSED ssize_t send(int fd, const void* data, size_t size, int flags) {
  auto socket = table.find(fd);
  return socket ? send_one(socket, fd, data, size, flags) : real().send(fd, data, size, flags);
}

GANNET_INTERPOSED ssize_t sendto(int fd, const void* data, size_t size, int flags, const sockaddr* to, socklen_t to_size) {
  auto socket = table.find(fd);
  return socket ? send_one(socket, fd, data, size, flags, to, to_size) : real().sendto(fd, data, size, flags, to, to_size);
}

GANNET_INTERPOSED ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (auto socket = table.find(fd)) return value_of<ssize_t>(socket->send(fd, *message, flags));
  if (message != nullptr) about_to_send(*message);
  return real().sendmsg(fd, message, flags);
}

GANNET_INTERPOSED int sendmmsg(int fd, mmsghdr* batch, unsigned count, int flags) {
  if (auto socket = table.find(fd)) return value_of<int>(socket->send_batch(fd, std::span(batch, count), flags));
  for (const mmsghdr& each : std::span(batch, batch != nullptr ? count : 0)) about_to_send(each.msg_hdr);
  return real().sendmmsg(fd, batch, count, flags);
}

GANNET_INTERPOSED ssize_t write(int fd, const void* data, size_t size) {
  auto socket = table.find_certain(fd);
  return socket ? send_one(socket, fd, data, size, 0) : real().write(fd, data, size);
}

GANNET_INTERPOSED ssize_t writev(int fd, const iovec* pieces, int count) {
  auto socket = table.find_certain(fd);
  if (!socket) return real().writev(fd, pieces, count);
  if (count < 0) return fail<ssize_t>(EINVAL);
  return value_of<ssize_t>(socket->send(fd, message_of(pieces, static_cast<std::size_t>(count)), 0));
}

// Receiving.

GANNET_INTERPOSED ssize_t recv(int fd, void* data, size_t size, int flags) {
  auto socket = table.find(fd);
  return socket ? receive_one(socket, fd, data, size, flags) : real().recv(fd, data, size, flags);
}

GANNET_INTERPOSED ssize_t recvfrom(int fd, void* data, size_t size, int flags, sockaddr* from, socklen_t* from_size) {
  auto socket = table.find(fd);
  return socket ? receive_one(socket, fd, data, size, flags, from, from_size) : real().recvfrom(fd, data, size, flags, from, from_size);
}

GANNET_INTERPOSED ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (auto socket = table.find(fd)) return value_of<ssize_t>(socket->receive(fd, *message, flags));
  const ssize_t size = real().recvmsg(fd, message, flags);
  if (size >= 0) received(*message);
  return size;
}

GANNET_INTERPOSED int recvmmsg(int fd, mmsghdr* batch, unsigned count, int flags, timespec* timeout) {
  if (auto socket = table.find(fd)) return value_of<int>(socket->receive_batch(fd, std::span(batch, count), flags, timeout));
  const int taken = real().recvmmsg(fd, batch, count, flags, timeout);
  for (int i = 0; i < taken; ++i) received(batch[i].msg_hdr);
  return taken;
}

GANNET_INTERPOSED ssize_t read(int fd, void* data, size_t size) {
  auto socket = table.find_certain(fd);
  return socket ? receive_one(socket, fd, data, size, 0) : real().read(fd, data, size);
}

GANNET_INTERPOSED ssize_t readv(int fd, const iovec* pieces, int count) {
  auto socket = table.find_certain(fd);
  if (!socket) return real().readv(fd, pieces, count);
  if (count < 0) return fail<ssize_t>(EINVAL);
  msghdr message = message_of(pieces, static_cast<std::size_t>(count));
  return value_of<ssize_t>(socket->receive(fd, message, 0));
}

// What a fortified program calls instead; the C library has made sure of `room`, or aborts there.

GANNET_INTERPOSED ssize_t __recv_chk(int fd, void* data, size_t size, size_t room, int flags) {
  if (size > room) std::abort();
  return recv(fd, data, size, flags);
}

GANNET_INTERPOSED ssize_t __recvfrom_chk(int fd, void* data, size_t size, size_t room, int flags, sockaddr* from, socklen_t* from_size) {
  if (size > room) std::abort();
  return recvfrom(fd, data, size, flags, from, from_size);
}

GANNET_INTERPOSED ssize_t __read_chk(int fd, void* data, size_t size, size_t room) {
  if (size > room) std::abort();
  return read(fd, data, size);
}

// Options.

GANNET_INTERPOSED int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept {
  auto socket = table.find_certain(fd);
  return socket ? status_of(socket->get_option(fd, level, name, value, size)) : real().getsockopt(fd, level, name, value, size);
}

GANNET_INTERPOSED int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept {
  auto socket = table.find_certain(fd);
  if (!socket) return real().setsockopt(fd, level, name, value, size);
  if (socket->becomes_ipv6_only(level, name, value, size)) return leave_to_kernel(socket, fd);
  return status_of(socket->set_option(fd, level, name, value, size));
}

GANNET_INTERPOSED int shutdown(int fd, int how) noexcept {
  auto socket = table.find_certain(fd);
  return socket ? status_of(socket->shutdown(fd, how)) : real().shutdown(fd, how);
}

GANNET_INTERPOSED int listen(int fd, int backlog) noexcept { return table.find_certain(fd) ? fail<int>(EOPNOTSUPP) : real().listen(fd, backlog); }

GANNET_INTERPOSED int accept(int fd, sockaddr* peer, socklen_t* size) {
  return table.find_certain(fd) ? fail<int>(EOPNOTSUPP) : made(real().accept(fd, peer, size));
}

GANNET_INTERPOSED int accept4(int fd, sockaddr* peer, socklen_t* size, int flags) {
  return table.find_certain(fd) ? fail<int>(EOPNOTSUPP) : made(real().accept4(fd, peer, size, flags));
}

// FIONBIO and the like are the descriptor's; what is asked about interfaces, any socket of the kernel's can say.
GANNET_INTERPOSED int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  constexpr unsigned long of_sockets = 0x8900, of_interfaces = 0x89ff;
  const bool asks = request >= of_sockets && request <= of_interfaces;
  auto socket = request == FIONREAD || asks ? table.find_certain(fd) : Table::Use();
  if (!socket) return real().ioctl(fd, request, argument);
  if (asks) {
    const gannet::Fd helper(real().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return helper ? real().ioctl(helper.get(), request, argument) : -1;
  }
  const auto size = socket->readable_bytes();
  if (!size) return fail<int>(size.error().code);
  *static_cast<int*>(argument) = *size;
  return 0;
}

// Streams: what the C library reads and writes inside itself, we do not see.

static ssize_t read_stream(void* cookie, char* data, size_t size) { return read(number_of(cookie), data, size); }
static ssize_t write_stream(void* cookie, const char* data, size_t size) { return std::max<ssize_t>(write(number_of(cookie), data, size), 0); }
static int close_stream(void* cookie) {
  about_to_close(number_of(cookie));
  return real().close(number_of(cookie));
}

// A stream over a socket reads and writes as we do; it has no fileno().
GANNET_INTERPOSED FILE* fdopen(int fd, const char* mode) noexcept {
  if (!table.find_certain(fd)) return real().fdopen(fd, mode);
  void* cookie = reinterpret_cast<void*>(std::intptr_t{fd});  // NOLINT(performance-no-int-to-ptr): a number, never followed
  return fopencookie(cookie, mode, {.read = read_stream, .write = write_stream, .seek = nullptr, .close = close_stream});
}

// Programs that call the kernel by number.

GANNET_ENTRANCE(socket);
GANNET_ENTRANCE(bind);
GANNET_ENTRANCE(connect);
GANNET_ENTRANCE(getsockname);
GANNET_ENTRANCE(getpeername);
GANNET_ENTRANCE(getsockopt);
GANNET_ENTRANCE(setsockopt);
GANNET_ENTRANCE(shutdown);
GANNET_ENTRANCE(sendto);
GANNET_ENTRANCE(sendmsg);
GANNET_ENTRANCE(sendmmsg);
GANNET_ENTRANCE(recvfrom);
GANNET_ENTRANCE(recvmsg);
GANNET_ENTRANCE(recvmmsg);
GANNET_ENTRANCE(read);
GANNET_ENTRANCE(write);
GANNET_ENTRANCE(readv);
GANNET_ENTRANCE(writev);
GANNET_ENTRANCE(ioctl);

GANNET_INTERPOSED long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& each : a) each = va_arg(list, long);
  va_end(list);
  switch (number) {
    case SYS_socket:
      return call(entrance_socket, a);
    case SYS_bind:
      return call(entrance_bind, a);
    case SYS_connect:
      return call(entrance_connect, a);
    case SYS_getsockname:
      return call(entrance_getsockname, a);
    case SYS_getpeername:
      return call(entrance_getpeername, a);
    case SYS_getsockopt:
      return call(entrance_getsockopt, a);
    case SYS_setsockopt:
      return call(entrance_setsockopt, a);
    case SYS_shutdown:
      return call(entrance_shutdown, a);
    case SYS_sendto:
      return call(entrance_sendto, a);
    case SYS_sendmsg:
      return call(entrance_sendmsg, a);
    case SYS_sendmmsg:
      return call(entrance_sendmmsg, a);
    case SYS_recvfrom:
      return call(entrance_recvfrom, a);
    case SYS_recvmsg:
      return call(entrance_recvmsg, a);
    case SYS_recvmmsg:
      return call(entrance_recvmmsg, a);
    case SYS_read:
      return call(entrance_read, a);
    case SYS_write:
      return call(entrance_write, a);
    case SYS_readv:
      return call(entrance_readv, a);
    case SYS_writev:
      return call(entrance_writev, a);
    case SYS_ioctl:
      return entrance_ioctl(static_cast<int>(a[0]), static_cast<unsigned long>(a[1]), a[2]);
    case SYS_execve:
      return call(::execve, a);
    default:
      if (long result = 0; wait_by_number(number, a, result) || descriptor_by_number(number, a, result)) return result;
      return real().syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
}

}  // extern "C"
