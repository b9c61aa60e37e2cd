// Control from other threads: a function that runs in the engine's thread while its caller waits for the result.
//
//   any thread: call(function) -> queue, wake -> engine's thread: run() -> the result, the caller goes on
//
// While no thread runs the engine, and in the engine's own thread, a call is made inline. Without a thread the engine belongs to one thread, whose
// business it is that no two call at once.
// Bound: one call waits for each thread that called: its place is on that thread's stack. Allocates: never. This is the one lock of the engine, and
// the data path never takes it: run() is called after Wakeup::clear() said that somebody wants something.
#pragma once
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

#include "engine/wakeup.h"

namespace gannet::engine {

class Mailbox {
 public:
  explicit Mailbox(Wakeup& wakeup) : wakeup_(wakeup) {}
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  template <class Function>
  std::invoke_result_t<Function&> call(Function&& function) {
    using Value = std::invoke_result_t<Function&>;
    if constexpr (std::is_void_v<Value>) {
      if (!post([](void* f) { (*static_cast<std::remove_reference_t<Function>*>(f))(); }, pointer_to(function))) function();
    } else {
      std::optional<Value> value;
      auto keep = [&] { value.emplace(function()); };
      if (!post([](void* f) { (*static_cast<decltype(keep)*>(f))(); }, &keep)) keep();
      return std::move(*value);
    }
  }

  // The engine's thread: from here on calls wait for run(). After leave() they are made inline again; those that were waiting have been run.
  void enter();
  void leave();
  void run();

  // No thread runs the engine, or this one does.
  [[nodiscard]] bool is_inline() const;

 private:
  struct Call {
    void (*function)(void* context);
    void* context;
    Call* next = nullptr;
    bool done = false;
  };
  template <class Function>
  static void* pointer_to(Function& function) {
    return const_cast<void*>(static_cast<const void*>(&function));
  }
  // Waits until the function has run; false when it is to be called inline.
  bool post(void (*function)(void*), void* context);
  void run_waiting(std::unique_lock<std::mutex>& lock);

  Wakeup& wakeup_;
  mutable std::mutex mutex_;
  std::condition_variable finished_;
  std::optional<std::thread::id> owner_;
  Call* first_ = nullptr;
  Call** last_ = &first_;
};

}  // namespace gannet::engine
