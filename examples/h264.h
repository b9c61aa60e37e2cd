// Puts together again what RTP took apart of a stream of H.264 (RFC 6184): packets in order in, access units out, each a picture for the decoder.
//
// For ingest.h. Single units, STAP-A and FU-A, which is all that packetization mode 1 has; of interleaved streams (mode 2) each packet counts as
// unusable. What is incomplete says so. A unit has at most 4 MiB: a larger one is left out and counted, so that a liar fills no memory.
#pragma once
#include <functional>

#include "jitter_buffer.h"

namespace h264 {

using rtp::Bytes;

struct AccessUnit {
  std::int64_t timestamp = 0;    // of its presentation, at 90 kHz from the first one on; it does not wrap
  bool is_key = false;           // a decoder can begin here, if it is whole
  bool is_damaged = false;       // something of it was lost, or may have been
  std::vector<std::byte> bytes;  // NAL units after start codes (H.264 Annex B): what a decoder takes
};

class Depacketiser {
 public:
  struct Counts {
    std::uint64_t units = 0, damaged = 0, keys = 0, unusable = 0, too_large = 0;
  };
  static constexpr std::size_t largest = 4 << 20;

  explicit Depacketiser(std::function<void(const AccessUnit&)> sink) : sink_(std::move(sink)) {}

  // A packet, or that one is lost.
  void add(const rtp::Delivered& delivered) {
    if (delivered.is_lost) {  // the piece of this unit, unless it had ended, and perhaps the beginning of the next
      fragment_.reset();
      unit_.is_damaged = unit_.is_damaged || is_open_;
      lost_before_ = true;
      return;
    }
    const rtp::Packet& packet = delivered.packet;
    if (is_open_ && packet.timestamp != timestamp_) finish();  // its last packet, the one with the marker, was lost
    if (!is_open_) open(packet.timestamp);
    unit_.is_damaged = unit_.is_damaged || lost_before_;
    lost_before_ = false;
    if (!take(packet.payload)) ++counts.unusable, unit_.is_damaged = true, fragment_.reset();
    if (packet.marker) finish();
  }
  // The stream is over: what was not ended is handed on.
  void finish() {
    if (!is_open_) return;
    is_open_ = false;
    if (fragment_) fragment_.reset(), unit_.is_damaged = true;
    if (is_too_large_) return static_cast<void>(++counts.too_large);
    if (unit_.bytes.empty()) return;
    ++counts.units;
    counts.damaged += unit_.is_damaged ? 1 : 0;
    counts.keys += unit_.is_key ? 1 : 0;
    sink_(unit_);
  }

  Counts counts;

 private:
  static constexpr unsigned idr = 5, stap_a = 24, fu_a = 28;

  void open(std::uint32_t timestamp) {
    if (!has_begun_) has_begun_ = true, timestamp_ = timestamp;
    const std::int64_t at = unit_.timestamp + static_cast<std::int32_t>(timestamp - timestamp_);
    timestamp_ = timestamp;
    unit_.timestamp = at, unit_.is_key = unit_.is_damaged = false;
    unit_.bytes.clear();
    is_open_ = true, is_too_large_ = false;
    fragment_.reset();
  }
  bool take(Bytes payload) {  // false: it is not what RFC 6184 says it should be
    if (payload.empty() || (payload[0] & std::byte{0x80}) != std::byte{}) return false;
    const unsigned kind = std::to_integer<unsigned>(payload[0]) & 31;
    if (kind == fu_a) return take_fragment(payload);
    if (std::exchange(fragment_, {})) unit_.is_damaged = true;  // it never ended
    if (kind != stap_a) return kind >= 1 && kind < stap_a && append_nal(payload);
    Bytes rest = payload.subspan(1);
    if (rest.empty()) return false;
    while (!rest.empty()) {
      const std::size_t size = rest.size() < 2 ? 0 : rtp::number_at(rest, 0, 2);
      if (size == 0 || size > rest.size() - 2 || !append_nal(rest.subspan(2, size))) return false;
      rest = rest.subspan(2 + size);
    }
    return true;
  }
  // 5.8: the first has the start bit, the last the end bit; a NAL unit is there when all of it is.
  bool take_fragment(Bytes payload) {
    if (payload.size() < 3) return false;
    const std::byte indicator = payload[0], header = payload[1];
    const bool is_start = (header & std::byte{0x80}) != std::byte{}, is_end = (header & std::byte{0x40}) != std::byte{};
    if (is_start && is_end) return false;
    if (is_start) {
      if (fragment_) unit_.is_damaged = true;
      fragment_.emplace(1, (indicator & std::byte{0xe0}) | (header & std::byte{0x1f}));
    } else if (!fragment_ || ((*fragment_)[0] & std::byte{0x1f}) != (header & std::byte{0x1f})) {
      return false;
    }
    const Bytes piece = payload.subspan(2);
    if (unit_.bytes.size() + fragment_->size() + piece.size() > largest) return is_too_large_ = true, false;
    fragment_->insert(fragment_->end(), piece.begin(), piece.end());
    return !is_end || append_nal(*std::exchange(fragment_, {}));
  }
  bool append_nal(Bytes nal) {
    constexpr std::byte start_code[] = {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}};
    if ((nal[0] & std::byte{0x80}) != std::byte{} || (nal[0] & std::byte{0x1f}) == std::byte{}) return false;
    if (unit_.bytes.size() + nal.size() + 4 > largest) return is_too_large_ = true, false;
    unit_.bytes.insert(unit_.bytes.end(), std::begin(start_code), std::end(start_code));
    unit_.bytes.insert(unit_.bytes.end(), nal.begin(), nal.end());
    unit_.is_key = unit_.is_key || (std::to_integer<unsigned>(nal[0]) & 31) == idr;
    return true;
  }

  std::function<void(const AccessUnit&)> sink_;
  AccessUnit unit_;
  bool has_begun_ = false, is_open_ = false, is_too_large_ = false, lost_before_ = false;
  std::uint32_t timestamp_ = 0;
  std::optional<std::vector<std::byte>> fragment_;
};

}  // namespace h264
