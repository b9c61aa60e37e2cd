#include "link/spool.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace gannet::link {
namespace {

constexpr int idle_ms = 100;  // how late the file may be while little comes
constexpr int busy_ms = 1;

}  // namespace

Result<std::unique_ptr<Spool>> Spool::open(Fd file, ByteRing& ring) {
  Fd stop(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!stop) return Error{errno, nullptr};
  return std::unique_ptr<Spool>(new Spool(std::move(file), std::move(stop), ring));
}

Spool::~Spool() { stop(); }

void Spool::stop() {
  if (!writer_.joinable()) return;
  ::eventfd_write(stop_.get(), 1);
  writer_.join();
  drain();
}

Result<void> Spool::flush() {
  drain();
  if (error_ == EPIPE) return Error{error_, "nobody reads the capture any more"};
  if (error_ != 0) return Error{error_, "the capture file could not be written to its end: is the disk full?"};
  return {};
}

void Spool::run() {
  sigset_t signals;
  ::sigfillset(&signals);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // the program's signals are none of this thread's business

  pollfd wait{.fd = stop_.get(), .events = POLLIN, .revents = 0};
  int timeout = 0;
  // Who fills the ring never makes a system call to wake us: we look, more often while it fills fast.
  while (::poll(&wait, 1, timeout) <= 0) timeout = drain() > ring_.capacity() / 16 ? busy_ms : idle_ms;
}

std::size_t Spool::drain() {
  std::size_t written = 0;
  while (error_ == 0) {
    const std::span<const std::byte> bytes = ring_.readable();
    if (bytes.empty()) break;
    const ssize_t result = ::write(file_.get(), bytes.data(), bytes.size());
    if (result > 0) {
      ring_.consume(static_cast<std::size_t>(result));
      written += static_cast<std::size_t>(result);
    } else if (result < 0 && errno != EINTR) {
      error_ = errno;
    }
  }
  return written;
}

}  // namespace gannet::link
