// What an application and a hub say to each other: one request and one reply for each connection, over an AF_UNIX stream socket.
//
//   application -> Request -> hub
//   application <- Reply, and descriptors with it where it brings mappings <- hub
//
// A connection that opened a socket stays, and is from then on the socket's doorbell (docs/READINESS.md); any other ends with its reply. Both are
// plain bytes of fixed size, of one machine and one version. Neither side trusts the other's: receive() checks the frame, socket::check() what a
// request asks for.
// Thread: any.  Allocates: never.
#pragma once
#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <span>
#include <type_traits>

#include <gannet/result.h>

#include "base/fd.h"
#include "socket/control.h"

namespace gannet::hub {

inline constexpr std::uint32_t protocol_magic = 0x746e4e47;  // "GNnt"
inline constexpr std::uint32_t protocol_version = 1;

// Who knows it may change the socket: it cannot be guessed.
struct SocketKey {
  std::array<std::uint64_t, 2> words{};
  friend bool operator==(const SocketKey&, const SocketKey&) = default;
};

struct Request {
  enum class Kind : std::uint32_t {
    open,           // a socket, and `control` done to it: the reply brings its rings, a send ring and the host page
    control,        // `control`, of the socket `key`
    add_send_ring,  // to the socket `key`, for one more process: the reply brings it
    close,          // the socket `key`, without waiting for its last holder
    status,         // what the hub has
    shut_down,
  };
  std::uint32_t magic = protocol_magic;
  std::uint32_t version = protocol_version;
  Kind kind = Kind::status;
  SocketKey key{};
  socket::ControlRequest control{};
};

struct Status {
  std::int32_t process = 0;
  std::uint32_t sockets = 0;
  std::uint64_t datagrams_in = 0, datagrams_out = 0;  // RFC 4113: udpInDatagrams, udpOutDatagrams
  std::uint64_t rounds = 0, sleeps = 0;               // of the engine
};

inline constexpr std::size_t max_reply_fds = 3;  // rings, send ring, host page: in this order

struct Reply {
  std::uint32_t magic = protocol_magic;
  std::uint32_t version = protocol_version;
  std::int32_t error = 0;  // an errno
  std::uint32_t fds = 0;
  SocketKey key{};
  socket::ControlAnswer answer{};
  Status status{};
};

static_assert(std::is_trivially_copyable_v<Request> && std::is_trivially_copyable_v<Reply>);

// Sends it whole. EPIPE, ECONNRESET: the other side is gone.
Result<void> send(int fd, const Request& request);
Result<void> send(int fd, const Reply& reply, std::span<const int> fds);

// What came so far of a request, where it comes in pieces. `taken` grows to sizeof(Request).
struct Incoming {
  std::array<std::byte, sizeof(Request)> bytes{};
  std::size_t taken = 0;
};
// True when it is whole. ECONNRESET: the other side is gone; EPROTO: this is no request, or another version's.
Result<bool> receive(int fd, Incoming& incoming, Request& request);

struct ReceivedReply {
  Reply reply;
  std::array<Fd, max_reply_fds> fds;
};
// Waits for it. EPROTO; ETIMEDOUT; ENETDOWN: the hub is gone.
Result<ReceivedReply> receive_reply(int fd, std::chrono::milliseconds patience);

}  // namespace gannet::hub
