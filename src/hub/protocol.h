// What an application and a hub say to each other: one request and one reply for each connection, over an AF_UNIX stream socket.
//
//   application -> Request -> hub
//   application <- Reply, and descriptors with it where it brings mappings <- hub
//
// A connection that opened a socket stays, and is from then on the socket's doorbell (docs/READINESS.md); one that opened a program stays as long as
// its `gannet run` does; any other ends with its reply. Both are plain bytes of fixed size, of one machine and one version. Neither side trusts the
// other's: receive() checks the frame, socket::check() what a request asks for. Thread: any.  Allocates: never.
#pragma once
#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <span>
#include <type_traits>

#include <gannet/impairment.h>
#include <gannet/result.h>

#include "base/fd.h"
#include "socket/control.h"
#include "wire/drop.h"

namespace gannet::hub {

inline constexpr std::uint32_t protocol_magic = 0x746e4e47;  // "GNnt"
inline constexpr std::uint32_t protocol_version = 3;

// Cannot be guessed: who knows it may change what it names.
struct Key {
  std::array<std::uint64_t, 2> words{};
  friend bool operator==(const Key&, const Key&) = default;
};
struct KeyHash {
  std::size_t operator()(const Key& key) const { return key.words[0]; }
};
using SocketKey = Key;
// Of all zeros: of no program. Who knows one may open sockets, whatever user he is: a program that has dropped its privileges.
using ProgramKey = Key;

// As the system has it (PR_GET_NAME), ended by a zero where it is shorter.
using ProcessName = std::array<char, 16>;

// How what a program sends and receives is treated (engine/interposer.h).
struct ProgramSetup {
  Impairment in{}, out{};
  std::uint32_t mtu = 0;      // of the path that it sends by; 0: as the host has it
  std::uint32_t capture = 0;  // 1: the reply brings the capture's memory (hub/capture_memory.h)
  std::uint32_t report = 0;   // 1: its datagrams are counted and followed

  [[nodiscard]] bool is_none() const { return in.is_none() && out.is_none() && mtu == 0 && capture == 0 && report == 0; }
};

struct Request {
  enum class Kind : std::uint32_t {
    open,           // a socket, and `control` done to it: the reply brings its rings, a send ring and the host page. It carries the application's
                    // end of the connection, by which `adopt` will know it
    adopt,          // carries that of a socket which another process opened: the reply brings the same as to `open`
    control,        // `control`, of the socket `key`
    add_send_ring,  // to the socket `key`, for one more process: the reply brings it
    close,          // the socket `key`, without waiting for its last holder
    status,         // what the hub has
    shut_down,
    open_program,    // `setup`: the reply brings its key, and the capture's memory
    report_program,  // of `program`: the reply brings a ProgramReport
    end_capture,     // of `program`: its last blocks are written
    list,            // the reply brings a Listing
  };
  std::uint32_t magic = protocol_magic;
  std::uint32_t version = protocol_version;
  Kind kind = Kind::status;
  SocketKey key{};
  socket::ControlRequest control{};
  ProgramKey program{};  // open: whose the socket is
  ProcessName name{};    // open, open_program
  ProgramSetup setup{};
};

struct Status {
  std::int32_t process = 0;
  std::uint32_t sockets = 0;
  std::uint32_t programs = 0;
  std::uint64_t datagrams_in = 0, datagrams_out = 0;  // RFC 4113: udpInDatagrams, udpOutDatagrams
  std::uint64_t rounds = 0, sleeps = 0;               // of the engine
  // What of the kernel's a guest host has no room for, as of now.
  std::uint64_t omitted_interfaces = 0, omitted_addresses = 0, omitted_routes = 0;
};

inline constexpr std::size_t max_reply_fds = 3;  // rings, send ring, host page: in this order; or one of something else

// What became of a program's datagrams, as engine::Interposer counts it.
struct ProgramReport {
  using Drops = std::array<std::uint64_t, drop_count>;
  struct Way {
    std::uint64_t taken = 0, duplicates = 0, passed = 0, held = 0;
    Drops drops{};
  };
  struct Course {
    std::uint64_t passed = 0;
    Drops lost{};
  };
  Way in, out;
  Course here, away;
  std::uint64_t to_groups = 0;
  std::uint64_t captured = 0, missed = 0;  // packets, and among them those that found no room
};

struct Reply {
  std::uint32_t magic = protocol_magic;
  std::uint32_t version = protocol_version;
  std::int32_t error = 0;  // an errno
  std::uint32_t fds = 0;
  Key key{};
  socket::ControlAnswer answer{};
  Status status{};
};

static_assert(std::is_trivially_copyable_v<Request> && std::is_trivially_copyable_v<Reply> && std::is_trivially_copyable_v<ProgramReport>);

// Sends it whole, and `carried`, if not -1. EPIPE, ECONNRESET: the other side is gone.
Result<void> send(int fd, const Request& request, int carried = -1);
Result<void> send(int fd, const Reply& reply, std::span<const int> fds);

// What came so far of a request, where it comes in pieces. `taken` grows to sizeof(Request).
struct Incoming {
  std::array<std::byte, sizeof(Request)> bytes{};
  std::size_t taken = 0;
  Fd carried;  // the first descriptor that came with it; any other is closed at once
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
