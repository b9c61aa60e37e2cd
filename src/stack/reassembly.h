// Reassembly of IPv4 datagrams from fragments.
//
// Fragments wait in the frames in which they came, in the order of their offsets; the one that completes a datagram has it copied together into one
// frame. Overlaps: a datagram two of whose fragments overlap is dropped as a whole (RFC 1122 would let the later one win; that serves attackers
// only). An exact duplicate is ignored (Drop::fragment_duplicate) and costs nothing. ECN survives (RFC 3168 5.3): CE in one fragment is CE in the
// datagram, unless another was Not-ECT: that one is dropped.
//
// Owner: Stack.  Thread: the engine's.  Allocates: once.
// Bounds: Config::reassembly_bytes, _datagrams, _fragments, and a share of each for one source. At a source's share its oldest datagram gives way;
// when all is used up, the oldest of all does (Drop::fragment_table_full). After Config::reassembly_timeout a datagram dies as
// Drop::fragment_timeout. Sources: RFC 791; RFC 815; RFC 1122 3.3.2; RFC 3168 5.3; RFC 6864.
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include <gannet/address.h>

#include "base/frame.h"
#include "base/hash.h"
#include "stack/context.h"
#include "wire/ipv4.h"

namespace gannet::stack {

class Reassembly {
 public:
  explicit Reassembly(Context& context);

  // Takes a fragment; `frame` is the packet that `fragment` was parsed from. Returns the whole datagram as one packet, its header that of the first
  // fragment and made whole, when this completes it; an empty frame otherwise.
  Frame input(const wire::Ipv4& fragment, std::uint32_t interface, bool link_broadcast, Frame frame, Time now);

  [[nodiscard]] Time next_wakeup() const { return oldest_ == none ? never : datagrams_[oldest_].expires; }
  // Drops the oldest datagram if it is overdue; whether it was. Its fragment at offset 0, where that came, is put into `first`, its fate still to be
  // counted: its sender is told (RFC 1122 3.3.2).
  bool expire_one(Time now, Frame& first);

  // Fragments that wait.
  [[nodiscard]] std::size_t held() const { return held_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t datagrams() const { return datagram_count_; }

 private:
  using Slot = std::uint16_t;
  static constexpr Slot none = 0xffff;

  struct Key {
    IpAddress src, dst;
    std::uint16_t id;
    std::uint8_t protocol;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Fragment {
    Frame frame;              // the packet
    std::uint32_t begin = 0;  // of its payload in the datagram's
    std::uint32_t end = 0;
    std::uint16_t header_size = 0;
    Slot next = none;
  };
  struct Datagram {
    Key key{};
    std::uint32_t interface = 0;  // of the first fragment that came
    bool link_broadcast = false;
    std::uint32_t total = 0;  // bytes of payload; 0 until the last fragment came
    std::uint32_t received = 0;
    std::uint32_t bytes = 0;  // charged
    std::uint16_t fragments = 0;
    std::uint8_t ecn_seen = 0;       // a bit for each of the four codepoints
    Slot first = none, last = none;  // fragments, by offset
    Slot next_in_bucket = none;
    Slot older = none, newer = none;
    Time expires{};
  };

  struct Usage {
    std::size_t bytes = 0, fragments = 0, datagrams = 0;
  };

  [[nodiscard]] std::expected<Slot, Drop> find_place(const Datagram& datagram, std::uint32_t begin, std::uint32_t end, bool more) const;
  [[nodiscard]] bool make_room(const IpAddress& src, std::size_t charge, Slot keep);
  [[nodiscard]] Usage usage_of(const IpAddress& src) const;
  [[nodiscard]] Slot oldest_of(const IpAddress* src, Slot except) const;
  Slot make(const Key& key, Time now);
  void insert(Slot datagram, Slot after, Frame frame, const wire::Ipv4& fragment);
  Frame assemble(Slot datagram);
  void drop(Slot datagram, Drop reason);
  void remove(Slot datagram);
  [[nodiscard]] std::size_t bucket_of(const Key& key) const;
  [[nodiscard]] Slot look_up(const Key& key) const;

  Context& context_;
  HashKey key_;
  std::vector<Datagram> datagrams_;
  std::vector<Fragment> fragments_;
  std::vector<Slot> buckets_;
  Slot free_datagram_ = none;  // a list through next_in_bucket
  Slot free_fragment_ = none;
  Slot oldest_ = none, newest_ = none;
  std::size_t held_ = 0, bytes_ = 0, datagram_count_ = 0;
};

}  // namespace gannet::stack
