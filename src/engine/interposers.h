// The interposers of one engine. While there are any, each drop in the stack is told to the one that sent the packet.
//
// Owner: Engine.  Thread: the engine's.  Allocates: in add().  Bound: whoever adds them has one.
#pragma once
#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include <gannet/result.h>

#include "base/time.h"
#include "engine/interposer.h"
#include "engine/senders.h"
#include "stack/stack.h"
#include "wire/drop.h"

namespace gannet::engine {

class Interposers {
 public:
  // `now` is the engine's moment, whatever it is at the time.
  Interposers(stack::Stack& stack, const Time& now) : stack_(stack), now_(now) {}
  ~Interposers() { clear(); }
  Interposers(const Interposers&) = delete;
  Interposers& operator=(const Interposers&) = delete;

  // EINVAL, ENOMEM: see Interposer. EBUSY: somebody else watches the stack's drops.
  Result<Interposer*> add(const InterposerSetup& setup);
  // What it holds is gone with it. No socket may be attached.
  void remove(Interposer& interposer);
  // All of them, while the stack is still there.
  void clear();

  [[nodiscard]] Time next_wakeup() const {
    Time next = never;
    for (const auto& each : all_) next = std::min(next, each->next_wakeup());
    return next;
  }
  // False: nothing was due.
  bool advance(Time now);

 private:
  static void on_drop(void* self, std::span<const std::byte> bytes, Drop reason);

  stack::Stack& stack_;
  const Time& now_;
  Senders senders_;
  std::vector<std::unique_ptr<Interposer>> all_;
};

}  // namespace gannet::engine
