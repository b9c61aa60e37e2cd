// The provider over our own stack: the application's side of an endpoint's rings, and an attachment to its engine, wherever that runs.
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
#include "socket/attachment.h"
#include "socket/options.h"
#include "socket/provider.h"

namespace gannet::socket {

class StackSocket final : public Provider {
 public:
  // An endpoint of an engine of this process.
  static Result<std::unique_ptr<StackSocket>> open(engine::Engine& engine);
  // What an endpoint and its engine share, and who speaks for the socket.
  struct Parts {
    std::unique_ptr<Attachment> attachment;
    engine::HostView host;
    std::shared_ptr<stack::EndpointMemory> memory;
    std::shared_ptr<stack::SendMemory> send;
    int descriptor = -1;  // the socket's, where the caller keeps it; -1: the attachment has one, for when fd() is asked for
  };
  explicit StackSocket(Parts parts);
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

  // For who keeps the descriptor and waits on it by himself (socket/posix.h).
  [[nodiscard]] const engine::HostView& host() const { return host_; }
  // To a port of its own, where nothing bound it yet: as a send does.
  Result<void> bind_automatically();
  [[nodiscard]] bool is_connected() const { return state_.peer.load(std::memory_order_relaxed) != 0; }
  // The pending error of a socket without a peer, which on Linux fails the next call all the same where IP_RECVERR is on. 0: none.
  int take_unconnected_error() { return client_.has_pending_error() && !is_connected() ? client_.take_error() : 0; }
  [[nodiscard]] bool has_datagram() const { return client_.has_datagram(); }
  [[nodiscard]] bool has_error() const { return client_.has_pending_error() || client_.has_queued_error(); }
  // Words that all processes with this socket share; the owner's to use.
  [[nodiscard]] std::span<std::atomic<std::uint64_t>> notes() const { return state_.notes; }
  // The descriptor was found readable: a token without a datagram is silenced, and a hang-up closes the socket.
  void look_at_bell();
  // The descriptor is about to be waited for in another way than by wait_for_token().
  void watch_bell();
  // As recv(2) waits on this number of the descriptor. No error: worth looking.
  Result<void> wait_for_token(int descriptor);
  void move_bell(int descriptor);
  // Before the descriptor is watched edge-triggered.
  void watch_edges();
  // The datagram was refused: it is larger than the path's MTU. Where IP_RECVERR is set the error queue has it, too.
  void report_too_large(const Outgoing& datagram);
  // shutdown(2), for every process that has the socket: stack::shut_receive, stack::shut_send.
  void shut(std::uint32_t directions) { state_.shut.fetch_or(directions, std::memory_order_acq_rel); }
  [[nodiscard]] bool receives_no_more() const { return (client_.shut() & stack::shut_receive) != 0; }
  // EPIPE where it is shut for sending; but what is wrong with the datagram itself comes first, as on Linux.
  [[nodiscard]] Result<void> check_not_shut(const Outgoing& datagram) const;
  [[nodiscard]] bool sends_no_more() const { return (client_.shut() & stack::shut_send) != 0; }
  // Around fork(2), whose child finds no lock taken by a thread that it has not; and, in the child, a send ring of its own.
  void before_fork();
  void after_fork() { control_.unlock(); }
  // Another process has the descriptor from now on.
  void share();
  Result<void> renew_send_ring();
  // As receive_error(), and the start of the datagram that it is about into `quote`, of which there is `quoted`.
  Result<SocketError> receive_error(std::span<std::byte> quote, std::size_t& quoted);

 private:
  Result<ControlAnswer> control(const ControlRequest& request) const;

  // With room for records on the caller's stack: for one, or for a batch.
  Result<std::size_t> send(std::span<const Outgoing> batch, std::span<stack::SendSlot> slots, Deadline deadline);
  Result<std::size_t> receive(std::span<Datagram> batch, std::span<stack::ReceiveSlot> slots, Deadline deadline, Take take);
  [[nodiscard]] Result<void> check_send(const Outgoing& datagram) const;
  [[nodiscard]] Result<void> check_source(const Outgoing& datagram, const IpAddress& to) const;
  [[nodiscard]] Address destination_of(const Outgoing& datagram) const;                    // port 0: none
  [[nodiscard]] std::uint32_t leaves_by(std::uint32_t wanted, const IpAddress& to) const;  // 0: by the route
  void lay_out(const Outgoing& datagram, stack::SendSlot& slot) const;
  [[nodiscard]] bool is_over() const { return client_.is_closed() || host_.is_orphaned(); }
  [[nodiscard]] int over_code() const;
  // A pending error that is this call's to report (connected sockets), as on Linux.
  std::optional<int> take_error();
  void fill(Datagram& datagram, const stack::ReceiveSlot& slot) const;
  void remember(Option option, int value);
  static void received(void* self, bool emptied);
  static void wake_engine(void* self);

  const std::unique_ptr<Attachment> attachment_;
  const engine::HostView host_;
  stack::EndpointClient client_;

  stack::ApplicationState& state_;  // what sends and receives need of the options, so that they need not ask

  mutable std::mutex control_;  // what is remembered of the options is what the last change made of them
  std::mutex bell_mutex_;       // the first fd() makes the bell
  Fd bell_fd_;
  std::optional<engine::BellClient> bell_storage_;
  std::atomic<engine::BellClient*> bell_ = nullptr;
};

}  // namespace gannet::socket
