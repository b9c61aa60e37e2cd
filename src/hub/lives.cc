#include "hub/lives.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace gannet::hub {

Result<Lives> Lives::create() {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error{errno, "no descriptor left for the hub"};
  return Lives(std::move(epoll));
}

Result<void> Lives::watch(std::int32_t process) {
  if (processes_.contains(process)) return {};
  if (processes_.size() == max_processes) return Error{ENOBUFS, "the hub serves as many forked processes as it can"};
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!fd) return Error{errno, "the process cannot be watched"};
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<std::uint32_t>(process);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) return Error{errno, "the process cannot be watched"};
  processes_.emplace(process, std::move(fd));
  return {};
}

std::vector<std::int32_t> Lives::take_dead() {
  std::array<epoll_event, 64> events;
  std::vector<std::int32_t> dead;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    dead.push_back(static_cast<std::int32_t>(events[static_cast<std::size_t>(i)].data.u64));
    processes_.erase(dead.back());
  }
  return dead;
}

}  // namespace gannet::hub
