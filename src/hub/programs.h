// The programs that `gannet run` has started, as their hub knows them: what is done to their datagrams, and what became of those.
//
//   gannet run -> open() -> key -> the program's processes, in GANNET_HUB -> attach() for each of their sockets
//
// A program lives as long as its `gannet run`, one of its sockets, or something that is held for them: then its interposer goes. One to which nothing
// is to be done has none, and costs its datagrams nothing.
// Owner: Hub.  Thread: the engine's.  Allocates: for each program.  Bound: max_programs (ENOBUFS); of an impaired one the held packets.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include <gannet/result.h>

#include "engine/engine.h"
#include "hub/capture_memory.h"
#include "hub/protocol.h"
#include "link/capture.h"

namespace gannet::hub {

class Programs {
 public:
  static constexpr std::size_t max_programs = 256;
  static constexpr std::size_t max_held_packets = 16384;

  explicit Programs(engine::Engine& engine) : engine_(engine) {}

  // EINVAL: an impairment is out of its range. ENOBUFS. With setup.capture, capture_fd() is to be given away and then forgotten.
  Result<void> open(const ProgramKey& key, const ProgramSetup& setup);
  [[nodiscard]] int capture_fd(const ProgramKey& key);
  void forget_capture_fd(const ProgramKey& key);
  [[nodiscard]] bool knows(const ProgramKey& key) const { return all_.contains(key); }
  [[nodiscard]] std::size_t size() const { return all_.size(); }

  // A socket of the program's. EACCES: there is no such program.
  Result<void> attach(const ProgramKey& key, stack::Endpoint& endpoint, const engine::Owner& owner);
  // And when it is closed.
  void detach(const ProgramKey& key);
  // The `gannet run` is gone.
  void leave(const ProgramKey& key);

  // What the program has been told that the path there carries; 0: nothing.
  [[nodiscard]] std::uint32_t path_mtu(const ProgramKey& key, const IpAddress& dst) const;
  Result<ProgramReport> report(const ProgramKey& key) const;
  Result<void> end_capture(const ProgramKey& key);

 private:
  struct Recording {
    explicit Recording(CaptureMemory shared, Duration real_time_offset);
    CaptureMemory memory;
    link::ByteRing ring;
    link::Capture capture;
    std::uint32_t datagrams = 0, lost = 0;  // interfaces in the file
    bool running = true;
  };
  struct Program {
    engine::Interposer* interposer = nullptr;
    std::unique_ptr<Recording> recording;
    std::size_t sockets = 0;
    bool is_left = false;
  };

  Result<void> record(Program& program, engine::InterposerSetup& setup);
  void sweep();

  engine::Engine& engine_;
  std::unordered_map<ProgramKey, Program, KeyHash> all_;
};

}  // namespace gannet::hub
