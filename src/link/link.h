// A Link moves whole frames: the one way in and out of an engine.
//
// One of the two virtual interfaces of the core; it is called once per batch, never per frame.
// Owner and thread: one engine. A link that joins two engines of different threads copies between their pools.
// A link never waits: it takes and gives what it can at once, and the engine sleeps on fd() and until next_wakeup().
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <gannet/result.h>

#include "base/counter.h"
#include "base/frame.h"
#include "base/time.h"
#include "wire/drop.h"
#include "wire/endian.h"
#include "wire/ethernet.h"

namespace gannet::link {

inline constexpr std::size_t batch_size = 64;  // frames that the engine moves at a time

struct Caps {
  std::string name;          // for people: "tap gannet0", "memory"
  std::size_t mtu = 1500;    // bytes of IP packet; an Ethernet frame is up to 14 (VLAN: 18) bytes longer
  wire::MacAddress mac{};    // our address on the link
  bool ethernet = true;      // frames begin with an Ethernet header; otherwise with the IP header
  bool waits_on_fd = false;  // receive() has something only after fd() was readable, and is called only then: it would cost a system call each time

  // Whether the MTU allows this frame; an 802.1Q tag comes on top of it.
  [[nodiscard]] bool fits(std::span<const std::byte> frame) const {
    const std::size_t largest = ethernet ? mtu + wire::ethernet_header_size : mtu;
    if (frame.size() <= largest) return true;
    return ethernet && wire::load_be16(frame, 12) == wire::ethertype_vlan && frame.size() <= largest + wire::vlan_tag_size;
  }
};

// Frames and bytes that passed, and frames that died here, by reason. Written by the engine, readable from any thread.
struct Counters {
  Counter frames_in, bytes_in, frames_out, bytes_out;
  std::array<Counter, drop_count> drops;
  void drop(Drop reason, std::size_t count = 1) { drops[static_cast<std::size_t>(reason)].add(count); }
};

class Link {
 public:
  virtual ~Link() = default;

  [[nodiscard]] virtual const Caps& caps() const = 0;
  [[nodiscard]] virtual const Counters& counters() const = 0;

  // Fills the empty frames at the front of `into` with what has arrived, each from `pools`; returns how many. What finds no frame is counted.
  virtual std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) = 0;

  // Sends frames from the front of the batch and leaves them empty; returns how many it took. The unsent tail stays with the caller, who tries again
  // when the link is writable. A frame that can never be sent is taken and counted under its reason.
  virtual std::size_t send(std::span<Frame> frames, Time now) = 0;

  // Readable when receive() has something, or -1 when there is nothing to wait on.
  [[nodiscard]] virtual int fd() const = 0;

  // When receive() must be called again without any arrival (a delayed frame, of either direction, comes due).
  [[nodiscard]] virtual Time next_wakeup() const { return never; }

  // An error, with its reason, from when the link is gone for good: nothing comes by it any more, and what is sent is taken and dropped.
  [[nodiscard]] virtual Result<void> status() const { return {}; }

  // The link that this one wraps, whose counters go on beside our own; null where there is none. What a wrapper drops, the wrapped link never saw.
  [[nodiscard]] virtual const Link* wrapped() const { return nullptr; }
};

}  // namespace gannet::link
