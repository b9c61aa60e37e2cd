// Faults and a capture between the sockets of one program and the stack: for datagrams between two programs of one host cross no link.
//
//   stack -> deliver() -> Interposer: fault, capture, hold -> receive ring
//   stack <- submit()  <- Interposer: hold, capture, fault <- send ring
//
// Flows are counted for the program, over all its sockets, so the same seed treats them alike in each run (link/fault.h). To the stack a datagram
// that came here is delivered, and one that was taken from a send ring and lost here was never made; what became of it is counted here:
//   arrivals + departures + duplicates = passed + dropped + held
// Owner: an engine, which calls all of it in its thread.  Allocates: at its creation, and in attach(). Bounds: Impairment::held_packets in each
// direction (Drop::fault_held_full); what is held lies in frames of the engine's pools (Drop::no_frame).
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>

#include <gannet/impairment.h>
#include <gannet/result.h>

#include "base/counter.h"
#include "base/frame.h"
#include "base/time.h"
#include "link/capture.h"
#include "link/fault.h"
#include "link/flow.h"
#include "link/held_queue.h"
#include "stack/endpoint.h"
#include "stack/udp.h"
#include "wire/drop.h"

namespace gannet::engine {

struct InterposerSetup {
  Impairment in, out;
  std::uint32_t process = 0;            // for the capture; 0: not known
  link::Capture* capture = nullptr;     // outlives the interposer
  std::uint32_t capture_interface = 0;  // one without Ethernet headers
};

class Interposer {
 public:
  struct Counters {
    Counter arrivals, departures, duplicates, passed;
    std::array<Counter, drop_count> drops;
  };

  // EINVAL when an impairment is out of its range.
  static Result<std::unique_ptr<Interposer>> create(const InterposerSetup& setup, FramePools& pools, stack::Udp& udp);
  Interposer(const Interposer&) = delete;
  Interposer& operator=(const Interposer&) = delete;

  // From here on the socket's datagrams come this way. EBUSY for one with a handler, which takes datagrams in their frames: impair its link instead.
  Result<void> attach(stack::Endpoint& endpoint);
  // Before the socket is closed: what is held for it is dropped when it comes due (Drop::socket_closed).
  void detach(stack::Endpoint& endpoint);

  // As Udp::flush(), which it takes the place of for an attached socket.
  std::size_t flush(stack::Endpoint& endpoint, Time now, std::size_t budget);

  [[nodiscard]] Time next_wakeup() const { return std::min(in_.held.next(), out_.held.next()); }
  void advance(Time now);

  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] std::size_t held() const { return in_.held.size() + out_.held.size(); }

 private:
  // All that a Delivery or a SendRequest says of a datagram, but for its payload.
  struct About {
    std::uint32_t endpoint = 0;  // id
    Address local, remote;
    stack::RecordHeader header;  // of a departure
    wire::IpInfo ip;             // of an arrival; without its views
    std::array<std::byte, stack::max_ip_options> ip_options{};
    std::uint8_t ip_options_size = 0;
    bool has_checksum = true;
  };
  // A datagram that waits.
  struct Held {
    About about;
    Frame payload;
  };
  struct Side {
    Side(const Impairment& impairment, link::Direction d)
        : direction(d), fault(impairment, d), held(impairment.is_none() ? 0 : impairment.held_packets) {}
    link::Direction direction;
    link::Fault fault;
    link::HeldQueue<Held> held;
  };

  Interposer(const InterposerSetup& setup, FramePools& pools, stack::Udp& udp);
  static void on_arrival(void* self, stack::Endpoint& endpoint, stack::Delivery& delivery);
  void arrive(stack::Endpoint& endpoint, stack::Delivery& delivery);
  void depart(stack::Endpoint& endpoint, const stack::SendRequest& request, Time now);

  // Whether the datagram goes on now. What is to be held is held, copies too; what is to be corrupted is, in place.
  bool impair(Side& side, const About& about, std::span<std::byte> payload, Time now);
  void hold(Side& side, const About& about, std::span<const std::byte> payload, Time release, Time now);
  void pass(const Side& side, const About& about, std::span<std::byte> payload, Time now);
  void drop(const Side& side, const About& about, std::span<const std::byte> payload, Drop reason, Time now);
  void capture(const Side& side, const About& about, std::span<const std::byte> payload, std::optional<Drop> reason, Time now);

  InterposerSetup setup_;
  FramePools& pools_;
  stack::Udp& udp_;
  link::FlowTable flows_;
  Side in_, out_;
  std::unordered_map<std::uint32_t, stack::Endpoint*> endpoints_;
  std::unique_ptr<std::byte[]> payload_;  // one out of shared memory, which the application can no longer change
  std::unique_ptr<std::byte[]> packet_;   // one for the capture
  Counters counters_;
};

}  // namespace gannet::engine
