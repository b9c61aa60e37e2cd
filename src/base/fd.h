// A file descriptor with an owner: closed when the owner dies.
//
// Thread: as its owner.  Allocates: never.
#pragma once
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace gannet {

class Fd {
 public:
  Fd() = default;
  // Takes over `fd`; -1 is none.
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  // Closes what it holds and takes over `fd`. errno survives, so that a failing call can still say why. EINTR is no reason to try again: on Linux the
  // descriptor is gone by then.
  void reset(int fd = -1) {
    const int saved = errno;
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
    errno = saved;
  }

 private:
  int fd_ = -1;
};

}  // namespace gannet
