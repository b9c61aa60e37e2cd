#include "dtls/endpoint.h"

#include <algorithm>

namespace gannet::dtls {
namespace {

using State = Association::State;

bool is_same(std::span<const std::byte> a, std::span<const std::byte> b) { return std::ranges::equal(a, b); }

// Whether a ClientHello with this random has precedence over the one by which an association began, where two begin with one another.
bool begins_before(std::span<const std::byte> random, const Association& other) {
  return std::ranges::lexicographical_compare(random, other.client_random());
}

// From which address of ours to answer: the one that was asked, where it is one host's.
Outgoing route_back(const Datagram& datagram) {
  Outgoing route{.to = datagram.peer};
  const IpAddress& asked = datagram.local.ip;
  if (!asked.is_multicast() && !asked.is_limited_broadcast()) route.source = datagram.local;
  return route;
}

}  // namespace

Endpoint::Endpoint(std::unique_ptr<Context> context, const HashKey& key, Time now)
    : context_(std::move(context)),
      hash_{key},
      cookies_({key.k1, key.k0}),
      wheel_(now),
      surroundings_{*context_, wheel_, outbox_},
      table_(0, hash_),
      by_address_(0, hash_) {}

Result<void> Endpoint::connect(const Address& peer, Time now) {
  if (const auto known = table_.find(peer); known != table_.end() && known->second.current.association) return {};
  if (peer.ip.is_any() || peer.ip.is_multicast() || peer.ip.is_limited_broadcast())
    return Error{EINVAL, "DTLS is between two: give one host's address"};
  if (!context_->may_connect()) return Error{EINVAL, "whom is it to believe? Give the peer's fingerprints, an authorities_file, or pre_shared_keys"};
  if (table_.size() >= context_->options().most_peers) return Error{EUSERS, "as many peers as DtlsOptions::most_peers allows"};
  Slot slot{.association = Association::create(surroundings_, Outgoing{.to = peer}, false)};
  if (!slot.association) return openssl_failure(ENOMEM, "OpenSSL has no room for one more association");
  if (!take_place(slot, peer.ip)) return Error{EUSERS, "as many handshakes are under way as DtlsOptions::most_handshakes allows"};
  const auto entry = table_.try_emplace(peer).first;
  entry->second.current = std::move(slot);
  entry->second.current.association->begin(now);
  settle(entry);
  return {};
}

void Endpoint::input(const Datagram& datagram, Time now) {
  const auto record = wire::parse_dtls_record(datagram.data);
  if (!record) return drop(record.error());
  const auto entry = table_.find(datagram.peer);
  if (wire::is_client_hello(*record)) return first_flight(datagram, *record, entry, now);
  if (entry == table_.end()) return drop(Drop::dtls_no_association);
  feed(entry, datagram, *record, now);
}

void Endpoint::first_flight(const Datagram& datagram, const wire::DtlsRecord& record, Table::iterator entry, Time now) {
  const auto hello = wire::parse_client_hello(record);
  if (entry != table_.end()) {
    for (Slot* slot : {&entry->second.successor, &entry->second.current}) {
      Association* ours = slot->association.get();
      if (ours == nullptr) continue;
      if (ours->is_server() && ours->state() == State::shaking_hands && (!hello || is_same(ours->client_random(), hello->random))) {
        feed(*ours, datagram, now);
        return settle(entry);
      }
      if (hello && ours->is_server() && is_same(ours->client_random(), hello->random)) return drop(Drop::dtls_record_rejected);  // a copy
      // Ours counts, unless nobody answers it: then the other side only connects.
      const bool we_begin = !ours->is_server() && ours->state() == State::shaking_hands && !ours->is_ignored();
      if (hello && we_begin && !begins_before(hello->random, *ours)) return drop(Drop::dtls_not_accepting);
    }
  }
  if (!hello) return drop(hello.error());
  if (!context_->options().accept) return drop(Drop::dtls_not_accepting);
  // OpenSSL takes the second message of a handshake here, and no other.
  if (hello->message_sequence != 1 || !cookies_.is_good(datagram.peer, *hello, now)) return demand_cookie(datagram, *hello, now);
  accept(datagram, *hello, entry, now);
}

void Endpoint::demand_cookie(const Datagram& datagram, const wire::ClientHello& hello, Time now) {
  if (!hello.cookie.empty()) drop(Drop::dtls_cookie_wrong);
  std::array<std::byte, wire::hello_verify_request_max> request{};
  const std::size_t size = wire::emit_hello_verify_request(hello.sequence, cookies_.make(datagram.peer, hello, now), request);
  if (!outbox_.add(route_back(datagram), std::span(request).first(size))) drop(Drop::dtls_send_queue_full);
}

void Endpoint::accept(const Datagram& datagram, const wire::ClientHello& hello, Table::iterator entry, Time now) {
  if (entry == table_.end() && table_.size() >= context_->options().most_peers) return drop(Drop::dtls_peers_full);
  Slot slot;
  if (!take_place(slot, datagram.peer.ip)) return drop(Drop::dtls_handshakes_full);
  slot.association = Association::create(surroundings_, route_back(datagram), true);
  if (!slot.association) {
    give_place_back(slot, datagram.peer.ip);
    return drop(Drop::dtls_handshakes_full);
  }
  if (entry == table_.end()) entry = table_.try_emplace(datagram.peer).first;
  Slot& into = entry->second.current.association ? entry->second.successor : entry->second.current;
  give_place_back(into, datagram.peer.ip);  // of a successor that the peer has given up
  into = std::move(slot);
  into.association->begin(datagram.data, hello.random, now);
  settle(entry);
}

void Endpoint::feed(Table::iterator entry, const Datagram& datagram, const wire::DtlsRecord& record, Time now) {
  Association* current = entry->second.current.association.get();
  Association* successor = entry->second.successor.association.get();
  // What is not encrypted is of a handshake, the newer one where there are two. What is may be either's: whoever has the key can open it.
  if (successor == nullptr || (record.epoch != 0 && current->state() == State::open)) {
    const std::uint64_t rejected = dropped(Drop::dtls_record_rejected);
    feed(*current, datagram, now);
    if (successor != nullptr && dropped(Drop::dtls_record_rejected) != rejected) {
      drops_[static_cast<std::size_t>(Drop::dtls_record_rejected)] = rejected;
      feed(*successor, datagram, now);
    }
  } else {
    feed(*successor, datagram, now);
    if (record.epoch != 0 && current->state() == State::shaking_hands) feed(*current, datagram, now);
  }
  settle(entry);
}

void Endpoint::feed(Association& association, const Datagram& datagram, Time now) {
  association.input(datagram, now, inbox_);
  drop(Drop::dtls_record_rejected, association.take_rejected());
  drop(Drop::receive_queue_full, association.take_unheard());
}

void Endpoint::settle(Table::iterator entry) {
  for (Slot* slot : {&entry->second.successor, &entry->second.current}) {
    if (!slot->association) continue;
    drop(Drop::dtls_send_queue_full, slot->association->take_overflows());
    if (slot->association->state() != State::shaking_hands) give_place_back(*slot, entry->first.ip);
  }
  if (entry->second.successor.association) settle_successor(entry->second);
  settle_current(entry->second);
  if (!entry->second.current.association) table_.erase(entry);
}

void Endpoint::settle_successor(Entry& entry) {
  Association& successor = *entry.successor.association;
  if (successor.state() == State::shaking_hands) return;
  if (successor.state() == State::ended) {
    tell(DtlsEvent::Kind::failed, successor, successor.end());
    entry.successor = {};
    return;
  }
  // Both began at once, and both came through: the same one counts on both sides.
  const Association& current = *entry.current.association;
  const bool is_glare = entry.is_open && !current.is_server() && successor.opened_at() - current.opened_at() < context_->options().handshake_timeout;
  if (is_glare && begins_before(current.client_random(), successor)) {
    entry.successor = {};
    return;
  }
  if (entry.is_open) {
    --open_count_;
    entry.is_open = false;
    tell(DtlsEvent::Kind::closed, *entry.current.association, {ECONNRESET, "it began anew, or somebody else has its address now"});
  }
  give_place_back(entry.current, entry.current.association->address().ip);
  entry.current = std::exchange(entry.successor, {});
}

void Endpoint::settle_current(Entry& entry) {
  Association& current = *entry.current.association;
  if (current.state() == State::open && !entry.is_open) {
    entry.is_open = true;
    ++open_count_;
    tell(DtlsEvent::Kind::connected, current, {0, nullptr});
  }
  if (current.state() != State::ended) return;
  tell(entry.is_open ? DtlsEvent::Kind::closed : DtlsEvent::Kind::failed, current, current.end());
  if (entry.is_open) --open_count_;
  entry.is_open = false;
  entry.current = std::exchange(entry.successor, {});
}

void Endpoint::tell(DtlsEvent::Kind kind, const Association& association, const Error& why) {
  events_.push_back({.kind = kind, .peer = association.peer(), .why = why});
}

bool Endpoint::take_place(Slot& slot, const IpAddress& ip) {
  const std::size_t most = context_->options().most_handshakes;
  if (handshakes_ >= most) return false;
  std::size_t& with_address = by_address_[ip];
  if (with_address >= std::max<std::size_t>(1, most / 4)) return false;
  ++with_address;
  ++handshakes_;
  slot.has_place = true;
  return true;
}

void Endpoint::give_place_back(Slot& slot, const IpAddress& ip) {
  if (!std::exchange(slot.has_place, false)) return;
  --handshakes_;
  if (const auto found = by_address_.find(ip); --found->second == 0) by_address_.erase(found);
}

void Endpoint::unreachable(const Address& peer, int code) {
  const auto entry = table_.find(peer);
  if (entry == table_.end()) return;
  Association& current = *entry->second.current.association;
  if (current.state() != State::shaking_hands || current.is_server()) return;
  current.fail({code, code == ECONNREFUSED ? "nobody listens there (ICMP port unreachable)" : "the network says that it cannot be reached"});
  settle(entry);
}

void Endpoint::advance(Time now) {
  wheel_.advance(now, [&](Timer& timer) {
    auto& association = static_cast<Association&>(timer);
    association.advance(now);
    settle(table_.find(association.address()));
  });
}

Result<void> Endpoint::send(const Address& peer, const Outgoing& datagram, Outbox& outbox) {
  const auto entry = table_.find(peer);
  if (entry == table_.end()) return Error{ENOTCONN, "hands were not shaken with this peer: connect() first, or wait for it to come"};
  const auto sent = entry->second.current.association->send(datagram.data, datagram, outbox);
  if (!sent) settle(entry);
  return sent;
}

Result<void> Endpoint::close(const Address& peer) {
  const auto entry = table_.find(peer);
  if (entry == table_.end()) return Error{ENOTCONN, "it is no peer"};
  give_place_back(entry->second.successor, peer.ip);
  entry->second.successor = {};
  entry->second.current.association->close();
  settle(entry);
  return {};
}

void Endpoint::close_all() {
  while (!table_.empty()) static_cast<void>(close(Address(table_.begin()->first)));
}

const Association* Endpoint::find(const Address& peer) const {
  const auto entry = table_.find(peer);
  return entry != table_.end() && entry->second.is_open ? entry->second.current.association.get() : nullptr;
}

std::vector<DtlsPeer> Endpoint::peers() const {
  std::vector<DtlsPeer> peers;
  for (const auto& [address, entry] : table_) {
    if (entry.is_open) peers.push_back(entry.current.association->peer());
  }
  return peers;
}

}  // namespace gannet::dtls
