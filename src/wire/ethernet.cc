#include "wire/ethernet.h"

#include <algorithm>

namespace gannet::wire {
namespace {

constexpr std::size_t llc_snap_size = 8;
constexpr std::uint64_t llc_snap_ethernet = 0xaaaa'0300'0000;  // DSAP, SSAP, unnumbered information, organisation 0: an EtherType follows

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::expected<Ethernet, Drop> parse_tagged_or_llc(std::span<const std::byte> frame) {
  Ethernet ethernet{load_mac(frame, 0), load_mac(frame, 6), load_be16(frame, 12), 0, ethernet_header_size, {}};
  if (ethernet.type == ethertype_vlan) {
    ethernet.header_size += vlan_tag_size;
    if (frame.size() < ethernet.header_size) return std::unexpected(Drop::ethernet_truncated);
    ethernet.vlan = load_be16(frame, 14) & 0x0fff;
    ethernet.type = load_be16(frame, 16);
  }
  ethernet.payload = frame.subspan(ethernet.header_size);
  if (ethernet.type >= 0x0600) return ethernet;

  // IEEE 802.3: the type is the length of what follows, and ends the padding.
  if (ethernet.type > ethernet.payload.size()) return std::unexpected(Drop::ethernet_length_invalid);
  ethernet.payload = ethernet.payload.first(ethernet.type);
  if (ethernet.payload.size() < llc_snap_size) return std::unexpected(Drop::ethernet_truncated);
  if (load_be64(ethernet.payload, 0) >> 16 != llc_snap_ethernet) return std::unexpected(Drop::ethernet_type_unknown);
  ethernet.type = load_be16(ethernet.payload, 6);
  ethernet.header_size += llc_snap_size;
  ethernet.payload = ethernet.payload.subspan(llc_snap_size);
  return ethernet;
}

Result<MacAddress> MacAddress::parse(std::string_view text) {
  constexpr Error malformed{EINVAL,
                            "a MAC address is six pairs of hexadecimal "
                            "digits, like 02:00:00:00:00:01"};
  if (text.size() != 17) return malformed;
  MacAddress mac;
  for (std::size_t i = 0; i < mac.bytes.size(); ++i) {
    const int high = hex_digit(text[i * 3]);
    const int low = hex_digit(text[i * 3 + 1]);
    if (high < 0 || low < 0) return malformed;
    if (i < 5 && text[i * 3 + 2] != ':' && text[i * 3 + 2] != '-') return malformed;
    mac.bytes[i] = static_cast<std::byte>(high << 4 | low);
  }
  return mac;
}

std::string MacAddress::to_string() const {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(17);
  for (const std::byte byte : bytes) {
    if (!text.empty()) text += ':';
    text += digits[std::to_integer<unsigned>(byte) >> 4];
    text += digits[std::to_integer<unsigned>(byte) & 0xf];
  }
  return text;
}

}  // namespace gannet::wire
