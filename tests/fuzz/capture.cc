// Any file, pcapng or pcap: it is read to its end or its damage within bounds, and its packets are the same after they were written as pcapng.
#include <map>
#include <string>

#include "fuzz/fuzz.h"
#include "wire/capture_reader.h"

using namespace gannet;
using namespace gannet::wire;

namespace {

CaptureReader::Source source_of(std::span<const std::byte> file) {
  return [file](std::span<std::byte> into) mutable -> Result<std::size_t> {
    const std::size_t size = std::min(into.size(), file.size());
    std::ranges::copy(file.first(size), into.begin());
    file = file.subspan(size);
    return size;
  };
}

// Every packet of the file as one block and its interface, in a file of our own; the packets that were cut off by damage are simply not there.
fuzz::Bytes rewrite(std::span<const std::byte> file) {
  fuzz::Bytes out;
  emit_section({}, out);
  std::uint32_t interfaces = 0;
  std::map<std::pair<std::uint16_t, std::string>, std::uint32_t> known;
  CaptureReader reader(source_of(file));
  while (true) {
    const auto next = reader.next();
    EXPECT(next || (next.error().code == EBADMSG && next.error().why != nullptr && reader.offset() <= file.size()));
    if (!next || !*next) break;
    auto packet = **next;
    EXPECT(packet.bytes.size() <= capture_packet_max && packet.original_size >= packet.bytes.size());
    const auto [at, added] = known.try_emplace({packet.link_type, std::string(packet.interface_name)}, interfaces);
    if (added) {
      if (interfaces++ == capture_interfaces_max) break;
      emit_interface({.name = packet.interface_name, .link_type = packet.link_type}, out);
    }
    packet.interface = at->second;
    emit_packet(packet, out);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto ours = rewrite(fuzz::input(data, size));
  EXPECT(fuzz::same(rewrite(ours), ours));
  return 0;
}
