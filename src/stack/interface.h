// The interfaces of a host, with their addresses: what is ours, what is broadcast, what is neither.
//
// Owner: Stack.  Thread: the engine's.
// Bounds: Config::interfaces and addresses_per_interface (ENOBUFS); the output queue (Drop::link_queue_full).
// Sources: RFC 1122 3.2.1.3 (addresses), 3.3.4.2 (weak host model, as Linux: an address is ours on every interface), 3.3.6 (broadcasts); RFC 3021
// (/31).
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/frame.h"
#include "stack/context.h"
#include "stack/frame_queue.h"
#include "wire/ethernet.h"

namespace gannet::stack {

inline constexpr std::uint32_t loopback_index = 1;
inline constexpr std::uint32_t loopback_mtu = 65535;
inline constexpr IpAddress loopback_broadcast = IpAddress::ipv4(127, 255, 255, 255);

// What a link is to the stack.
struct InterfaceSetup {
  std::string name;
  wire::MacAddress mac{};
  std::uint32_t mtu = 1500;  // bytes of IP packet
  bool ethernet = true;      // frames begin with an Ethernet header; otherwise with the IP header
  std::uint32_t index = 0;   // 0: the next that is free
  bool guest = false;        // the kernel's, by an uplink: it fragments, tells of groups, and has checked what comes (claims.h)
};

struct InterfaceAddress {
  IpAddress ip;
  std::uint8_t prefix = 0;
  bool usable = true;  // false while ARP probes for it, or when another host has it (RFC 5227)

  [[nodiscard]] std::uint32_t mask() const { return prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix); }
  [[nodiscard]] bool contains(const IpAddress& other) const { return other.is_ipv4() && ((ip.number() ^ other.number()) & mask()) == 0; }
  // {network, subnet, -1}; none in a /31 or /32.
  [[nodiscard]] bool has_broadcast() const { return prefix < 31; }
  [[nodiscard]] IpAddress broadcast() const { return IpAddress::ipv4(ip.number() | ~mask()); }
};

class Interface {
 public:
  Interface(Context& context, std::uint32_t index, const InterfaceSetup& setup);

  [[nodiscard]] std::uint32_t index() const { return index_; }
  [[nodiscard]] const std::string& name() const { return setup_.name; }
  [[nodiscard]] const wire::MacAddress& mac() const { return setup_.mac; }
  [[nodiscard]] std::uint32_t mtu() const { return setup_.mtu; }
  [[nodiscard]] bool is_ethernet() const { return setup_.ethernet; }
  [[nodiscard]] bool is_loopback() const { return index_ == loopback_index; }
  [[nodiscard]] bool is_guest() const { return setup_.guest; }
  [[nodiscard]] bool is_up() const { return up_; }
  [[nodiscard]] std::span<const InterfaceAddress> addresses() const { return addresses_; }

  // The source address for packets that leave here: one on the next hop's network before any other; null without a usable address.
  [[nodiscard]] const InterfaceAddress* source_for(const IpAddress& next_hop) const;
  [[nodiscard]] const InterfaceAddress* find(const IpAddress& ip) const;

  // Queues a frame for the link.
  void send(Frame&& frame) {
    if (!up_) return context_.fates.drop(Drop::interface_down, frame.bytes());
    if (!output_.push(frame)) context_.fates.drop(Drop::link_queue_full, frame.bytes());
  }
  // The same, with an Ethernet header put in front where the link has them.
  void send(Frame&& packet, const wire::MacAddress& dst, std::uint16_t ethertype);
  [[nodiscard]] FrameQueue& output() { return output_; }
  [[nodiscard]] const FrameQueue& output() const { return output_; }

 private:
  friend class Interfaces;
  Context& context_;
  std::uint32_t index_;
  InterfaceSetup setup_;
  bool up_ = true;
  std::vector<InterfaceAddress> addresses_;
  FrameQueue output_;
};

// What an address is to this host.
enum class AddressKind : std::uint8_t {
  foreign,    // another host's
  own,        // ours, on whatever interface
  loopback,   // 127/8: ours, and never on a wire
  broadcast,  // limited, or of a network that the interface is on; 127.255.255.255 is of lo's
  multicast,
  any,       // 0.0.0.0
  reserved,  // 0/8, 240/4: no host's
};

class Interfaces {
 public:
  // `lo`, index 1, with 127.0.0.1/8, is there from the start.
  explicit Interfaces(Context& context);

  // Returns the index. EINVAL for an MTU that no link has, EEXIST for an index that is taken, ENOBUFS at the bound.
  Result<std::uint32_t> add(const InterfaceSetup& setup);
  // A guest's, with its addresses; what waits to leave by it is dropped. EINVAL: another, which its neighbours and groups still know.
  Result<void> remove(std::uint32_t index);
  Result<void> set_mtu(std::uint32_t index, std::uint32_t mtu);
  // `lo` is shared with the kernel from now on.
  void make_loopback_guest();
  Result<void> set_up(std::uint32_t index, bool up);
  // EINVAL for an address or prefix that no host can have, EEXIST, ENODEV, ENOBUFS.
  Result<void> add_address(std::uint32_t index, const IpAddress& ip, std::uint8_t prefix, bool usable = true);
  Result<void> remove_address(std::uint32_t index, const IpAddress& ip);
  void set_usable(std::uint32_t index, const IpAddress& ip, bool usable);

  [[nodiscard]] Interface* find(std::uint32_t index) { return index < by_index_.size() ? by_index_[index] : find_high(index); }
  [[nodiscard]] const Interface* find(std::uint32_t index) const { return index < by_index_.size() ? by_index_[index] : find_high(index); }
  [[nodiscard]] Interface& loopback() { return *all_.front(); }
  [[nodiscard]] std::span<const std::unique_ptr<Interface>> all() const { return all_; }

  // What `ip` is to this host, in a packet that came by the interface or is to leave by it; 0: on whatever interface. Remembers its last answers.
  [[nodiscard]] AddressKind kind_of(const IpAddress& ip, std::uint32_t interface) const;

 private:
  [[nodiscard]] AddressKind find_kind(const IpAddress& ip, std::uint32_t interface) const;
  [[nodiscard]] Interface* find_high(std::uint32_t index) const;

  struct Remembered {
    std::uint32_t number = 0;
    std::uint32_t interface = 0;
    std::uint64_t generation = 0;
    AddressKind kind = AddressKind::foreign;
  };

  Context& context_;
  std::vector<std::unique_ptr<Interface>> all_;  // `lo` first
  std::array<Interface*, 128> by_index_{};       // those with low indices: all of a full host's, most of a guest's
  mutable std::array<Remembered, 256> remembered_;
};

inline AddressKind Interfaces::kind_of(const IpAddress& ip, std::uint32_t interface) const {
  const std::uint32_t number = ip.number();
  Remembered& slot = remembered_[(number * 0x9e3779b1u) >> 24];
  if (slot.number != number || slot.interface != interface || slot.generation != context_.generation) [[unlikely]] {
    slot = {number, interface, context_.generation, find_kind(ip, interface)};
  }
  return slot.kind;
}

}  // namespace gannet::stack
