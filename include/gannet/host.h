// A UDP/IP host of your own: addresses, routes, ARP, ICMP, IGMP, sockets; in your process, on a link you choose.
//
//   auto host = gannet::Host::open("tap:gannet0,10.7.0.2/24").value();   // or: Host::open(segment, "10.0.0.1/24") in memory
//   host.start().value();                                                // a thread of its own; or call host.run_once() in your loop
//   auto socket = gannet::Socket::open(host).value();                    // from here on as with the kernel's
//
// Threads: any, once started. Before start(), or without it, one thread: sockets' blocking calls then run the host's loop themselves.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/address.h>
#include <gannet/impairment.h>
#include <gannet/result.h>
#include <gannet/socket.h>

namespace gannet {

// A wire in memory that any number of hosts of this process share, as an Ethernet hub. Copying it gives one more handle to the same wire.
class Segment {
 public:
  explicit Segment(std::size_t mtu = 1500);
  ~Segment();
  Segment(const Segment&);
  Segment& operator=(const Segment&);

 private:
  friend class Host;
  std::shared_ptr<struct SegmentState> state_;
};

struct HostOptions {
  Impairment in{};                                    // of what the host receives by its link
  Impairment out{};                                   // of what it sends by its link
  std::string capture_file{};                         // pcapng; written by a thread of its own. Empty: none
  std::function<void(std::string_view)> on_packet{};  // a tcpdump-like line for each packet, as it passes; called in the host's thread
  // The host's link is gone for good: called once, in the host's thread, with what link_status() says from then on.
  std::function<void(const Error& why)> on_link_lost{};
  std::size_t small_frames = 4096;   // the pools: 2 KiB frames ...
  std::size_t large_frames = 64;     // ... and 64 KiB frames. Untouched ones cost nothing
  std::chrono::nanoseconds spin{0};  // how long the loop polls before it sleeps
  std::uint64_t seed = 0;            // of everything random in the host; 0: from the system
  bool arp_probe = false;            // claim the address before its use (RFC 5227: about seven seconds); otherwise announce it only
};

// One named number: a drop reason ("udp_no_socket"), or a counter ("udp_in_datagrams").
struct Count {
  std::string name;
  std::uint64_t value;
};

// A datagram as a handler sees it, in the frame in which it came. See Host::serve().
class Request {
 public:
  std::span<std::byte> data;  // may be changed in place
  Address peer, local;
  std::uint32_t interface;
  std::uint8_t ttl, tos;

  // Answers with `size` bytes at the front of data, all of it at most, in the same frame: no copy, no allocation. A request is answered once; then
  // its data is gone. An answer that cannot be sent, or comes too late, is counted among Host::drops().
  void reply(std::size_t size);
  // Answers with other bytes.
  void reply(std::span<const std::byte> bytes);

 private:
  friend struct RequestAccess;
  void* context_ = nullptr;
};
using Handler = std::function<void(Request&)>;

class Host {
 public:
  // `via` is "tap:NAME,ADDR/LEN[,gw=ADDR]". EPERM says which command grants the right; EINVAL says what is wrong with the text.
  static Result<Host> open(std::string_view via, HostOptions options = {});
  // On a wire in memory; `address` is "ADDR/LEN[,gw=ADDR]".
  static Result<Host> open(const Segment& segment, std::string_view address, HostOptions options = {});

  Host(Host&&) noexcept;
  Host& operator=(Host&&) noexcept;
  ~Host();

  Result<void> start();  // runs the loop in a thread until stop() or destruction
  void stop();
  // One round of the loop in the caller's thread: what arrived, what is due, what is to be sent. Waits until something happens or the deadline.
  // Fails with link_status() once there is no link; what the host says to itself goes on all the same.
  Result<void> run_once(Deadline deadline = Deadline::now());
  // ENODEV, with a sentence, once the link is gone for good, as a TAP interface is that somebody deleted. What is sent then fails with ENETUNREACH.
  [[nodiscard]] Result<void> link_status() const;

  // The faster door: `handler` is called with each datagram to `local`, in its frame, in the loop's thread. No queue, no copy, no system call.
  Result<void> serve(const Address& local, Handler handler);

  // Puts keys into the capture, as lines of a key log (SSLKEYLOGFILE): Wireshark then opens what was sealed with them. Whoever has the file can as
  // well. EINVAL: nothing is captured; ENOBUFS: the capture's buffer is full.
  Result<void> add_capture_secrets(std::string_view key_log);

  [[nodiscard]] IpAddress address() const;
  [[nodiscard]] std::uint32_t interface() const;
  // Counters under their RFC 4113 / 4293 names, and drops by reason; those that are zero are left out.
  [[nodiscard]] std::vector<Count> counters() const;
  [[nodiscard]] std::vector<Count> drops() const;

 private:
  friend class Socket;
  struct State;
  explicit Host(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gannet
