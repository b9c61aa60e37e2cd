// libgannet-preload.so: the C library's calls that make, copy and close descriptors, so that the table always knows which are sockets of ours.
//
// What the C library does inside itself, nobody sees: so fclose() and closefrom() are here too. A row that is stale all the same is found out by
// Table::find_certain().
// Thread: any.
#include <fcntl.h>
#include <sys/syscall.h>

#include <cstdarg>
#include <cstdio>

#include "preload/by_number.h"
#include "preload/process.h"
#include "preload/real.h"
#include "preload/wait.h"

using namespace gannet::preload;

namespace {

// What came of dup() and its like.
int duplicated(int from, int to) {
  if (to < 0) return to;
  static_cast<void>(table.find_certain(from));
  table.duplicate(from, to);
  if (from != to && !watches().is_empty() && table.is_ours()) watches().forget(to);
  return to;
}

}  // namespace

extern "C" {

GANNET_INTERPOSED int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  const int result = real().fcntl(fd, command, argument);
  return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}

GANNET_INTERPOSED int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return fcntl(fd, command, argument);
}

GANNET_INTERPOSED int dup(int fd) noexcept { return duplicated(fd, real().dup(fd)); }
GANNET_INTERPOSED int dup2(int from, int to) noexcept { return duplicated(from, real().dup2(from, to)); }
GANNET_INTERPOSED int dup3(int from, int to, int flags) noexcept { return duplicated(from, real().dup3(from, to, flags)); }

GANNET_INTERPOSED int close(int fd) {
  about_to_close(fd);
  return real().close(fd);
}

GANNET_INTERPOSED int close_range(unsigned first, unsigned last, int flags) noexcept {
  if ((static_cast<unsigned>(flags) & ~CLOSE_RANGE_UNSHARE) == 0) about_to_close_range(first, last);
  return real().close_range(first, last, flags);
}

GANNET_INTERPOSED void closefrom(int first) noexcept {
  about_to_close_range(static_cast<unsigned>(first < 0 ? 0 : first), ~0u);
  real().closefrom(first);
}

GANNET_INTERPOSED int fclose(FILE* stream) {
  if (stream != nullptr) about_to_close(fileno(stream));
  return real().fclose(stream);
}

}  // extern "C"

GANNET_ENTRANCE(fcntl);
GANNET_ENTRANCE(dup);
GANNET_ENTRANCE(dup3);
GANNET_ENTRANCE(close);
GANNET_ENTRANCE(dup2);
GANNET_ENTRANCE(close_range);

bool gannet::preload::descriptor_by_number(long number, const long* arguments, long& result) {
  switch (number) {
    case SYS_fcntl:
      result = entrance_fcntl(static_cast<int>(arguments[0]), static_cast<int>(arguments[1]), arguments[2]);
      return true;
    case SYS_dup:
      result = call(entrance_dup, arguments);
      return true;
    case SYS_dup3:
      result = call(entrance_dup3, arguments);
      return true;
    case SYS_close:
      result = call(entrance_close, arguments);
      return true;
#ifdef SYS_dup2
    case SYS_dup2:
      result = call(entrance_dup2, arguments);
      return true;
#endif
#ifdef SYS_close_range
    case SYS_close_range:
      result = call(entrance_close_range, arguments);
      return true;
#endif
    default:
      return false;
  }
}
