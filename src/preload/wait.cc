#include "preload/wait.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <span>

#include "preload/by_number.h"
#include "preload/real.h"
#include "preload/table.h"

namespace gannet::preload {
namespace {

// After a descriptor was put in, changed or taken out: `event` is null where it is out, and `ours` tells whether it is a socket of ours. A number
// that now stands for another descriptor is no socket's any more.
void note(int epoll, int fd, const epoll_event* event, bool ours) {
  if (!ours && event != nullptr) watches().remove_number(epoll, event->data.u64);
  if (!ours) return;
  event != nullptr ? watches().put(epoll, fd, event->data.u64) : watches().remove(epoll, fd);
}

void put_right(int epoll, std::span<epoll_event> events) {
  if (watches().is_empty()) return;
  for (epoll_event& event : events) {
    if (auto socket = table.find(watches().find(epoll, event.data.u64))) event.events = socket->shown_events(event.events);
  }
}

// Whether one of them shows something already that no token of its doorbell stands for.
bool prepare(std::span<pollfd> fds) {
  bool ready = false;
  for (const pollfd& each : fds) {
    auto socket = table.find(each.fd);
    if (!socket) continue;
    static_cast<void>(socket->attach(each.fd));
    ready |= socket->shown_events(0) != 0;
  }
  return ready;
}

int put_right(std::span<pollfd> fds, int count) {
  if (count < 0) return count;
  for (pollfd& each : fds) {
    auto socket = table.find(each.fd);
    if (!socket) continue;
    const bool counted = each.revents != 0;
    const auto wanted = static_cast<std::uint32_t>(each.events) | POLLERR | POLLHUP;
    each.revents = static_cast<short>(socket->shown_events(static_cast<std::uint32_t>(each.revents)) & wanted);
    count += static_cast<int>(each.revents != 0) - static_cast<int>(counted);
  }
  return count;
}

void prepare(int count, fd_set* set) {
  for (int fd = 0; set != nullptr && fd < count; ++fd) {
    if (!FD_ISSET(fd, set)) continue;
    if (auto socket = table.find(fd)) static_cast<void>(socket->attach(fd));
  }
}

}  // namespace

// Never destroyed: other destructors may still wait. Nor allocated: an allocator's own start may be what closes a descriptor (jemalloc's does).
Watches& watches() {
  alignas(Watches) static std::byte place[sizeof(Watches)];
  static auto* all = ::new (place) Watches;
  return *all;
}

}  // namespace gannet::preload

using namespace gannet::preload;

extern "C" {

GANNET_INTERPOSED int poll(pollfd* fds, nfds_t count, int timeout) {
  const bool ready = prepare(std::span(fds, count));
  return put_right(std::span(fds, count), real().poll(fds, count, ready ? 0 : timeout));
}

GANNET_INTERPOSED int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  constexpr timespec now{};
  const bool ready = prepare(std::span(fds, count));
  return put_right(std::span(fds, count), real().ppoll(fds, count, ready ? &now : timeout, mask));
}

GANNET_INTERPOSED int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t room) {
  if (room / sizeof *fds < count) std::abort();
  return poll(fds, count, timeout);
}

GANNET_INTERPOSED int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t room) {
  if (room / sizeof *fds < count) std::abort();
  return ppoll(fds, count, timeout, mask);
}

// A pending error makes a descriptor readable, as on Linux.

GANNET_INTERPOSED int select(int count, fd_set* in, fd_set* out, fd_set* exceptional, timeval* timeout) {
  for (fd_set* set : std::array{in, out, exceptional}) prepare(count, set);
  return real().select(count, in, out, exceptional, timeout);
}

GANNET_INTERPOSED int pselect(int count, fd_set* in, fd_set* out, fd_set* exceptional, const timespec* timeout, const sigset_t* mask) {
  for (fd_set* set : std::array{in, out, exceptional}) prepare(count, set);
  return real().pselect(count, in, out, exceptional, timeout, mask);
}

GANNET_INTERPOSED int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  auto socket = table.find(fd);
  const epoll_event* wanted = operation != EPOLL_CTL_DEL ? event : nullptr;
  if (socket && wanted != nullptr) {
    const bool edges = (wanted->events & EPOLLET) != 0;
    static_cast<void>(edges ? socket->attach_for_edges(fd) : socket->attach(fd));
  }
  const int done = real().epoll_ctl(epoll, operation, fd, event);
  if (done == 0) note(epoll, fd, wanted, static_cast<bool>(socket));
  return done;
}

GANNET_INTERPOSED int epoll_wait(int epoll, epoll_event* events, int room, int timeout) {
  const int count = real().epoll_wait(epoll, events, room, timeout);
  if (count > 0) put_right(epoll, std::span(events, static_cast<std::size_t>(count)));
  return count;
}

GANNET_INTERPOSED int epoll_pwait(int epoll, epoll_event* events, int room, int timeout, const sigset_t* mask) {
  const int count = real().epoll_pwait(epoll, events, room, timeout, mask);
  if (count > 0) put_right(epoll, std::span(events, static_cast<std::size_t>(count)));
  return count;
}

GANNET_INTERPOSED int epoll_pwait2(int epoll, epoll_event* events, int room, const timespec* timeout, const sigset_t* mask) {
  const int count = real().epoll_pwait2(epoll, events, room, timeout, mask);
  if (count > 0) put_right(epoll, std::span(events, static_cast<std::size_t>(count)));
  return count;
}

}  // extern "C"

GANNET_ENTRANCE(epoll_ctl);
GANNET_ENTRANCE(poll);
GANNET_ENTRANCE(select);
GANNET_ENTRANCE(epoll_wait);

// Those with a signal mask go to the kernel as they are: by number it says its size beside it.
namespace {

long ppoll_by_number(const long* a) {
  timespec now{};
  const std::span fds(argument_as<pollfd*>(a[0]), static_cast<std::size_t>(a[1]));
  const long timeout = prepare(fds) ? reinterpret_cast<long>(&now) : a[2];
  return put_right(fds, static_cast<int>(real().syscall(SYS_ppoll, a[0], a[1], timeout, a[3], a[4])));
}

long pselect_by_number(const long* a) {
  for (const long set : std::array{a[1], a[2], a[3]}) prepare(static_cast<int>(a[0]), argument_as<fd_set*>(set));
  return real().syscall(SYS_pselect6, a[0], a[1], a[2], a[3], a[4], a[5]);
}

long epoll_by_number(long number, const long* a) {
  const long count = real().syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (count > 0) put_right(static_cast<int>(a[0]), std::span(argument_as<epoll_event*>(a[1]), static_cast<std::size_t>(count)));
  return count;
}

}  // namespace

bool gannet::preload::wait_by_number(long number, const long* arguments, long& result) {
  switch (number) {
    case SYS_ppoll:
      result = ppoll_by_number(arguments);
      return true;
    case SYS_pselect6:
      result = pselect_by_number(arguments);
      return true;
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
      result = epoll_by_number(number, arguments);
      return true;
    case SYS_epoll_ctl:
      result = call(entrance_epoll_ctl, arguments);
      return true;
#ifdef SYS_poll
    case SYS_poll:
      result = call(entrance_poll, arguments);
      return true;
    case SYS_select:
      result = call(entrance_select, arguments);
      return true;
    case SYS_epoll_wait:
      result = call(entrance_epoll_wait, arguments);
      return true;
#endif
    default:
      return false;
  }
}
