// The memory that the applications of one socket share with the engine: two mappings, laid out here.
//
//   EndpointMemory: | EndpointControl | receive ring | error ring |     one for each socket, made at its first bind, connect or send
//   SendMemory:     | SendControl | commit words | send ring |         one for each process that sends
//
// Cost: an untouched page costs nothing, so a socket that is read as fast as it fills takes one page for its control block and, of a ring, its
// buffer's limit and the largest record; the address space set aside is receive_ring_size or send_ring_size. Children inherit the mappings at fork.
// Thread: made by the engine; used from any.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <gannet/result.h>

#include "base/fd.h"
#include "stack/record_ring.h"

namespace gannet::stack {

inline constexpr std::size_t receive_ring_size = std::size_t{4} << 20;
inline constexpr std::size_t send_ring_size = std::size_t{4} << 20;
inline constexpr std::size_t error_ring_size = std::size_t{128} << 10;
inline constexpr std::uint64_t max_errors = 64;

// SO_RCVBUF and SO_SNDBUF as getsockopt(2) shows them (Linux doubles what is set). The largest leaves room in the ring for one more record and for
// the padding before the ring's end.
inline constexpr std::uint64_t default_buffer_limit = 212'992;
inline constexpr std::uint64_t min_receive_limit = 2304;
inline constexpr std::uint64_t min_send_limit = 4608;
inline constexpr std::uint64_t max_buffer_limit = std::uint64_t{3} << 20;

// The doorbell's shared part; docs/READINESS.md is the protocol.
inline constexpr std::uint32_t bell_watched = std::uint32_t{1} << 31;
inline constexpr std::uint32_t bell_edges = std::uint32_t{1} << 30;  // ... and for edges: ring for each arrival, whether or not anybody reads
struct BellControl {
  alignas(64) std::atomic<std::uint32_t> epoch = 0;  // a futex: moves after each batch of arrivals, and when an error or the end came
  std::atomic<std::uint32_t> waiters = 0;            // threads that sleep on epoch, or are about to
  std::atomic<std::uint32_t> ringing = 0;            // 1: the engine has published news and not yet rung for it
  std::atomic<std::uint32_t> tokens = 0;             // about as many as are in the socket
  alignas(64) std::atomic<std::uint32_t> asked = 0;  // BellRequest bits: what the application wants of the engine
  std::atomic<std::uint32_t> plugged = 0;            // 1: a large message keeps the descriptor unwritable
  // Who wants tokens: calls that sleep on the descriptor, and bell_watched where anybody may wait for it without saying so. 0: none are put.
  std::atomic<std::uint32_t> listeners = bell_watched;
};
inline constexpr std::uint32_t max_bell_tokens = 16;  // beyond, a reader that leaves datagrams behind takes surplus ones

enum BellRequest : std::uint32_t {
  bell_request_token = 1,   // I took the token, and the ring is not empty
  bell_request_sends = 2,   // my send ring has something, and you do not look there
  bell_request_shared = 4,  // another process has the descriptor from now on
};

// What the processes that have a socket keep of it for one another. The engine reads none of it.
inline constexpr std::uint32_t shut_receive = 1, shut_send = 2;
struct ApplicationState {
  alignas(64) std::atomic<std::uint64_t> peer = 0;  // address and port as one number; 0: not connected
  std::atomic<std::uint32_t> bound = 0, from_loopback = 0, broadcast = 0, metadata = 1, timestamp = 0, receive_errors = 0;
  std::atomic<std::uint32_t> shut = 0;           // what shutdown(2) ended
  std::atomic<std::uint32_t> fragmentation = 1;  // IP_MTU_DISCOVER
  std::atomic<std::uint32_t> ip_options_size = 0;
  std::atomic<std::uint32_t> multicast_interface = 0;
  std::atomic<std::uint32_t> segment_size = 0;         // UDP_SEGMENT
  std::array<std::atomic<std::uint64_t>, 16> notes{};  // for whoever stands above the socket (socket/posix.h)
};

struct EndpointControl {
  RingControl receive;
  RingControl errors;
  BellControl bell;
  ApplicationState application;
  std::atomic<std::int32_t> pending_error = 0;  // SO_ERROR
  std::atomic<std::uint32_t> closed = 0;        // 1, or closed_by_death
};
inline constexpr std::uint32_t closed_by_death = 2;  // the engine's process is gone

// Who else than the engine is to have a mapping.
enum class Sharing : std::uint8_t {
  children,   // this process and those that it forks
  processes,  // whoever is given fd()
};

// One mapping, shared with children; and with others, by its descriptor. That one can neither shrink nor grow any more, whoever holds it: a mapping
// whose end is cut off would kill who touches it.
class SharedMemory {
 public:
  enum class Access : std::uint8_t { read, read_write };

  // `others` is what whoever is given fd() may do; children may write. ENOBUFS; EMFILE.
  static Result<SharedMemory> create(std::size_t size, Sharing sharing, Access others = Access::read_write);
  // What another process created. EINVAL: of another size, or not sealed so.
  static Result<SharedMemory> attach(Fd fd, std::size_t size, Access access);
  SharedMemory(SharedMemory&& other) noexcept : bytes_(std::exchange(other.bytes_, {})), fd_(std::move(other.fd_)) {}
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  // To be given away, until forget_fd(); -1 where there is none.
  [[nodiscard]] int fd() const { return fd_.get(); }
  void forget_fd() { fd_.reset(); }

 private:
  SharedMemory(std::span<std::byte> bytes, Fd fd) : bytes_(bytes), fd_(std::move(fd)) {}
  std::span<std::byte> bytes_;
  Fd fd_;
};

class EndpointMemory {
 public:
  static Result<std::shared_ptr<EndpointMemory>> create(Sharing sharing = Sharing::children);
  static Result<std::shared_ptr<EndpointMemory>> attach(Fd fd);
  EndpointMemory(SharedMemory memory, EndpointControl* control) : memory_(std::move(memory)), control_(control) {}

  [[nodiscard]] EndpointControl& control() const { return *control_; }
  [[nodiscard]] std::span<std::byte> receive_ring() const { return memory_.bytes().subspan(control_size, receive_ring_size); }
  [[nodiscard]] std::span<std::byte> error_ring() const { return memory_.bytes().subspan(control_size + receive_ring_size, error_ring_size); }
  [[nodiscard]] SharedMemory& memory() { return memory_; }

 private:
  static constexpr std::size_t control_size = 4096;
  static constexpr std::size_t size = control_size + receive_ring_size + error_ring_size;
  static_assert(sizeof(EndpointControl) <= control_size);
  SharedMemory memory_;
  EndpointControl* control_;
};

class SendMemory {
 public:
  static Result<std::shared_ptr<SendMemory>> create(std::uint64_t limit, Sharing sharing = Sharing::children);
  static Result<std::shared_ptr<SendMemory>> attach(Fd fd);
  SendMemory(SharedMemory memory, SendControl* control);

  [[nodiscard]] SendControl& control() const { return *control_; }
  [[nodiscard]] std::span<std::atomic<std::uint64_t>> commits() const { return commits_; }
  [[nodiscard]] std::span<std::byte> ring() const { return memory_.bytes().last(send_ring_size); }
  [[nodiscard]] SharedMemory& memory() { return memory_; }

 private:
  static constexpr std::size_t control_size = 4096;
  static constexpr std::size_t size = control_size + commit_words(send_ring_size) * sizeof(std::uint64_t) + send_ring_size;
  static_assert(sizeof(SendControl) <= control_size);
  SharedMemory memory_;
  SendControl* control_;
  std::span<std::atomic<std::uint64_t>> commits_;
};

}  // namespace gannet::stack
