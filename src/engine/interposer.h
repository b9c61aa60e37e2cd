// Faults and a capture between the sockets of one program and the stack: for datagrams between two programs of one host cross no link.
//
//   stack -> deliver() -> Interposer: fault, capture, hold -> receive ring
//   stack <- submit()  <- Interposer: hold, capture, fault <- send ring
//
// Flows are counted for the program, over all its sockets, so the same seed treats them alike in each run (link/fault.h). To the stack a datagram
// that came here is delivered, and one that was taken from a send ring and lost here was never made; what became of it is counted here, each way:
//   taken + duplicates = passed + dropped + held
// and of what passed on its way out, as far as it can be followed, in Counters::Course.
// A path of a given MTU begins in front of the program, as far as it sends: there the fault unit is the router that loses what is too large and not
// to be fragmented, and says so (RFC 1191; Drop::ip_too_big). What may be fragmented passes as it is, and so do groups and broadcasts. Owner:
// Interposers, of an engine, which calls all of it in its thread.  Allocates: at its creation, and in attach(). Bounds: max_told destinations whose
// path's MTU the program has been told, behind which it is told all again; Impairment::held_packets in each direction (Drop::fault_held_full); what
// is held lies in frames of its own (Drop::no_frame), so that who delays much takes nothing from others.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

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
#include "stack/stack.h"
#include "wire/drop.h"

namespace gannet::engine {

class Senders;

struct InterposerSetup {
  Impairment in, out;
  std::uint32_t mtu = 0;                // of the path by which it sends, bytes of IP packet; 0: as the host has it
  link::Capture* capture = nullptr;     // outlives the interposer, or its stop_capture()
  std::uint32_t capture_interface = 0;  // without Ethernet headers
  std::uint32_t capture_lost = 0;       // likewise: for what was lost after it had passed
};

// Whose a socket is, for the capture.
struct Owner {
  std::uint32_t process = 0;  // 0: not known
  std::array<char, 16> name{};
  [[nodiscard]] std::string_view view() const { return {name.data(), std::ranges::find(name, '\0')}; }
};

class Interposer {
 public:
  static constexpr std::uint32_t least_mtu = 68;  // RFC 791
  static constexpr std::size_t max_told = 1024;

  using Drops = std::array<Counter, drop_count>;
  struct Counters {
    struct Way {
      Counter taken, duplicates, passed;
      Drops drops;
    };
    // Of what passed on its way out, and what this host lost of that, be it in the receive queue of a peer who is here.
    struct Course {
      Counter passed;
      Drops lost;
    };
    Way in, out;
    Course here, away;  // to an address of this host, or to another
    Counter to_groups;  // and to broadcast addresses: who loses those cannot be told
  };

  // EINVAL when an impairment or the MTU is out of its range; ENOMEM.
  static Result<std::unique_ptr<Interposer>> create(const InterposerSetup& setup, Senders& senders, stack::Stack& stack);
  ~Interposer();
  Interposer(const Interposer&) = delete;
  Interposer& operator=(const Interposer&) = delete;

  // From here on the socket's datagrams come this way. EBUSY for one with a handler, which takes datagrams in their frames: impair its link instead.
  Result<void> attach(stack::Endpoint& endpoint, const Owner& owner = {});
  // Before the socket is gone: what is held for it is dropped when it comes due (Drop::socket_closed).
  void detach(stack::Endpoint& endpoint);
  // Something that the socket sent is held here.
  [[nodiscard]] bool has_departing(const stack::Endpoint& endpoint) const;

  // As Udp::flush(), which it takes the place of for an attached socket.
  std::size_t flush(stack::Endpoint& endpoint, Time now, std::size_t budget);

  [[nodiscard]] Time next_wakeup() const { return std::min(in_.held.next(), out_.held.next()); }
  void advance(Time now);

  // A datagram that had passed, and was lost in this host.
  struct Loss {
    std::uint32_t endpoint;  // id of its sender, which may be closed
    IpAddress dst;
    std::span<const std::byte> packet;  // from its IP header on
    Drop reason;
  };
  void lost(const Loss& loss, Time now);
  void stop_capture() { setup_.capture = nullptr; }
  // What the program has been told that the path there carries; 0: nothing.
  [[nodiscard]] std::uint32_t path_mtu(const IpAddress& dst) const { return told_mtu_.contains(dst.number()) ? setup_.mtu : 0; }

  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] std::size_t held(link::Direction direction) const { return direction == link::Direction::in ? in_.held.size() : out_.held.size(); }
  [[nodiscard]] std::size_t held() const { return in_.held.size() + out_.held.size(); }
  [[nodiscard]] bool has_endpoints() const { return !endpoints_.empty(); }

 private:
  // All that a Delivery or a SendRequest says of a datagram, but for its payload.
  struct About {
    std::uint32_t endpoint = 0;  // id
    Address local, remote;
    stack::RecordHeader header;  // of a departure
    wire::IpInfo ip;             // of an arrival, without its views; of a departure its TTL and TOS
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
    Side(const Impairment& impairment, link::Direction d, Counters::Way& c)
        : direction(d), fault(impairment, d), held(impairment.is_none() ? 0 : impairment.held_packets), counters(c) {}
    link::Direction direction;
    link::Fault fault;
    link::HeldQueue<Held> held;
    Counters::Way& counters;
  };
  struct Attached {
    stack::Endpoint* endpoint = nullptr;
    Owner owner;
    Address told;               // to senders_
    std::size_t departing = 0;  // in out_.held
  };

  Interposer(const InterposerSetup& setup, FramePools pools, Senders& senders, stack::Stack& stack);
  static void on_arrival(void* self, stack::Endpoint& endpoint, stack::Delivery& delivery);
  void arrive(stack::Endpoint& endpoint, stack::Delivery& delivery);
  void depart(stack::Endpoint& endpoint, const stack::SendRequest& request, Time now);

  [[nodiscard]] About describe(const stack::Endpoint& endpoint, const stack::SendRequest& request) const;

  // Whether the path takes it. If not, the sender is told.
  bool fits(stack::Endpoint& endpoint, const About& about, std::span<const std::byte> payload);
  // Whether the datagram goes on now. What is to be held is held, copies too; what is to be corrupted is, in place.
  bool impair(Side& side, const About& about, std::span<std::byte> payload, Time now);
  [[nodiscard]] bool is_checked(const Side& side, const About& about) const;
  void hold(Side& side, const About& about, std::span<const std::byte> payload, Time release, Time now);
  void pass(Side& side, const About& about, std::span<std::byte> payload, Time now);
  std::expected<void, Drop> hand_in(Attached& to, const About& about, std::span<std::byte> payload, Time now);
  std::expected<void, Drop> hand_out(Attached& from, const About& about, std::span<std::byte> payload, Time now);
  void drop(Side& side, const About& about, std::span<const std::byte> payload, Drop reason, Time now);
  void capture(const Side& side, const About& about, std::span<const std::byte> payload, std::optional<Drop> reason, Time now);
  void record(std::uint32_t interface, link::Direction direction, std::uint32_t endpoint, std::span<const std::byte> packet,
              std::optional<Drop> reason, Time now);
  // The packet that the datagram was, or would be, in packet_; empty where that cannot be told.
  std::span<const std::byte> packet_of(const Side& side, const About& about, std::span<const std::byte> payload);

  InterposerSetup setup_;
  FramePools pools_;
  Senders& senders_;
  stack::Stack& stack_;
  link::FlowTable flows_;
  std::unordered_set<std::uint32_t> told_mtu_;  // to whose addresses the path's MTU is known to the program
  Counters counters_;
  Side in_, out_;
  std::unordered_map<std::uint32_t, Attached> endpoints_;  // by id
  std::unique_ptr<std::byte[]> payload_;                   // one out of shared memory, which the application can no longer change
  std::unique_ptr<std::byte[]> packet_;                    // one that a datagram was or would be
};

}  // namespace gannet::engine
