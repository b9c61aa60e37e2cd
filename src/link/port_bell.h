// The bell of a port of a memory segment: wakes the engine that sleeps on the port's descriptor, by a system call only when it may be asleep.
//
//   unwatched -- watch() --> armed -- claim() by one sender --> rung -- arm() by the receiver, which took the token --> armed
//                                                                \__ write(): the token, by the same sender, at once or much later
//
// Armed: the receiver found the queue empty, and no token is under way. Rung: exactly one token is in the eventfd, or its sender is about to write
// it. The sender leaves `armed` before it writes, so that once the token can be seen there is nothing that it still has to do: however long it is
// kept from running, the receiver never finds a readable descriptor whose token it may not take, and never spins on it. When the receiver comes
// before the token it finds nothing to read, stays rung, and sleeps: the token that is under way wakes it.
//
// No wake-up is lost: a sender puts a frame into the queue, then looks at the bell; the receiver arms, then looks at the queue. All four are
// sequentially consistent, so that one of the two sees the other. A sender that found the bell rung relies on the token that is under way: until
// that is written and taken, the bell is not armed, and whoever arms it looks at the queue afterwards. A sender held up between its claim and its
// token delays those behind it, as it does in the queue, and loses nothing.
//
// Owner: the port.  Threads: ring() any; watch() and arm() the receiver's.  Allocates: never.
#pragma once
#include <sys/eventfd.h>

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/fd.h"

namespace gannet::link {

class PortBell {
 public:
  // A nonblocking eventfd.
  explicit PortBell(Fd eventfd) : eventfd_(std::move(eventfd)) {}

  // By a sender, after each frame that it put into the queue.
  void ring() {
    if (claim()) write();
  }
  // By the receiver, when it found the queue empty. True: the bell was armed, and the queue is to be looked at once more.
  bool arm() {
    if (state_.load() != State::rung) return false;  // nobody watches, or it is armed still
    eventfd_t token;
    if (::eventfd_read(eventfd_.get(), &token) != 0) return false;  // it is yet to come
    state_.store(State::armed);
    return true;
  }
  // By the receiver: from now on the bell is rung. True: it was armed just now, as above.
  bool watch() {
    State expected = State::unwatched;
    return state_.compare_exchange_strong(expected, State::armed);
  }
  [[nodiscard]] int fd() const { return eventfd_.get(); }

  // ring() in its two steps, between which anything may happen: true obliges to the second.
  bool claim() {
    State expected = State::armed;
    return state_.load() == State::armed && state_.compare_exchange_strong(expected, State::rung);
  }
  void write() { ::eventfd_write(eventfd_.get(), 1); }

 private:
  enum class State : std::uint8_t { unwatched, armed, rung };
  std::atomic<State> state_ = State::unwatched;
  Fd eventfd_;
};

}  // namespace gannet::link
