// The capture unit: packets and what is known about them, as pcapng blocks in a bounded buffer that somebody else writes out.
//
//   section header, interface, packet, interface, packet, packet, ..., statistics of each interface
//
// A packet carries its direction, and as a comment why it was dropped ("dropped: udp_no_socket") and whose it is ("process 812 (python3),
// socket 3"). When the
// buffer is full a packet is missed, never waited for: the next block of its interface says how many were (epb_dropcount), and the statistics say it
// all. Owner: a CaptureFile, or whoever empties the buffer.  Thread: one engine's.  Allocates: at construction only. Sources:
// draft-ietf-opsawg-pcapng (Section Header, Interface Description, Enhanced Packet, Decryption Secrets, Interface Statistics Block).
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "link/byte_ring.h"
#include "link/flow.h"
#include "wire/drop.h"

namespace gannet::link {

struct Annotation {
  std::optional<Direction> direction{};
  std::optional<Drop> drop{};
  std::uint32_t process = 0;        // 0: not known
  std::string_view process_name{};  // up to 32 bytes of it are kept
  std::uint32_t socket = 0;         // 0: not known
  std::string_view comment{};       // more, for people; up to 128 bytes of it are kept
};

class Capture {
 public:
  static constexpr std::size_t max_interfaces = 64;

  // Writes into `out`, which must be able to hold the largest packet. `real_time_offset` is what to add to a Time for nanoseconds since 1970.
  Capture(ByteRing& out, Duration real_time_offset);

  // One more interface; packets begin with an Ethernet header, or else with the IP header. Returns its handle. `name`, up to 32 bytes of it, stands
  // in the file. At most max_interfaces.
  std::uint32_t add_interface(std::string_view name, bool ethernet);

  // One packet of an interface, whole.
  void take(std::uint32_t interface, std::span<const std::byte> packet, Time now, const Annotation& annotation);

  // Keys, as lines of a key log (SSLKEYLOGFILE): whoever reads the file can open what was sealed with them. False: no room for them now.
  bool add_secrets(std::string_view key_log);

  // The statistics, once, at the end. False, and to be called again, when the buffer has too little room.
  bool finish(Time now);

  // Packets of an interface so far, and those among them that the buffer had no room for.
  [[nodiscard]] std::uint64_t seen(std::uint32_t interface) const { return interfaces_[interface].seen; }
  [[nodiscard]] std::uint64_t missed(std::uint32_t interface) const { return interfaces_[interface].missed; }

 private:
  struct Interface {
    std::array<char, 32> name{};
    std::size_t name_size = 0;
    bool ethernet = true;
    std::optional<std::uint32_t> number;  // in the file, once its block is there
    std::uint64_t seen = 0;
    std::uint64_t missed = 0;      // the buffer was full
    std::uint64_t unreported = 0;  // of these, not yet told in a packet's block
  };
  // The interface's number in the file. Where it has none yet, its block goes into scratch_ first, and it takes the next.
  std::uint32_t describe(const Interface& interface, std::uint32_t next_number);
  [[nodiscard]] std::chrono::nanoseconds real_time(Time now) const { return now.time_since_epoch() + real_time_offset_; }

  ByteRing& out_;
  Duration real_time_offset_;
  std::vector<std::byte> scratch_;  // the blocks of one call: they go into the buffer together, or not at all
  std::array<Interface, max_interfaces> interfaces_{};
  std::uint32_t count_ = 0;      // interfaces
  std::uint32_t described_ = 0;  // interfaces that have a number in the file
};

}  // namespace gannet::link
