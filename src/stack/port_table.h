// Which socket a datagram belongs to: local ports, local addresses, peers.
//
// Rules are Linux's. Two sockets may have the same port when their addresses differ and neither is the wildcard, or when both say SO_REUSEADDR, or
// both SO_REUSEPORT. A unicast datagram goes to one socket: the one connected to its sender, before one bound to its very destination, before a
// wildcard; of equals the youngest, or, when that one has SO_REUSEPORT, one of them all by a hash of the flow. Broadcast and multicast go to every
// match.
//
// The table is an array of all ports, so that the most usual datagram, to a port with one wildcard socket, finds it by one load; what is bound to an
// address, or connected, hangs in hash chains besides. The hash is keyed, so that nobody can choose peers that all end up in one chain.
//
// Owner: Udp.  Thread: the engine's.  Allocates: when bound sockets double; never while looking up.
// Bounds: as many sockets as Udp allows.
// Sources: RFC 6056 3.2 and 3.3 (ephemeral ports); Linux net/ipv4/udp.c for the order of preference.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/hash.h"

namespace gannet::stack {

// A socket's place in the table. Belongs to the socket; the addresses are the table's to write. Not bound: local.port is 0.
class PortBinding {
 public:
  PortBinding() = default;
  PortBinding(const PortBinding&) = delete;
  PortBinding& operator=(const PortBinding&) = delete;

  [[nodiscard]] const Address& local_address() const { return local_; }  // any: all addresses of ours
  [[nodiscard]] const Address& peer_address() const { return peer_; }    // port 0: not connected
  [[nodiscard]] bool is_bound() const { return local_.port != 0; }
  [[nodiscard]] bool is_connected() const { return peer_.port != 0; }

  bool reuse_address = false;
  bool reuse_port = false;

 private:
  friend class PortTable;
  Address local_, peer_;
  PortBinding* next_ = nullptr;  // in the hash chain, or in the port's list of wildcards
  PortBinding* next_of_port_ = nullptr;
  PortBinding* previous_of_port_ = nullptr;
};

struct PortRange {
  std::uint16_t low = 1024;
  std::uint16_t high = 65535;
};

class PortTable {
 public:
  // `key` must be unpredictable: ephemeral ports come from it, and the hash chains.
  explicit PortTable(const HashKey& key, PortRange ephemeral = {});

  // Port 0 takes a free one that nobody can guess, and that no well-known service uses. EADDRINUSE.
  Result<void> bind(PortBinding& binding, const Address& local);
  void unbind(PortBinding& binding);
  // Of a bound socket: both addresses become those of the flow. `local` is not the wildcard.
  void connect(PortBinding& binding, const IpAddress& local, const Address& peer);
  // The peer is forgotten, and the local address becomes `local`.
  void disconnect(PortBinding& binding, const IpAddress& local);

  // The socket for a unicast datagram, or null.
  [[nodiscard]] inline PortBinding* find(const IpAddress& local, std::uint16_t local_port, const IpAddress& peer, std::uint16_t peer_port) const;
  [[nodiscard]] PortBinding* find(const Address& local, const Address& peer) const { return find(local.ip, local.port, peer.ip, peer.port); }
  // After find() found none: some socket is there, but connected to another peer.
  [[nodiscard]] bool has_connected(std::uint16_t port) const { return ports_[port].connected != 0; }
  // Calls visit(PortBinding&) for each socket that a broadcast or multicast datagram matches. It must not bind or unbind.
  template <class Visit>
  void for_each(const Address& local, const Address& peer, Visit visit) const;

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Port {
    PortBinding* wildcards;  // not connected, bound to no address
    PortBinding* all;        // also the wildcards
    std::uint32_t specific;  // how many are bound to an address
    std::uint32_t connected;
  };
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  static bool is_same(const IpAddress& a, const IpAddress& b) { return a.family == b.family && std::memcmp(a.bytes.data(), b.bytes.data(), 16) == 0; }
  static bool is_same(const Address& a, const Address& b) { return a.port == b.port && is_same(a.ip, b.ip); }

  [[nodiscard]] std::uint64_t hash(const Address& local) const {
    std::uint64_t words[2];
    std::memcpy(words, local.ip.bytes.data(), sizeof words);
    return mix(words[0] ^ key_.k0, words[1] ^ local.port ^ key_.k1);
  }
  [[nodiscard]] std::uint64_t hash(const Address& local, const Address& peer) const {
    std::uint64_t words[2];
    std::memcpy(words, peer.ip.bytes.data(), sizeof words);
    return mix(words[0] ^ hash(local) ^ key_.k1, words[1] ^ peer.port ^ key_.k0);
  }
  [[nodiscard]] PortBinding* chain(std::uint64_t hash) const { return chains_[hash & (chains_.size() - 1)]; }
  [[nodiscard]] PortBinding* find_any(const Address& local, const Address& peer) const;
  PortBinding*& list_of(const PortBinding& binding);
  // One of those after `first` that are equal to it, by the flow.
  [[nodiscard]] PortBinding* spread(PortBinding* first, const Address& local, const Address& peer) const;

  [[nodiscard]] bool is_taken(const PortBinding& binding, const Address& local, bool honour_reuse) const;
  Result<std::uint16_t> choose_port(const PortBinding& binding, const IpAddress& local);
  std::uint16_t random_port();
  void insert(PortBinding& binding);
  void remove(PortBinding& binding);
  void grow();

  HashKey key_;
  PortRange ephemeral_;
  std::uint64_t draws_ = 0;
  std::unique_ptr<Port[], Free> ports_;  // all 65,536; pages that nobody touched cost nothing
  std::vector<PortBinding*> chains_;
  std::size_t size_ = 0;
};

inline PortBinding* PortTable::find(const IpAddress& local, std::uint16_t local_port, const IpAddress& peer, std::uint16_t peer_port) const {
  const Port& port = ports_[local_port];
  PortBinding* wildcard = port.wildcards;
  const bool is_alone = (port.connected | port.specific) == 0 && wildcard != nullptr && !wildcard->reuse_port;
  if (is_alone && wildcard->local_.ip.family == local.family) [[likely]]
    return wildcard;
  return find_any({local, local_port}, {peer, peer_port});
}

template <class Visit>
void PortTable::for_each(const Address& local, const Address& peer, Visit visit) const {
  const Port& port = ports_[local.port];
  if (port.connected != 0) {
    for (PortBinding* at = chain(hash(local, peer)); at != nullptr; at = at->next_) {
      if (is_same(at->peer_, peer) && is_same(at->local_, local)) visit(*at);
    }
  }
  if (port.specific != 0) {
    for (PortBinding* at = chain(hash(local)); at != nullptr; at = at->next_) {
      if (!at->is_connected() && is_same(at->local_, local)) visit(*at);
    }
  }
  for (PortBinding* at = port.wildcards; at != nullptr; at = at->next_) {
    if (at->local_.ip.family == local.ip.family) visit(*at);
  }
}

}  // namespace gannet::stack
