#include "wire/arp.h"

#include "base/assert.h"
#include "wire/endian.h"
#include "wire/ip.h"

namespace gannet::wire {
namespace {

constexpr std::uint64_t ethernet_and_ipv4 = 0x0001'0800'0604;  // hardware type, protocol type, both address lengths

}  // namespace

std::expected<Arp, Drop> parse_arp(std::span<const std::byte> payload) {
  if (payload.size() < arp_size) return std::unexpected(Drop::arp_malformed);
  if (load_be64(payload, 0) >> 16 != ethernet_and_ipv4) return std::unexpected(Drop::arp_malformed);
  const std::uint16_t operation = load_be16(payload, 6);
  if (operation != 1 && operation != 2) return std::unexpected(Drop::arp_malformed);
  return Arp{.operation = static_cast<ArpOperation>(operation),
             .sender_mac = load_mac(payload, 8),
             .sender_ip = load_ipv4(payload, 14),
             .target_mac = load_mac(payload, 18),
             .target_ip = load_ipv4(payload, 24)};
}

void emit_arp(const Arp& arp, std::span<std::byte> packet) {
  ASSERT(packet.size() >= arp_size);
  store_be64(packet, 0, ethernet_and_ipv4 << 16 | static_cast<std::uint16_t>(arp.operation));
  store_mac(packet, 8, arp.sender_mac);
  store_ipv4(packet, 14, arp.sender_ip);
  store_mac(packet, 18, arp.target_mac);
  store_ipv4(packet, 24, arp.target_ip);
}

}  // namespace gannet::wire
