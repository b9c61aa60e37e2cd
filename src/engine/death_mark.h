// A word in shared memory that the kernel marks when the engine's thread ends, however it ends: who maps the word knows of a hub's death by a load.
//
// It is the owner's half of a robust futex (robust_futexes in the kernel's documentation), which nobody ever waits on. The thread has one list of
// robust futexes and this takes it: for an engine in a process of its own, where no program's handlers with mutexes of theirs run.
// Owner: the engine.  Thread: stand() is called by the one that is meant, which ends before the word and this do; is_dead() by any.
#pragma once
#include <linux/futex.h>

#include <atomic>
#include <cstdint>

namespace gannet::engine {

class DeathMark {
 public:
  DeathMark() = default;
  DeathMark(const DeathMark&) = delete;
  DeathMark& operator=(const DeathMark&) = delete;

  // From now on the word stands for the calling thread.
  void stand(std::atomic<std::uint32_t>& word);
  [[nodiscard]] static bool is_dead(const std::atomic<std::uint32_t>& word) { return (word.load(std::memory_order_relaxed) & FUTEX_OWNER_DIED) != 0; }

 private:
  robust_list only_{};
  robust_list_head list_{};
};

}  // namespace gannet::engine
