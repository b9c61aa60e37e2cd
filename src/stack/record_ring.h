// Rings of datagram records in memory that an engine and applications share (record.h says what a record is).
//
// Two kinds, one for each direction:
//   receive ring: one writer (the engine), any number of readers in any threads and processes. RingWriter -> RingReader.
//   send ring:    any threads and signal handlers of one process write, the engine reads.     SendRingWriter -> SendRingReader.
//
// There is no lock in either, and no system call. Trust: each side believes its own memory only. It keeps its own position, checks what the other
// side wrote against the ring, once, on a copy; who writes nonsense loses its own datagrams and harms nobody else.
//
// Why no reader of a receive ring ever returns torn bytes. A reader copies the record at `tail` and then moves `tail` over it by compare-and-swap
// (release). `tail` leaves a value once and for ever, positions being 64-bit; and the writer overwrites a place only after an acquire load showed it
// a `tail` past it. So if the reader's swap succeeds, the writer's load that allowed the overwriting reads from that swap or a later one: the
// reader's copy happens before the overwriting, and is whole. If the swap fails, the copy is thrown away, torn or not.
//
// Why no engine sees half a record in a send ring. A thread reserves a span by moving `head`, writes the record, then stores the record's end
// position in the commit word of its first block (release). The commit words stand apart from the payloads, so nothing a peer can send looks like
// one; and one that a former lap left behind is at most the span's own position, hence never taken for the end of what starts there.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include "stack/record.h"
#include "wire/drop.h"

namespace gannet::stack {

inline constexpr std::size_t max_ip_options = 40;
inline constexpr std::size_t max_udp_options = 1024;
inline constexpr std::size_t max_record_payload = 65535;
inline constexpr std::size_t max_record_size = (sizeof(RecordHeader) + max_ip_options + max_udp_options + max_record_payload + 63) / 64 * 64;
inline constexpr std::size_t min_ring_size = 4 * max_record_size;

// What a datagram costs against SO_RCVBUF or SO_SNDBUF: about what Linux charges for it (768 bytes for a small one), and never less than its record.
std::uint64_t charge_of(std::size_t payload_size);

struct RingControl {
  alignas(64) std::atomic<std::uint64_t> head = 0;  // stored by the writer: records end here
  alignas(64) std::atomic<std::uint64_t> tail = 0;  // moved by readers: the oldest record is here
};

// Writes a receive or error ring.  Thread: the engine's.
class RingWriter {
 public:
  // The size of `memory` is a power of two; the largest record is a quarter of it.
  RingWriter(RingControl& control, std::span<std::byte> memory);

  // Appends a record; fills in size, version and charge of the header. False: the charges in the ring exceed `limit`, or there is no room. As on
  // Linux, a record that starts within the limit is taken whole, however large.
  bool write(RecordHeader header, std::span<const std::byte> ip_options, std::span<const std::byte> payload, std::uint64_t charge,
             std::uint64_t limit);

  [[nodiscard]] std::uint64_t head() const { return head_; }
  [[nodiscard]] std::uint64_t tail();  // as far as readers have come
  [[nodiscard]] std::uint64_t used();  // sum of the charges of what is in the ring

 private:
  void refresh();
  bool make_room(std::size_t size, std::uint64_t limit);

  RingControl& control_;
  std::span<std::byte> memory_;
  std::uint64_t head_ = 0;            // ours: what stands in the control block is for others to read
  std::uint64_t tail_ = 0;            // the last believable one seen
  std::uint64_t charged_ = 0;         // of all records ever written
  std::uint64_t charged_before_ = 0;  // of those before tail_, as the record there tells
};

// What a reader got; the bytes are in the buffers that it gave.
struct RecordRead {
  RecordHeader header;
  std::size_t payload_copied = 0;
  std::size_t options_copied = 0;  // IP options
  bool emptied = false;            // nothing was behind it when it was taken
};

// Reads a receive or error ring.  Threads: any, at once, and other processes.
class RingReader {
 public:
  RingReader(RingControl& control, std::span<const std::byte> memory) : control_(control), memory_(memory) {}

  // The oldest record, copied, and removed unless `peek`; what does not fit the buffers is cut off. None when the ring is empty.
  std::optional<RecordRead> read(std::span<std::byte> payload, std::span<std::byte> ip_options, bool peek = false);
  [[nodiscard]] bool is_empty() const;

 private:
  RingControl& control_;
  std::span<const std::byte> memory_;
};

struct SendControl {
  alignas(64) std::atomic<std::uint64_t> head = 0;         // spans up to here are reserved
  std::atomic<std::uint64_t> charged = 0;                  // sum of the charges of all that was written
  std::atomic<std::uint64_t> limit = 0;                    // SO_SNDBUF
  alignas(64) std::atomic<std::uint64_t> tail = 0;         // stored by the engine: taken up to here
  std::atomic<std::uint64_t> released = 0;                 // sum of the charges of all that was taken
  alignas(64) std::atomic<std::uint32_t> need_wakeup;      // 1: the engine does not look here until it is told
  alignas(64) std::atomic<std::uint32_t> space_epoch = 0;  // a futex: moves when the ring was full and is half empty
  std::atomic<std::uint32_t> space_waiters = 0;
};

inline constexpr std::size_t commit_words(std::size_t ring_size) { return ring_size / record_alignment; }

// Writes a send ring.  Threads: any of the process that owns the ring, and its signal handlers.
class SendRingWriter {
 public:
  // `commits` has commit_words(memory.size()) entries.
  SendRingWriter(SendControl& control, std::span<std::atomic<std::uint64_t>> commits, std::span<std::byte> memory)
      : control_(control), commits_(commits), memory_(memory) {}

  // False when SO_SNDBUF is used up or there is no room.
  bool write(RecordHeader header, std::span<const std::byte> ip_options, std::span<const std::byte> payload);
  [[nodiscard]] bool is_full() const { return used() > control_.limit.load(std::memory_order_relaxed); }
  // Half of SO_SNDBUF is free again: when waiting senders go on.
  [[nodiscard]] bool has_space() const { return used() <= control_.limit.load(std::memory_order_relaxed) / 2; }
  [[nodiscard]] std::uint64_t used() const;

 private:
  SendControl& control_;
  std::span<std::atomic<std::uint64_t>> commits_;
  std::span<std::byte> memory_;
};

// One datagram that an application wants sent: all of it checked, but for the payload's bytes.
struct SendRequest {
  RecordHeader header;
  std::array<std::byte, max_ip_options> ip_options{};
  std::span<const std::byte> payload;  // in shared memory, where the application may still change it: read each byte once. Ends with finish()
};

// Reads a send ring.  Thread: the engine's.
class SendRingReader {
 public:
  SendRingReader(SendControl& control, std::span<const std::atomic<std::uint64_t>> commits, std::span<const std::byte> memory)
      : control_(&control), commits_(commits), memory_(memory) {}

  // The oldest record, left in place until finish(). False: there is none. Drop::send_record_invalid: it contradicted itself and was skipped, or,
  // where its end cannot be believed either, the ring is given up for good.
  std::expected<bool, Drop> next(SendRequest& request);
  void finish();
  [[nodiscard]] bool is_empty() const;
  [[nodiscard]] std::uint64_t tail() const { return tail_; }

 private:
  std::uint64_t committed_end() const;
  void skip(std::uint64_t end, std::uint64_t charge);

  SendControl* control_;
  std::span<const std::atomic<std::uint64_t>> commits_;
  std::span<const std::byte> memory_;
  std::uint64_t tail_ = 0;
  std::uint64_t end_ = 0;     // of the record that next() gave; 0: none
  std::uint64_t charge_ = 0;  // of it
  std::uint64_t released_ = 0;
  bool given_up_ = false;
};

}  // namespace gannet::stack
