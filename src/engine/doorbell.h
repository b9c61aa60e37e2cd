// The doorbell: how an application sleeps until its socket has something, and how it wakes the engine. docs/READINESS.md is the protocol.
//
//   threads of the engine's process:  a futex; nothing is done for it until somebody waits
//   a descriptor for poll(2):         an AF_UNIX stream socket
//     engine's end  -- token -->        application's end: readable while the ring is not empty
//                   <-- request, plug   unwritable while the send ring is fuller than half; hang-up when either side dies
//
// What either side wants is written in the shared BellControl; the bytes in the socket only say "look". Owner: ring_waiters() and Bell: the engine,
// its thread. wait_readable(), wait_writable() and BellClient: the application, any threads. The other side's words are not trusted: they can make a
// bell ring too often or too seldom, for this socket alone.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

#include <gannet/result.h>

#include "base/fd.h"
#include "stack/endpoint.h"
#include "stack/endpoint_client.h"

namespace gannet::engine {

using Moment = std::chrono::steady_clock::time_point;  // until when to wait; max() is forever

// Sleeps while the word has the value, at most until the moment; a signal ends it too. False: the moment has passed.
bool futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, Moment until);
void futex_wake(std::atomic<std::uint32_t>& word, std::uint32_t most);

// Wakes as many threads as datagrams came, and all of them for an error or the end. `arrivals` is from take_arrivals().
void ring_waiters(stack::Endpoint& endpoint, const stack::Endpoint::Arrivals& arrivals);
// Wakes the threads that wait for room in the send rings, where there is.
void wake_senders(stack::Endpoint& endpoint);

// Who is woken for a datagram takes it; who only looks wakes the next one, so that no wake-up is lost with them.
enum class Intent : std::uint8_t { take, look };

// Until there is a datagram, a pending error, or the end. False: the moment has passed.
bool wait_readable(const stack::EndpointClient& client, Moment until, Intent intent = Intent::take);
// Until half of SO_SNDBUF is free, or the end.
bool wait_writable(const stack::EndpointClient& client, Moment until);

// The engine's end of a socket's descriptor.
class Bell {
 public:
  struct Ends;
  static Result<Ends> create();
  // An application's end that was not made here: gives it the send buffer that a plug fills.
  // A mark from 0 to 1 stays with it, wherever it goes.
  static void prepare(int application, int mark = 0);
  // Nothing: no process has prepared it.
  static std::optional<int> mark_of(int application);
  explicit Bell(Fd fd) : fd_(std::move(fd)) {}

  [[nodiscard]] int fd() const { return fd_.get(); }

  // After a batch in which something came.
  void ring(stack::Endpoint& endpoint, const stack::Endpoint::Arrivals& arrivals);

  // What the engine is to do after its end became readable, or, where it is shared, writable.
  struct Requests {
    bool hung_up = false;  // the last holder of the descriptor is gone (EPOLLHUP says so too, where a plug hides it)
    bool sends = false;    // look at the send ring
    bool share = false;    // wait for EPOLLOUT too, then recheck()
  };
  Requests handle(stack::Endpoint& endpoint);
  // Rings if there is something and no token is left.
  void recheck(stack::Endpoint& endpoint);
  // After datagrams were taken from the send rings.
  void sent(stack::Endpoint& endpoint);

 private:
  void put_token(stack::Endpoint& endpoint);
  void unplug(stack::BellControl& control);
  std::size_t drain();

  Fd fd_;
  bool hung_up_ = false;
  bool has_rung_ = false;        // the last token was written over datagrams ...
  std::uint64_t rung_tail_ = 0;  // ... of which this was the oldest
};

struct Bell::Ends {
  Bell bell;
  Fd application;
};

// The application's end. `fd` stays the caller's.
class BellClient {
 public:
  BellClient(stack::EndpointClient& client, int fd) : client_(client), fd_(fd) {}

  // The same socket has another number (dup(2)), and this one is about to be closed.
  void move_to(int fd) { fd_.store(fd, std::memory_order_relaxed); }

  // ClientHooks::received.
  void received(bool emptied);
  // ClientHooks::wake_engine, where the engine is another process.
  void wake_engine() { request(stack::bell_request_sends); }
  // A send found no room: poll(2) for POLLOUT will wait for it from now on.
  void plug();
  // This process is about to fork, or to give the descriptor away.
  void share() {
    watch();
    request(stack::bell_request_shared);
  }
  // Nobody waits for the descriptor but in wait(), so tokens are for those calls alone. Before anybody else knows the socket.
  void unwatch() { control().listeners.fetch_and(~stack::bell_watched, std::memory_order_acq_rel); }
  // From now on anybody may wait for it: it is readable while there is something.
  void watch();
  // Likewise, and for edges: each arrival is one.
  void watch_edges();
  // Sleeps until the socket may have something: as long as recv(2) does, with the settings of this number of the descriptor. An errno; 0: look.
  int wait(int fd);
  // Whether the engine is gone. If so, the socket is closed from then on (closed_by_death).
  bool look_for_death();
  // The same, as far as it is known from what was last said to it.
  [[nodiscard]] bool is_hung_up() const { return hung_up_.load(std::memory_order_relaxed); }

 private:
  [[nodiscard]] stack::BellControl& control() const { return client_.control().bell; }
  void silence(bool for_queued_errors = true);
  void ask_if_needed(bool for_queued_errors);
  void take_tokens(std::uint32_t most);
  void await_ring();
  void request(std::uint32_t what);
  void notice_death(ssize_t result);  // of a call that failed (-1), or read the end (0)

  stack::EndpointClient& client_;
  std::atomic<int> fd_;
  std::atomic<bool> hung_up_ = false;
  std::atomic<bool> owes_token_ = false;  // a call woke by taking the token: whoever leaves datagrams behind must ask for another
};

}  // namespace gannet::engine
