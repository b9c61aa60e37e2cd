#include "engine/mailbox.h"

#include "base/assert.h"

namespace gannet::engine {

bool Mailbox::is_inline() const {
  const std::lock_guard lock(mutex_);
  return !owner_ || *owner_ == std::this_thread::get_id();
}

bool Mailbox::post(void (*function)(void*), void* context) {
  Call call{function, context};
  std::unique_lock lock(mutex_);
  if (!owner_ || *owner_ == std::this_thread::get_id()) return false;
  *last_ = &call;
  last_ = &call.next;
  wakeup_.wake();
  finished_.wait(lock, [&] { return call.done; });
  return true;
}

void Mailbox::enter() {
  const std::lock_guard lock(mutex_);
  ASSERT(!owner_);
  owner_ = std::this_thread::get_id();
}

void Mailbox::leave() {
  std::unique_lock lock(mutex_);
  run_waiting(lock);
  owner_.reset();  // under the same lock as the last look: no call is left behind
}

void Mailbox::run() {
  std::unique_lock lock(mutex_);
  run_waiting(lock);
}

void Mailbox::run_waiting(std::unique_lock<std::mutex>& lock) {
  while (first_ != nullptr) {
    Call* call = std::exchange(first_, nullptr);
    last_ = &first_;
    // Unlocked: the functions may call in turn, which is inline here. A call may be gone as soon as it is done and the lock is free.
    while (call != nullptr) {
      Call* next = call->next;
      lock.unlock();
      call->function(call->context);
      lock.lock();
      call->done = true;
      call = next;
    }
    finished_.notify_all();
  }
}

}  // namespace gannet::engine
