#include "engine/death_mark.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace gannet::engine {

// The kernel goes through the list when the thread ends, and marks each word, which stands at a fixed distance from its entry, that has the thread's
// number in it.
void DeathMark::stand(std::atomic<std::uint32_t>& word) {
  word.store(static_cast<std::uint32_t>(::syscall(SYS_gettid)), std::memory_order_relaxed);
  only_.next = &list_.list;
  list_.list.next = &only_;
  list_.futex_offset = reinterpret_cast<char*>(&word) - reinterpret_cast<char*>(&only_);
  ::syscall(SYS_set_robust_list, &list_, sizeof list_);
}

}  // namespace gannet::engine
