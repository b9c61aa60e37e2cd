#include "sim/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/hash.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ip.h"
#include "wire/ipv4.h"

namespace gannet::sim {
namespace {

constexpr std::size_t udp_header_size = 8;

std::uint16_t ethertype_of(std::span<const std::byte> bytes) {
  return bytes.size() >= wire::ethernet_header_size ? wire::load_be16(bytes, 12) : std::uint16_t{0};
}

// The IP packet in what was dropped, a frame or a packet. The addresses in use here cannot be taken for an EtherType.
std::span<const std::byte> packet_in(std::span<const std::byte> bytes) {
  return ethertype_of(bytes) == wire::ethertype_ipv4 ? bytes.subspan(wire::ethernet_header_size) : bytes;
}

// Whether this can have been a datagram's at all.
bool may_be_datagram(std::span<const std::byte> bytes, Drop reason) {
  const std::string_view name = name_of(reason);
  if (name.starts_with("arp_") || name.starts_with("icmp_") || name.starts_with("igmp_")) return false;
  if (ethertype_of(bytes) == wire::ethertype_arp) return false;
  const auto packet = packet_in(bytes);
  if (packet.size() < wire::ipv4_header_size || reason == Drop::ip_checksum_bad) return true;  // what a broken header says is not to be believed
  const auto protocol = wire::load_u8(packet, 9);
  return protocol != wire::protocol_icmp && protocol != wire::protocol_igmp;
}

std::uint16_t sum_of(std::span<const std::byte> bytes) {
  wire::ChecksumSum sum;
  sum.add(bytes);
  return sum.folded();
}

}  // namespace

Ledger::Number Ledger::add(const Datagram& datagram, std::span<std::byte> payload) {
  const auto number = static_cast<Number>(datagrams_.size());
  datagrams_.push_back(datagram);
  fill(number, payload);
  return number;
}

std::size_t Ledger::recognizable(std::size_t size, std::size_t mtu) {
  const std::size_t chunk = (mtu - wire::ipv4_header_size) & ~std::size_t{7};
  size = std::clamp(size, smallest, largest);
  const std::size_t rest = (udp_header_size + size) % chunk;
  if (rest == 0 || rest >= 8 || udp_header_size + size < chunk) return size;
  return size - 8;
}

std::uint64_t Ledger::word(Number number, std::size_t place) const {
  const std::uint64_t name = std::uint64_t{number} | static_cast<std::uint64_t>(place) << 32;
  return name | mix(name ^ key_, 0x9e3779b97f4a7c15) << 48;
}

void Ledger::fill(Number number, std::span<std::byte> payload) const {
  for (std::size_t at = 0; at < payload.size(); at += 8) {
    const std::uint64_t bytes = word(number, at / 8);
    std::memcpy(payload.data() + at, &bytes, std::min<std::size_t>(8, payload.size() - at));
  }
}

std::optional<Ledger::Number> Ledger::find(std::span<const std::byte> bytes) const {
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t here;
    std::memcpy(&here, bytes.data() + at, sizeof here);
    const auto number = static_cast<Number>(here);
    if (number < datagrams_.size() && here == word(number, here >> 32 & 0xffff)) return number;
  }
  return std::nullopt;
}

void Ledger::dropped(std::span<const std::byte> bytes, Drop reason) {
  if (!may_be_datagram(bytes, reason)) return;
  const auto packet = packet_in(bytes);
  // Fragments begin at multiples of eight bytes, as the UDP header ends at one: the names stand where they stood in the payload.
  const auto number = find(packet.subspan(std::min(packet.size(), wire::ipv4_header_size)));
  if (!number) {
    ++unseen_;
    return;
  }
  ++datagrams_[*number].dropped;
  ++lost_[static_cast<std::size_t>(reason)];
}

std::optional<Ledger::Number> Ledger::delivered(const Reader& reader, const Address& peer, std::span<const std::byte> payload) {
  ++deliveries_;
  const auto number = find(payload);
  if (!number) {
    ++strangers_;
    if (!takes_strangers) ADD_FAILURE() << payload.size() << " bytes from " << peer.to_string() << " were delivered that nobody sent";
    return std::nullopt;
  }
  Datagram& datagram = datagrams_[*number];
  ++datagram.delivered;
  scratch_.resize(datagram.size);
  fill(*number, scratch_);
  if (!std::ranges::equal(payload, scratch_)) {
    ++collisions_;
    const bool collides = payload.size() == scratch_.size() && sum_of(payload) == sum_of(scratch_);
    if (!collides && !takes_strangers) ADD_FAILURE() << describe(*number) << " arrived as something else, " << payload.size() << " bytes long";
  }
  const auto [newest, is_first] = newest_.try_emplace({reader, peer}, *number);
  if (*number < newest->second) ++reordered_;
  newest->second = std::max(newest->second, *number);
  return number;
}

void Ledger::check_ends(bool duplicated, std::uint64_t unseen) const {
  std::uint64_t unexplained = 0;
  Number example = 0;
  for (Number number = 0; number < datagrams_.size(); ++number) {
    const Datagram& datagram = datagrams_[number];
    const bool has_end = datagram.delivered + datagram.dropped > 0 || datagram.refused != 0;
    if (!has_end) {
      ++unexplained;
      example = number;
    }
    EXPECT_TRUE(datagram.refused == 0 || datagram.delivered == 0) << describe(number) << " was refused, and yet arrived";
    if (duplicated || datagram.to_group) continue;
    EXPECT_LE(datagram.delivered, 1) << describe(number) << " arrived more than once";
    EXPECT_TRUE(datagram.delivered == 0 || datagram.dropped == 0) << describe(number) << " arrived, and yet something of it was dropped";
  }
  EXPECT_LE(unexplained, unseen_ + unseen) << "datagrams whose end nobody knows, such as " << describe(example);
}

void Ledger::check_complete(Number first) const {
  for (Number number = first; number < datagrams_.size(); ++number) {
    const Datagram& datagram = datagrams_[number];
    EXPECT_EQ(datagram.delivered, datagram.refused == 0 ? datagram.expected : 0) << describe(number);
    if (::testing::Test::HasFailure()) return;
  }
}

void Ledger::check_perfect() const {
  check_complete();
  EXPECT_EQ(reordered_, 0u);
}

std::string Ledger::describe(Number number) const {
  if (number >= datagrams_.size()) return "none";
  const Datagram& datagram = datagrams_[number];
  return "datagram " + std::to_string(number) + " (host " + std::to_string(datagram.host) + " to " + datagram.to.to_string() + ", " +
         std::to_string(datagram.size) + " bytes" + (datagram.is_reply ? ", a reply)" : ")");
}

std::string Ledger::summary() const {
  const auto refused = std::ranges::count_if(datagrams_, [](const Datagram& datagram) { return datagram.refused != 0; });
  std::string text = std::to_string(datagrams_.size()) + " datagrams, " + std::to_string(deliveries_) + " deliveries, " + std::to_string(refused) +
                     " refused, " + std::to_string(reordered_) + " out of order";
  for (std::size_t i = 0; i < drop_count; ++i) {
    if (lost_[i] != 0) text += ", " + std::to_string(lost_[i]) + " packets " + std::string(drop_names[i]);
  }
  return text;
}

}  // namespace gannet::sim
