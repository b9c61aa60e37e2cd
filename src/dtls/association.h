// An association with one peer: a handshake, and then datagrams sealed and opened.
//
//   shaking_hands --both proved who they are--> open --farewell, silence--> ended
//         |                                                                    ^
//         +---------------------- refused, time is up -------------------------+
//
// Sans-IO: datagrams come by input(), what is to be sent goes into the outbox, time is an argument, and the timer wheel says when advance() is due.
// Of OpenSSL's timers only the durations are ours (DTLS_set_timer_cb); whether one has run out it asks the system's clock, and so a retransmission
// may come up to 50 ms after ours, or where that clock was set back, not before the handshake's end.
//
// Keepalive: two words that the two derive from their keys (RFC 5705), so that no datagram of an application's can be one, and which they send only
// to peers that said in the handshake that they know them: one asks, the other answers. Owner: an endpoint.  Thread: one at a time.  Allocates:
// OpenSSL does, in handshakes. Sources: RFC 6347 4.2.4 (timers), RFC 8085 3.5 (keepalive).
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <gannet/dtls.h>

#include "base/assert.h"
#include "base/time.h"
#include "base/timer_wheel.h"
#include "dtls/openssl.h"
#include "dtls/pipe.h"

namespace gannet::dtls {

class Context;

// What the associations of an endpoint have in common.
struct Surroundings {
  const Context& context;
  TimerWheel& wheel;
  Outbox& outbox;
};

class Association : public Timer {
 public:
  enum class State : std::uint8_t { shaking_hands, open, ended };
  // `route` says where the peer is, and from which address of ours to answer. Null: no memory.
  static std::unique_ptr<Association> create(const Surroundings& surroundings, const Outgoing& route, bool is_server);
  static Association& of(const SSL* ssl) { return *static_cast<Association*>(SSL_get_app_data(ssl)); }

  // As a client: the first flight.
  void begin(Time now);
  // As a server: the datagram that brought the good cookie, and the random of its ClientHello.
  void begin(std::span<const std::byte> hello, std::span<const std::byte> random, Time now);
  // What it opens goes into `inbox`.
  void input(const Datagram& datagram, Time now, Inbox& inbox);
  void advance(Time now);
  // Seals one datagram into `outbox`, to go as `how` says. EMSGSIZE, ENOTCONN.
  Result<void> send(std::span<const std::byte> data, const Outgoing& how, Outbox& outbox);
  // Says farewell, where hands were shaken, and ends.
  void close();
  // Ends: the network has said that there is nobody.
  void fail(Error why);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool is_server() const { return is_server_; }
  [[nodiscard]] const Address& address() const { return pipe_.route.to; }
  // Why it ended; code 0: by a farewell.
  [[nodiscard]] const Error& end() const { return end_; }
  [[nodiscard]] DtlsPeer peer() const;
  [[nodiscard]] std::size_t max_payload() const;
  // By which a ClientHello is known.
  [[nodiscard]] const std::array<std::byte, 32>& client_random() const { return random_; }
  // Our ClientHello was sent again, since nobody answered it.
  [[nodiscard]] bool is_ignored() const { return !is_server_ && state_ == State::shaking_hands && has_repeated_; }
  [[nodiscard]] Time opened_at() const { return opened_at_; }
  // Since it was asked: records that were not authentic, that found the inbox full, and writes that found the outbox full.
  std::uint64_t take_rejected() { return std::exchange(rejected_, 0); }
  std::uint64_t take_unheard() { return std::exchange(unheard_, 0); }
  std::uint64_t take_overflows() { return std::exchange(pipe_.overflows, 0); }

  void knows_keepalives() { peer_answers_ = true; }

 private:
  static constexpr std::size_t word_size = 16;
  using Word = std::array<std::byte, word_size>;

  Association(const Surroundings& surroundings, const Outgoing& route, bool is_server);
  void use_mtu(std::size_t payload) { ASSERT(SSL_set_mtu(ssl_.get(), static_cast<long>(payload)) != 0); }
  void proceed(Time now);
  bool read(const Datagram& datagram, Time now, Inbox& inbox);
  void opened(Time now);
  void handshake_failed();
  bool consume_keepalive(std::span<const std::byte> data);
  void retransmit(Time now);
  void set_retransmission(Time now);
  void look_for_silence(Time now);
  void schedule(Time now);
  [[nodiscard]] Duration silence_allowed() const;
  static unsigned next_timeout(SSL* ssl, unsigned previous);

  const Surroundings& surroundings_;
  bool is_server_;
  State state_ = State::shaking_hands;
  Pipe pipe_;
  SslPtr ssl_;
  Error end_{0, nullptr};
  std::uint64_t rejected_ = 0, unheard_ = 0;
  std::array<std::byte, 32> random_{};

  Time give_up_ = never;  // of the handshake
  Time retransmit_ = never;
  Duration patience_{0};  // until the next retransmission, doubled each time
  bool has_repeated_ = false;
  Time opened_at_{}, last_heard_{};
  unsigned asked_ = 0;  // keepalives without an answer
  bool peer_answers_ = false;
  Word question_{}, answer_{};
};

}  // namespace gannet::dtls
