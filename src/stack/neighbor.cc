#include "stack/neighbor.h"

#include <algorithm>

#include "base/assert.h"
#include "stack/arp.h"
#include "stack/icmp4.h"

namespace gannet::stack {

Neighbors::Neighbors(Context& context, Interfaces& interfaces)
    : context_(context),
      interfaces_(interfaces),
      key_{context.rng.next(), context.rng.next()},
      entries_(context.config.neighbors),
      buckets_(std::bit_ceil(context.config.neighbors), none),
      waiting_(context.config.neighbor_queue_total) {
  ASSERT(!entries_.empty() && entries_.size() < none && waiting_.size() < none);
  for (std::size_t i = entries_.size(); i-- > 0;) entries_[i].next_in_bucket = std::exchange(free_entry_, static_cast<Slot>(i));
  for (std::size_t i = waiting_.size(); i-- > 0;) waiting_[i].next = std::exchange(free_waiting_, static_cast<Slot>(i));
}

void Neighbors::output_slowly(Interface& interface, const IpAddress& next_hop, Frame&& packet, Time now) {
  Slot slot = look_up(interface.index(), next_hop);
  if (slot == none) {
    slot = unresolved_ < context_.config.neighbors_unresolved ? make(interface, next_hop, now) : none;
    if (slot == none) return context_.fates.drop(Drop::neighbor_table_full, packet.bytes());
    ++unresolved_;
    entries_[slot].state = State::unresolved;
    enqueue(entries_[slot], std::move(packet));
    return ask(interface, slot, now);
  }
  Entry& entry = entries_[slot];
  if (entry.state == State::unresolved) return enqueue(entry, std::move(packet));
  // It was there a minute ago: use what is known, and ask it alone (RFC 1122 2.3.2.1, unicast poll).
  send_to(interface, entry, std::move(packet));
  if (entry.state == State::known && now >= entry.confirmed_until) {
    entry.state = State::polled;
    ask(interface, slot, now);
  }
}

bool Neighbors::heard(Interface& interface, const IpAddress& ip, const wire::MacAddress& mac, Time now) {
  const Slot slot = look_up(interface.index(), ip);
  if (slot == none) return false;
  learn(interface, slot, mac, now);
  return true;
}

void Neighbors::heard_request(Interface& interface, const IpAddress& ip, const wire::MacAddress& mac, Time now) {
  if (heard(interface, ip, mac, now)) return;
  // Some of the table is kept for those that we ask ourselves.
  if (size_ >= entries_.size() - entries_.size() / 4) return;
  const Slot slot = make(interface, ip, now);
  if (slot != none) learn(interface, slot, mac, now);
}

void Neighbors::learn(Interface& interface, Slot slot, const wire::MacAddress& mac, Time now) {
  Entry& entry = entries_[slot];
  wire::emit_ethernet(mac, interface.mac(), wire::ethertype_ipv4, entry.header);
  entry.confirmed_until = now + context_.config.neighbor_confirmed;
  stop_retrying(slot);
  if (entry.state == State::unresolved) --unresolved_;
  entry.state = State::known;
  entry.tries = 0;
  while (entry.waiting != 0) send_to(interface, entry, dequeue(entry));
}

void Neighbors::advise(const Interface& interface, const IpAddress& ip, bool delivers, Time now) {
  const Slot slot = look_up(interface.index(), ip);
  if (slot == none || entries_[slot].state == State::unresolved) return;
  Entry& entry = entries_[slot];
  if (!delivers) {
    entry.confirmed_until = std::min(entry.confirmed_until, now);
    return;
  }
  entry.confirmed_until = now + context_.config.neighbor_confirmed;
  stop_retrying(slot);
  entry.state = State::known;
  entry.tries = 0;
}

void Neighbors::advance(Time now) {
  while (first_retry_ != none && entries_[first_retry_].next_try <= now) {
    const Slot slot = first_retry_;
    stop_retrying(slot);
    Interface& interface = *interfaces_.find(entries_[slot].interface);
    if (entries_[slot].tries < context_.config.neighbor_tries) {
      ask(interface, slot, now);
    } else {
      give_up(slot, now);
    }
  }
}

void Neighbors::ask(Interface& interface, Slot slot, Time now) {
  Entry& entry = entries_[slot];
  ++entry.tries;
  entry.next_try = now + context_.config.neighbor_retry;
  retry_later(slot);
  const bool alone = entry.state == State::polled;
  send_arp_request(context_, interface, entry.ip, alone ? wire::load_mac(entry.header, 0) : wire::MacAddress::broadcast());
}

void Neighbors::give_up(Slot slot, Time now) {
  Entry& entry = entries_[slot];
  while (entry.waiting != 0) {
    const Frame packet = dequeue(entry);
    report_unreachable(context_, packet.bytes(), entry.interface, now);
    context_.fates.drop(Drop::neighbor_unreachable, packet.bytes());
  }
  remove(slot);
}

std::optional<wire::MacAddress> Neighbors::find(std::uint32_t interface, const IpAddress& ip) const {
  for (Slot slot = buckets_[bucket_of(interface, ip)]; slot != none; slot = entries_[slot].next_in_bucket) {
    if (is_at(slot, interface, ip) && entries_[slot].state != State::unresolved) return wire::load_mac(entries_[slot].header, 0);
  }
  return std::nullopt;
}

std::size_t Neighbors::bucket_of(std::uint32_t interface, const IpAddress& ip) const {
  return static_cast<std::size_t>(siphash(key_, ip, interface)) & (buckets_.size() - 1);
}

Neighbors::Slot Neighbors::look_up(std::uint32_t interface, const IpAddress& ip) {
  Slot slot = buckets_[bucket_of(interface, ip)];
  while (slot != none && !is_at(slot, interface, ip)) slot = entries_[slot].next_in_bucket;
  if (slot != none) recent_[recent_of(ip)] = slot;
  return slot;
}

Neighbors::Slot Neighbors::make(const Interface& interface, const IpAddress& ip, Time now) {
  if (free_entry_ == none) {
    const Slot stalest = find_stalest(now);
    if (stalest == none) return none;
    remove(stalest);
  }
  const Slot slot = free_entry_;
  Entry& entry = entries_[slot];
  free_entry_ = entry.next_in_bucket;
  entry = {.ip = ip, .interface = interface.index()};
  entry.next_in_bucket = std::exchange(buckets_[bucket_of(interface.index(), ip)], slot);
  ++size_;
  return slot;
}

Neighbors::Slot Neighbors::find_stalest(Time now) const {
  Slot stalest = none;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.interface == 0 || entry.state != State::known || entry.confirmed_until > now) continue;
    if (stalest == none || entry.confirmed_until < entries_[stalest].confirmed_until) stalest = static_cast<Slot>(i);
  }
  return stalest;
}

void Neighbors::remove(Slot slot) {
  Entry& entry = entries_[slot];
  ASSERT(entry.waiting == 0);
  stop_retrying(slot);
  if (entry.state == State::unresolved) --unresolved_;
  Slot* link = &buckets_[bucket_of(entry.interface, entry.ip)];
  while (*link != slot) link = &entries_[*link].next_in_bucket;
  *link = entry.next_in_bucket;
  entry = {};
  entry.next_in_bucket = std::exchange(free_entry_, slot);
  --size_;
}

void Neighbors::enqueue(Entry& entry, Frame&& packet) {
  if (entry.waiting >= context_.config.neighbor_queue || free_waiting_ == none) {
    return context_.fates.drop(Drop::neighbor_queue_full, packet.bytes());
  }
  const Slot slot = free_waiting_;
  free_waiting_ = waiting_[slot].next;
  waiting_[slot] = {std::move(packet), none};
  (entry.waiting == 0 ? entry.first_waiting : waiting_[entry.last_waiting].next) = slot;
  entry.last_waiting = slot;
  ++entry.waiting;
  ++held_;
}

Frame Neighbors::dequeue(Entry& entry) {
  const Slot slot = entry.first_waiting;
  entry.first_waiting = waiting_[slot].next;
  waiting_[slot].next = std::exchange(free_waiting_, slot);
  --entry.waiting;
  --held_;
  return std::move(waiting_[slot].packet);
}

// Every wait is equally long, so whoever comes last is also due last.
void Neighbors::retry_later(Slot slot) {
  Entry& entry = entries_[slot];
  entry.retry_before = last_retry_;
  entry.retry_after = none;
  (last_retry_ == none ? first_retry_ : entries_[last_retry_].retry_after) = slot;
  last_retry_ = slot;
}

void Neighbors::stop_retrying(Slot slot) {
  Entry& entry = entries_[slot];
  if (entry.next_try == never) return;
  entry.next_try = never;
  (entry.retry_before == none ? first_retry_ : entries_[entry.retry_before].retry_after) = entry.retry_after;
  (entry.retry_after == none ? last_retry_ : entries_[entry.retry_after].retry_before) = entry.retry_before;
}

}  // namespace gannet::stack
