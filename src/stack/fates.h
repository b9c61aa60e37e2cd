// How each frame ended: exactly once, and counted in one place.
//
//   frames in = delivered + consumed + dropped + held
//
// Delivered: to at least one endpoint or handler. Consumed: used up by the host itself (ARP, ICMP, IGMP, a fragment that became part of a datagram).
// Held is not counted here: reassembly and the neighbour queues know what they hold.
// Written by the engine; readable from any thread.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/counter.h"
#include "wire/drop.h"

namespace gannet::stack {

// Called with each packet that is dropped, for captures and logs: the bytes that are at hand, from the frame's start or the IP header's.
struct DropObserver {
  void (*dropped)(void* context, std::span<const std::byte> bytes, Drop reason) = nullptr;
  void* context = nullptr;
};

class Fates {
 public:
  void delivered() { delivered_.add(); }
  void consumed() { consumed_.add(); }
  void drop(Drop reason, std::span<const std::byte> bytes = {}) {
    dropped_[static_cast<std::size_t>(reason)].add();
    if (observer.dropped != nullptr) observer.dropped(observer.context, bytes, reason);
  }

  [[nodiscard]] std::uint64_t delivered_count() const { return delivered_.value(); }
  [[nodiscard]] std::uint64_t consumed_count() const { return consumed_.value(); }
  [[nodiscard]] std::uint64_t dropped_count(Drop reason) const { return dropped_[static_cast<std::size_t>(reason)].value(); }
  [[nodiscard]] std::uint64_t dropped_total() const {
    std::uint64_t total = 0;
    for (const Counter& counter : dropped_) total += counter.value();
    return total;
  }

  DropObserver observer;

 private:
  Counter delivered_, consumed_;
  std::array<Counter, drop_count> dropped_;
};

}  // namespace gannet::stack
