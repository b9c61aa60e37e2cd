#include "link/flow.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/rng.h"
#include "wire/endian.h"
#include "wire/ethernet.h"
#include "wire/ip.h"

namespace gannet::link {
namespace {

constexpr std::size_t ipv4_header_size = 20;
constexpr std::size_t ipv6_header_size = 40;

// Header and total length of the IP packet at the start of `bytes`; zeros where there is none.
struct Extent {
  std::size_t header = 0;
  std::size_t total = 0;
};
Extent extent_of(std::span<const std::byte> bytes) {
  if (bytes.size() >= ipv4_header_size && wire::load_u8(bytes, 0) >> 4 == 4) {
    const std::size_t header = std::size_t{wire::load_u8(bytes, 0) & 0x0fu} * 4;
    const std::size_t total = wire::load_be16(bytes, 2);
    if (header >= ipv4_header_size && header <= total && total <= bytes.size()) return {header, total};
  } else if (bytes.size() >= ipv6_header_size && wire::load_u8(bytes, 0) >> 4 == 6) {
    const std::size_t total = ipv6_header_size + wire::load_be16(bytes, 4);
    if (total <= bytes.size()) return {ipv6_header_size, total};
  }
  return {};
}

IpAddress load_address(std::span<const std::byte> bytes, std::size_t offset, Family family) {
  IpAddress address = IpAddress::any(family);
  std::memcpy(address.bytes.data(), bytes.data() + offset, address.size());
  return address;
}

std::uint64_t hash_of(const FlowKey& key) {
  std::uint64_t state = std::uint64_t{key.kind} << 32 | std::uint64_t{key.local_port} << 16 | key.remote_port;
  for (const IpAddress* address : {&key.local, &key.remote}) {
    for (std::size_t at = 0; at < 16; at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, address->bytes.data() + at, sizeof word);
      state = splitmix64(state) ^ word;
    }
  }
  return splitmix64(state);
}

}  // namespace

FlowKey flow_of_packet(std::span<const std::byte> packet, Direction direction) {
  const Extent extent = extent_of(packet);
  if (extent.total == 0) return {};
  FlowKey key;
  std::uint16_t src_port = 0, dst_port = 0;
  const bool is_ipv4 = wire::load_u8(packet, 0) >> 4 == 4;
  key.kind = wire::load_u8(packet, is_ipv4 ? 9 : 6);
  const bool is_fragment = is_ipv4 && (wire::load_be16(packet, 6) & 0x3fff) != 0;  // more fragments, or an offset
  if (is_fragment) {
    key.kind |= FlowKey::fragment;
  } else if ((key.kind == wire::protocol_udp || key.kind == wire::protocol_udplite) && extent.total >= extent.header + 4) {
    src_port = wire::load_be16(packet, extent.header);
    dst_port = wire::load_be16(packet, extent.header + 2);
  }
  const Family family = is_ipv4 ? Family::ipv4 : Family::ipv6;
  const IpAddress src = load_address(packet, is_ipv4 ? 12 : 8, family);
  const IpAddress dst = load_address(packet, is_ipv4 ? 16 : 24, family);
  const bool out = direction == Direction::out;
  key.local = out ? src : dst;
  key.remote = out ? dst : src;
  key.local_port = out ? src_port : dst_port;
  key.remote_port = out ? dst_port : src_port;
  return key;
}

std::span<const std::byte> packet_of_frame(std::span<const std::byte> frame, bool ethernet) {
  if (ethernet) {
    const auto parsed = wire::parse_ethernet(frame);
    if (!parsed || (parsed->type != wire::ethertype_ipv4 && parsed->type != wire::ethertype_ipv6)) return {};
    frame = parsed->payload;
  }
  return frame.first(extent_of(frame).total);
}

FlowTable::FlowTable(std::size_t capacity) : capacity_(capacity), places_(std::bit_ceil(capacity * 2)) {
  flows_.reserve(capacity);
  overflow_.ordinal = ~std::uint32_t{0};
}

Flow& FlowTable::find(const FlowKey& key) {
  const std::size_t mask = places_.size() - 1;
  std::size_t place = hash_of(key) & mask;
  for (; places_[place] != 0; place = (place + 1) & mask) {
    Flow& flow = flows_[places_[place] - 1];
    if (flow.key == key) return flow;
  }
  if (flows_.size() == capacity_) return overflow_;
  flows_.push_back({.key = key, .ordinal = next_ordinal_[key.kind]++, .states = {}});
  places_[place] = static_cast<std::uint32_t>(flows_.size());
  return flows_.back();
}

}  // namespace gannet::link
