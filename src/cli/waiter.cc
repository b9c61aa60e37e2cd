#include "cli/waiter.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "cli/failure.h"

namespace gannet::cli {

Waiter::Waiter() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0) fail("cannot listen for Ctrl-C", {errno, nullptr});
}

Waiter::~Waiter() { close(signals_); }

void Waiter::wait(std::initializer_list<int> readable, Moment until) {
  pollfd polled[most + 1] = {{signals_, POLLIN, 0}};
  nfds_t count = 1;
  for (const int fd : readable) polled[count++] = {fd, POLLIN, 0};

  timespec rest{};
  timespec* timeout = nullptr;
  if (until != Moment::max()) {
    const Moment now = std::chrono::steady_clock::now();
    const auto left = until > now ? until - now : Moment::duration::zero();
    rest.tv_sec = std::chrono::floor<std::chrono::seconds>(left).count();
    rest.tv_nsec = (left % std::chrono::seconds(1)).count();
    timeout = &rest;
  }
  ready_count_ = 0;
  if (ppoll(polled, count, timeout, nullptr) <= 0) return;
  interrupted_ |= polled[0].revents != 0;
  for (nfds_t i = 1; i < count; ++i) {
    if (polled[i].revents != 0) ready_[ready_count_++] = polled[i].fd;
  }
}

bool Waiter::is_readable(int fd) const { return fd >= 0 && std::find(ready_, ready_ + ready_count_, fd) != ready_ + ready_count_; }

}  // namespace gannet::cli
