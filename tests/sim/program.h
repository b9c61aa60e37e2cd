// A program on a host of a world: one socket, and what it does with it when its turn comes, as its host's random numbers say.
//
//   server   bound, reads at once, answers some of what it gets by its send ring
//   echo     bound, answers in the frame, in the engine's thread
//   client   connected to somebody's server or echo, now and then to another
//   member   shares the server's port (SO_REUSEADDR), joins and leaves groups, and reads late
//
// Every one of them also sends to anybody, to groups and to everybody. Owner: its Host.  Thread: the test's.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gannet/address.h>

#include "base/rng.h"
#include "base/time.h"
#include "sim/ledger.h"
#include "stack/endpoint_client.h"
#include "stack/udp.h"

namespace gannet::sim {

class World;
struct Host;

// How often, relative to each other, a program does what.
struct Mix {
  unsigned send = 100;    // to a server or echo, or the connected peer
  unsigned large = 4;     // the same with more than fits a packet
  unsigned segments = 4;  // the same with several datagrams in one call
  unsigned broadcast = 2;
  unsigned multicast = 6;
  unsigned nobody = 4;   // to a port or an address where nobody is
  unsigned refused = 2;  // what the call must refuse
  unsigned membership = 6;
  unsigned reconnect = 4;
  unsigned reopen = 1;
  double answer = 0.5;  // probability of an answer
  bool members_read_late = true;

  [[nodiscard]] unsigned total() const {
    return send + large + segments + broadcast + multicast + nobody + refused + membership + reconnect + reopen;
  }
};

class Program {
 public:
  enum class Role : std::uint8_t { server, echo, client, member };
  static constexpr unsigned roles = 4;
  static constexpr std::uint16_t server_port = 7000;
  static constexpr std::uint16_t echo_port = 7001;

  Program(World& world, Host& host, Role role);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void act();
  // Reads what came, and answers. `all`: also who reads late.
  void read(bool all = false);
  void close();

  // Whether a datagram to a group or to all, from `src` by the interface, is for this socket.
  [[nodiscard]] bool listens(std::uint32_t interface, const IpAddress& src, const Address& to) const;
  [[nodiscard]] bool is(const stack::Endpoint& endpoint) const { return endpoint_ == &endpoint; }

 private:
  using Group = std::pair<IpAddress, std::uint32_t>;  // and the interface

  void open();
  void connect();
  void change_membership();
  [[nodiscard]] std::size_t any_size();
  [[nodiscard]] std::size_t any_large_size();  // more than fits a packet
  [[nodiscard]] std::optional<Address> any_server();
  void send(const Address& to, std::size_t size, const Ledger::Datagram& datagram);
  void send_segments(const Address& to);
  void send_to_group(bool everybody);
  void send_to_nobody();
  void send_what_is_refused();
  void answer(const stack::RecordHeader& header, Ledger::Number number);
  void handle(stack::Delivery& delivery);
  [[nodiscard]] bool wants_answer(Ledger::Number number);
  Result<void> send_now(const stack::RecordHeader& header, std::span<const std::byte> payload);

  World& world_;
  Host& host_;
  Role role_;
  stack::Endpoint* endpoint_ = nullptr;
  std::optional<stack::EndpointClient> client_;
  std::map<Group, std::optional<IpAddress>> joined_;  // from one source, or from all
  std::vector<std::byte> buffer_;
};

}  // namespace gannet::sim
