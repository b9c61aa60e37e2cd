// The provider over our own stack: an endpoint of an engine, and the application's side of its rings.
//
// With a thread in the engine, calls wait on the endpoint's futex. Without one (Host::run_once() in the caller's loop), a call that has to wait runs
// the loop itself until its deadline. What Linux refuses at once is checked against the host page, in the caller's thread; everything else comes back
// as the socket's error. close() marks the endpoint closed in the engine's thread, which wakes every waiting call; the rings live until the last call
// has left.
//
// Thread: any.  Allocates: at creation; per datagram nothing.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "base/fd.h"
#include "engine/doorbell.h"
#include "engine/engine.h"
#include "socket/options.h"
#include "socket/provider.h"

namespace gannet::socket {

class StackSocket final : public Provider {
 public:
  static Result<std::unique_ptr<StackSocket>> open(engine::Engine& engine);
  ~StackSocket() override;

  Result<void> bind(const Address& local) override;
  Result<void> connect(const Address& peer) override;
  Result<void> disconnect() override;
  Result<void> close() override;
  [[nodiscard]] Result<Address> local_address() const override;
  [[nodiscard]] Result<Address> peer_address() const override;

  Result<std::size_t> send(std::span<const Outgoing> batch, Deadline deadline) override;
  Result<std::size_t> receive(std::span<Datagram> batch, Deadline deadline, Take take) override;
  Result<SocketError> receive_error() override;

  Result<void> set(Option option, int value) override;
  [[nodiscard]] Result<int> get(Option option) const override;
  Result<void> set_ip_options(std::span<const std::byte> options) override;
  Result<void> change_membership(Membership kind, const IpAddress& group, const IpAddress& source, std::uint32_t interface) override;
  Result<void> set_multicast_interface(std::uint32_t interface) override;
  Result<int> fd() override;

 private:
  StackSocket(engine::Engine& engine, stack::Endpoint& endpoint);
  // Runs `work(endpoint)` in the engine's thread; EBADF once the socket is closed.
  template <class Work>
  auto in_engine(Call call, Work&& work) const -> std::invoke_result_t<Work&, stack::Endpoint&>;
  // The same for what changes the socket: what was sent before goes out as the socket was then, except for what its pace holds back.
  template <class Work>
  Result<void> change(Call call, Work&& work) const;

  // With room for records on the caller's stack: for one, or for a batch.
  Result<std::size_t> send(std::span<const Outgoing> batch, std::span<stack::SendSlot> slots, Deadline deadline);
  Result<std::size_t> receive(std::span<Datagram> batch, std::span<stack::ReceiveSlot> slots, Deadline deadline, Take take);
  [[nodiscard]] Result<void> check_send(const Outgoing& datagram) const;
  [[nodiscard]] Address destination_of(const Outgoing& datagram) const;  // port 0: none
  void lay_out(const Outgoing& datagram, stack::SendSlot& slot) const;
  Result<std::size_t> send_pieces(const Outgoing& datagram, Deadline deadline);
  [[nodiscard]] std::uint16_t segment_size_of(const Outgoing& datagram) const;
  Result<void> bind_automatically();
  // A pending error that is this call's to report (connected sockets), as on Linux.
  std::optional<int> take_error();
  // False: the deadline has passed.
  bool wait_readable(Deadline deadline, Take take);
  bool wait_writable(Deadline deadline);
  void fill(Datagram& datagram, const stack::ReceiveSlot& slot) const;
  // set() and get(), in the engine's thread.
  Result<void> apply(Option option, int value, stack::Endpoint& endpoint);
  [[nodiscard]] Result<int> ask(Option option, stack::Endpoint& endpoint) const;
  static void received(void* self, bool emptied);
  static void wake_engine(void* self);

  engine::Engine& engine_;
  const engine::HostView host_;
  stack::Endpoint* endpoint_;  // the engine thread's; null once closed
  const std::uint32_t slot_;
  stack::EndpointClient client_;

  // What sends and receives need of the options, so that they need not ask.
  std::atomic<std::uint64_t> peer_ = 0;  // address and port as one number; 0: not connected
  std::atomic<bool> bound_ = false, broadcast_ = false, metadata_ = true, timestamp_ = false;
  std::atomic<stack::Fragmentation> fragmentation_ = stack::Fragmentation::want;
  std::atomic<std::uint16_t> segment_size_ = 0;
  std::atomic<std::uint8_t> ip_options_size_ = 0;
  std::atomic<std::uint32_t> segment_fallbacks_ = 0;
  std::uint16_t bound_port_ = 0;  // that bind() took; the engine thread's

  std::mutex bell_mutex_;  // the first fd() makes the bell
  Fd bell_fd_;
  std::optional<engine::BellClient> bell_storage_;
  std::atomic<engine::BellClient*> bell_ = nullptr;
};

}  // namespace gannet::socket
