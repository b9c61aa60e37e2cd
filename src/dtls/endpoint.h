// The associations of one socket: which datagram is whose, who may begin one, and when each has something to do.
//
//   datagram --+-- ClientHello --+-- no good cookie --> HelloVerifyRequest, and nothing remembered (RFC 6347 4.2.1)
//              |                 +-- good cookie ----> an association, where there is room: current, or successor of an open one
//              +-- else ---------+-- of a peer ------> opened: into the inbox
//                                +-- of nobody ------> dropped
//
// A peer that begins anew from the same address and port, having forgotten us, shakes hands as the successor of the association that we have, which
// serves on until the successor is open: a forged ClientHello ends nothing (RFC 6347 4.2.8). Where two connect to each other at once, whose
// ClientHello has the smaller random is the client, as both can see.
//
// Sans-IO: see association.h.
// Owner: a provider.  Thread: one at a time.  Allocates: per peer; in handshakes; an outbox and an inbox that keep their capacity.
// Bounds: most_peers entries; most_handshakes under way, a quarter of them with one IP address, each of which may make OpenSSL hold some 150 KB of
// messages that came too early; the outbox and the inbox. At each bound what is new is dropped, and counted: who is honest asks again.
// Sources: RFC 6347 4.2.1, 4.2.8; RFC 8085 6 (amplification).
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include <gannet/dtls.h>

#include "base/hash.h"
#include "base/time.h"
#include "base/timer_wheel.h"
#include "dtls/association.h"
#include "dtls/context.h"
#include "dtls/cookies.h"
#include "dtls/mail.h"
#include "wire/drop.h"
#include "wire/dtls.h"

namespace gannet::dtls {

class Endpoint {
 public:
  // `key` is that of cookies and tables.
  Endpoint(std::unique_ptr<Context> context, const HashKey& key, Time now);
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // Begins to shake hands with a server; nothing where that was begun, or done, before. What becomes of it an event says. EUSERS, ENOMEM.
  // EINVAL: it is not one host's address, or the options say of nobody that he is to be believed.
  Result<void> connect(const Address& peer, Time now);
  void input(const Datagram& datagram, Time now);
  // The network says that a datagram to this peer did not arrive: an end to a handshake, and no more than a hint to an association (RFC 8085 5.2).
  void unreachable(const Address& peer, int code);
  [[nodiscard]] Time next_wakeup() const { return wheel_.next_wakeup(); }
  void advance(Time now);
  // Seals a datagram to a peer into `outbox`. ENOTCONN, EMSGSIZE.
  Result<void> send(const Address& peer, const Outgoing& datagram, Outbox& outbox);
  // Says farewell. ENOTCONN.
  Result<void> close(const Address& peer);
  void close_all();

  // The open association with a peer; null: none.
  [[nodiscard]] const Association* find(const Address& peer) const;
  [[nodiscard]] std::vector<DtlsPeer> peers() const;
  [[nodiscard]] std::size_t peer_count() const { return open_count_; }
  [[nodiscard]] const Context& context() const { return *context_; }

  Outbox& outbox() { return outbox_; }  // to be sent
  Inbox& inbox() { return inbox_; }     // received and opened
  [[nodiscard]] const Inbox& inbox() const { return inbox_; }
  std::vector<DtlsEvent> take_events() { return std::exchange(events_, {}); }
  void drop(Drop reason, std::uint64_t count = 1) { drops_[static_cast<std::size_t>(reason)] += count; }
  [[nodiscard]] std::uint64_t dropped(Drop reason) const { return drops_[static_cast<std::size_t>(reason)]; }

 private:
  struct Slot {
    std::unique_ptr<Association> association;
    bool has_place = false;  // among the handshakes under way
  };
  struct Entry {
    Slot current, successor;
    bool is_open = false;  // current is, and was told to be
  };
  struct AddressHash {
    HashKey key;
    std::size_t operator()(const Address& address) const { return siphash(key, address.ip, std::uint64_t{address.port} << 32 | address.scope); }
    std::size_t operator()(const IpAddress& ip) const { return siphash(key, ip); }
  };
  using Table = std::unordered_map<Address, Entry, AddressHash>;

  void first_flight(const Datagram& datagram, const wire::DtlsRecord& record, Table::iterator entry, Time now);
  void demand_cookie(const Datagram& datagram, const wire::ClientHello& hello, Time now);
  void accept(const Datagram& datagram, const wire::ClientHello& hello, Table::iterator entry, Time now);
  void feed(Table::iterator entry, const Datagram& datagram, const wire::DtlsRecord& record, Time now);
  void feed(Association& association, const Datagram& datagram, Time now);
  // Takes note of what became of an entry's associations; removes what has ended.
  void settle(Table::iterator entry);
  void tell(DtlsEvent::Kind kind, const Association& association, const Error& why);
  bool take_place(Slot& slot, const IpAddress& ip);
  void give_place_back(Slot& slot, const IpAddress& ip);
  void settle_successor(Entry& entry);
  void settle_current(Entry& entry);

  std::unique_ptr<Context> context_;
  AddressHash hash_;
  Cookies cookies_;
  TimerWheel wheel_;
  Outbox outbox_;
  Inbox inbox_;
  Surroundings surroundings_;
  Table table_;
  std::size_t open_count_ = 0;                                          // entries whose current is open
  std::size_t handshakes_ = 0;                                          // under way
  std::unordered_map<IpAddress, std::size_t, AddressHash> by_address_;  // of these, with each address
  std::vector<DtlsEvent> events_;
  std::array<std::uint64_t, drop_count> drops_{};
};

}  // namespace gannet::dtls
