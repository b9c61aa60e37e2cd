#include "wire/capture_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace gannet::wire {
namespace {

namespace option = pcapng::option;
using pcapng::Block;

constexpr std::size_t block_header_size = 8;
constexpr std::size_t block_size_min = 12;
constexpr std::size_t pcap_header_size = 24;
constexpr std::size_t pcap_record_size = 16;
constexpr std::uint32_t pcap_microseconds = 0xa1b2c3d4;
constexpr std::uint32_t pcap_nanoseconds = 0xa1b23c4d;
constexpr std::size_t name_max = 255;

constexpr Error damage(const char* sentence) { return {EBADMSG, sentence}; }

constexpr std::size_t padded(std::size_t size) { return (size + 3) / 4 * 4; }

std::uint64_t power(std::uint64_t base, unsigned exponent) {
  std::uint64_t result = 1;
  for (; exponent != 0; --exponent) result *= base;
  return result;
}

std::string_view text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace

template <class T>
T CaptureReader::load(std::size_t at) const {
  T value;
  std::memcpy(&value, buffer_.data() + at, sizeof value);
  return swapped_ ? std::byteswap(value) : value;
}

Result<std::optional<CaptureReader::Packet>> CaptureReader::next() {
  while (!finished_) {
    Outcome outcome = std::optional<Packet>();
    if (format_ == Format::unknown) {
      if (const auto begun = begin(); !begun) outcome = begun.error();
    } else if (format_ == Format::pcap) {
      outcome = read_pcap_record();
    } else {
      const auto more = read_block();
      finished_ = more && !*more;
      if (!more) {
        outcome = more.error();
      } else if (!finished_) {
        outcome = packet_of_block();
      }
    }
    if (!outcome) finished_ = true;
    if (!outcome || *outcome) return outcome;
  }
  return std::optional<Packet>();
}

Result<bool> CaptureReader::read(std::size_t size) {
  const std::size_t before = buffer_.size();
  buffer_.resize(before + size);
  std::size_t filled = 0;
  while (filled < size) {
    const auto more = source_(std::span(buffer_).subspan(before + filled));
    if (!more) return more.error();
    if (*more == 0) break;
    filled += *more;
  }
  read_ += filled;
  if (filled == size) return true;
  if (filled == 0 && before == 0) return false;
  return damage("the file ends in the middle of a block");
}

Result<void> CaptureReader::begin() {
  auto more = read(4);
  if (!more) return more.error();
  if (!*more) return damage("not a capture file: it is empty");
  const auto magic = load<std::uint32_t>(0);
  if (magic == static_cast<std::uint32_t>(Block::section)) {  // the same in both byte orders
    format_ = Format::pcapng;
    more = read(block_header_size);
    if (!more) return more.error();
    return begin_section();
  }
  const auto other = std::byteswap(magic);
  swapped_ = other == pcap_microseconds || other == pcap_nanoseconds;
  if (!swapped_ && magic != pcap_microseconds && magic != pcap_nanoseconds)
    return damage("not a capture file: it begins like neither pcapng nor pcap");
  format_ = Format::pcap;
  more = read(pcap_header_size - 4);
  if (!more) return more.error();
  const bool nanoseconds = load<std::uint32_t>(0) == pcap_nanoseconds;
  if (load<std::uint16_t>(4) != 2) return damage("a pcap file of an unknown version: only 2.x is known");
  const auto link_type = static_cast<std::uint16_t>(load<std::uint32_t>(20));  // above it stands whether frames end with their checksum
  interfaces_ = {Interface{}};
  interfaces_[0].link_type = link_type;
  if (nanoseconds) interfaces_[0].units_per_second = 1'000'000'000;
  return {};
}

Result<bool> CaptureReader::read_block() {
  block_at_ = read_;
  buffer_.clear();
  auto more = read(block_header_size);
  if (!more || !*more) return more;
  if (load<std::uint32_t>(0) == static_cast<std::uint32_t>(Block::section)) {
    // A new section may have the other byte order, its length included.
    more = read(4);
    if (!more) return more;
    const auto begun = begin_section();
    return begun ? Result<bool>(true) : begun.error();
  }
  const std::size_t size = load<std::uint32_t>(4);
  if (size < block_size_min || size % 4 != 0) return damage("a block with an impossible length");
  if (size > capture_block_max) return damage("a block of more than 1 MiB: either damage, or no capture of packets");
  more = read(size - block_header_size);
  if (!more) return more;
  if (load<std::uint32_t>(body_end()) != size) return damage("a block whose two lengths differ");
  return true;
}

Result<void> CaptureReader::begin_section() {
  // The buffer holds type, length and byte-order magic.
  swapped_ = false;
  const auto magic = load<std::uint32_t>(8);
  if (magic != pcapng::byte_order_magic && std::byteswap(magic) != pcapng::byte_order_magic) return damage("a section without its byte-order magic");
  swapped_ = magic != pcapng::byte_order_magic;
  const std::size_t size = load<std::uint32_t>(4);
  if (size < 28 || size % 4 != 0 || size > capture_block_max) return damage("a section block with an impossible length");
  const auto more = read(size - 12);
  if (!more) return more.error();
  if (load<std::uint32_t>(body_end()) != size) return damage("a block whose two lengths differ");
  if (load<std::uint16_t>(12) != 1) return damage("a section of an unknown version: only 1.x is known");
  interfaces_.clear();
  return {};
}

Result<void> CaptureReader::add_interface() {
  if (buffer_.size() < 20) return damage("an interface block that is too short");
  if (interfaces_.size() == capture_interfaces_max) return damage("more than 4,096 interfaces in one section");
  Interface interface;
  interface.link_type = load<std::uint16_t>(8);
  interface.snap_length = load<std::uint32_t>(12);
  bool impossible = false;
  const auto options = for_each_option(16, [&](std::uint16_t code, std::span<const std::byte> value) {
    if (code == option::interface_name) interface.name = text_of(value.first(std::min(value.size(), name_max)));
    if (code == option::interface_time_resolution && value.size() == 1) {
      const auto resolution = std::to_integer<unsigned>(value[0]);
      const unsigned exponent = resolution & 0x7f;
      const bool binary = (resolution & 0x80) != 0;
      impossible = exponent > (binary ? 63u : 19u);
      if (!impossible) interface.units_per_second = power(binary ? 2 : 10, exponent);
    }
    if (code == option::interface_time_offset && value.size() == 8) {
      interface.offset_seconds = load<std::int64_t>(static_cast<std::size_t>(value.data() - buffer_.data()));
    }
  });
  if (!options) return options;
  if (impossible) return damage("an interface with an impossible resolution of time");
  interfaces_.push_back(std::move(interface));
  return {};
}

CaptureReader::Outcome CaptureReader::packet_of_block() {
  const auto type = static_cast<Block>(load<std::uint32_t>(0));
  Packet packet;
  std::size_t at = 0;
  std::size_t size = 0;
  switch (type) {
    case Block::interface: {
      const auto added = add_interface();
      return added ? Outcome(std::nullopt) : added.error();
    }
    case Block::packet:
    case Block::old_packet:
      if (buffer_.size() < 32) return damage("a packet block that is too short");
      packet.interface = type == Block::packet ? load<std::uint32_t>(8) : load<std::uint16_t>(8);
      size = load<std::uint32_t>(20);
      packet.original_size = load<std::uint32_t>(24);
      at = 28;
      break;
    case Block::simple_packet:
      if (buffer_.size() < 16) return damage("a packet block that is too short");
      packet.original_size = load<std::uint32_t>(8);
      at = 12;
      // Its own size is left out: it is what the interface captures of the original.
      size = packet.original_size;
      if (!interfaces_.empty() && interfaces_[0].snap_length != 0) size = std::min<std::size_t>(size, interfaces_[0].snap_length);
      break;
    default:
      return std::optional<Packet>();
  }
  if (packet.interface >= interfaces_.size()) return damage("a packet of an interface that the file does not describe");
  if (size > capture_packet_max) return damage("a packet of more than 256 KiB");
  if (size > body_end() - at) return damage("a packet that is longer than its block");
  if (type != Block::simple_packet) {
    const auto units = std::uint64_t{load<std::uint32_t>(12)} << 32 | load<std::uint32_t>(16);
    packet.time = time_of(interfaces_[packet.interface], units);
    const auto options = for_each_option(at + padded(size), [&](std::uint16_t code, std::span<const std::byte> value) {
      const auto where = static_cast<std::size_t>(value.data() - buffer_.data());
      if (code == option::comment) packet.comment = text_of(value);
      if (code == option::packet_flags && value.size() == 4) {
        const auto flags = load<std::uint32_t>(where);
        packet.direction = (flags & 3) == 3 ? Direction::unknown : static_cast<Direction>(flags & 3);
        packet.reception = (flags >> 2 & 7) > 4 ? Reception::unknown : static_cast<Reception>(flags >> 2 & 7);
      }
      if (code == option::packet_drop_count && value.size() == 8 && type == Block::packet) packet.drop_count = load<std::uint64_t>(where);
      if (code == option::packet_id && value.size() == 8) packet.packet_id = load<std::uint64_t>(where);
      if (code == option::packet_verdict) packet.verdict = value;
    });
    if (!options) return options.error();
  }
  return complete(packet, at, size);
}

CaptureReader::Outcome CaptureReader::read_pcap_record() {
  block_at_ = read_;
  buffer_.clear();
  auto more = read(pcap_record_size);
  if (!more) return more.error();
  finished_ = !*more;
  if (finished_) return std::optional<Packet>();
  Packet packet;
  const std::size_t size = load<std::uint32_t>(8);
  packet.original_size = load<std::uint32_t>(12);
  if (size > capture_packet_max) return damage("a packet of more than 256 KiB");
  const auto& interface = interfaces_.front();
  const std::uint64_t fraction = load<std::uint32_t>(4);
  if (fraction >= interface.units_per_second) return damage("a packet at an impossible time");
  packet.time = time_of(interface, load<std::uint32_t>(0) * interface.units_per_second + fraction);
  more = read(size);
  if (!more) return more.error();
  return complete(packet, pcap_record_size, size);
}

CaptureReader::Outcome CaptureReader::complete(Packet packet, std::size_t at, std::size_t size) {
  const auto& interface = interfaces_[packet.interface];
  packet.bytes = std::span<const std::byte>(buffer_).subspan(at, size);
  packet.original_size = std::max(packet.original_size, static_cast<std::uint32_t>(size));
  packet.link_type = interface.link_type;
  packet.interface_name = interface.name;
  return std::optional<Packet>(packet);
}

template <class Take>
Result<void> CaptureReader::for_each_option(std::size_t at, Take take) const {
  while (at < body_end()) {
    if (body_end() - at < 4) return damage("an option that runs past the end of its block");
    const auto code = load<std::uint16_t>(at);
    const std::size_t size = load<std::uint16_t>(at + 2);
    if (code == option::end) return {};
    if (padded(size) > body_end() - at - 4) return damage("an option that runs past the end of its block");
    take(code, std::span<const std::byte>(buffer_).subspan(at + 4, size));
    at += 4 + padded(size);
  }
  return {};
}

std::chrono::nanoseconds CaptureReader::time_of(const Interface& interface, std::uint64_t units) {
  __extension__ using Wide = unsigned __int128;
  constexpr std::int64_t billion = 1'000'000'000;
  const std::uint64_t seconds = units / interface.units_per_second;
  const auto fraction = static_cast<std::int64_t>(Wide{units % interface.units_per_second} * billion / interface.units_per_second);
  // A time that 64 bits of nanoseconds cannot tell is told as 1970.
  std::int64_t total = 0;
  if (seconds > std::numeric_limits<std::int64_t>::max() ||
      __builtin_add_overflow(static_cast<std::int64_t>(seconds), interface.offset_seconds, &total) ||
      __builtin_mul_overflow(total, billion, &total) || __builtin_add_overflow(total, fraction, &total)) {
    return {};
  }
  return std::chrono::nanoseconds(total);
}

}  // namespace gannet::wire
