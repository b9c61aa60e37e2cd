// Any addresses and datagram, as it is and with its checksum repaired: the parts add up to the whole, and the header is emitted as it was.
#include "wire/udp.h"

#include <cstring>

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::wire;

namespace {

void check(const IpInfo& ip, std::span<const std::byte> payload) {
  const auto udp = parse_udp(ip, payload);
  if (!udp) return;
  const std::size_t length = udp_header_size + udp->user_data.size();
  EXPECT(fuzz::within(udp->user_data, payload) && fuzz::within(udp->surplus, payload));
  EXPECT(length + udp->surplus.size() == payload.size());
  fuzz::Bytes emitted(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length));
  if (udp->has_checksum) {
    emit_udp(ip.src, ip.dst, udp->src_port, udp->dst_port, emitted);
  } else {
    EXPECT(!parse_udp(ip, payload, ZeroChecksum::refused));
    emit_udp_unchecked(udp->src_port, udp->dst_port, emitted);
  }
  EXPECT(fuzz::same(emitted, payload.first(length)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto bytes = fuzz::input(data, size);
  if (bytes.empty()) return 0;
  const auto family = (data[0] & 1) != 0 ? Family::ipv6 : Family::ipv4;
  bytes = bytes.subspan(1);
  IpInfo ip{.src = IpAddress::any(family), .dst = IpAddress::any(family)};
  for (IpAddress* address : {&ip.src, &ip.dst}) {
    if (bytes.size() < address->size()) return 0;
    std::memcpy(address->bytes.data(), bytes.data(), address->size());
    bytes = bytes.subspan(address->size());
  }
  if (bytes.size() > 65535) return 0;
  check(ip, bytes);
  if (bytes.size() < udp_header_size) return 0;
  fuzz::Bytes repaired(bytes.begin(), bytes.end());
  const std::size_t length = load_be16(repaired, 4);
  if (length >= udp_header_size && length <= repaired.size()) {
    emit_udp(ip.src, ip.dst, load_be16(repaired, 0), load_be16(repaired, 2), std::span(repaired).first(length));
    EXPECT(parse_udp(ip, repaired, ZeroChecksum::refused).has_value());
  }
  check(ip, repaired);
  return 0;
}
