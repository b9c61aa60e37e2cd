// Many hosts in virtual time, on wires that lose, delay, reorder, double and corrupt; all of it decided by one seed.
//
//   World world({.seed = 7, .hosts = 5, .out = {.loss = 0.1, .delay = 20ms}});
//   world.run(60s);      // programs on each host send, answer, join groups, close their sockets
//   world.finish();      // they stop, everything settles, and every frame and datagram must have come to exactly one end
//
//   programs -> Stack -> FaultLink -> MemoryLink -> segment -> MemoryLink -> FaultLink -> Stack -> programs
//
// After each step, the books of every host, link and wire are checked:
//   host     frames in + made       = frames out + delivered + consumed + dropped + held
//   link     from host + from wire + doubled = to host + to wire + dropped + held
//   wire     copies put in          = copies taken out + dropped + in flight
//   pools    chunks in use          = frames held by the host and its links
//
// A failed test names the seed. GANNET_SEED=7 in front of the test program runs that seed alone; GANNET_TRACE=1 prints each frame and each drop.
// Owner and thread: the test.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gannet/impairment.h>

#include "base/rng.h"
#include "link/fault_link.h"
#include "link/memory_link.h"
#include "sim/ledger.h"
#include "sim/program.h"
#include "sim/stranger.h"
#include "stack/stack.h"

namespace gannet::sim {

struct Options {
  std::uint64_t seed = 1;
  unsigned hosts = 5;
  unsigned networks = 1;  // the first host is on all of them, the others on one each
  std::size_t mtu = 1500;
  std::size_t wire_slots = 256;  // frames that wait at each end of a wire
  Impairment in{}, out{};        // of each host's links; the seeds in here are replaced by ones drawn from the world's
  Duration pause = 100ms;        // mean time between two things that the programs of a host do
  Mix mix{};                     // what they do
  std::size_t small_frames = 1024, large_frames = 64;
  stack::Config config{};
  unsigned check_every = 1;  // steps
};

struct Host {
  struct Port {
    unsigned network;
    std::uint32_t interface;
    IpAddress ip;
    std::unique_ptr<link::FaultLink> link;
    link::MemoryLink* wire;  // inside link
  };

  Host(unsigned number, std::uint64_t seed, const Options& options);

  // The one on this network; null when there is none.
  [[nodiscard]] const Port* on(unsigned network) const;

  unsigned number;
  FramePools pools;
  Rng rng;                    // the stack's
  stack::EndpointGroup news;  // which sockets have any
  stack::Stack stack;
  std::vector<Port> ports;
  std::vector<std::unique_ptr<Program>> programs;
  Rng whims;  // the programs'
  Time next_act = never;
  Time next_wakeup = never;
  std::uint64_t arp_requests = 0;
};

class World {
 public:
  explicit World(const Options& options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Lets time pass, and the programs and strangers do as they like.
  void run(Duration time);
  // Lets time pass; the programs only read and answer.
  void wait(Duration time);
  // The same, until nothing moves and nothing waits.
  void rest();
  // The same, closes all sockets, and checks all accounts.
  void finish();
  // Carries frames until none moves; the clock stands still.
  void settle();

  [[nodiscard]] Host& host(unsigned number) { return *hosts_[number]; }
  [[nodiscard]] std::vector<std::unique_ptr<Host>>& hosts() { return hosts_; }
  [[nodiscard]] Ledger& ledger() { return ledger_; }
  [[nodiscard]] Time now() const { return now_; }
  [[nodiscard]] const Options& options() const { return options_; }
  // A fingerprint of all that happened, each frame and each drop with its time.
  [[nodiscard]] std::uint64_t trace() const { return trace_; }
  [[nodiscard]] std::uint64_t frames() const { return frames_; }  // that hosts sent
  [[nodiscard]] std::uint64_t steps() const { return steps_; }
  // Drops of this reason, of all hosts.
  [[nodiscard]] std::uint64_t dropped(Drop reason) const;

  // From now on payloads that no program sent are no failure.
  Stranger& add_stranger(Duration pause, Stranger::Deed deed, unsigned network = 0);
  // They do nothing more.
  void silence_strangers();
  // Looks at the world after each step, when its books have been compared.
  void watch_steps(std::function<void()> watcher) { step_watcher_ = std::move(watcher); }

  // For programs.
  // How many sockets on the network would have a datagram from here that goes to all of them, or to a group.
  [[nodiscard]] std::uint16_t listeners(const Host::Port& from, const Address& to) const;
  // Enters a datagram, and has what dies namelessly until sent() charged to it.
  Ledger::Number begin_send(const Ledger::Datagram& datagram, std::span<std::byte> payload);
  void end_send() { sending_.reset(); }
  // A program read this.
  std::optional<Ledger::Number> deliver(const Host& host, Program::Role role, const Address& peer, std::span<const std::byte> payload);

  // Compares the books, as above.
  void check();

 private:
  enum class Event : std::uint8_t { sent, came, dropped, delivered };
  void add_host();
  void carry();
  bool service(Host& host);
  bool receive(Host& host, Host::Port& port);
  void send_out(Host& host);
  void run_until(Time end, bool acting);
  void note(Event event, unsigned host, std::span<const std::byte> bytes, std::uint64_t what = 0);
  void print(Event event, unsigned host, std::span<const std::byte> bytes, std::string_view what) const;
  void note_drop(unsigned host, std::span<const std::byte> bytes, Drop reason);
  void watch_arp(Host& host, std::span<const std::byte> frame);
  void check_host(const Host& host) const;
  void check_wires() const;

  Options options_;
  std::string replay_;
  testing::ScopedTrace scoped_;
  Time now_ = Time(std::chrono::hours(1));
  Rng rng_;
  Ledger ledger_;
  std::vector<std::shared_ptr<link::MemorySegment>> segments_;
  struct Watcher {
    World* world;
    unsigned host;
  };
  std::vector<std::unique_ptr<Watcher>> watchers_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<std::unique_ptr<Stranger>> strangers_;
  std::function<void()> step_watcher_;
  std::map<std::pair<unsigned, std::uint32_t>, Time> last_asked_;  // host and target of ARP requests
  std::optional<Ledger::Number> sending_;
  std::uint64_t trace_ = 0, frames_ = 0, steps_ = 0;
  bool prints_ = false;
  bool is_moving_ = false;  // a frame was put on a wire
  std::array<Frame, link::batch_size> batch_;
};

// From now until its next turn, for who has one every `mean` on average.
Duration random_pause(Rng& rng, Duration mean);

// GANNET_SEED alone where it is set, else `count` seeds from 1.
std::vector<std::uint64_t> seeds(unsigned count);

}  // namespace gannet::sim
