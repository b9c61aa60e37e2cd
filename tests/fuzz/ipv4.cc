// Any packet, as it is and with its header checksum repaired: spans lie inside it, and the header is emitted as it was.
#include "wire/ipv4.h"

#include <array>

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::wire;

namespace {

void check(std::span<const std::byte> bytes) {
  const auto ipv4 = parse_ipv4(bytes);
  EXPECT((plain_ipv4_size(bytes) != 0) == (ipv4 && ipv4->options.empty() && !ipv4->is_fragment()));
  if (!ipv4) return;
  EXPECT(fuzz::within(ipv4->packet, bytes) && fuzz::within(ipv4->payload, ipv4->packet) && fuzz::within(ipv4->options, ipv4->packet));
  EXPECT(ipv4->size() + ipv4->payload.size() == ipv4->packet.size());
  EXPECT(!ipv4->is_fragment() || ipv4->size() + ipv4->fragment_offset + ipv4->payload.size() <= ipv4_packet_max);

  Ipv4Options options(ipv4->options);
  while (const auto option = options.next()) EXPECT(fuzz::within(option->bytes, ipv4->options) && option->bytes.size() >= 2);
  EXPECT(!options.malformed());
  std::array<std::byte, ipv4_options_max> copied;
  const std::size_t copied_size = copied_options(ipv4->options, copied);
  EXPECT(has_source_route(ipv4->options) == has_source_route(std::span(copied).first(copied_size)));  // source routes have the copied bit

  if ((load_u8(bytes, 6) & 0x80) != 0) return;  // the reserved flag is read over, and never sent
  fuzz::Bytes emitted(ipv4->packet.begin(), ipv4->packet.end());
  std::fill_n(emitted.begin(), ipv4->size(), std::byte{0xee});
  emit_ipv4(*ipv4, emitted);
  // The checksum may have been the other zero.
  const bool other_zero = load_be16(bytes, 10) == 0xffff;
  if (other_zero) store_be16(emitted, 10, 0xffff);
  EXPECT(fuzz::same(emitted, ipv4->packet));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::input(data, size);
  check(bytes);
  if (size >= ipv4_header_size) check(fuzz::with_checksum(bytes, 10, (load_u8(bytes, 0) & 0xfu) * std::size_t{4}));
  return 0;
}
