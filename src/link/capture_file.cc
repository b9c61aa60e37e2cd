#include "link/capture_file.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace gannet::link {
namespace {

constexpr int idle_ms = 100;  // how late the file may be while little comes
constexpr int busy_ms = 1;

}  // namespace

Result<std::unique_ptr<CaptureFile>> CaptureFile::open(const std::string& path, Duration real_time_offset, std::size_t buffer) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return Error{errno, nullptr};
  Fd stop(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!stop) return Error{errno, nullptr};
  return std::unique_ptr<CaptureFile>(new CaptureFile(std::move(fd), std::move(stop), real_time_offset, buffer));
}

CaptureFile::CaptureFile(Fd fd, Fd stop, Duration real_time_offset, std::size_t buffer)
    : ring_(buffer), capture_(ring_, real_time_offset), fd_(std::move(fd)), stop_(std::move(stop)), writer_([this] { run(); }) {}

CaptureFile::~CaptureFile() {
  if (writer_.joinable()) {
    ::eventfd_write(stop_.get(), 1);
    writer_.join();
    flush();
  }
}

void CaptureFile::run() {
  sigset_t signals;
  ::sigfillset(&signals);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // the program's signals are none of this thread's business

  pollfd wait{.fd = stop_.get(), .events = POLLIN, .revents = 0};
  int timeout = 0;
  // The engine never makes a system call to wake us: we look, more often while the buffer fills fast.
  while (::poll(&wait, 1, timeout) <= 0) timeout = flush() > ring_.capacity() / 16 ? busy_ms : idle_ms;
}

std::size_t CaptureFile::flush() {
  std::size_t written = 0;
  while (error_ == 0) {
    const std::span<const std::byte> bytes = ring_.readable();
    if (bytes.empty()) break;
    const ssize_t result = ::write(fd_.get(), bytes.data(), bytes.size());
    if (result > 0) {
      ring_.consume(static_cast<std::size_t>(result));
      written += static_cast<std::size_t>(result);
    } else if (result < 0 && errno != EINTR) {
      error_ = errno;
    }
  }
  return written;
}

Result<void> CaptureFile::close(Time now) {
  if (!writer_.joinable()) return Error{EBADF, "the capture is closed already"};
  ::eventfd_write(stop_.get(), 1);
  writer_.join();
  flush();
  capture_.finish(now);
  flush();
  if (error_ != 0) return Error{error_, "the capture file could not be written to its end: is the disk full?"};
  return {};
}

}  // namespace gannet::link
