#include "preload/real.h"

#include <dlfcn.h>

#include <cstdarg>

namespace gannet::preload {
namespace {

template <class Function>
void find(Function*& function, const char* name) {
  function = reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

Real find_all() {
  Real real{};
  find(real.socket, "socket");
  find(real.bind, "bind");
  find(real.connect, "connect");
  find(real.getsockname, "getsockname");
  find(real.getpeername, "getpeername");
  find(real.getsockopt, "getsockopt");
  find(real.setsockopt, "setsockopt");
  find(real.shutdown, "shutdown");
  find(real.send, "send");
  find(real.sendto, "sendto");
  find(real.sendmsg, "sendmsg");
  find(real.sendmmsg, "sendmmsg");
  find(real.recv, "recv");
  find(real.recvfrom, "recvfrom");
  find(real.recvmsg, "recvmsg");
  find(real.recvmmsg, "recvmmsg");
  find(real.read, "read");
  find(real.write, "write");
  find(real.readv, "readv");
  find(real.writev, "writev");
  find(real.accept, "accept");
  find(real.accept4, "accept4");
  find(real.socketpair, "socketpair");
  find(real.close, "close");
  find(real.closefrom, "closefrom");
  find(real.syscall, "syscall");
  find(real.fdopen, "fdopen");
  find(real.execve, "execve");
  find(real.execv, "execv");
  find(real.execvp, "execvp");
  find(real.execvpe, "execvpe");
  find(real.fexecve, "fexecve");
  find(real.posix_spawn, "posix_spawn");
  find(real.posix_spawnp, "posix_spawnp");
  find(real.system, "system");
  find(real.popen, "popen");
  find(real.fclose, "fclose");
  find(real.close_range, "close_range");
  find(real.dup, "dup");
  find(real.dup2, "dup2");
  find(real.dup3, "dup3");
  find(real.fcntl, "fcntl");
  find(real.ioctl, "ioctl");
  find(real.poll, "poll");
  find(real.ppoll, "ppoll");
  find(real.select, "select");
  find(real.pselect, "pselect");
  find(real.epoll_ctl, "epoll_ctl");
  find(real.epoll_wait, "epoll_wait");
  find(real.epoll_pwait, "epoll_pwait");
  find(real.epoll_pwait2, "epoll_pwait2");
  find(real.listen, "listen");
  return real;
}

}  // namespace

const Real& real() {
  static const Real found = find_all();
  return found;
}

}  // namespace gannet::preload

using gannet::preload::real;

// What --wrap makes of our own calls.
extern "C" {

int __wrap_socket(int domain, int type, int protocol) { return real().socket(domain, type, protocol); }
int __wrap_bind(int fd, const sockaddr* local, socklen_t size) { return real().bind(fd, local, size); }
int __wrap_connect(int fd, const sockaddr* peer, socklen_t size) { return real().connect(fd, peer, size); }
int __wrap_getpeername(int fd, sockaddr* peer, socklen_t* size) { return real().getpeername(fd, peer, size); }
int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* size) { return real().getsockopt(fd, level, name, value, size); }
int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size) { return real().setsockopt(fd, level, name, value, size); }
int __wrap_shutdown(int fd, int how) { return real().shutdown(fd, how); }
ssize_t __wrap_send(int fd, const void* data, size_t size, int flags) { return real().send(fd, data, size, flags); }
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) { return real().sendmsg(fd, message, flags); }
ssize_t __wrap_recv(int fd, void* data, size_t size, int flags) { return real().recv(fd, data, size, flags); }
ssize_t __wrap_recvmsg(int fd, msghdr* message, int flags) { return real().recvmsg(fd, message, flags); }
ssize_t __wrap_read(int fd, void* data, size_t size) { return real().read(fd, data, size); }
ssize_t __wrap_write(int fd, const void* data, size_t size) { return real().write(fd, data, size); }
ssize_t __wrap_writev(int fd, const iovec* pieces, int count) { return real().writev(fd, pieces, count); }
int __wrap_close(int fd) { return real().close(fd); }
int __wrap_poll(pollfd* fds, nfds_t count, int timeout) { return real().poll(fds, count, timeout); }
int __wrap_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) { return real().ppoll(fds, count, timeout, mask); }

int __wrap_fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return real().fcntl(fd, command, argument);
}

int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return real().ioctl(fd, request, argument);
}

}  // extern "C"
