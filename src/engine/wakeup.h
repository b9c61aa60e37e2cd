// Wakes the engine from its sleep: an eventfd that is written at most once for each time the engine looks.
//
// wake(): any thread, and signal handlers.  clear(), fd(): the engine's thread. Whoever wants something of the engine leaves it where the engine
// looks, then calls wake(); the engine calls clear(), then looks. Both exchange `pending_`, so either the engine sees what was left, or it is woken
// again. The descriptor is watched edge-triggered and never read: each write is an edge.
#pragma once
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "base/fd.h"

namespace gannet::engine {

class Wakeup {
 public:
  Wakeup() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  [[nodiscard]] bool is_open() const { return fd_.get() >= 0; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  void wake() {
    if (pending_.exchange(1, std::memory_order_acq_rel) != 0) return;
    const int saved = errno;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_.get(), &one, sizeof one);
    errno = saved;
  }
  // Whether anybody called wake() since.
  bool clear() { return pending_.load(std::memory_order_relaxed) != 0 && pending_.exchange(0, std::memory_order_acq_rel) != 0; }

 private:
  Fd fd_;
  std::atomic<std::uint32_t> pending_ = 0;
};

}  // namespace gannet::engine
