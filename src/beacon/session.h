// A beacon at work: a Node, its sockets, the clock, and perhaps a thread.
//
// Thread: a mutex guards all of it, and is not held while it waits. Without start() turn() is called by one thread, in next().
// Allocates: as Node and Ports do.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include <gannet/beacon.h>

#include "base/fd.h"
#include "beacon/node.h"
#include "beacon/ports.h"

namespace gannet {

struct Beacon::State {
  using Clock = std::chrono::steady_clock;

  static Result<std::unique_ptr<State>> open(BeaconOptions options, Host* host);
  ~State();

  Result<void> start();
  Result<PeerEvent> next(Deadline deadline);
  Result<void> update(const Profile& profile);
  Result<void> leave();

  [[nodiscard]] int fd() const { return news_bell_.get(); }
  [[nodiscard]] std::vector<Peer> peers() const;
  [[nodiscard]] std::vector<BeaconPath> paths() const;
  [[nodiscard]] std::vector<Count> drops() const;
  [[nodiscard]] std::uint64_t id() const;

 private:
  State(beacon::Ports ports, Host* host) : ports_(std::move(ports)), host_(host) {}
  // One round: what came, what is due, what is to go; then, without the lock, sleeps until there is more, or the deadline.
  void turn(std::unique_lock<std::mutex>& lock, Clock::time_point deadline);
  void work();
  void sleep(Clock::time_point until);
  void wake();
  void tell();
  void run();

  mutable std::mutex mutex_;
  std::unique_ptr<beacon::Node> node_;
  beacon::Ports ports_;
  Host* host_;
  Fd bell_;       // an eventfd: what another thread asks for is to be done at once
  Fd news_bell_;  // readable while there is news, or nothing more to come
  Time next_scan_{};
  std::thread thread_;
  std::condition_variable changed_;  // there is news, or it has left
  bool is_running_ = false, is_ending_ = false;
};

}  // namespace gannet
