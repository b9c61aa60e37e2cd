// A datagram as it stands in an endpoint's rings: one record, in memory that an engine and applications of other processes share.
//
//   | RecordHeader | ancillary: IP options, UDP options | payload | padding to 64 |
//
// A super-datagram (segment_size != 0) is one record. Positions in a ring are 64-bit and only grow; the place in memory is the position modulo the
// ring's size, and a record never wraps (a `padding` record fills the end).
// Whoever reads a header from shared memory copies it once, checks the copy against the ring, and uses nothing but the copy.
#pragma once
#include <cstdint>
#include <type_traits>

#include <gannet/address.h>

namespace gannet::stack {

inline constexpr std::uint16_t record_version = 1;
inline constexpr std::size_t record_alignment = 64;
inline constexpr std::size_t max_segments = 128;  // of one record that is sent, as Linux's UDP_MAX_SEGMENTS

enum class RecordKind : std::uint16_t { padding, datagram, error };

struct RecordHeader {
  std::uint32_t size = 0;  // of the whole record, a multiple of record_alignment
  std::uint16_t version = record_version;
  RecordKind kind = RecordKind::padding;
  std::uint32_t payload_size = 0;   // of what stands here
  std::uint32_t datagram_size = 0;  // of the whole datagram
  Address peer;                     // in: who sent it; out: to whom, or port 0 for the connected peer
  Address local;                    // in: to which of our addresses; out: source override, or any
  std::uint32_t interface = 0;      // in: came by; out: leave by, or 0
  std::int16_t hop_limit = -1;      // out: -1 is the socket's own
  std::int16_t tos = -1;            // likewise
  std::int64_t time = 0;            // in: receive time, ns since 1970, or 0; out: transmit time, ns of the engine's clock, or 0
  std::uint32_t overflow = 0;       // in: datagrams dropped so far because the queue was full
  std::uint32_t timestamp_key = 0;  // out: comes back with the transmit timestamp
  std::uint16_t segment_size = 0;   // nonzero: payload is several datagrams of this size, the last may be shorter
  std::uint16_t segment_count = 0;
  std::uint16_t checksum_coverage = 0;  // UDP-Lite; 0 is all
  std::uint16_t ip_options_size = 0;
  std::uint16_t udp_options_size = 0;
  std::uint16_t flags = 0;
  std::uint64_t charge = 0;  // sum of the charges of all records before this one, against SO_RCVBUF or SO_SNDBUF

  // Error records only; their payload is the start of the datagram that the error is about.
  std::int32_t error_code = 0;    // errno
  std::uint8_t error_origin = 0;  // SocketError::Origin
  std::uint8_t error_type = 0;
  std::uint8_t error_icmp_code = 0;
  std::uint32_t error_mtu = 0;
  IpAddress error_offender;
};

static_assert(std::is_trivially_copyable_v<RecordHeader> && sizeof(RecordHeader) <= 192);

}  // namespace gannet::stack
