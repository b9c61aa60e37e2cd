#include "stack/record_ring.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.h"

namespace gannet::stack {
namespace {

// Whether an empty ring starts again at its beginning: so a socket that is read as fast as it fills stays in the cache and touches few pages. Not
// before all that the limit allows fits in front of `place`, since what is behind it is taken until the reader has come past the padding.
constexpr bool may_restart(std::size_t place, std::uint64_t limit) { return place >= max_record_size && place - max_record_size >= limit; }

// Linux: a sk_buff (256 bytes), and a head from the allocator's powers of two with headers and skb_shared_info (320 bytes) in it; pages when large.
constexpr std::size_t buffer_overhead = 256;
constexpr std::size_t head_overhead = 384;

// A copy during which the other side may write: what it copied counts only if the compare-and-swap after it succeeds (see record_ring.h). It is a
// memcpy, as in any sequence lock; ThreadSanitizer is shown atomic bytes, since it cannot know that torn ones are thrown away.
void copy_shared(void* to, const void* from, std::size_t size) {
#ifdef __SANITIZE_THREAD__
  auto* out = static_cast<unsigned char*>(to);
  auto* in = const_cast<unsigned char*>(static_cast<const unsigned char*>(from));
  for (std::size_t i = 0; i < size; ++i) {
    std::atomic_ref(out[i]).store(std::atomic_ref(in[i]).load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
#else
  if (size != 0) std::memcpy(to, from, size);
#endif
}

constexpr std::size_t round_up(std::size_t size) { return (size + record_alignment - 1) / record_alignment * record_alignment; }

// The first bytes of every record, all that a padding record has.
struct Prefix {
  std::uint32_t size;
  std::uint16_t version;
  RecordKind kind;
};
static_assert(offsetof(RecordHeader, size) == 0 && offsetof(RecordHeader, version) == 4 && offsetof(RecordHeader, kind) == 6);

// What no socket asks for. One record that is cut into tens of thousands of datagrams would keep the engine from everybody else.
bool is_impossible(const RecordHeader& header) {
  const auto out_of_range = [](std::int16_t field) { return field < -1 || field > 255; };
  return out_of_range(header.hop_limit) || out_of_range(header.tos) ||
         (header.segment_size != 0 && header.payload_size > max_segments * header.segment_size);
}

// Whether a record's parts fit the record, whose size is believed.
bool fits(const RecordHeader& header, std::uint64_t size) {
  if (header.version != record_version || header.kind == RecordKind::padding) return false;
  if (header.ip_options_size > max_ip_options || header.udp_options_size > max_udp_options || header.payload_size > max_record_payload) return false;
  return sizeof(RecordHeader) + header.ip_options_size + header.udp_options_size + header.payload_size <= size;
}

}  // namespace

std::uint64_t charge_of(std::size_t payload_size) {
  const std::size_t head = payload_size + head_overhead;
  if (head <= 4096) return buffer_overhead + std::max<std::size_t>(512, std::bit_ceil(head));
  return buffer_overhead + (head + 4095) / 4096 * 4096;
}

RingWriter::RingWriter(RingControl& control, std::span<std::byte> memory) : control_(control), memory_(memory) {
  ASSERT(std::has_single_bit(memory.size()) && memory.size() >= record_alignment);
}

std::uint64_t RingWriter::tail() {
  // Readers are not trusted: a tail that goes back, or past what was written, or between records' places is not believed, and the ring stays as full
  // as it was.
  const std::uint64_t tail = control_.tail.load(std::memory_order_acquire);
  if (tail >= tail_ && tail <= head_ && tail % record_alignment == 0) tail_ = tail;
  return tail_;
}

void RingWriter::refresh() {
  if (tail() == head_) {
    charged_before_ = charged_;
    return;
  }
  std::size_t place = tail_ & (memory_.size() - 1);
  Prefix prefix;
  copy_shared(&prefix, &memory_[place], sizeof prefix);
  if (prefix.kind == RecordKind::padding) place = 0;  // padding ends with the ring, and a record always follows it
  if (memory_.size() - place < sizeof(RecordHeader)) return;
  std::uint64_t before = 0;
  copy_shared(&before, &memory_[place + offsetof(RecordHeader, charge)], sizeof before);
  if (before >= charged_before_ && before <= charged_) charged_before_ = before;
}

std::uint64_t RingWriter::used() {
  refresh();
  return charged_ - charged_before_;
}

// Makes the next `size` bytes contiguous and free, by a padding record up to the ring's end where needed.
bool RingWriter::make_room(std::size_t size, std::uint64_t limit) {
  const std::size_t place = head_ & (memory_.size() - 1);
  const std::size_t to_end = memory_.size() - place;
  const bool must_wrap = to_end < size;
  const std::size_t padding = must_wrap || (may_restart(place, limit) && tail() == head_) ? to_end : 0;
  if (head_ + padding + size - tail_ > memory_.size() && head_ + padding + size - tail() > memory_.size()) return false;
  if (padding != 0) {
    const Prefix prefix{static_cast<std::uint32_t>(padding), record_version, RecordKind::padding};
    copy_shared(&memory_[place], &prefix, sizeof prefix);
    head_ += padding;
  }
  return true;
}

bool RingWriter::write(RecordHeader header, std::span<const std::byte> ip_options, std::span<const std::byte> payload, std::uint64_t charge,
                       std::uint64_t limit) {
  ASSERT(ip_options.size() <= max_ip_options && payload.size() <= max_record_payload);
  if (charged_ - charged_before_ > limit && used() > limit) return false;
  const std::size_t size = round_up(sizeof header + ip_options.size() + payload.size());
  if (!make_room(size, limit)) return false;

  header.size = static_cast<std::uint32_t>(size);
  header.version = record_version;
  header.ip_options_size = static_cast<std::uint16_t>(ip_options.size());
  header.udp_options_size = 0;
  header.payload_size = static_cast<std::uint32_t>(payload.size());
  header.charge = charged_;
  std::byte* at = &memory_[head_ & (memory_.size() - 1)];
  copy_shared(at, &header, sizeof header);
  copy_shared(at + sizeof header, ip_options.data(), ip_options.size());
  copy_shared(at + sizeof header + ip_options.size(), payload.data(), payload.size());

  charged_ += charge;
  head_ += size;
  control_.head.store(head_, std::memory_order_release);
  return true;
}

bool RingReader::is_empty() const {
  const std::uint64_t tail = control_.tail.load(std::memory_order_acquire);
  return tail == control_.head.load(std::memory_order_acquire);
}

std::optional<RecordRead> RingReader::read(std::span<std::byte> payload, std::span<std::byte> ip_options, bool peek) {
  RecordRead record;
  for (;;) {
    std::uint64_t tail = control_.tail.load(std::memory_order_acquire);
    const std::uint64_t head = control_.head.load(std::memory_order_acquire);
    if (tail == head) return std::nullopt;

    // Any of what follows may be stale or torn; then the swap at the end fails. If it is nonsense and the swap succeeds all the same, somebody wrote
    // into memory that is not theirs to write: everything up to the head is thrown away.
    std::uint64_t next = head;
    bool is_record = false;
    const std::size_t place = tail & (memory_.size() - 1);
    const std::size_t most = static_cast<std::size_t>(std::min<std::uint64_t>(head - tail, memory_.size() - place));
    Prefix prefix{};
    if (head - tail <= memory_.size() && tail % record_alignment == 0) copy_shared(&prefix, &memory_[place], sizeof prefix);
    const bool is_whole = prefix.size != 0 && prefix.size % record_alignment == 0 && prefix.size <= most;
    if (is_whole && prefix.kind == RecordKind::padding) {
      next = tail + prefix.size;
    } else if (is_whole && prefix.size >= sizeof record.header) {
      const std::byte* at = &memory_[place];
      copy_shared(&record.header, at, sizeof record.header);
      if (fits(record.header, prefix.size)) {
        at += sizeof record.header;
        record.options_copied = std::min<std::size_t>(record.header.ip_options_size, ip_options.size());
        copy_shared(ip_options.data(), at, record.options_copied);
        at += record.header.ip_options_size + record.header.udp_options_size;
        record.payload_copied = std::min<std::size_t>(record.header.payload_size, payload.size());
        copy_shared(payload.data(), at, record.payload_copied);
        next = tail + prefix.size;
        is_record = true;
      }
    }
    record.emptied = next == head;
    // A peek swaps the tail for itself: it moves nothing, and proves the same.
    const std::uint64_t moved = is_record && peek ? tail : next;
    if (control_.tail.compare_exchange_strong(tail, moved, std::memory_order_acq_rel, std::memory_order_relaxed) && is_record) return record;
  }
}

std::uint64_t SendRingWriter::used() const {
  // Released first: whoever reads a charge after its release would find the ring fuller than full.
  const std::uint64_t released = control_.released.load(std::memory_order_acquire);
  return control_.charged.load(std::memory_order_acquire) - released;
}

bool SendRingWriter::write(RecordHeader header, std::span<const std::byte> ip_options, std::span<const std::byte> payload) {
  ASSERT(ip_options.size() <= max_ip_options && payload.size() <= max_record_payload);
  const std::uint64_t limit = control_.limit.load(std::memory_order_relaxed);
  if (used() > limit) return false;
  const std::size_t size = round_up(sizeof header + ip_options.size() + payload.size());
  std::uint64_t head = control_.head.load(std::memory_order_relaxed);
  std::size_t padding = 0;
  do {
    const std::uint64_t tail = control_.tail.load(std::memory_order_acquire);
    const std::size_t place = head & (memory_.size() - 1);
    const std::size_t to_end = memory_.size() - place;
    padding = to_end < size || (may_restart(place, limit) && tail == head) ? to_end : 0;
    if (head + padding + size - tail > memory_.size()) return false;
  } while (!control_.head.compare_exchange_weak(head, head + padding + size, std::memory_order_acq_rel, std::memory_order_relaxed));
  control_.charged.fetch_add(charge_of(payload.size()), std::memory_order_acq_rel);

  const std::size_t mask = memory_.size() - 1;
  if (padding != 0) commits_[(head & mask) / record_alignment].store((head + padding) | 1, std::memory_order_release);
  head += padding;
  header.size = static_cast<std::uint32_t>(size);
  header.version = record_version;
  header.kind = RecordKind::datagram;
  header.ip_options_size = static_cast<std::uint16_t>(ip_options.size());
  header.udp_options_size = 0;
  header.payload_size = static_cast<std::uint32_t>(payload.size());
  std::byte* at = &memory_[head & mask];
  std::memcpy(at, &header, sizeof header);
  if (!ip_options.empty()) std::memcpy(at + sizeof header, ip_options.data(), ip_options.size());
  if (!payload.empty()) std::memcpy(at + sizeof header + ip_options.size(), payload.data(), payload.size());
  commits_[(head & mask) / record_alignment].store(head + size, std::memory_order_release);
  return true;
}

// The end of the record at tail_, its lowest bit set for padding; or 0 when there is none yet.
std::uint64_t SendRingReader::committed_end() const {
  if (given_up_) return 0;
  const std::uint64_t end = commits_[(tail_ & (memory_.size() - 1)) / record_alignment].load(std::memory_order_acquire);
  return end > tail_ && end - tail_ <= memory_.size() + 1 ? end : 0;
}

bool SendRingReader::is_empty() const { return committed_end() == 0; }

std::expected<bool, Drop> SendRingReader::next(SendRequest& request) {
  for (;;) {
    const std::uint64_t committed = committed_end();
    if (committed == 0) return false;
    const bool is_padding = (committed & 1) != 0;
    const std::uint64_t end = committed & ~std::uint64_t{1};
    const std::size_t place = tail_ & (memory_.size() - 1);
    const std::uint64_t size = end - tail_;
    if (size == 0 || size % record_alignment != 0 || size > memory_.size() - place || (!is_padding && size < sizeof(RecordHeader))) {
      given_up_ = true;
      return std::unexpected(Drop::send_record_invalid);
    }
    if (is_padding) {
      skip(end, 0);
      continue;
    }
    const std::byte* at = &memory_[place];
    std::memcpy(&request.header, at, sizeof request.header);
    if (!fits(request.header, size) || request.header.kind != RecordKind::datagram || is_impossible(request.header)) {
      skip(end, 0);
      return std::unexpected(Drop::send_record_invalid);
    }
    at += sizeof request.header;
    std::memcpy(request.ip_options.data(), at, request.header.ip_options_size);
    at += request.header.ip_options_size + request.header.udp_options_size;
    request.payload = {at, request.header.payload_size};
    end_ = end;
    charge_ = charge_of(request.header.payload_size);
    return true;
  }
}

void SendRingReader::finish() {
  ASSERT(end_ > tail_);
  skip(end_, charge_);
}

void SendRingReader::skip(std::uint64_t end, std::uint64_t charge) {
  tail_ = end;
  released_ += charge;
  // The charge is released before the place, so that who sees the place free finds it uncharged.
  control_->released.store(released_, std::memory_order_release);
  control_->tail.store(tail_, std::memory_order_release);
}

}  // namespace gannet::stack
