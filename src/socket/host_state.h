// What a gannet::Host is made of: an engine, its one link with whatever stands before it, and the handlers that it serves.
//
// Owner: Host.  Thread: made and ended by the owner's; in between the engine's, but for what Engine says of other threads.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/host.h>

#include "engine/engine.h"
#include "link/capture_file.h"

namespace gannet {

struct Host::State {
  // A handler, and what it answers with; its endpoint is the engine's to close.
  struct Served {
    stack::Udp& udp;
    Handler handler;
  };
  using MakeLink = std::function<Result<std::unique_ptr<link::Link>>()>;

  static Result<std::unique_ptr<State>> create(HostOptions wanted, std::string_view addressing, const MakeLink& make_link);
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  Result<std::unique_ptr<link::Link>> dress(std::unique_ptr<link::Link> link);
  void packet_dropped(std::span<const std::byte> bytes, Drop reason);                                      // by the stack
  void frame_dropped(link::Direction direction, std::span<const std::byte> bytes, Drop reason, Time now);  // by the faults
  void tell(std::span<const std::byte> bytes, std::optional<Drop> reason);

  HostOptions options;
  std::unique_ptr<link::CaptureFile> capture;
  std::uint32_t capture_ethernet = 0, capture_ip = 0;  // the capture's interfaces: frames on the link, packets that the stack dropped
  std::string line;                                    // the engine's thread's: kept so that it is allocated once
  std::unique_ptr<engine::Engine> engine;
  std::vector<std::unique_ptr<Served>> served;
  IpAddress address;
  std::uint32_t interface = 0;
};

}  // namespace gannet
