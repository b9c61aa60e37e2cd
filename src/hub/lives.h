// Which of the processes that it was told of have died: for what only they could give back.
//
// A descriptor of each (pidfd_open(2)), and one over all of them that becomes readable at the next death.
// Owner: Hub.  Thread: one at a time; fd() any.  Allocates: for each process.  Bounds: max_processes, and the descriptors that there are.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include <gannet/result.h>

#include "base/fd.h"

namespace gannet::hub {

class Lives {
 public:
  static constexpr std::size_t max_processes = 4096;

  static Result<Lives> create();
  [[nodiscard]] int fd() const { return epoll_.get(); }

  // Harmless where it is watched. ESRCH: it has died. ENOBUFS, EMFILE.
  Result<void> watch(std::int32_t process);
  // Those that have died since, who are not watched any more.
  std::vector<std::int32_t> take_dead();

 private:
  explicit Lives(Fd epoll) : epoll_(std::move(epoll)) {}
  Fd epoll_;
  std::unordered_map<std::int32_t, Fd> processes_;
};

}  // namespace gannet::hub
