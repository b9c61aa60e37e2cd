// The provider over the kernel's own UDP sockets: no host, no privilege, no configuration.
//
// One descriptor in blocking mode. A call without a deadline waits inside the kernel; one with a deadline tries, then polls.
//
// close() while other calls are in the kernel: the number of a closed descriptor may be another file's a moment later, so it is not closed under
// anybody. `users_` counts the calls inside; close() marks it, wakes them with shutdown(2), and whoever leaves last closes the descriptor.
// (shutdown() of an unconnected UDP socket says ENOTCONN and wakes all sleepers and pollers nevertheless: Linux's inet_shutdown keeps this on
// purpose.)
//
// Errors from the network: where IP_RECVERR is on, the kernel queues each one and also fails the socket's next call with it. On a connected socket
// that is what was promised. On an unconnected one the failed call is repeated. Either way the kernel's queue is emptied into a short one of ours at
// once, since what lies in it takes the receive buffer's room away from datagrams.
//
// Thread: any.  Allocates: at creation only.
// Sources: udp(7), ip(7), ipv6(7), recvmmsg(2), sendmmsg(2); Linux's Documentation/networking/segmentation-offloads (UDP_SEGMENT).
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "socket/options.h"
#include "socket/provider.h"

namespace gannet::socket {

class KernelSocket final : public Provider {
 public:
  static Result<std::unique_ptr<KernelSocket>> open(Family family);
  ~KernelSocket() override;

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
  class Use;       // a call inside: keeps the descriptor open
  class Outbox;    // a batch as sendmmsg() wants it
  class Inbox;     // a batch as recvmmsg() wants it
  struct Attempt;  // what a call that must be repeated remembers

  KernelSocket(int fd, Family family) : fd_(fd), family_(family) {}

  // After a failed attempt: whether to make another, having waited or taken errors out of its way; otherwise the call fails with `code`.
  bool shall_retry(Attempt& attempt, int code);
  bool wait(Attempt& attempt);
  void drain_errors();

  [[nodiscard]] std::uint16_t local_port() const;
  Result<void> set_number(const LinuxOption& option, int value);
  Result<void> set_metadata(int value);
  [[nodiscard]] Result<int> overflow_count() const;

  static constexpr std::uint32_t closed_mark = 0x80000000;
  static constexpr std::size_t max_errors = 64;  // reported and not asked for; the oldest is forgotten for one more

  const int fd_;
  const Family family_;
  mutable std::atomic<std::uint32_t> users_ = 0;
  enum class Peer : std::uint8_t { none, ipv4, ipv6 };
  std::atomic<Peer> peer_ = Peer::none;
  mutable std::atomic<std::uint16_t> local_port_ = 0;  // 0: to be asked for
  std::atomic<std::uint16_t> bound_port_ = 0;          // by bind()
  std::atomic<bool> cannot_segment_ = false;           // a segmented send failed with EIO: do not try again

  std::mutex errors_mutex_;
  std::array<SocketError, max_errors> errors_;  // a ring: errors_[(first_error_ + i) % max_errors], i < error_count_
  std::size_t first_error_ = 0;
  std::size_t error_count_ = 0;
};

}  // namespace gannet::socket
