// Any frame: what is parsed lies inside it, and the plain form is emitted as it was.
#include "wire/ethernet.h"

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::wire;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto frame = fuzz::input(data, size);
  const auto ethernet = parse_ethernet(frame);
  if (!ethernet) return 0;
  EXPECT(fuzz::within(ethernet->payload, frame));
  EXPECT(ethernet->header_size + ethernet->payload.size() <= frame.size());
  EXPECT(ethernet->vlan < 4096);
  EXPECT(*MacAddress::parse(ethernet->src.to_string()) == ethernet->src);
  if (ethernet->header_size != ethernet_header_size) return 0;
  fuzz::Bytes header(ethernet_header_size);
  emit_ethernet(ethernet->dst, ethernet->src, ethernet->type, header);
  EXPECT(fuzz::same(header, frame.first(ethernet_header_size)));
  return 0;
}
