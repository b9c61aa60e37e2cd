// What was learned of paths' MTUs from routers ("fragmentation needed").
//
// An MTU is only ever lowered, never below the floor, and forgotten after ten minutes, so that a larger one can be found again.
// Owner: Stack.  Thread: the engine's.  Bound: Config::path_mtus; the oldest gives way.
// Sources: RFC 1191 sections 3, 5, 6.3, 7 (plateaus); RFC 8085 3.2.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <gannet/address.h>

#include "stack/context.h"

namespace gannet::stack {

class PathMtus {
 public:
  explicit PathMtus(Context& context);

  struct Known {
    std::uint32_t mtu;
    bool is_floor;  // the router asked for less
  };
  struct Entry {
    IpAddress dst;
    Known known;
    Time expires;
  };
  // What is known of the path to `dst`, or {0, false}.
  [[nodiscard]] Known find(const IpAddress& dst) const;
  // A router said that a packet of ours, `packet_size` bytes long, did not fit through `mtu`; 0: it did not say, so the next lower plateau is tried.
  // `current` is what the path is thought to carry. Whether it was lowered. Whoever calls has checked that the message is about what we sent.
  bool learn(const IpAddress& dst, std::uint32_t mtu, std::uint32_t packet_size, std::uint32_t current, Time now);

  [[nodiscard]] Time next_wakeup() const { return entries_.empty() ? never : entries_.front().expires; }
  void advance(Time now);
  [[nodiscard]] std::span<const Entry> all() const { return entries_; }  // oldest first

 private:
  Context& context_;
  std::vector<Entry> entries_;  // oldest first
};

}  // namespace gannet::stack
