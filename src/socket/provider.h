// What carries a Socket's calls out: the kernel's sockets, or our own stack.
//
// The second of the core's two virtual interfaces. It says what Socket says, with fewer spellings: one datagram is a batch of one. What the API
// promises
// (<gannet/socket.h>) each provider keeps by itself; what needs no provider to decide is decided here, once for all of them.
// Thread: any, at once; close() wakes every waiting call.
// Allocates: at creation, and once at the first receive_borrowed().
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <gannet/socket.h>

namespace gannet::socket {

inline constexpr std::size_t max_batch = 64;            // datagrams that one call moves
inline constexpr std::size_t max_payload_ipv4 = 65507;  // 65,535 less the shortest IPv4 header and UDP's
inline constexpr std::size_t max_payload_ipv6 = 65527;  // likewise; IPv6's length does not count its own header

enum class Take : std::uint8_t { remove, peek };
enum class Membership : std::uint8_t { join, leave, join_source, leave_source, block_source, unblock_source };

class Provider {
 public:
  Provider();
  virtual ~Provider();
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  virtual Result<void> bind(const Address& local) = 0;
  virtual Result<void> connect(const Address& peer) = 0;
  virtual Result<void> disconnect() = 0;
  virtual Result<void> close() = 0;
  [[nodiscard]] virtual Result<Address> local_address() const = 0;
  [[nodiscard]] virtual Result<Address> peer_address() const = 0;

  virtual Result<std::size_t> send(std::span<const Outgoing> batch, Deadline deadline) = 0;
  virtual Result<std::size_t> receive(std::span<Datagram> batch, Deadline deadline, Take take) = 0;
  virtual Result<SocketError> receive_error() = 0;

  virtual Result<void> set(Option option, int value) = 0;
  [[nodiscard]] virtual Result<int> get(Option option) const = 0;
  virtual Result<void> set_ip_options(std::span<const std::byte> options) = 0;
  // `source` is used by the last four kinds only.
  virtual Result<void> change_membership(Membership kind, const IpAddress& group, const IpAddress& source, std::uint32_t interface) = 0;
  virtual Result<void> set_multicast_interface(std::uint32_t interface) = 0;
  virtual Result<int> fd() = 0;

  Result<std::span<const Datagram>> receive_borrowed(std::size_t most, Deadline deadline);

 protected:
  // Into pieces of which size a datagram is to be cut, as it says or else the socket; 0: into none.
  [[nodiscard]] std::uint16_t segment_size_of(const Outgoing& datagram) const;
  // Sends a datagram that is to be cut piece by piece, where the path takes no segments, or not these.
  Result<std::size_t> send_pieces(const Outgoing& datagram, Deadline deadline);

  std::atomic<std::uint16_t> segment_size_ = 0;       // the socket's
  std::atomic<std::uint32_t> segment_fallbacks_ = 0;  // times that a datagram went out in pieces

 private:
  struct Loan;  // the memory that receive_borrowed() lends
  std::unique_ptr<Loan> loan_;
  std::atomic_flag lending_;
};

// What is wrong with a datagram before any provider sees it: a port 0, a TTL or TOS out of range, a source of the other family, a size that no IP
// packet has room for.
[[nodiscard]] Result<void> check(const Outgoing& datagram, Family socket);
// The family of the packet that `datagram` becomes; `connected` is that of the connected peer.
[[nodiscard]] inline Family family_of(const Outgoing& datagram, Family connected) {
  return datagram.to.port != 0 ? datagram.to.ip.family : connected;
}

// The sentence that goes with an errno, by what was attempted; none where the errno says it all.
enum class Call : std::uint8_t { open, bind, connect, send, receive, membership, option, other };
[[nodiscard]] Error failure(Call call, int code);

}  // namespace gannet::socket
