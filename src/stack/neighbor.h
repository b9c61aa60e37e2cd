// The neighbours on our links: where their frames go, and the packets that wait until we know.
//
//   unresolved --answer--> confirmed --60 s--> stale --used--> polled --answer--> confirmed
//        |                                                        |
//        +--3 requests unanswered--> removed, packets dropped     +--3 unanswered--> removed
//
// A neighbour that is known has its Ethernet header ready: output() copies it in front of the packet and queues the frame. Packets to one that is not
// wait for its answer and then leave in order; the first is never lost to resolution. When nobody answers, each dies as Drop::neighbor_unreachable
// and its socket gets EHOSTUNREACH.
//
// Owner: Stack.  Thread: the engine's.  Allocates: once.
// Bounds: the table by Config::neighbors: one more takes the place of the stalest entry, never of an unresolved or confirmed one
// (Drop::neighbor_table_full); unresolved ones by neighbors_unresolved; waiting packets by neighbor_queue, for each and in total
// (Drop::neighbor_queue_full: the newest dies). Sources: RFC 1122 2.3.2.1 (no floods, timeouts, polls), 2.3.2.2 (queue); RFC 826.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include <gannet/address.h>

#include "base/frame.h"
#include "base/hash.h"
#include "stack/context.h"
#include "stack/interface.h"
#include "wire/ethernet.h"

namespace gannet::stack {

class Neighbors {
 public:
  Neighbors(Context& context, Interfaces& interfaces);

  // Sends a packet to a neighbour, now or when its link address is known.
  void output(Interface& interface, const IpAddress& next_hop, Frame&& packet, Time now);

  // The neighbour was heard at this address. Only one that is in the table is updated; whether it was.
  bool heard(Interface& interface, const IpAddress& ip, const wire::MacAddress& mac, Time now);
  // The neighbour asked for us, so it is about to be answered: makes an entry, if there is room without hurting others.
  void heard_request(Interface& interface, const IpAddress& ip, const wire::MacAddress& mac, Time now);

  // What the layers above know of a neighbour (RFC 1122 2.3.2.1 (4), 3.4 ADVISE_DELIVPROB): one that delivers need not be asked for another while;
  // one that does not is asked at its next packet.
  void advise(const Interface& interface, const IpAddress& ip, bool delivers, Time now);

  [[nodiscard]] Time next_wakeup() const { return first_retry_ == none ? never : entries_[first_retry_].next_try; }
  // Asks again, or gives up.
  void advance(Time now);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t unresolved() const { return unresolved_; }
  // Frames that wait.
  [[nodiscard]] std::size_t held() const { return held_; }
  // The link address of a neighbour that has one; for people and tests.
  [[nodiscard]] std::optional<wire::MacAddress> find(std::uint32_t interface, const IpAddress& ip) const;

 private:
  using Slot = std::uint16_t;
  static constexpr Slot none = 0xffff;
  enum class State : std::uint8_t { unresolved, known, polled };

  struct Entry {
    IpAddress ip;
    std::uint32_t interface = 0;
    State state = State::known;
    std::uint8_t tries = 0;
    Slot next_in_bucket = none;
    std::array<std::byte, wire::ethernet_header_size> header{};  // destination, source, IPv4
    Time confirmed_until = Time::min();
    Slot retry_before = none, retry_after = none;  // among those that wait for an answer, in the order of next_try
    Time next_try = never;                         // never: not in that list
    Slot first_waiting = none, last_waiting = none;
    std::uint16_t waiting = 0;
  };
  struct Waiting {
    Frame packet;
    Slot next = none;
  };

  [[nodiscard]] std::size_t bucket_of(std::uint32_t interface, const IpAddress& ip) const;
  [[nodiscard]] static std::size_t recent_of(const IpAddress& ip) {
    std::uint32_t word;
    std::memcpy(&word, ip.bytes.data(), sizeof word);
    return (word * 0x9e3779b1u) >> 26;
  }
  [[nodiscard]] Slot look_up(std::uint32_t interface, const IpAddress& ip);
  [[nodiscard]] bool is_at(Slot slot, std::uint32_t interface, const IpAddress& ip) const {
    return entries_[slot].interface == interface && entries_[slot].ip == ip;
  }
  static void send_to(Interface& interface, const Entry& entry, Frame&& packet) {
    std::memcpy(packet.prepend(wire::ethernet_header_size).data(), entry.header.data(), wire::ethernet_header_size);
    interface.send(std::move(packet));
  }
  // An entry that nothing is known of yet; none when the table is full of better ones.
  Slot make(const Interface& interface, const IpAddress& ip, Time now);
  [[nodiscard]] Slot find_stalest(Time now) const;
  void remove(Slot slot);
  void learn(Interface& interface, Slot slot, const wire::MacAddress& mac, Time now);
  void output_slowly(Interface& interface, const IpAddress& next_hop, Frame&& packet, Time now);
  void enqueue(Entry& entry, Frame&& packet);
  [[nodiscard]] Frame dequeue(Entry& entry);
  void ask(Interface& interface, Slot slot, Time now);
  void give_up(Slot slot, Time now);
  void retry_later(Slot slot);
  void stop_retrying(Slot slot);

  Context& context_;
  Interfaces& interfaces_;
  HashKey key_;  // nobody outside can aim at one bucket
  std::vector<Entry> entries_;
  std::vector<Slot> buckets_;
  std::array<Slot, 64> recent_{};  // where neighbours were found last; checked against the entry, so it may be wrong
  std::vector<Waiting> waiting_;
  Slot free_entry_ = none;  // a list through next_in_bucket
  Slot free_waiting_ = none;
  Slot first_retry_ = none, last_retry_ = none;
  std::size_t size_ = 0, unresolved_ = 0, held_ = 0;
};

[[gnu::always_inline]] inline void Neighbors::output(Interface& interface, const IpAddress& next_hop, Frame&& packet, Time now) {
  const Slot slot = recent_[recent_of(next_hop)];
  const Entry& entry = entries_[slot];
  if (is_at(slot, interface.index(), next_hop) && now < entry.confirmed_until) [[likely]] {
    return send_to(interface, entry, std::move(packet));
  }
  output_slowly(interface, next_hop, std::move(packet), now);
}

}  // namespace gannet::stack
