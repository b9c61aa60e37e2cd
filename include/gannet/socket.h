// A UDP socket: over the kernel's sockets by default, over a Host of ours by one more argument. The same calls mean the same in both.
//
//   auto socket = gannet::Socket::open().value();                         // the kernel's UDP
//   socket.bind("127.0.0.1:65433").value();
//   std::array<std::byte, 1024> buffer;
//   while (auto datagram = socket.receive(buffer)) socket.send_to(datagram->data, datagram->peer).value();
//
// Threads: a Socket may be used from any threads at once; close() wakes every blocked call, which then fails with EBADF. Moving and destroying
// are the owner's own business. Blocking calls restart after a signal.
// Errors: Result carries an errno and a sentence. A truncated datagram is not an error: it says so. An ICMP error never fails receive() of
// an unconnected socket: it waits in receive_error(). On a connected socket it fails one call, as on Linux (ECONNREFUSED, EHOSTUNREACH, ...).
// Addresses as text ("127.0.0.1:65433", "[::1]:53") are EINVAL where they are none; no names are looked up.
// An IPv6 socket speaks IPv4 too: give it IPv4 addresses, it shows IPv4 addresses, never the v4-mapped ones of the kernel's API.
// Sources: RFC 768; RFC 1122 4.1; RFC 3678 (source filters); RFC 8085.
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include <gannet/address.h>
#include <gannet/option.h>
#include <gannet/result.h>

namespace gannet {

class Host;
namespace socket {
class Provider;
}

// Until when a call may wait: a time from now, a moment, or one of the two extremes.
class Deadline {
 public:
  // Implicit, so that receive(buffer, 500ms) reads as it should. Zero or less does not wait; longer than a lifetime waits for ever.
  template <class Rep, class Period>
  Deadline(std::chrono::duration<Rep, Period> from_now) {
    using Clock = std::chrono::steady_clock;
    if (from_now <= from_now.zero()) {
      at_ = Clock::time_point::min();
    } else if (std::chrono::duration<double>(from_now) > std::chrono::years(100)) {
      at_ = Clock::time_point::max();
    } else {
      at_ = Clock::now() + std::chrono::duration_cast<std::chrono::nanoseconds>(from_now);
    }
  }
  Deadline(std::chrono::steady_clock::time_point at) : at_(at) {}
  static Deadline forever() { return std::chrono::nanoseconds::max(); }
  static Deadline now() { return std::chrono::nanoseconds::zero(); }  // do not wait: EAGAIN

  [[nodiscard]] std::chrono::steady_clock::time_point at() const { return at_; }
  [[nodiscard]] bool is_forever() const { return at_ == std::chrono::steady_clock::time_point::max(); }
  [[nodiscard]] bool is_now() const { return at_ == std::chrono::steady_clock::time_point::min(); }
  // From now on; zero once it has passed, max() where it never does.
  [[nodiscard]] std::chrono::nanoseconds left() const {
    if (is_forever()) return std::chrono::nanoseconds::max();
    if (is_now()) return std::chrono::nanoseconds::zero();
    const std::chrono::nanoseconds left = at_ - std::chrono::steady_clock::now();
    return left < left.zero() ? left.zero() : left;
  }

 private:
  std::chrono::steady_clock::time_point at_;
};

// The options of an IPv4 header, as on the wire.
struct IpOptions {
  std::array<std::byte, 40> bytes{};
  std::uint8_t size = 0;

  [[nodiscard]] std::span<const std::byte> view() const { return std::span(bytes).first(size); }
};

// A received datagram: its bytes, and all that came with them.
struct Datagram {
  std::span<std::byte> data{};                        // what was received, at the front of `buffer`
  std::span<std::byte> buffer{};                      // receive_batch(): the caller's room for it
  std::size_t length = 0;                             // of the whole datagram, also when data is less
  Address peer{};                                     // who sent it
  Address local{};                                    // the address it was sent to, which may be a group or a broadcast address (RFC 1122 4.1.3.5)
  std::uint32_t interface = 0;                        // index of the interface it came by; 0: not known
  int ttl = -1;                                       // as received; -1: not known
  std::uint8_t tos = 0;                               // DSCP and ECN, as received
  std::uint16_t segment_size = 0;                     // nonzero: several datagrams of one flow, each of this size but the last
  bool truncated = false;                             // the buffer was too small; the rest is lost
  std::chrono::system_clock::time_point timestamp{};  // with Option::timestamp; else zero
  std::uint32_t overflow = 0;                         // over a Host: datagrams dropped before it because the receive queue was full
  IpOptions ip_options{};                             // with Option::receive_ip_options; else empty

  [[nodiscard]] std::uint8_t ecn() const { return tos & 3; }
};

// A datagram to send, with what it may choose for itself; what is left at its default is the socket's.
struct Outgoing {
  std::span<const std::byte> data{};
  Address to{};                    // port 0: the connected peer
  Address source{};                // not any: send from this address of ours; its port is ignored (RFC 1122 4.1.3.5)
  std::uint32_t interface = 0;     // index; nonzero: leave by this interface
  int ttl = -1;                    // 1-255
  int tos = -1;                    // 0-255
  std::uint16_t segment_size = 0;  // nonzero: cut data into datagrams of this size
};

// An error that the network (ICMP) or the host reported about an earlier send.
struct SocketError {
  enum class Origin : std::uint8_t { local, icmp, icmpv6 };
  int code = 0;  // errno: ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ...
  Origin origin = Origin::local;
  std::uint8_t type = 0;       // of the ICMP message
  std::uint8_t icmp_code = 0;  // likewise
  std::uint32_t mtu = 0;       // with EMSGSIZE: the path's MTU
  Address peer{};              // to whom the datagram was sent
  IpAddress offender{};        // who reported it
};

class Socket {
 public:
  static Result<Socket> open(Family family = Family::ipv4);
  // Over our own stack. The host must outlive the socket.
  static Result<Socket> open(Host& host, Family family = Family::ipv4);

  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;
  ~Socket();

  // EADDRINUSE, EADDRNOTAVAIL, EINVAL when bound already. Port 0 takes an unpredictable free one (RFC 6056).
  Result<void> bind(const Address& local);
  Result<void> bind(std::string_view local);
  // Sets the default peer and filters all others out; may be called again for another peer. ENETUNREACH without a route; EINVAL (port 0).
  Result<void> connect(const Address& peer);
  Result<void> connect(std::string_view peer);
  // Back to no peer; a bound address stays bound. ENOTCONN never: it is harmless.
  Result<void> disconnect();
  // Every later call, and every call that waits now, is EBADF. The port is free when the last of them has returned.
  Result<void> close();

  [[nodiscard]] Result<Address> local_address() const;
  [[nodiscard]] Result<Address> peer_address() const;  // ENOTCONN

  // Each sends one datagram and returns the bytes sent, always all of them. EMSGSIZE: larger than a datagram can be (65,507 bytes over IPv4), or than
  // the path's MTU where pmtu_discovery says so. EDESTADDRREQ, EACCES (broadcast), ENETUNREACH, EINVAL (port 0).
  Result<std::size_t> send(std::span<const std::byte> data, Deadline deadline = Deadline::forever());
  Result<std::size_t> send_to(std::span<const std::byte> data, const Address& to, Deadline deadline = Deadline::forever());
  Result<std::size_t> send_to(std::span<const std::byte> data, std::string_view to, Deadline deadline = Deadline::forever());
  Result<std::size_t> send(const Outgoing& datagram, Deadline deadline = Deadline::forever());
  // Sends from the front of the batch; returns how many datagrams went out, at least one. An error is about the first; the rest are still the
  // caller's.
  Result<std::size_t> send_batch(std::span<const Outgoing> batch, Deadline deadline = Deadline::forever());

  // Waits for one datagram. EAGAIN when the deadline passes.
  Result<Datagram> receive(std::span<std::byte> buffer, Deadline deadline = Deadline::forever());
  // Waits for one, then takes what else is there; fills from the front, each into its own `buffer`; returns how many.
  Result<std::size_t> receive_batch(std::span<Datagram> batch, Deadline deadline = Deadline::forever());
  // The same into memory of the socket's, for one thread at a time (EBUSY): each `data` is valid until the next call of receive_borrowed().
  Result<std::span<const Datagram>> receive_borrowed(std::size_t most = 64, Deadline deadline = Deadline::forever());
  // Looks at the next datagram and leaves it there.
  Result<Datagram> peek(std::span<std::byte> buffer, Deadline deadline = Deadline::forever());
  // The oldest reported error. EAGAIN when there is none.
  Result<SocketError> receive_error();

  Result<void> set(Option option, int value);
  [[nodiscard]] Result<int> get(Option option) const;
  Result<void> set_ip_options(std::span<const std::byte> options);  // IPv4 options for every datagram sent; up to 40 bytes, padded to 4

  // Groups. Interface 0: the one the route to the group names. EADDRINUSE when joined already, EADDRNOTAVAIL when not joined, ENODEV without an
  // interface.
  Result<void> join(const IpAddress& group, std::uint32_t interface = 0);
  Result<void> join(std::string_view group, std::uint32_t interface = 0);
  Result<void> leave(const IpAddress& group, std::uint32_t interface = 0);
  Result<void> join_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface = 0);
  Result<void> leave_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface = 0);
  Result<void> block_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface = 0);
  Result<void> unblock_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface = 0);
  Result<void> set_multicast_interface(std::uint32_t interface);  // for sending; 0: by route

  // A descriptor that poll(2) finds readable when receive() would not wait. Its bytes are not for reading.
  [[nodiscard]] Result<int> fd();

  // For providers that are not opened here.
  explicit Socket(std::unique_ptr<socket::Provider> provider);

 protected:
  [[nodiscard]] socket::Provider* provider() const { return provider_.get(); }

 private:
  std::unique_ptr<socket::Provider> provider_;
};

// Text as the bytes of a datagram, and back.
inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string_view text_of(std::span<const std::byte> data) { return {reinterpret_cast<const char*>(data.data()), data.size()}; }

}  // namespace gannet
