// Any packet: what is parsed is emitted as it was.
#include "wire/arp.h"

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::wire;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto packet = fuzz::input(data, size);
  const auto arp = parse_arp(packet);
  if (!arp) return 0;
  fuzz::Bytes emitted(arp_size);
  emit_arp(*arp, emitted);
  EXPECT(fuzz::same(emitted, packet.first(arp_size)));
  return 0;
}
