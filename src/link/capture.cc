#include "link/capture.h"

#include <algorithm>
#include <charconv>

#include "base/assert.h"
#include "wire/pcapng.h"

namespace gannet::link {
namespace {

constexpr std::size_t largest_packet = 65535 + 64;  // and any link header; what is longer is cut, and the file says so
constexpr std::size_t most_comment = 128;
constexpr std::size_t most_name = 32;

// The comment of a packet, put together without allocation.
class Comment {
 public:
  explicit Comment(const Annotation& annotation) {
    if (annotation.drop) add("dropped: ").add(name_of(*annotation.drop));
    if (annotation.process != 0) add_separator(", ").add("process ").add(annotation.process);
    if (annotation.process != 0 && !annotation.process_name.empty()) add(" (").add(annotation.process_name.substr(0, most_name)).add(")");
    if (annotation.socket != 0) add_separator(", ").add("socket ").add(annotation.socket);
    if (!annotation.comment.empty()) add_separator("; ").add(annotation.comment.substr(0, most_comment));
  }
  [[nodiscard]] std::string_view text() const { return {text_.data(), size_}; }

 private:
  Comment& add(std::string_view more) {
    ASSERT(more.size() <= text_.size() - size_);
    size_ += more.copy(text_.data() + size_, more.size());
    return *this;
  }
  Comment& add(std::uint32_t number) {
    size_ = static_cast<std::size_t>(std::to_chars(text_.data() + size_, text_.data() + text_.size(), number).ptr - text_.data());
    return *this;
  }
  Comment& add_separator(std::string_view separator) { return size_ == 0 ? *this : add(separator); }

  std::array<char, 384> text_;
  std::size_t size_ = 0;
};

wire::Direction wire_direction(const std::optional<Direction>& direction) {
  if (!direction) return wire::Direction::unknown;
  return *direction == Direction::in ? wire::Direction::inbound : wire::Direction::outbound;
}

}  // namespace

Capture::Capture(ByteRing& out, Duration real_time_offset) : out_(out), real_time_offset_(real_time_offset) {
  scratch_.reserve(largest_packet + 4096);  // the blocks of a packet; those of finish() may need more, once
  wire::emit_section({.application = "gannet"}, scratch_);
  ASSERT(out_.write(scratch_));
}

std::uint32_t Capture::add_interface(std::string_view name, bool ethernet) {
  ASSERT(count_ < max_interfaces);
  Interface& interface = interfaces_[count_];
  interface.name_size = name.copy(interface.name.data(), interface.name.size());
  interface.ethernet = ethernet;
  return count_++;
}

void Capture::take(std::uint32_t handle, std::span<const std::byte> packet, Time now, const Annotation& annotation) {
  ASSERT(handle < count_);
  Interface& interface = interfaces_[handle];
  ++interface.seen;
  scratch_.clear();
  const std::uint32_t number = describe(interface, described_);
  const Comment comment(annotation);
  wire::CapturedPacket block{.interface = number,
                             .time = real_time(now),
                             .bytes = packet.first(std::min(packet.size(), largest_packet)),
                             .original_size = static_cast<std::uint32_t>(packet.size()),
                             .direction = wire_direction(annotation.direction),
                             .comment = comment.text()};
  if (interface.unreported != 0) block.drop_count = interface.unreported;
  wire::emit_packet(block, scratch_);
  if (!out_.write(scratch_)) {
    ++interface.missed;
    ++interface.unreported;
    return;
  }
  if (!interface.number) interface.number = described_++;
  interface.unreported = 0;
}

bool Capture::add_secrets(std::string_view key_log) {
  scratch_.clear();
  wire::emit_secrets(wire::secrets_tls_key_log, std::as_bytes(std::span(key_log)), scratch_);
  return out_.write(scratch_);
}

bool Capture::finish(Time now) {
  scratch_.clear();
  std::uint32_t described = described_;
  for (const Interface& interface : std::span(interfaces_).first(count_)) {
    const std::uint32_t number = describe(interface, described);
    described = std::max(described, number + 1);
    const auto time = real_time(now);
    wire::emit_statistics({.interface = number, .time = time, .end = time, .received = interface.seen, .dropped = interface.missed}, scratch_);
  }
  return out_.write(scratch_);
}

std::uint32_t Capture::describe(const Interface& interface, std::uint32_t next_number) {
  if (interface.number) return *interface.number;
  const std::uint16_t link_type = interface.ethernet ? wire::link_type_ethernet : wire::link_type_raw;
  wire::emit_interface({.name = {interface.name.data(), interface.name_size}, .link_type = link_type}, scratch_);
  return next_number;
}

}  // namespace gannet::link
