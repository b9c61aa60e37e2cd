// Packets of RTP, and what their numbers tell of the way they took: which are to be believed, how many are missing, how unevenly they come (RFC
// 3550).
//
// For rtp_receiver.cc and voip.cc. Neither socket nor clock: time is an argument. Anybody may have sent the bytes, and each is checked before its
// use; that the right one did, only SRTP can tell.
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rtp {

using Time = std::chrono::steady_clock::time_point;
using Bytes = std::span<const std::byte>;

// Big-endian numbers; what is read is there, who calls has looked.
inline std::uint32_t number_at(Bytes bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (const std::byte octet : bytes.subspan(at, size)) value = value << 8 | std::to_integer<std::uint32_t>(octet);
  return value;
}
inline void append(std::vector<std::byte>& bytes, std::uint32_t value, std::size_t size) {
  while (size-- > 0) bytes.push_back(static_cast<std::byte>(value >> 8 * size));
}

struct Packet {
  std::uint8_t type = 0;  // of the payload
  bool marker = false;
  std::uint16_t sequence = 0;
  std::uint32_t timestamp = 0, ssrc = 0;
  Bytes payload;
};

// Nothing where the bytes are no packet of RTP's (5.1, A.1). The types 64 to 95 are RTCP's, should it share the port (RFC 5761 4).
inline std::optional<Packet> parse(Bytes datagram) {
  if (datagram.size() < 12) return {};
  const std::uint32_t flags = number_at(datagram, 0, 1), kind = number_at(datagram, 1, 1);
  if (flags >> 6 != 2 || (kind & 0x60) == 0x40) return {};
  std::size_t begin = 12 + 4 * std::size_t{flags & 15}, end = datagram.size();  // the contributing sources are of no interest here
  if ((flags & 0x10) != 0) {                                                    // nor are extensions (5.3.1)
    if (begin + 4 > end) return {};
    begin += 4 + 4 * std::size_t{number_at(datagram, begin + 2, 2)};
  }
  if (begin > end) return {};
  if ((flags & 0x20) != 0) {  // padding: its last byte counts it
    const std::size_t padding = begin < end ? number_at(datagram, end - 1, 1) : 0;
    if (padding == 0 || padding > end - begin) return {};
    end -= padding;
  }
  return Packet{.type = static_cast<std::uint8_t>(kind & 0x7f),
                .marker = (kind & 0x80) != 0,
                .sequence = static_cast<std::uint16_t>(number_at(datagram, 2, 2)),
                .timestamp = number_at(datagram, 4, 4),
                .ssrc = number_at(datagram, 8, 4),
                .payload = datagram.subspan(begin, end - begin)};
}

inline std::vector<std::byte> emit(const Packet& packet) {
  std::vector<std::byte> bytes;
  append(bytes, 0x8000u | (packet.marker ? 0x80u : 0u) | packet.type, 2);
  append(bytes, packet.sequence, 2);
  append(bytes, packet.timestamp, 4);
  append(bytes, packet.ssrc, 4);
  bytes.insert(bytes.end(), packet.payload.begin(), packet.payload.end());
  return bytes;
}

// What a report says of a source (6.4.1). Loss counts what was sent and did not come, less what came twice.
struct Reception {
  std::uint8_t fraction_lost = 0;  // in 256ths, since the last report
  std::int32_t lost = 0;
  std::uint32_t highest = 0;  // sequence number, with how often it began anew in the upper half
  std::uint32_t jitter = 0;   // in units of the timestamps
};

class Source {
 public:
  // `rate` of the timestamps, Hz; `first` sequence number, which is to have the number 0.
  Source(unsigned rate, std::uint16_t first) : rate_(rate) { begin(first); }

  // The packet's number, which neither wraps nor jumps when the sender begins anew. Nothing: it is not to be believed (A.1).
  std::optional<std::int64_t> take(const Packet& packet, Time arrival) {
    auto ahead = static_cast<std::uint16_t>(packet.sequence - newest_);
    if (ahead >= most_missing && ahead <= 65536 - most_misordered) {
      // Somebody else's; or the sender's, who began anew, and then the next one follows.
      const bool follows = restart_ == packet.sequence;
      restart_ = static_cast<std::uint16_t>(packet.sequence + 1);
      if (!follows) return {};
      begin(packet.sequence), ++restarts_;
      ahead = 1;
    }
    ++received_;
    note_transit(packet, arrival);
    if (ahead >= most_missing) return number_ - (65536 - ahead);  // overtaken
    cycles_ += packet.sequence < newest_ ? 1 : 0;
    newest_ = packet.sequence;
    return number_ += ahead;
  }

  // For the next report: A.3. Asking begins a new interval.
  Reception report() {
    const std::int64_t highest = std::int64_t{cycles_} * 65536 + newest_, expected = highest - first_ + 1;
    const std::int64_t of = expected - expected_before_, missing = of - (received_ - received_before_);
    expected_before_ = expected, received_before_ = received_;
    return {.fraction_lost = static_cast<std::uint8_t>(of > 0 && missing > 0 ? std::min<std::int64_t>(missing * 256 / of, 255) : 0),
            .lost = static_cast<std::int32_t>(std::clamp<std::int64_t>(expected - received_, -0x800000, 0x7fffff)),
            .highest = static_cast<std::uint32_t>(highest),
            .jitter = static_cast<std::uint32_t>(jitter_)};
  }
  [[nodiscard]] double jitter() const { return jitter_ / rate_; }  // seconds
  [[nodiscard]] unsigned restarts() const { return restarts_; }
  static constexpr unsigned most_missing = 3000, most_misordered = 100;  // A.1

 private:
  void begin(std::uint16_t sequence) {
    first_ = sequence, newest_ = static_cast<std::uint16_t>(sequence - 1);
    cycles_ = sequence == 0 ? -1 : 0;
    received_ = received_before_ = expected_before_ = 0;
  }
  // A.8: how much the time under way differs from that of the packet before, smoothed.
  void note_transit(const Packet& packet, Time arrival) {
    const double ticks = std::chrono::duration<double>(arrival.time_since_epoch()).count() * rate_;
    const std::uint32_t transit = static_cast<std::uint32_t>(static_cast<std::int64_t>(ticks)) - packet.timestamp;
    const auto difference = static_cast<std::int32_t>(transit - transit_);
    if (has_transit_) jitter_ += (std::abs(static_cast<double>(difference)) - jitter_) / 16;
    transit_ = transit, has_transit_ = true;
  }

  unsigned rate_, restarts_ = 0;
  int cycles_ = 0;
  std::uint16_t newest_ = 0, first_ = 0;
  std::optional<std::uint16_t> restart_;
  std::int64_t number_ = -1, received_ = 0, received_before_ = 0, expected_before_ = 0;
  bool has_transit_ = false;
  std::uint32_t transit_ = 0;
  double jitter_ = 0;
};

}  // namespace rtp
