#include "wire/pcapng.h"

#include <algorithm>
#include <concepts>
#include <cstring>

#include "base/assert.h"

namespace gannet::wire {
namespace {

namespace option = pcapng::option;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// Appends one block; its length is filled in when the block ends.
class BlockWriter {
 public:
  BlockWriter(pcapng::Block type, std::vector<std::byte>& out) : out_(out), start_(out.size()) {
    add(static_cast<std::uint32_t>(type));
    add(std::uint32_t{0});
  }
  BlockWriter(const BlockWriter&) = delete;
  BlockWriter& operator=(const BlockWriter&) = delete;
  ~BlockWriter() {
    if (has_options_) add(std::uint32_t{0});  // the end of the options
    const auto size = static_cast<std::uint32_t>(out_.size() - start_ + 4);
    ASSERT(size <= capture_block_max);
    add(size);
    std::memcpy(out_.data() + start_ + 4, &size, sizeof size);
  }

  template <std::unsigned_integral T>
  void add(T number) {
    add(std::as_bytes(std::span(&number, 1)));
  }
  void add(std::span<const std::byte> bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void add_padded(std::span<const std::byte> bytes) {
    add(bytes);
    pad(bytes.size());
  }
  void pad(std::size_t size) { out_.resize(out_.size() + (4 - size % 4) % 4); }
  // A time: the upper half comes first, whatever the byte order.
  void add_time(std::chrono::nanoseconds time) {
    const auto count = static_cast<std::uint64_t>(time.count());
    add(static_cast<std::uint32_t>(count >> 32));
    add(static_cast<std::uint32_t>(count));
  }

  void add_option(std::uint16_t code, std::span<const std::byte> value) {
    value = value.first(std::min<std::size_t>(value.size(), 0xffff));
    add_option_header(code, value.size());
    add_padded(value);
  }
  template <std::unsigned_integral T>
  void add_option(std::uint16_t code, T number) {
    add_option(code, std::as_bytes(std::span(&number, 1)));
  }
  void add_option(std::uint16_t code, std::string_view text) {
    if (!text.empty()) add_option(code, bytes_of(text));
  }
  void add_option(std::uint16_t code, std::optional<std::uint64_t> number) {
    if (number) add_option(code, *number);
  }
  void add_option(std::uint16_t code, std::optional<std::chrono::nanoseconds> time) {
    if (!time) return;
    add_option_header(code, 8);
    add_time(*time);
  }

 private:
  void add_option_header(std::uint16_t code, std::size_t size) {
    has_options_ = true;
    add(code);
    add(static_cast<std::uint16_t>(size));
  }

  std::vector<std::byte>& out_;
  const std::size_t start_;
  bool has_options_ = false;
};

}  // namespace

void emit_section(const CaptureSection& section, std::vector<std::byte>& out) {
  BlockWriter block(pcapng::Block::section, out);
  block.add(pcapng::byte_order_magic);
  block.add(std::uint16_t{1});
  block.add(std::uint16_t{0});
  block.add(~std::uint64_t{0});  // the section's length: not known while it is written
  block.add_option(option::comment, section.comment);
  block.add_option(option::section_hardware, section.hardware);
  block.add_option(option::section_os, section.os);
  block.add_option(option::section_application, section.application);
}

void emit_interface(const CaptureInterface& interface, std::vector<std::byte>& out) {
  BlockWriter block(pcapng::Block::interface, out);
  block.add(interface.link_type);
  block.add(std::uint16_t{0});
  block.add(interface.snap_length);
  block.add_option(option::interface_name, interface.name);
  block.add_option(option::interface_description, interface.description);
  block.add_option(option::interface_time_resolution, std::uint8_t{9});  // 10^-9 s
}

void emit_packet(const CapturedPacket& packet, std::vector<std::byte>& out) {
  ASSERT(packet.bytes.size() <= capture_packet_max);
  const auto size = static_cast<std::uint32_t>(packet.bytes.size());
  BlockWriter block(pcapng::Block::packet, out);
  block.add(packet.interface);
  block.add_time(packet.time);
  block.add(size);
  block.add(std::max(size, packet.original_size));
  block.add_padded(packet.bytes);
  block.add_option(option::comment, packet.comment);
  const auto flags = static_cast<std::uint32_t>(packet.direction) | static_cast<std::uint32_t>(packet.reception) << 2;
  if (flags != 0) block.add_option(option::packet_flags, flags);
  block.add_option(option::packet_drop_count, packet.drop_count);
  block.add_option(option::packet_id, packet.packet_id);
  if (!packet.verdict.empty()) block.add_option(option::packet_verdict, packet.verdict);
}

void emit_statistics(const CaptureStatistics& statistics, std::vector<std::byte>& out) {
  BlockWriter block(pcapng::Block::statistics, out);
  block.add(statistics.interface);
  block.add_time(statistics.time);
  block.add_option(option::comment, statistics.comment);
  block.add_option(option::statistics_start, statistics.start);
  block.add_option(option::statistics_end, statistics.end);
  block.add_option(option::statistics_received, statistics.received);
  block.add_option(option::statistics_dropped, statistics.dropped);
  block.add_option(option::statistics_accepted, statistics.accepted);
  block.add_option(option::statistics_os_dropped, statistics.os_dropped);
  block.add_option(option::statistics_delivered, statistics.delivered);
}

void emit_names(std::span<const CaptureName> names, std::vector<std::byte>& out) {
  BlockWriter block(pcapng::Block::names, out);
  for (const auto& [ip, name] : names) {
    const auto text = bytes_of(name.substr(0, 255));
    const std::size_t size = ip.size() + text.size() + 1;
    block.add(static_cast<std::uint16_t>(ip.is_ipv4() ? 1 : 2));
    block.add(static_cast<std::uint16_t>(size));
    block.add(ip.octets());
    block.add(text);
    block.add(std::uint8_t{0});
    block.pad(size);
  }
  block.add(std::uint32_t{0});  // the end of the names
}

void emit_secrets(std::uint32_t type, std::span<const std::byte> secrets, std::vector<std::byte>& out) {
  BlockWriter block(pcapng::Block::secrets, out);
  block.add(type);
  block.add(static_cast<std::uint32_t>(secrets.size()));
  block.add_padded(secrets);
}

}  // namespace gannet::wire
