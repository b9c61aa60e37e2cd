// The loop: links -> stack -> links, in batches; timers; sleeping and waking.
//
//   a round:  control -> frames in -> timers -> datagrams out -> doorbells -> frames out
//
// An engine runs wherever it is put: run_once() in a loop of yours, or start() for a thread of its own. It alone reads a clock, once a round. When
// nothing is left to do it polls for a while (EngineSetup::spin), then sleeps on its links' descriptors, its sockets' bells and its own eventfd until
// the next timer.
//
// Owner: whoever made it.  Threads: call(), host_page(), notify_sends() and the counters any; the rest the engine's own, that is the thread that
// start() made, or before it the one that calls run_once(). Allocates: in control calls; never per datagram. Bounds: links by Config::interfaces;
// sockets by Config::sockets; a round takes at most link::batch_size frames of each link and as many datagrams of each socket, so nobody starves the
// others; sockets that were closed before all that they sent could leave: 256, for 30 seconds (Drop::socket_closed).
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <gannet/result.h>

#include "base/counter.h"
#include "base/fd.h"
#include "base/frame.h"
#include "base/ring.h"
#include "base/rng.h"
#include "base/time.h"
#include "engine/doorbell.h"
#include "engine/host_page.h"
#include "engine/interposers.h"
#include "engine/mailbox.h"
#include "engine/wakeup.h"
#include "link/link.h"
#include "stack/endpoint.h"
#include "stack/stack.h"

namespace gannet::engine {

struct EngineSetup {
  std::size_t small_frames = 4096;  // the pools; untouched frames cost nothing
  std::size_t large_frames = 64;
  stack::Config stack;
  std::uint64_t seed = 0;                             // of all that is random in the host; 0: from the system
  Duration spin{0};                                   // the longest to poll before sleeping; shorter where it does not pay
  Duration retirement = 30s;                          // for what a closed socket has sent, and its pace or the links hold back
  stack::Sharing sharing = stack::Sharing::children;  // of the sockets' rings and the host page
  // Called once for each link that is gone (link::Link::status()), in the engine's thread. Its interface is down from then on.
  std::function<void(std::uint32_t interface, const Error& why)> on_link_lost;
};

struct EngineCounters {
  Counter rounds, sleeps;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(const EngineSetup& setup);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // The engine's clock: CLOCK_MONOTONIC, as std::chrono::steady_clock. The moment of the current round.
  [[nodiscard]] Time now() const { return now_; }

  Result<void> start();
  void stop();
  // One round; if it found nothing to do, waits until something happens or `until`, and does one more. Not while a thread runs the loop.
  void run_once(Moment until);
  [[nodiscard]] bool has_thread() const { return thread_.joinable(); }

  // Runs `work` in the engine's thread and returns what it returns. From that thread, or while there is none: at once.
  template <class Work>
  auto call(Work&& work) -> std::invoke_result_t<Work&> {
    auto run = [&]() -> std::invoke_result_t<Work&> {
      refresh_clock();
      const Published published(*this);
      return work();
    };
    return mailbox_.call(run);
  }

  // A link becomes an interface, with an index of 2 or more. ENOBUFS at the bound.
  Result<std::uint32_t> add_link(std::unique_ptr<link::Link> link);
  // The link of an interface that is there already: of a guest host's. EEXIST: it has one; ENODEV.
  Result<void> add_link(std::unique_ptr<link::Link> link, std::uint32_t interface);
  // Before a guest's interface goes.
  void remove_link(std::uint32_t interface);
  // Calls `ready` in the engine's thread whenever the descriptor is readable, for as long as the engine lives.
  Result<void> watch_readable(int fd, std::function<void()> ready);
  [[nodiscard]] const link::Link* link(std::uint32_t interface) const;
  [[nodiscard]] stack::Stack& stack() { return *stack_; }
  [[nodiscard]] FramePools& pools() { return pools_; }
  // What applications check a send against without asking.
  [[nodiscard]] const HostPage& host_page() const { return *host_page_; }
  [[nodiscard]] const EngineCounters& counters() const { return counters_; }

  // A socket, its rings made, and its place in the engine.
  Result<stack::Endpoint*> open_endpoint();
  void close_endpoint(stack::Endpoint& endpoint);
  // What the application has sent goes out as far as the links take it, before its socket becomes another than it was.
  void send_waiting(stack::Endpoint& endpoint);
  // A descriptor that is readable when the socket has something (docs/READINESS.md). The application's end. EEXIST while there is one.
  Result<Fd> open_bell(stack::Endpoint& endpoint);
  // The same over a stream socket that is connected already, to another process: it is also the socket's lifetime. When the last holder of the other
  // end is gone, `gone` is called in the engine's thread, and is to close the endpoint.
  using Gone = std::function<void()>;
  Result<void> adopt_bell(stack::Endpoint& endpoint, Fd fd, Gone gone);
  // Handles what applications have done to their ends by now.
  void look_at_bells();
  // Faults, a capture and counts between sockets and the stack.
  [[nodiscard]] Interposers& interposers() { return interposers_; }
  // From here on the socket's datagrams go through it, also those that it holds when the socket is closed. EBUSY: see Interposer.
  Result<void> interpose(stack::Endpoint& endpoint, Interposer& interposer, const Owner& owner = {});
  // ClientHooks::wake_engine: the endpoint's send ring has something, and the engine was not looking. `slot` is Endpoint::slot.
  void notify_sends(std::uint32_t slot);

 private:
  struct Port {
    std::uint32_t interface;
    std::unique_ptr<link::Link> link;
    int fd = -1;
    bool ready = true;            // its descriptor was readable (link::Caps::waits_on_fd)
    bool waits_for_room = false;  // the link took less than it was given
    bool lost = false;            // and told of
  };
  struct Seat {
    stack::Endpoint* endpoint = nullptr;
    std::optional<Bell> bell;
    Gone gone;  // only of an adopted bell
    Interposer* interposer = nullptr;
    bool shared_bell = false;  // EPOLLOUT is asked for too
    bool active = false;       // its send rings are polled
    bool retired = false;      // its application has closed it; what it sent has until `gone_at` to leave
    Time gone_at{};
    Time sent_at{};  // the last time that something was
  };

  // What a call changed is on the host page before its caller goes on.
  struct Published {
    explicit Published(Engine& e) : engine(e) {}
    Published(const Published&) = delete;
    Published& operator=(const Published&) = delete;
    ~Published() { engine.host_page_->publish(*engine.stack_); }
    Engine& engine;
  };

  Engine(const EngineSetup& setup, FramePools pools, std::unique_ptr<HostPage> host_page);
  Result<void> open_descriptors();
  void loop();
  bool round();
  void refresh_clock();

  bool receive(Port& port);
  void lose(Port& port, const Error& why);
  bool take_notified();
  void activate(std::uint32_t slot);
  void deactivate(std::size_t place);
  bool send_datagrams();
  std::size_t flush(Seat& seat);
  bool advance();
  void let_go();
  void send_waiting(Seat& seat);
  [[nodiscard]] static bool has_unsent(const Seat& seat);
  [[nodiscard]] bool has_output_room() const;
  bool ring_bells();
  bool send_frames(Port& port);

  bool spin(Moment until);
  void sleep(Moment until);
  bool may_sleep();
  [[nodiscard]] Time next_wakeup() const;
  std::size_t wait(Time until);
  Result<void> install_bell(Seat& seat, Bell bell);
  void handle_bell(std::uint32_t slot, std::uint32_t events);
  void close_bell(Seat& seat);
  void release(std::uint32_t slot);
  Result<void> watch(int fd, std::uint64_t tag, std::uint32_t events, bool change = false);
  Result<void> watch_next_port(int fd);
  void add_port(std::unique_ptr<link::Link> link, std::uint32_t interface);

  const stack::Sharing sharing_;
  const Duration spin_, retirement_;
  Duration spin_now_;  // between spin_ and a sixteenth of it
  const std::function<void(std::uint32_t, const Error&)> on_link_lost_;
  FramePools pools_;
  Rng rng_;
  stack::EndpointGroup group_;
  std::unique_ptr<stack::Stack> stack_;
  std::vector<Port> ports_;
  std::vector<std::function<void()>> watchers_;
  std::vector<Seat> seats_;
  std::vector<std::uint32_t> free_seats_, active_, retired_;
  MpscRing<std::uint32_t> notified_;
  std::atomic<bool> notified_overflow_ = false;  // more were told of than the ring holds: look at all sockets, once
  Wakeup wakeup_;
  Mailbox mailbox_{wakeup_};
  std::unique_ptr<HostPage> host_page_;
  Fd epoll_;
  std::atomic<bool> running_ = false, stopping_ = false;
  std::thread thread_;
  EngineCounters counters_;
  Time now_{};
  Interposers interposers_{*stack_, now_};
  std::size_t bells_ = 0;          // that are open
  std::size_t waiting_ports_ = 0;  // that are received from only when their descriptors say so
  Time polled_at_{};               // when it last asked after what it waits on
};

}  // namespace gannet::engine
