// Where applications and a host meet: the state of one UDP socket, and its rings of datagram records in memory that may be shared.
//
//   engine: deliver(), report() -> receive ring, error ring -> application
//   application -> send ring (one for each process) -> engine: next_send()
//
// This header is the engine's side. Owner: Udp.  Thread: the engine's. The application's side is EndpointClient (endpoint_client.h).
// Bounds: the receive ring by SO_RCVBUF, charged as Linux charges (a datagram dropped there is Drop::receive_queue_full); a send ring by SO_SNDBUF
// (send waits, or EAGAIN); the error ring by 64 records (the oldest stay, the newest are counted and lost).
#pragma once
#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>
#include <gannet/socket.h>

#include "base/counter.h"
#include "base/frame.h"
#include "base/time.h"
#include "stack/endpoint_memory.h"
#include "stack/pacer.h"
#include "stack/path.h"
#include "stack/record.h"
#include "stack/record_ring.h"
#include "wire/drop.h"
#include "wire/ip.h"

namespace gannet::stack {

class Endpoint;

// A datagram on its way to an endpoint or handler. All views end with the call.
struct Delivery {
  const wire::IpInfo& ip;
  std::uint16_t peer_port = 0, local_port = 0;
  std::span<std::byte> payload;  // in its frame; a handler may change it
  std::uint16_t segment_size = 0;
  bool has_checksum = true;
  Time now;
  Frame* frame = nullptr;  // where all this lies, for Udp::reply()

  [[nodiscard]] Address peer() const { return {ip.src, peer_port}; }
  [[nodiscard]] Address local() const { return {ip.dst, local_port}; }  // a broadcast address or a group where ip.to_group says so
};

// The faster door: called in the engine's thread with the datagram in its frame, in place of the receive ring. `reply` sends from the same frame.
struct DatagramHandler {
  void (*handle)(void* context, Endpoint& endpoint, Delivery& delivery) = nullptr;
  void* context = nullptr;
};

// What setsockopt(2) sets, as Linux names it. Written in the engine's thread.
struct EndpointOptions {
  int ttl = -1;
  std::uint8_t tos = 0;
  std::uint8_t multicast_ttl = 1;
  bool multicast_loop = true;
  bool multicast_all = true;
  std::uint32_t multicast_interface = 0;
  bool broadcast = false;
  bool reuse_address = false;
  bool reuse_port = false;
  Fragmentation fragmentation = Fragmentation::want;
  bool no_checksum = false;
  bool require_checksum = false;
  bool receive_errors = false;
  bool timestamp = false;
  bool receive_ip_options = false;
  std::array<std::byte, 40> ip_options{};
  std::uint8_t ip_options_size = 0;
};

// What all endpoints of one host have in common: which of them have news for their applications since the engine last rang the bells, and what to add
// to the engine's time for a time of day.
class EndpointGroup {
 public:
  Duration real_time_offset{0};

  [[nodiscard]] bool has_news() const { return first_ != nullptr; }
  // Takes the endpoint out that has had news for longest; none when there is no more.
  Endpoint* take_news();

 private:
  friend class Endpoint;
  void append(Endpoint& endpoint);
  void remove(Endpoint& endpoint);
  Endpoint* first_ = nullptr;
  Endpoint* last_ = nullptr;
};

class Endpoint {
 public:
  // Allocates nothing but itself: the rings come with open_rings(), at the socket's first bind, connect or send.
  Endpoint(std::uint32_t id, EndpointGroup& group) : id_(id), group_(group) {}
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // The socket as UDP knows it; Udp writes these.
  Address local{};                    // bound to; port 0: not bound
  Address peer{};                     // connected to; port 0: not connected
  std::uint16_t bound_port = 0;       // that the application's bind() got; 0: it made none
  std::uint32_t bound_interface = 0;  // SO_BINDTODEVICE, or the scope of a bound link-local address; 0: any
  std::uint32_t slot = 0;             // where its engine keeps it
  EndpointOptions options;
  DatagramHandler handler;

  [[nodiscard]] std::uint32_t id() const { return id_; }
  [[nodiscard]] bool is_connected() const { return peer.port != 0; }

  // Makes the rings; harmless when they are there. ENOBUFS when the system has no memory.
  Result<void> open_rings(Sharing sharing = Sharing::children);
  [[nodiscard]] const std::shared_ptr<EndpointMemory>& memory() const { return memory_; }

  // To the handler where there is one, else into the receive ring.
  std::expected<void, Drop> deliver(Delivery& delivery) {
    if (handler.handle == nullptr) return enqueue(delivery);
    handler.handle(handler.context, *this, delivery);
    return {};
  }
  // Past the handler. Drop::receive_queue_full; Drop::socket_closed where there are no rings.
  std::expected<void, Drop> enqueue(const Delivery& delivery);

  // An error about what the socket sent, as Linux tells it: queued where IP_RECVERR (options.receive_errors) is set; SO_ERROR becomes it if so, or if
  // it is `hard` and the socket connected, or of local origin. `quote` is the start of the payload it is about.
  void report(const SocketError& error, bool hard, std::span<const std::byte> quote = {});
  // Into the error queue alone, where IP_RECVERR is set: the call that it is about has failed with it already.
  void queue_error(const SocketError& error, std::span<const std::byte> quote = {});

  // The send rings, a process's each, served in turn, a datagram at a time. False: all are empty, or the next datagram is held until its time. An
  // error: a record was invalid, and skipped.
  std::expected<bool, Drop> next_send(SendRequest& request, Time now);
  void finish_send();  // gives the record's place back, and moves on to the next ring
  // Until when nothing more leaves the send rings; in the past where nothing is held.
  [[nodiscard]] Time held_until() const { return held_until_; }
  // SO_MAX_PACING_RATE of what leaves them: bytes a second, or Pacer::unlimited. What Udp::send() and reply() send is not paced.
  void set_pacing_rate(int rate, Time now);
  [[nodiscard]] int pacing_rate() const { return pacer_.rate(); }
  Result<std::shared_ptr<SendMemory>> add_send_ring();
  // Its process is gone: what that sent still goes out, and then the ring's memory is given back.
  void abandon_send_ring(const SendMemory& memory);
  [[nodiscard]] std::size_t send_rings() const { return send_rings_.size(); }
  // How far the send rings were read, in bytes of theirs: who takes no more than send_ring_size has taken all that one held.
  [[nodiscard]] std::uint64_t taken() const;
  [[nodiscard]] bool has_sends() const;
  // Asks applications to say so when they send: from now on nobody looks here. False: something came in between, and they are not asked.
  bool request_wakeup();
  // Of their limits, as charged; what applications write in shared memory is only as true as they are.
  [[nodiscard]] std::uint64_t receive_used() { return receive_ ? receive_->used() : 0; }
  [[nodiscard]] std::uint64_t send_used() const;
  // Half of SO_SNDBUF is free in every ring.
  [[nodiscard]] bool has_send_space() const;
  // Calls `wake(SendControl&)` for each ring whose waiting senders may go on, or will never. Waiters and this change the same word, so one of them
  // comes second: either they see the space, or they are seen here.
  template <class Wake>
  void wake_senders(Wake&& wake) {
    for (SendRing& ring : send_rings_) {
      SendControl& control = ring.memory->control();
      if (!ring.has_space() && !closed_) continue;
      control.space_epoch.fetch_add(1, std::memory_order_acq_rel);
      if (control.space_waiters.load(std::memory_order_acquire) != 0) wake(control);
    }
  }

  // SO_RCVBUF and SO_SNDBUF as Linux shows them, that is twice what the application asked for; brought into range.
  void set_receive_limit(std::uint64_t limit);
  void set_send_limit(std::uint64_t limit);
  [[nodiscard]] std::uint64_t receive_limit() const { return receive_limit_; }
  [[nodiscard]] std::uint64_t send_limit() const { return send_limit_; }

  // Applications see the end; nothing is delivered any more.
  void close();

  [[nodiscard]] std::uint32_t overflow() const { return overflow_; }  // SO_RXQ_OVFL
  [[nodiscard]] std::uint64_t receive_head() const { return receive_ ? receive_->head() : 0; }
  [[nodiscard]] std::uint64_t receive_tail() { return receive_ ? receive_->tail() : 0; }
  // What makes the descriptor readable: a datagram, an error that a call will fail with, or one in the error queue.
  [[nodiscard]] bool has_receivable();
  // For the doorbell: what came since it was last rung.
  struct Arrivals {
    std::uint32_t datagrams = 0;
    bool event = false;  // an error, or the end
  };
  [[nodiscard]] Arrivals take_arrivals() { return std::exchange(arrivals_, {}); }
  void rung() {
    if (memory_) memory_->control().bell.ringing.store(0, std::memory_order_release);
  }
  std::uint32_t bell = 0;  // the engine's: which of its bells with a descriptor is this endpoint's; 0: none

  Counter delivered, sent, refused;  // datagrams: those that came into the receive ring, and those that went out or could not
  Counter errors_reported, errors_lost;

 private:
  friend class EndpointGroup;
  struct SendRing {
    explicit SendRing(std::shared_ptr<SendMemory> m) : memory(std::move(m)), reader(memory->control(), memory->commits(), memory->ring()) {}
    [[nodiscard]] bool has_space() const;
    std::shared_ptr<SendMemory> memory;
    SendRingReader reader;
    bool abandoned = false;
  };
  static constexpr std::size_t max_send_rings = 1024;
  void announce();
  bool pace(const SendRequest& request, Time now);

  std::uint32_t id_;
  EndpointGroup& group_;
  std::shared_ptr<EndpointMemory> memory_;
  std::optional<RingWriter> receive_, errors_;
  std::vector<SendRing> send_rings_;
  std::size_t send_turn_ = 0;
  std::uint64_t taken_before_ = 0;  // of the rings that are gone
  Pacer pacer_;
  Time held_until_{};
  std::uint64_t receive_limit_ = default_buffer_limit;
  std::uint64_t send_limit_ = default_buffer_limit;
  std::uint32_t overflow_ = 0;
  Sharing sharing_ = Sharing::children;
  Arrivals arrivals_;
  bool has_news_ = false;
  bool closed_ = false;
  Endpoint* previous_news_ = nullptr;
  Endpoint* next_news_ = nullptr;
};

}  // namespace gannet::stack
