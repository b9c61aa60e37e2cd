#include "stack/port_table.h"

#include <algorithm>
#include <array>

#include "base/assert.h"

namespace gannet::stack {
namespace {

// RFC 6056 3.2: ports of services that this host may well run later are not given to clients.
constexpr std::array<std::uint16_t, 24> service_ports = {1194, 1701, 1812, 1813, 1900, 2049, 3478, 3702, 4433, 4500, 4789,  5004,
                                                         5060, 5061, 5349, 5353, 5355, 5683, 5684, 6081, 6343, 8472, 51820, 65433};
static_assert(std::ranges::is_sorted(service_ports));

constexpr int random_tries = 64;
constexpr std::size_t chains_at_first = 64;

}  // namespace

PortTable::PortTable(const HashKey& key, PortRange ephemeral)
    : key_(key), ephemeral_(ephemeral), ports_(static_cast<Port*>(std::calloc(65536, sizeof(Port)))), chains_(chains_at_first) {
  ASSERT(ports_ != nullptr && ephemeral.low != 0 && ephemeral.low <= ephemeral.high);
}

Result<void> PortTable::bind(PortBinding& binding, const Address& local) {
  ASSERT(!binding.is_bound());
  Address address = local;
  if (local.port == 0) {
    const auto port = choose_port(binding, local.ip);
    if (!port) return port.error();
    address.port = *port;
  } else if (is_taken(binding, local, true)) {
    return Error{EADDRINUSE,
                 "another socket has this port; where sharing it is meant, set reuse_address or reuse_port on both before they are bound"};
  }
  binding.local_ = address;
  binding.peer_ = {};
  insert(binding);
  return {};
}

void PortTable::unbind(PortBinding& binding) {
  if (!binding.is_bound()) return;
  remove(binding);
  binding.local_.port = 0;
  binding.peer_ = {};
}

void PortTable::connect(PortBinding& binding, const IpAddress& local, const Address& peer) {
  ASSERT(binding.is_bound() && peer.port != 0 && !local.is_any());
  remove(binding);
  binding.local_.ip = local;
  binding.peer_ = peer;
  insert(binding);
}

void PortTable::disconnect(PortBinding& binding, const IpAddress& local) {
  ASSERT(binding.is_bound());
  remove(binding);
  binding.local_.ip = local;
  binding.peer_ = {};
  insert(binding);
}

PortBinding* PortTable::find_any(const Address& local, const Address& peer) const {
  const Port& port = ports_[local.port];
  if (port.connected != 0) {
    for (PortBinding* at = chain(hash(local, peer)); at != nullptr; at = at->next_) {
      if (is_same(at->peer_, peer) && is_same(at->local_, local)) return at;
    }
  }
  if (port.specific != 0) {
    for (PortBinding* at = chain(hash(local)); at != nullptr; at = at->next_) {
      if (!at->is_connected() && is_same(at->local_, local)) return at->reuse_port ? spread(at, local, peer) : at;
    }
  }
  for (PortBinding* at = port.wildcards; at != nullptr; at = at->next_) {
    if (at->local_.ip.family == local.ip.family) return at->reuse_port ? spread(at, local, peer) : at;
  }
  return nullptr;
}

PortBinding* PortTable::spread(PortBinding* first, const Address& local, const Address& peer) const {
  const auto is_member = [&](const PortBinding& at) { return at.reuse_port && !at.is_connected() && is_same(at.local_, first->local_); };
  std::uint64_t members = 0;
  for (PortBinding* at = first; at != nullptr; at = at->next_) members += is_member(*at) ? 1 : 0;
  std::uint64_t chosen = (hash(local, peer) >> 32) * members >> 32;
  for (PortBinding* at = first;; at = at->next_) {
    if (is_member(*at) && chosen-- == 0) return at;
  }
}

// Whether a socket that is there keeps `binding` from having `local`.
bool PortTable::is_taken(const PortBinding& binding, const Address& local, bool honour_reuse) const {
  for (const PortBinding* other = ports_[local.port].all; other != nullptr; other = other->next_of_port_) {
    const IpAddress& theirs = other->local_.ip;
    if (theirs.family != local.ip.family) continue;
    if (!local.ip.is_any() && !theirs.is_any() && theirs != local.ip) continue;
    if (honour_reuse && binding.reuse_address && other->reuse_address) continue;
    if (honour_reuse && binding.reuse_port && other->reuse_port) continue;
    return true;
  }
  return false;
}

std::uint16_t PortTable::random_port() {
  SipHash hash(key_);
  hash.add(draws_++);
  const std::uint64_t width = std::uint64_t{ephemeral_.high} - ephemeral_.low + 1;
  return static_cast<std::uint16_t>(ephemeral_.low + ((hash.finish() >> 32) * width >> 32));
}

// RFC 6056 3.3.2 (algorithm 2): a random port, and another when it is taken. A host that is nearly full falls back to the next free one after it.
// An ephemeral port is never shared, whatever the socket says of reuse: who asked for any port wants one of its own.
Result<std::uint16_t> PortTable::choose_port(const PortBinding& binding, const IpAddress& local) {
  for (int i = 0; i < random_tries; ++i) {
    const std::uint16_t port = random_port();
    if (ports_[port].all == nullptr && !std::ranges::binary_search(service_ports, port)) return port;
  }
  std::uint16_t port = random_port();
  for (std::uint32_t left = std::uint32_t{ephemeral_.high} - ephemeral_.low + 1; left != 0; --left) {
    if (!std::ranges::binary_search(service_ports, port) && !is_taken(binding, {local, port}, false)) return port;
    port = port == ephemeral_.high ? ephemeral_.low : static_cast<std::uint16_t>(port + 1);
  }
  return Error{EADDRINUSE, "no free port is left: every ephemeral port has a socket"};
}

PortBinding*& PortTable::list_of(const PortBinding& binding) {
  if (binding.is_connected()) return chains_[hash(binding.local_, binding.peer_) & (chains_.size() - 1)];
  if (!binding.local_.ip.is_any()) return chains_[hash(binding.local_) & (chains_.size() - 1)];
  return ports_[binding.local_.port].wildcards;
}

void PortTable::insert(PortBinding& binding) {
  if (size_ == chains_.size()) grow();
  Port& port = ports_[binding.local_.port];
  PortBinding*& list = list_of(binding);
  binding.next_ = list;
  list = &binding;

  binding.previous_of_port_ = nullptr;
  binding.next_of_port_ = port.all;
  if (port.all != nullptr) port.all->previous_of_port_ = &binding;
  port.all = &binding;

  if (binding.is_connected()) {
    ++port.connected;
  } else if (!binding.local_.ip.is_any()) {
    ++port.specific;
  }
  ++size_;
}

void PortTable::remove(PortBinding& binding) {
  Port& port = ports_[binding.local_.port];
  PortBinding** link = &list_of(binding);
  while (*link != &binding) link = &(*link)->next_;
  *link = binding.next_;

  if (binding.next_of_port_ != nullptr) binding.next_of_port_->previous_of_port_ = binding.previous_of_port_;
  (binding.previous_of_port_ != nullptr ? binding.previous_of_port_->next_of_port_ : port.all) = binding.next_of_port_;

  if (binding.is_connected()) {
    --port.connected;
  } else if (!binding.local_.ip.is_any()) {
    --port.specific;
  }
  --size_;
}

// Doubles the chains. Each keeps its order: the youngest socket stands first.
void PortTable::grow() {
  std::vector<PortBinding*> old(chains_.size() * 2);
  old.swap(chains_);
  for (PortBinding* at : old) {
    PortBinding* reversed = nullptr;
    while (at != nullptr) {
      PortBinding* next = at->next_;
      at->next_ = reversed;
      reversed = at;
      at = next;
    }
    while (reversed != nullptr) {
      PortBinding* next = reversed->next_;
      PortBinding*& list = list_of(*reversed);
      reversed->next_ = list;
      list = reversed;
      reversed = next;
    }
  }
}

}  // namespace gannet::stack
