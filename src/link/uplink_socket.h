// One kernel socket of an uplink, and the batches that go through it.
//
// Owner: Uplink.  Thread: the engine's.  Allocates: a batch, once.
// Sources: Linux's ip(7), udp(7), cmsg(3).
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/fd.h"
#include "base/frame.h"

namespace gannet::link {

// What the kernel tells of a datagram that came, or is told of one that goes.
struct UplinkDatagram {
  Address src, dst;
  std::uint32_t interface = 0;  // on the way out 0: by route
  bool any_source = false;      // on the way out: the kernel chooses, and `src` is what we would
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::span<const std::byte> options{};
};

// An error of a datagram that was sent, from a router, a peer or the kernel itself.
struct UplinkError {
  bool at_once = false;             // the kernel's own, of the datagram that it has just refused: larger than `mtu`
  std::uint8_t type = 3, code = 0;  // ICMP
  std::uint32_t mtu = 0;
  IpAddress offender;  // who says so; any: this machine
  Address src, dst;    // of the datagram
  std::uint32_t interface = 0;
  std::array<std::byte, 128> quote{};  // the start of its payload
  std::uint16_t quoted = 0;
  std::uint16_t size = 0;  // of the payload
};

inline constexpr std::size_t uplink_batch = 32;

// Room for a batch of messages, either way.
struct UplinkBatch {
  static constexpr std::size_t control_size = 256;
  static constexpr std::size_t spill_size = 65536;
  UplinkBatch();
  std::array<mmsghdr, uplink_batch> headers{};
  std::array<iovec, 2 * uplink_batch> pieces{};  // on the way in two for each message, on the way out one for each datagram
  std::array<sockaddr_in, uplink_batch> names{};
  std::unique_ptr<std::byte[]> control;  // control_size for each
  std::unique_ptr<std::byte[]> spill;    // spill_size for each: what does not fit a small frame; touched only then

  // In. Makes a slot ready for a datagram: the start of it, and what does not fit there into the spill.
  void prepare(std::size_t slot, std::span<std::byte> start);
  // What stands in a slot after a receive.
  [[nodiscard]] UplinkDatagram describe(std::size_t slot, std::uint16_t port, std::optional<std::uint32_t>& overflow) const;

  // Out. Messages of one datagram each, or of several alike but for the last's length, which the kernel cuts apart: that is a quarter of the work.
  void clear() { messages = datagrams = 0; }
  // `joins`: it may go with the one before, if they are alike.
  void append(const UplinkDatagram& datagram, std::span<std::byte> payload, bool joins);
  std::size_t messages = 0, datagrams = 0;
  std::array<std::uint8_t, uplink_batch> carried{};  // datagrams in each message

 private:
  void clear(std::size_t slot);
  [[nodiscard]] bool is_alike(const UplinkDatagram& datagram, std::size_t size) const;
  UplinkDatagram last_;
  std::size_t segment_ = 0, filled_ = 0;  // the last message's: the first datagram's size, and all that it carries
};

class UplinkSocket {
 public:
  // Bound; EADDRINUSE and the like.
  static Result<UplinkSocket> open(const Address& local, bool reuse_address, bool reuse_port);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const Address& local() const { return local_; }
  void set_reuse(bool address, bool port);
  // As the next datagrams want it: IP_MTU_DISCOVER and IP_MULTICAST_LOOP.
  void set_note(unsigned note);
  [[nodiscard]] unsigned note() const { return note_; }

  // The next error of the error queue.
  [[nodiscard]] std::optional<UplinkError> next_error();
  // What a call would fail with though it is about something else.
  void clear_error();
  // How much the kernel's count of datagrams that found no room has grown.
  std::uint32_t overflow_growth(std::uint32_t count);

 private:
  bool describe(msghdr& message, UplinkError& error) const;
  UplinkSocket(Fd fd, const Address& local) : fd_(std::move(fd)), local_(local) {}
  Fd fd_;
  Address local_;
  unsigned note_ = 1;
  std::uint32_t overflow_ = 0;
};

[[nodiscard]] sockaddr_in to_sockaddr(const Address& address);
[[nodiscard]] Address to_address(const sockaddr_in& name);

}  // namespace gannet::link
