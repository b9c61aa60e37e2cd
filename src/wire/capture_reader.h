// Reads capture files, pcapng and the older pcap, of either byte order, packet by packet.
//
// A file is untrusted: no length in it is believed before it is checked against the bounds in pcapng.h, so that a few bytes cannot ask for much
// memory. What precedes damage is read; then next() says what is wrong, and offset() where.
// Owner and thread: one.  Allocates: a buffer as large as the largest block, at most capture_block_max; a few bytes per interface.
// Sources: draft-ietf-opsawg-pcapng; draft-ietf-opsawg-pcap.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gannet/result.h>

#include "wire/pcapng.h"

namespace gannet::wire {

inline constexpr std::size_t capture_interfaces_max = 4096;  // in one section

class CaptureReader {
 public:
  // Fills as much of the span as it can; less only at the end of the file.
  using Source = std::function<Result<std::size_t>(std::span<std::byte>)>;

  explicit CaptureReader(Source source) : source_(std::move(source)) {}

  // One packet of the file. Views last until the next call.
  struct Packet : CapturedPacket {
    std::uint16_t link_type = link_type_ethernet;
    std::string_view interface_name{};
  };

  // The next packet, none at the end of the file, or EBADMSG and a sentence at damage; nothing is read after that. Blocks of other kinds are passed
  // over.
  Result<std::optional<Packet>> next();

  // Where in the file the block begins that was read last: where the damage is, after an error.
  [[nodiscard]] std::uint64_t offset() const { return block_at_; }

 private:
  struct Interface {
    std::uint16_t link_type = 0;
    std::uint32_t snap_length = 0;
    std::uint64_t units_per_second = 1'000'000;
    std::int64_t offset_seconds = 0;
    std::string name;
  };
  using Outcome = Result<std::optional<Packet>>;  // no packet: look further
  enum class Format : std::uint8_t { unknown, pcapng, pcap };

  // Reads exactly so many bytes to the end of the buffer; false at the end of the file, EBADMSG when it ends in between.
  Result<bool> read(std::size_t size);
  Result<void> begin();
  Result<bool> read_block();
  Result<void> begin_section();
  Result<void> add_interface();
  Outcome packet_of_block();
  Outcome read_pcap_record();
  Outcome complete(Packet packet, std::size_t at, std::size_t size);
  // Calls take(code, value) for each option from `at` in the block.
  template <class Take>
  Result<void> for_each_option(std::size_t at, Take take) const;
  [[nodiscard]] static std::chrono::nanoseconds time_of(const Interface& interface, std::uint64_t units);

  template <class T>
  [[nodiscard]] T load(std::size_t at) const;
  [[nodiscard]] std::size_t body_end() const { return buffer_.size() - 4; }

  Source source_;
  std::vector<std::byte> buffer_;  // the block or record at hand
  std::uint64_t block_at_ = 0;
  std::uint64_t read_ = 0;
  Format format_ = Format::unknown;
  bool swapped_ = false;
  bool finished_ = false;
  std::vector<Interface> interfaces_;
};

}  // namespace gannet::wire
