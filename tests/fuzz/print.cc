// Any bytes under any link type: one line, printable, of a bounded length.
#include "wire/print.h"

#include <array>
#include <string>

#include "fuzz/fuzz.h"
#include "wire/ipv4.h"
#include "wire/pcapng.h"

using namespace gannet;
using namespace gannet::wire;

namespace {

// The bytes as ICMP, IGMP or UDP in a packet whose checksums are right, so that what is behind them is reached.
fuzz::Bytes in_packet(std::span<const std::byte> bytes) {
  constexpr std::array protocols{protocol_icmp, protocol_igmp, protocol_udp, protocol_udplite};
  const std::uint8_t protocol = protocols[bytes.empty() ? 0 : load_u8(bytes, 0) % protocols.size()];
  const auto payload = fuzz::with_checksum(bytes, 2, bytes.size());
  fuzz::Bytes packet(ipv4_header_size);
  packet.insert(packet.end(), payload.begin(), payload.end());
  emit_ipv4({.src = IpAddress::ipv4(10, 7, 0, 1), .dst = IpAddress::ipv4(10, 7, 0, 2), .protocol = protocol}, packet);
  return packet;
}

void check(std::uint16_t link_type, std::span<const std::byte> bytes) {
  std::string line;
  print_captured(link_type, bytes, line);
  EXPECT(!line.empty() && line.size() <= 2048);
  EXPECT(std::ranges::all_of(line, [](char c) { return c >= ' ' && c <= '~'; }));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::array<std::uint16_t, 6> link_types{link_type_ethernet, link_type_raw, 113, 276, 229, 4711};
  if (size == 0 || size > 60'000) return 0;
  const auto bytes = fuzz::input(data, size).subspan(1);
  check(link_types[data[0] % link_types.size()], bytes);
  check(link_type_raw, in_packet(bytes));
  return 0;
}
