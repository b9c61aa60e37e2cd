// What became of each datagram that the programs of a world sent: delivered, refused by the call, or dropped for a named reason.
//
// Every eight bytes of a payload name their datagram and their own place in it, so that any fragment of it is recognized wherever it dies, and what
// is delivered can be compared byte for byte:
//
//   | number of the datagram: 4 | place / 8: 2 | check: 2 |   ... again and again; the last may be cut
//
// Owner: World.  Thread: the test's.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <gannet/address.h>

#include "wire/drop.h"

namespace gannet::sim {

class Ledger {
 public:
  using Number = std::uint32_t;
  static constexpr std::size_t smallest = 8;  // a payload of fewer bytes names nobody
  static constexpr std::size_t largest = 65507;

  struct Datagram {
    unsigned host = 0;  // that sent it
    Address to{};
    std::uint32_t size = 0;
    std::uint16_t expected = 1;  // sockets to which a network without faults delivers it
    bool to_group = false;       // multicast or broadcast
    bool is_reply = false;
    std::uint16_t delivered = 0;
    std::uint16_t dropped = 0;  // packets of it that a host or a fault dropped
    int refused = 0;            // errno
  };

  // Whom a datagram was delivered to.
  struct Reader {
    unsigned host, program;
    friend auto operator<=>(const Reader&, const Reader&) = default;
  };

  explicit Ledger(std::uint64_t seed) : key_(seed) {}

  // Enters a datagram that is about to be sent and writes its payload.
  Number add(const Datagram& datagram, std::span<std::byte> payload);
  // The size nearest to `size` of which no fragment is too short to name its datagram, over links with this MTU.
  [[nodiscard]] static std::size_t recognizable(std::size_t size, std::size_t mtu);

  void refused(Number number, int error) { datagrams_[number].refused = error; }
  // A packet that died; empty bytes: one of which nothing was at hand.
  void dropped(std::span<const std::byte> bytes, Drop reason);
  // A packet of this datagram died before there was one.
  void dropped(Number number) { ++datagrams_[number].dropped; }
  // A payload as a program read it; returns which datagram it was. Fails the test when it is not what was sent, unless its checksum collides.
  std::optional<Number> delivered(const Reader& reader, const Address& peer, std::span<const std::byte> payload);

  // Fails the test where a datagram's end is not known, or where it ended more than once though nothing was duplicated. Of `unseen` packets it is
  // known that they died, but not what they held.
  void check_ends(bool duplicated, std::uint64_t unseen) const;
  // Fails the test unless each datagram that was not refused, from this one on, reached just the sockets that it was for.
  void check_complete(Number first = 0) const;
  // The same, and in order.
  void check_perfect() const;

  [[nodiscard]] const Datagram& operator[](Number number) const { return datagrams_[number]; }
  [[nodiscard]] std::size_t size() const { return datagrams_.size(); }
  [[nodiscard]] std::uint64_t deliveries() const { return deliveries_; }
  [[nodiscard]] std::uint64_t reordered() const { return reordered_; }    // deliveries behind a later one of the same sender
  [[nodiscard]] std::uint64_t collisions() const { return collisions_; }  // corrupted where the checksum cannot see it
  [[nodiscard]] std::uint64_t strangers() const { return strangers_; }    // payloads that no program here sent
  [[nodiscard]] std::uint64_t lost(Drop reason) const { return lost_[static_cast<std::size_t>(reason)]; }
  [[nodiscard]] std::string summary() const;

  bool takes_strangers = false;  // somebody else sends too: what is not ours is no failure

 private:
  [[nodiscard]] std::uint64_t word(Number number, std::size_t place) const;
  void fill(Number number, std::span<std::byte> payload) const;
  // Which datagram is named in these bytes, at a multiple of eight.
  [[nodiscard]] std::optional<Number> find(std::span<const std::byte> bytes) const;
  [[nodiscard]] std::string describe(Number number) const;

  std::uint64_t key_;
  std::vector<Datagram> datagrams_;
  std::map<std::tuple<Reader, Address>, Number> newest_;  // that each reader had from each sender
  std::vector<std::byte> scratch_;
  std::array<std::uint64_t, drop_count> lost_{};
  std::uint64_t deliveries_ = 0, reordered_ = 0, collisions_ = 0, strangers_ = 0, unseen_ = 0;
};

}  // namespace gannet::sim
