// ARP for Ethernet and IPv4: who has this address, and where.
//
//    0        2        4    5    6         8            14        18           24        28
//   +--------+--------+----+----+---------+------------+---------+------------+---------+
//   |hw type |protocol| 6  | 4  |operation| sender MAC |sender IP| target MAC |target IP|
//   +--------+--------+----+----+---------+------------+---------+------------+---------+
//
// Thread: any; there is no state.  Allocates: never.
// Sources: RFC 826; RFC 5227 (probes and announcements).
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include <gannet/address.h>

#include "wire/drop.h"
#include "wire/ethernet.h"

namespace gannet::wire {

inline constexpr std::size_t arp_size = 28;

enum class ArpOperation : std::uint16_t { request = 1, reply = 2 };

struct Arp {
  ArpOperation operation = ArpOperation::request;
  MacAddress sender_mac{};
  IpAddress sender_ip{};  // 0.0.0.0 in a probe
  MacAddress target_mac{};
  IpAddress target_ip{};

  friend constexpr bool operator==(const Arp&, const Arp&) = default;
};

// Reads the packet at the start of `payload`; the padding of the frame may follow.
[[nodiscard]] std::expected<Arp, Drop> parse_arp(std::span<const std::byte> payload);

// Writes the packet at the start of `packet`, which has at least arp_size bytes.
void emit_arp(const Arp& arp, std::span<std::byte> packet);

}  // namespace gannet::wire
