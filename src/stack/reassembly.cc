#include "stack/reassembly.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/assert.h"
#include "wire/checksum.h"
#include "wire/endian.h"

namespace gannet::stack {
namespace {

// RFC 3168 section 5: the two low bits of TOS.
constexpr std::uint8_t ecn_mask = 3;
constexpr std::uint8_t ecn_ce = 3;
constexpr std::uint8_t saw_not_ect = 1 << 0;
constexpr std::uint8_t saw_ce = 1 << ecn_ce;

// What a frame costs is its chunk, however little of it is used.
std::size_t charge_of(const Frame& frame) { return frame.headroom() + frame.size() + frame.tailroom(); }

}  // namespace

Reassembly::Reassembly(Context& context)
    : context_(context),
      key_{context.rng.next(), context.rng.next()},
      datagrams_(context.config.reassembly_datagrams),
      fragments_(context.config.reassembly_fragments),
      buckets_(std::bit_ceil(context.config.reassembly_datagrams), none) {
  ASSERT(datagrams_.size() < none && fragments_.size() < none);
  for (std::size_t i = datagrams_.size(); i-- > 0;) datagrams_[i].next_in_bucket = std::exchange(free_datagram_, static_cast<Slot>(i));
  for (std::size_t i = fragments_.size(); i-- > 0;) fragments_[i].next = std::exchange(free_fragment_, static_cast<Slot>(i));
}

Frame Reassembly::input(const wire::Ipv4& fragment, std::uint32_t interface, bool link_broadcast, Frame frame, Time now) {
  context_.counters.reassembly_required.add();
  const Key key{fragment.src, fragment.dst, fragment.id, fragment.protocol};
  const std::uint32_t begin = fragment.fragment_offset;
  const std::uint32_t end = begin + static_cast<std::uint32_t>(fragment.payload.size());
  const std::size_t charge = charge_of(frame);

  Slot slot = look_up(key);
  Slot after = none;
  if (slot != none) {
    const auto place = find_place(datagrams_[slot], begin, end, fragment.more_fragments);
    if (!place) {
      context_.fates.drop(place.error(), frame.bytes());
      if (place.error() != Drop::fragment_duplicate) drop(slot, place.error());
      return {};
    }
    after = *place;
  }
  if (!make_room(key.src, charge, slot)) {
    context_.fates.drop(Drop::fragment_table_full, frame.bytes());
    return {};
  }
  if (slot == none) {
    slot = make(key, now);
    datagrams_[slot].interface = interface;
    datagrams_[slot].link_broadcast = link_broadcast;
  }
  insert(slot, after, std::move(frame), fragment);
  return datagrams_[slot].total != 0 && datagrams_[slot].received == datagrams_[slot].total ? assemble(slot) : Frame();
}

// After which fragment this one stands (none: first), or why it cannot be part of the datagram.
std::expected<Reassembly::Slot, Drop> Reassembly::find_place(const Datagram& datagram, std::uint32_t begin, std::uint32_t end, bool more) const {
  const std::uint32_t last_end = fragments_[datagram.last].end;
  if (begin >= last_end) {  // in order, as they come almost always
    if (datagram.total != 0) return std::unexpected(Drop::fragment_malformed);
    return datagram.last;
  }
  Slot before = none;
  Slot next = datagram.first;
  while (next != none && fragments_[next].end <= begin) before = std::exchange(next, fragments_[next].next);
  const Fragment& neighbor = fragments_[next];
  const bool is_last_of_all = next == datagram.last && datagram.total != 0;
  if (neighbor.begin == begin && neighbor.end == end && is_last_of_all != more) return std::unexpected(Drop::fragment_duplicate);
  if (neighbor.begin < end) return std::unexpected(Drop::fragment_overlap);
  if (!more) return std::unexpected(Drop::fragment_malformed);
  return before;
}

// Lets older datagrams go until this fragment fits: the source's own while it has more than its share, then anybody's.
bool Reassembly::make_room(const IpAddress& src, std::size_t charge, Slot keep) {
  const Config& config = context_.config;
  const std::size_t share = config.reassembly_source_share;
  Usage used = usage_of(src);
  while ((used.bytes + charge) * share > config.reassembly_bytes || (used.fragments + 1) * share > config.reassembly_fragments ||
         (used.datagrams + (keep == none)) * share > config.reassembly_datagrams) {
    const Slot oldest = oldest_of(&src, keep);
    if (oldest == none) return false;
    drop(oldest, Drop::fragment_table_full);
    used = usage_of(src);
  }
  while (bytes_ + charge > config.reassembly_bytes || free_fragment_ == none || (keep == none && free_datagram_ == none)) {
    const Slot oldest = oldest_of(nullptr, keep);
    if (oldest == none) return false;
    drop(oldest, Drop::fragment_table_full);
  }
  return true;
}

Reassembly::Usage Reassembly::usage_of(const IpAddress& src) const {
  Usage usage;
  for (Slot slot = oldest_; slot != none; slot = datagrams_[slot].newer) {
    if (datagrams_[slot].key.src != src) continue;
    usage.bytes += datagrams_[slot].bytes;
    usage.fragments += datagrams_[slot].fragments;
    ++usage.datagrams;
  }
  return usage;
}

Reassembly::Slot Reassembly::oldest_of(const IpAddress* src, Slot except) const {
  Slot slot = oldest_;
  while (slot != none && (slot == except || (src != nullptr && datagrams_[slot].key.src != *src))) slot = datagrams_[slot].newer;
  return slot;
}

Reassembly::Slot Reassembly::make(const Key& key, Time now) {
  const Slot slot = free_datagram_;
  Datagram& datagram = datagrams_[slot];
  free_datagram_ = datagram.next_in_bucket;
  datagram = {.key = key, .older = newest_, .expires = now + context_.config.reassembly_timeout};
  datagram.next_in_bucket = std::exchange(buckets_[bucket_of(key)], slot);
  (newest_ == none ? oldest_ : datagrams_[newest_].newer) = slot;
  newest_ = slot;
  ++datagram_count_;
  return slot;
}

void Reassembly::insert(Slot slot, Slot after, Frame frame, const wire::Ipv4& parsed) {
  Datagram& datagram = datagrams_[slot];
  const Slot added = free_fragment_;
  Fragment& fragment = fragments_[added];
  free_fragment_ = fragment.next;
  Slot& link = after == none ? datagram.first : fragments_[after].next;
  fragment.begin = parsed.fragment_offset;
  fragment.end = fragment.begin + static_cast<std::uint32_t>(parsed.payload.size());
  fragment.header_size = static_cast<std::uint16_t>(parsed.packet.size() - parsed.payload.size());
  fragment.next = link;
  link = added;
  if (datagram.last == after) datagram.last = added;

  const std::size_t charge = charge_of(frame);
  frame.resize(parsed.packet.size());
  fragment.frame = std::move(frame);
  datagram.received += fragment.end - fragment.begin;
  datagram.ecn_seen = static_cast<std::uint8_t>(datagram.ecn_seen | 1u << (parsed.tos & ecn_mask));
  datagram.bytes += static_cast<std::uint32_t>(charge);
  ++datagram.fragments;
  if (!parsed.more_fragments) datagram.total = fragment.end;
  bytes_ += charge;
  ++held_;
}

Frame Reassembly::assemble(Slot slot) {
  const Datagram& datagram = datagrams_[slot];
  const auto fail = [&](Drop reason) {
    drop(slot, reason);
    return Frame();
  };
  const Fragment& first = fragments_[datagram.first];
  const std::size_t size = first.header_size + std::size_t{datagram.total};
  if (size > wire::ipv4_packet_max) return fail(Drop::fragment_malformed);
  if ((datagram.ecn_seen & saw_ce) != 0 && (datagram.ecn_seen & saw_not_ect) != 0) return fail(Drop::fragment_ecn_inconsistent);
  Frame whole = context_.pools.allocate(size);
  if (!whole) return fail(Drop::no_frame);

  whole.resize(size);
  const std::span<std::byte> packet = whole.bytes();
  std::ranges::copy(first.frame.bytes().first(first.header_size), packet.begin());
  for (Slot i = datagram.first; i != none; i = fragments_[i].next) {
    const Fragment& fragment = fragments_[i];
    std::ranges::copy(fragment.frame.bytes().subspan(fragment.header_size), packet.subspan(first.header_size + fragment.begin).begin());
  }
  const std::span<std::byte> header = packet.first(first.header_size);
  if ((datagram.ecn_seen & saw_ce) != 0) wire::store_u8(header, 1, wire::load_u8(header, 1) | ecn_ce);
  wire::store_be16(header, 2, static_cast<std::uint16_t>(size));
  wire::store_be16(header, 6, 0);
  wire::store_be16(header, 10, 0);
  wire::ChecksumSum sum;
  sum.add(header);
  wire::store_be16(header, 10, sum.checksum());

  // One frame goes on, as the whole; the others are used up.
  for (unsigned used = 1; used < datagram.fragments; ++used) context_.fates.consumed();
  context_.counters.reassembly_done.add();
  remove(slot);
  return whole;
}

bool Reassembly::expire_one(Time now, Frame& first) {
  if (oldest_ == none || datagrams_[oldest_].expires > now) return false;
  Fragment& fragment = fragments_[datagrams_[oldest_].first];
  if (fragment.begin == 0) first = std::move(fragment.frame);
  drop(oldest_, Drop::fragment_timeout);
  return true;
}

void Reassembly::drop(Slot slot, Drop reason) {
  for (Slot i = datagrams_[slot].first; i != none; i = fragments_[i].next) {
    if (fragments_[i].frame) context_.fates.drop(reason, std::as_const(fragments_[i].frame).bytes());
  }
  context_.counters.reassembly_failed.add();
  remove(slot);
}

void Reassembly::remove(Slot slot) {
  Datagram& datagram = datagrams_[slot];
  while (datagram.first != none) {
    Fragment& fragment = fragments_[datagram.first];
    fragment.frame.release();
    const Slot next = std::exchange(fragment.next, free_fragment_);
    free_fragment_ = std::exchange(datagram.first, next);
  }
  held_ -= datagram.fragments;
  bytes_ -= datagram.bytes;
  (datagram.older == none ? oldest_ : datagrams_[datagram.older].newer) = datagram.newer;
  (datagram.newer == none ? newest_ : datagrams_[datagram.newer].older) = datagram.older;
  Slot* link = &buckets_[bucket_of(datagram.key)];
  while (*link != slot) link = &datagrams_[*link].next_in_bucket;
  *link = datagram.next_in_bucket;
  datagram = {};
  datagram.next_in_bucket = std::exchange(free_datagram_, slot);
  --datagram_count_;
}

std::size_t Reassembly::bucket_of(const Key& key) const {
  const std::uint64_t number = std::uint64_t{key.id} << 8 | key.protocol;
  return static_cast<std::size_t>(siphash(key_, key.src, key.dst, number)) & (buckets_.size() - 1);
}

Reassembly::Slot Reassembly::look_up(const Key& key) const {
  Slot slot = buckets_[bucket_of(key)];
  while (slot != none && datagrams_[slot].key != key) slot = datagrams_[slot].next_in_bucket;
  return slot;
}

}  // namespace gannet::stack
