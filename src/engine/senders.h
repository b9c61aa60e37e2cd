// Which interposer, and which socket of it, a datagram of this host came from, by its source address: so that it hears of the end of what it let
// pass.
//
// Owner: Interposers.  Thread: the engine's.  Allocates: when a socket first sends from an address.  Bound: max_addresses; the datagrams of those
// beyond are not followed. An address is its last sender's, also after that has closed its socket: what it sent may still be on its way.
#pragma once
#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include <gannet/address.h>

namespace gannet::engine {

class Interposer;

class Senders {
 public:
  static constexpr std::size_t max_addresses = 65536;

  struct Sender {
    Interposer* interposer = nullptr;  // null: nobody's
    std::uint32_t endpoint = 0;        // id; it may be closed
  };

  void note(const Address& local, const Sender& sender) {
    if (by_address_.size() < max_addresses || by_address_.contains(key_of(local))) by_address_[key_of(local)] = sender;
  }
  [[nodiscard]] Sender find(const Address& src) const {
    const auto found = by_address_.find(key_of(src));
    return found == by_address_.end() ? Sender{} : found->second;
  }
  void forget(const Interposer& interposer) {
    std::erase_if(by_address_, [&](const auto& entry) { return entry.second.interposer == &interposer; });
  }

 private:
  static std::uint64_t key_of(const Address& address) { return std::uint64_t{address.ip.number()} << 16 | address.port; }
  std::unordered_map<std::uint64_t, Sender> by_address_;
};

}  // namespace gannet::engine
