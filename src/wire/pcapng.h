// The blocks of a pcapng capture file, as emitters. Reading is in capture_reader.h.
//
//   +------------+--------------+------------------------+---------+--------------+
//   | block type | total length | body, padded to 32 bits| options | total length |      An option: code, length, value padded to 32 bits.
//   +------------+--------------+------------------------+---------+--------------+
//
// A file is a section block, then interfaces, which are numbered as they come, then packets and the rest in any order. Numbers stand in the
// machine's byte order, which the section block tells. Times are nanoseconds since 1970, UTC.
// Thread: any; there is no state.  Allocates: in the caller's vector, which keeps its capacity when it is cleared.
// Sources: draft-ietf-opsawg-pcapng.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <gannet/address.h>

namespace gannet::wire {

inline constexpr std::size_t capture_packet_max = 256 * 1024;
inline constexpr std::size_t capture_block_max = 1024 * 1024;

// What packets begin with (LINKTYPE_ numbers of tcpdump.org).
inline constexpr std::uint16_t link_type_ethernet = 1;
inline constexpr std::uint16_t link_type_raw = 101;  // an IPv4 or IPv6 header

struct CaptureSection {
  std::string_view hardware{};
  std::string_view os{};
  std::string_view application{};
  std::string_view comment{};
};

struct CaptureInterface {
  std::string_view name{};
  std::string_view description{};
  std::uint16_t link_type = link_type_ethernet;
  std::uint32_t snap_length = 0;  // 0: no limit
};

enum class Direction : std::uint8_t { unknown = 0, inbound = 1, outbound = 2 };
enum class Reception : std::uint8_t { unknown = 0, unicast = 1, multicast = 2, broadcast = 3, promiscuous = 4 };

struct CapturedPacket {
  std::uint32_t interface = 0;
  std::chrono::nanoseconds time{};
  std::span<const std::byte> bytes{};  // at most capture_packet_max
  std::uint32_t original_size = 0;     // 0: all of it is in bytes
  Direction direction = Direction::unknown;
  Reception reception = Reception::unknown;
  std::string_view comment{};
  std::optional<std::uint64_t> drop_count{};  // packets lost between the one before on this interface and this one
  std::optional<std::uint64_t> packet_id{};   // the same in two captures of one packet
  std::span<const std::byte> verdict{};       // as epb_verdict has it: a type byte, then what the type says
};

struct CaptureStatistics {
  std::uint32_t interface = 0;
  std::chrono::nanoseconds time{};
  std::optional<std::chrono::nanoseconds> start{};
  std::optional<std::chrono::nanoseconds> end{};
  std::optional<std::uint64_t> received{};
  std::optional<std::uint64_t> dropped{};   // for want of room
  std::optional<std::uint64_t> accepted{};  // by the filter
  std::optional<std::uint64_t> os_dropped{};
  std::optional<std::uint64_t> delivered{};
  std::string_view comment{};
};

struct CaptureName {
  IpAddress ip;
  std::string_view name;
};

inline constexpr std::uint32_t secrets_tls_key_log = 0x544c534b;  // lines as SSLKEYLOGFILE has them; DTLS too

// Each appends one block to `out`. Texts are cut at 65,535 bytes.
void emit_section(const CaptureSection& section, std::vector<std::byte>& out);
void emit_interface(const CaptureInterface& interface, std::vector<std::byte>& out);
void emit_packet(const CapturedPacket& packet, std::vector<std::byte>& out);
void emit_statistics(const CaptureStatistics& statistics, std::vector<std::byte>& out);
void emit_names(std::span<const CaptureName> names, std::vector<std::byte>& out);
void emit_secrets(std::uint32_t type, std::span<const std::byte> secrets, std::vector<std::byte>& out);

// Numbers of the format, for the reader and the tests.
namespace pcapng {
enum class Block : std::uint32_t {
  interface = 1,
  old_packet = 2,
  simple_packet = 3,
  names = 4,
  statistics = 5,
  packet = 6,
  secrets = 10,
  section = 0x0a0d0d0a,
};
inline constexpr std::uint32_t byte_order_magic = 0x1a2b3c4d;
namespace option {
inline constexpr std::uint16_t end = 0;
inline constexpr std::uint16_t comment = 1;
inline constexpr std::uint16_t section_hardware = 2;
inline constexpr std::uint16_t section_os = 3;
inline constexpr std::uint16_t section_application = 4;
inline constexpr std::uint16_t interface_name = 2;
inline constexpr std::uint16_t interface_description = 3;
inline constexpr std::uint16_t interface_time_resolution = 9;
inline constexpr std::uint16_t interface_time_offset = 14;
inline constexpr std::uint16_t packet_flags = 2;
inline constexpr std::uint16_t packet_drop_count = 4;
inline constexpr std::uint16_t packet_id = 5;
inline constexpr std::uint16_t packet_verdict = 7;
inline constexpr std::uint16_t statistics_start = 2;
inline constexpr std::uint16_t statistics_end = 3;
inline constexpr std::uint16_t statistics_received = 4;
inline constexpr std::uint16_t statistics_dropped = 5;
inline constexpr std::uint16_t statistics_accepted = 6;
inline constexpr std::uint16_t statistics_os_dropped = 7;
inline constexpr std::uint16_t statistics_delivered = 8;
}  // namespace option
}  // namespace pcapng

}  // namespace gannet::wire
