// Somebody on a wire of a world who has no stack, hears all that the hosts say, and does mischief whenever its turn comes.
//
//   world.add_stranger(5ms, [](Stranger& stranger) { stranger.send(stranger.overheard()); });     // sends again what it heard
//
// What it does is decided by its random numbers alone, and so by the seed of the world. Owner: World.  Thread: the test's.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <gannet/address.h>

#include "base/frame.h"
#include "base/rng.h"
#include "base/time.h"
#include "link/memory_link.h"
#include "wire/arp.h"
#include "wire/icmp4.h"
#include "wire/ipv4.h"

namespace gannet::sim {

class World;

class Stranger {
 public:
  using Deed = std::function<void(Stranger&)>;
  // A host on its network.
  struct Victim {
    unsigned host;
    IpAddress ip;
    wire::MacAddress mac;
  };

  Stranger(World& world, unsigned network, link::MemorySegment& segment, std::uint64_t seed, Duration pause, Deed deed);

  // Its turn: the deed, and when it is next.
  void act();
  // Takes what came, and forgets it.
  void drain();
  // A frame on its network, whoever it is for.
  void overhear(std::span<const std::byte> frame);
  // One of the last; empty when there was none.
  [[nodiscard]] std::span<const std::byte> overheard();

  [[nodiscard]] Victim any_victim();
  void send(std::span<const std::byte> frame);
  // The same with the headers that are still to come, from the stranger's MAC address.
  void send_ipv4(const Victim& to, wire::Ipv4Header header, std::span<const std::byte> payload);
  void send_udp(const Victim& to, const Address& src, std::uint16_t dst_port, std::span<const std::byte> data);
  void send_icmp(const Victim& to, const IpAddress& src, wire::Icmp4Type type, std::uint8_t code, std::uint32_t word,
                 std::span<const std::byte> body);
  void send_arp(const wire::MacAddress& to, const wire::Arp& arp);

  // Somebody who does not exist: of the hosts' network, or of anywhere.
  [[nodiscard]] IpAddress nobody_near();
  [[nodiscard]] IpAddress nobody();
  // Bytes that are nobody's datagram.
  [[nodiscard]] std::span<const std::byte> junk(std::size_t size);

  [[nodiscard]] unsigned network() const { return network_; }
  [[nodiscard]] const link::MemoryLink& wire() const { return *link_; }
  [[nodiscard]] const wire::MacAddress& mac() const { return link_->caps().mac; }
  [[nodiscard]] std::uint64_t sent() const { return sent_; }
  // Packets of this protocol that the hosts sent.
  [[nodiscard]] std::uint64_t heard(std::uint8_t protocol) const { return heard_of_[protocol]; }

  Rng rng;
  Time next_act;

 private:
  World& world_;
  unsigned network_;
  FramePools pools_;
  std::unique_ptr<link::MemoryLink> link_;
  Duration pause_;
  Deed deed_;
  std::array<std::vector<std::byte>, 64> heard_;
  std::uint64_t heard_count_ = 0, sent_ = 0;
  std::array<std::uint64_t, 256> heard_of_{};
  std::vector<std::byte> junk_;
};

}  // namespace gannet::sim
