// The hub: an engine in a process of its own, whose sockets belong to other processes.
//
//   application -- connect, Request --> listener -> requests --> engine
//   application <-- rings, doorbell ------------------------------- engine
//
// One thread of the hub takes requests, one runs the engine; what the sockets are is known to the engine's thread alone. The connection that opened a
// socket is its doorbell and its lifetime: when the last process that holds it is gone, however it went, the socket is closed and all its memory is
// given back.
// Applications are untrusted. They share with the hub only their own sockets' rings, in files that are sealed; each request is checked before it is
// carried out. Processes of the hub's own user are served, and of others those that know the key of a program (they have dropped their privileges),
// or of a socket.
//
// Owner: the hub's main().  Bounds: HubSetup; sockets by the descriptors that the hub may have (EMFILE); a connection that has not made its request
// within request_patience is closed.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <gannet/result.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "hub/accounts.h"
#include "hub/guest.h"
#include "hub/listing.h"
#include "hub/lives.h"
#include "hub/programs.h"
#include "hub/protocol.h"

namespace gannet::hub {

// What the hub's host is linked to.
enum class Via : std::uint8_t {
  none,    // nothing: the hub's programs reach each other
  kernel,  // it is a guest of the kernel's (guest.h)
  tap,     // a TAP device: it is a host of its own there, and goes with the device
};

struct HubSetup {
  Via via = Via::none;
  std::string tap;  // with Via::tap: "tap:NAME,ADDR/LEN[,gw=ADDR]"
  engine::EngineSetup engine;
  Limits limits;                  // of each process
  std::size_t connections = 256;  // that have not made their request yet; at the next, the process that has most of them loses one
  std::chrono::milliseconds request_patience{2000};
  std::chrono::milliseconds linger{2000};  // after the last socket was closed; zero: for ever
  std::function<void()> on_ready;          // called once, when requests are served
  // Keeps others from coming while the hub goes, for as long as what it returns is held. EAGAIN: somebody is about to come, and the hub stays for
  // now.
  std::function<Result<Fd>()> close_door;
};

// What is wrong with such a text: EINVAL, with a sentence.
Result<void> check_tap(std::string_view tap);

class Hub {
 public:
  // `listener` is bound and listens: see listener.h.
  static Result<std::unique_ptr<Hub>> create(Fd listener, const HubSetup& setup);
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // Serves until it was told to stop, or nobody needed it for as long as it lingers. Nobody can connect any more when it returns.
  Result<void> run();
  // From any thread.
  void stop();

  [[nodiscard]] engine::Engine& engine() { return *engine_; }

 private:
  struct Visitor {
    Fd fd;
    std::int32_t process = 0;
    bool is_stranger = false;  // another user's
    Incoming incoming;
    std::chrono::steady_clock::time_point until;
  };
  // A `gannet run`, as long as its connection lasts.
  struct Member {
    Fd fd;
    ProgramKey program;
  };
  // A socket that somebody has; the engine's thread's.
  struct Tenant {
    stack::Endpoint* endpoint = nullptr;
    std::int32_t process = 0;
    ProgramKey program{};
    ProcessName name{};
    // Whose each send ring is.
    struct Sender {
      std::int32_t process = 0;
      std::shared_ptr<stack::SendMemory> ring;
    };
    std::vector<Sender> senders{};
    Holding held{};
    std::uint64_t cookie = 0;  // the kernel's name for the application's end of its doorbell; 0: unknown
  };
  struct Opened {
    SocketKey key;
    std::shared_ptr<stack::EndpointMemory> rings;
    std::shared_ptr<stack::SendMemory> send;
  };
  Hub(Fd listener, const HubSetup& setup, std::unique_ptr<engine::Engine> engine, Lives lives);
  void wake();
  [[nodiscard]] bool is_used() const { return sockets_ != 0 || !visitors_.empty() || !members_.empty(); }
  void accept();
  void show_one_out();
  // False: the visitor is served, or gone.
  bool serve(Visitor& visitor);
  void open(Visitor& visitor, const Request& request);
  void open_program(Visitor& visitor, const Request& request);
  static void answer(const Visitor& visitor, const Result<Fd>& sheet);
  void adopt(const Visitor& visitor);
  // False: its `gannet run` is gone.
  bool keep(const Member& member);
  // In the engine's thread. `send` gets the send ring that a reply is to bring.
  Result<Opened> open_socket(const Visitor& visitor, const Request& request);
  Result<Opened> adopt_socket(const Visitor& visitor);
  Result<Reply> carry_out(const Visitor& visitor, const Request& request, std::shared_ptr<stack::SendMemory>& send);
  Result<std::shared_ptr<stack::SendMemory>> add_send_ring(Tenant& tenant, std::int32_t process);
  Result<socket::ControlAnswer> control(Tenant& tenant, const socket::ControlRequest& request);
  void settle(Tenant& tenant);
  // The send rings of processes that have died.
  void take_back();
  void take_back(Tenant& tenant, std::span<const std::int32_t> dead);
  [[nodiscard]] Status status();
  [[nodiscard]] Listing list();
  void close_socket(const SocketKey& key);
  // False: somebody has come meanwhile, or is about to.
  bool leave();
  [[nodiscard]] int patience() const;

  const HubSetup setup_;
  Fd listener_;
  Programs programs_;  // outlives the engine, which writes their captures
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Guest> guest_;  // with Via::kernel
  Fd wakeup_;                     // an eventfd: look whether to stop, or to go
  std::vector<Visitor> visitors_;
  std::vector<Member> members_;
  std::unordered_map<SocketKey, Tenant, KeyHash> tenants_;
  Accounts accounts_;
  Lives lives_;  // of processes that share sockets
  std::size_t max_sockets_ = 0;
  std::size_t max_visitors_ = 0;
  std::atomic<std::size_t> sockets_ = 0;
  std::atomic<bool> stopping_ = false;
  std::chrono::steady_clock::time_point leaves_from_;  // where nobody needs it until then
  std::chrono::steady_clock::time_point accepts_from_;
};

}  // namespace gannet::hub
