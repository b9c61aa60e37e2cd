// Where a command sleeps: until a descriptor is readable, a moment has come, or Ctrl-C, whichever is first.
//
// SIGINT and SIGTERM are blocked from construction on and read from a descriptor, so that a command ends in its own time, with its summary; make the
// Waiter before any thread, which inherits the mask. Thread: the command's.
#pragma once
#include <chrono>
#include <initializer_list>

namespace gannet::cli {

class Waiter {
 public:
  using Moment = std::chrono::steady_clock::time_point;

  Waiter();
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // Negative descriptors are passed over.
  void wait(std::initializer_list<int> readable, Moment until);
  // Whether the last wait() found this descriptor readable, at its end, or broken: whether a read would tell something.
  [[nodiscard]] bool is_readable(int fd) const;
  [[nodiscard]] bool interrupted() const { return interrupted_; }

 private:
  static constexpr std::size_t most = 4;
  int signals_;
  int ready_[most];
  std::size_t ready_count_ = 0;
  bool interrupted_ = false;
};

}  // namespace gannet::cli
