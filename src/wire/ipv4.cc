#include "wire/ipv4.h"

#include <algorithm>

namespace gannet::wire {

std::expected<Ipv4, Drop> parse_options_and_fragment(Ipv4 ipv4) {
  const std::size_t header_size = ipv4.packet.size() - ipv4.payload.size();
  ipv4.options = ipv4.packet.subspan(ipv4_header_size, header_size - ipv4_header_size);
  Ipv4Options options(ipv4.options);
  while (options.next()) continue;
  if (options.malformed()) return std::unexpected(Drop::ip_options_malformed);

  const std::uint16_t fragment = load_be16(ipv4.packet, 6);
  ipv4.more_fragments = (fragment & ipv4_field::more_fragments) != 0;
  ipv4.fragment_offset = static_cast<std::uint16_t>((fragment & ipv4_field::offset) * 8);
  // Every fragment but the last is a multiple of eight, none is empty, and none ends where no packet can.
  const bool bad_size = ipv4.payload.empty() || (ipv4.more_fragments && ipv4.payload.size() % 8 != 0);
  if (ipv4.is_fragment() && (bad_size || header_size + ipv4.fragment_offset + ipv4.payload.size() > ipv4_packet_max)) {
    return std::unexpected(Drop::fragment_malformed);
  }
  return ipv4;
}

void emit_options(std::span<const std::byte> options, std::span<std::byte> packet) {
  std::ranges::copy(options, packet.begin() + ipv4_header_size);
  const std::size_t padding = (4 - options.size() % 4) % 4;
  std::ranges::fill(packet.subspan(ipv4_header_size + options.size(), padding), std::byte{ipv4_option::end_of_list});
}

std::optional<Ipv4Option> Ipv4Options::next() {
  while (!left_.empty() && load_u8(left_, 0) == ipv4_option::no_operation) left_ = left_.subspan(1);
  if (left_.empty() || load_u8(left_, 0) == ipv4_option::end_of_list) return std::nullopt;
  const std::size_t size = left_.size() < 2 ? 0 : load_u8(left_, 1);
  if (size < 2 || size > left_.size()) {
    malformed_ = true;
    left_ = {};
    return std::nullopt;
  }
  const Ipv4Option option{load_u8(left_, 0), left_.first(size)};
  left_ = left_.subspan(size);
  return option;
}

bool has_option(std::span<const std::byte> options, std::uint8_t type) {
  Ipv4Options walk(options);
  while (const auto option = walk.next()) {
    if (option->type == type) return true;
  }
  return false;
}

std::size_t copied_options(std::span<const std::byte> options, std::span<std::byte, ipv4_options_max> into) {
  ASSERT(options.size() <= ipv4_options_max);
  std::size_t size = 0;
  Ipv4Options walk(options);
  while (const auto option = walk.next()) {
    if ((option->type & ipv4_option::copied) == 0) continue;
    std::ranges::copy(option->bytes, into.begin() + static_cast<std::ptrdiff_t>(size));
    size += option->bytes.size();
  }
  return size;
}

}  // namespace gannet::wire
