// A wire in memory: ports on one segment, each of which sees what the others send. The network of simulations, tests and hosts in one process.
//
//   engine A                  segment                                  engine B
//   MemoryLink ---copies--->  port B: | slot | slot | ...  ---copies---> MemoryLink
//             \-------------> port C: | slot | slot | ...
//
// The segment works like a switch that knows who is there: a unicast frame goes to the port that owns its destination MAC address; everything else,
// also what no port owns, to every other port. Frames between two ports keep their order. It takes no time: what is sent can be received at once.
// Owner: whoever holds the shared_ptr; each link holds one too.  Thread: a MemoryLink belongs to one engine; the engines of a segment may share a
// thread or have one each. attach() and in_flight() may be called from any.
// Allocates: at attach() only.  Bounds: ports per segment; slots per port, beyond which a frame is dropped as link_queue_full, counted by its sender.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <gannet/result.h>

#include "link/link.h"

namespace gannet::link {

class MemoryLink;
struct MemoryPort;

class MemorySegment : public std::enable_shared_from_this<MemorySegment> {
 public:
  static constexpr std::size_t max_ports = 256;

  // `mtu` is 68 to 65,535 bytes of IP packet (RFC 791). `slots`, a power of two, is how many frames wait at a port. EINVAL otherwise.
  static Result<std::shared_ptr<MemorySegment>> create(std::size_t mtu = 1500, std::size_t slots = 512);
  ~MemorySegment();
  MemorySegment(const MemorySegment&) = delete;
  MemorySegment& operator=(const MemorySegment&) = delete;

  // One more port. Without `mac` it gets 02:00:00:00:NN:NN by its number. ENOSPC when all ports are taken; EMFILE when no descriptor is left.
  Result<std::unique_ptr<MemoryLink>> attach(std::optional<wire::MacAddress> mac = {});

  // A frame sent is copied into each port that it goes to. Over all links that ever were on the segment,
  //   copies() = frames received + receivers' drops + in_flight() + lost()
  // exactly, while no thread moves frames.
  [[nodiscard]] std::size_t in_flight() const;
  // Copies that waited at a port when its link went away.
  [[nodiscard]] std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t mtu() const { return mtu_; }

 private:
  friend class MemoryLink;
  // A port once made lives as long as the segment, since a sender may be writing to it, and serves the next link that attaches.
  struct Place {
    std::atomic<bool> taken = false;
    std::atomic<MemoryPort*> port = nullptr;
    std::atomic<std::uint64_t> mac = 0;  // 0: closed, nothing is to be put there
  };

  MemorySegment(std::size_t mtu, std::size_t slots) : mtu_(mtu), slots_(slots) {}
  // Whether a port other than `sender` has this address.
  [[nodiscard]] bool knows(std::uint64_t mac, std::size_t sender) const;

  std::size_t mtu_;
  std::size_t slots_;
  std::atomic<std::size_t> used_ = 0;  // places beyond were never taken
  std::array<Place, max_ports> places_;
  std::atomic<std::uint64_t> lost_ = 0;
};

class MemoryLink final : public Link {
 public:
  ~MemoryLink() override;

  [[nodiscard]] const Caps& caps() const override { return caps_; }
  [[nodiscard]] const Counters& counters() const override { return counters_; }
  std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) override;
  std::size_t send(std::span<Frame> frames, Time now) override;
  // Until it is asked for, no sender spends a system call on it: a host driven in virtual time makes none.
  [[nodiscard]] int fd() const override;

  // Copies of frames from here that were put into other ports.
  [[nodiscard]] std::uint64_t copies() const { return copies_.value(); }

 private:
  friend class MemorySegment;
  MemoryLink(std::shared_ptr<MemorySegment> segment, std::size_t index, MemoryPort& port, const wire::MacAddress& mac);
  void send_one(std::span<const std::byte> frame);

  std::shared_ptr<MemorySegment> segment_;
  std::size_t index_;
  MemoryPort& port_;
  Caps caps_;
  Counters counters_;
  Counter copies_;
};

}  // namespace gannet::link
