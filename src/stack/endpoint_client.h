// The application's side of an endpoint: datagrams out of the receive ring and into this process's send ring.
//
// Threads: any, at once, and signal handlers. There is no lock and no system call here; what needs one (a bell to silence, an engine to wake) is a
// hook that the doorbell injects. Nothing here waits: none, or false, says that there was nothing or no room.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "stack/endpoint_memory.h"

namespace gannet::stack {

struct ClientHooks {
  void* context = nullptr;
  // After datagrams or errors were taken. `emptied`: nothing is left, or was left for a moment, so the bell is to be silenced; otherwise tokens pile
  // up.
  void (*received)(void* context, bool emptied) = nullptr;
  void (*wake_engine)(void* context) = nullptr;  // the engine asked to be told about sends
};

// Room for one datagram, and what came.
struct ReceiveSlot {
  std::span<std::byte> buffer;
  RecordHeader header{};
  std::size_t size = 0;  // copied into buffer
  std::array<std::byte, max_ip_options> ip_options{};
  std::size_t ip_options_size = 0;
};

struct SendSlot {
  RecordHeader header;  // peer, local, interface, hop_limit, tos, time, segment_size as record.h says
  std::span<const std::byte> ip_options;
  std::span<const std::byte> payload;
};

class EndpointClient {
 public:
  explicit EndpointClient(std::shared_ptr<EndpointMemory> memory, ClientHooks hooks = {});
  ~EndpointClient();
  EndpointClient(const EndpointClient&) = delete;
  EndpointClient& operator=(const EndpointClient&) = delete;

  // The process's own send ring, which the engine made (Endpoint::add_send_ring). A child sets one of its own after fork. Where two threads set one
  // at once, the later one is used; what stands in the other still goes out.
  void set_send_ring(const std::shared_ptr<SendMemory>& send);
  [[nodiscard]] bool has_send_ring() const { return sender() != nullptr; }

  // Fills slots from the front and returns how many. A peek looks at the oldest only.
  std::size_t receive(std::span<ReceiveSlot> slots);
  bool peek(ReceiveSlot& slot);

  // Takes datagrams from the front as far as SO_SNDBUF goes; returns how many.
  std::size_t send(std::span<const SendSlot> slots);

  // The oldest queued error (a record of kind error), its quote in the slot's buffer. As on Linux, SO_ERROR then tells the next one.
  bool receive_error(ReceiveSlot& slot);
  // SO_ERROR: the pending error, which asking clears; 0: none.
  int take_error();

  [[nodiscard]] bool is_closed() const { return memory_->control().closed.load(std::memory_order_acquire) != 0; }
  [[nodiscard]] bool has_lost_engine() const { return memory_->control().closed.load(std::memory_order_acquire) == closed_by_death; }
  [[nodiscard]] bool has_datagram() const { return !receive_.is_empty(); }
  // What makes the socket readable: a datagram, or an error that a call will fail with.
  [[nodiscard]] bool has_news() const { return has_datagram() || has_pending_error(); }
  [[nodiscard]] bool has_queued_error() const { return !errors_.is_empty(); }
  // As shutdown(2) left it: shut_receive, shut_send.
  [[nodiscard]] std::uint32_t shut() const { return memory_->control().application.shut.load(std::memory_order_acquire); }
  [[nodiscard]] bool has_pending_error() const { return memory_->control().pending_error.load(std::memory_order_acquire) != 0; }
  [[nodiscard]] bool is_writable() const { return sender() == nullptr || !sender()->ring.is_full(); }
  [[nodiscard]] bool has_send_space() const { return sender() == nullptr || sender()->ring.has_space(); }

  [[nodiscard]] EndpointControl& control() const { return memory_->control(); }
  [[nodiscard]] SendControl* send_control() const { return sender() != nullptr ? &sender()->memory->control() : nullptr; }

 private:
  struct Sender {
    std::shared_ptr<SendMemory> memory;
    SendRingWriter ring;
    Sender* previous;  // an earlier one, which a thread may still be in: kept until the end
  };
  [[nodiscard]] Sender* sender() const { return sender_.load(std::memory_order_acquire); }
  bool read(RingReader& ring, ReceiveSlot& slot, bool peek, bool& emptied);
  void after_receive(bool emptied);

  std::shared_ptr<EndpointMemory> memory_;
  RingReader receive_, errors_;
  std::atomic<Sender*> sender_ = nullptr;
  ClientHooks hooks_;
};

}  // namespace gannet::stack
