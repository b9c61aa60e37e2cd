// Hosts on wires, in virtual time: what one sends the others on its wire receive, and the clock jumps from one event to the next.
//
//   Net net;
//   auto& a = net.add_host("10.0.0.1/24");
//   auto& b = net.add_host("10.0.0.2/24");
//   ... a.stack.ip().output(...);
//   net.settle();                   // carries frames until nothing moves; the clock stands still
//   net.run_for(3s);                // the same, and lets time pass
//   net.inject(a, frame);           // a frame made by hand
//
// Every frame that a wire carried is in `net.carried`. The destructor checks for every host that each frame ended exactly once.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/address.h>

#include "base/frame.h"
#include "base/rng.h"
#include "base/time.h"
#include "stack/stack.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"

namespace gannet::tests {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text);
Bytes operator+(Bytes a, const Bytes& b);
IpAddress ip(std::string_view text);

// Frames and packets by hand. Checksums are right; whoever wants wrong ones breaks them afterwards.
Bytes make_ethernet(const wire::MacAddress& dst, const wire::MacAddress& src, std::uint16_t type, const Bytes& payload);
Bytes make_ipv4(const wire::Ipv4Header& header, const Bytes& payload);
Bytes make_udp(const IpAddress& src, const IpAddress& dst, std::uint16_t src_port, std::uint16_t dst_port, const Bytes& payload);

// What a layer above IP would see: stands in for UDP, or for any protocol.
struct Recorder {
  struct Packet {
    wire::IpInfo info;  // its views are empty: the frame is gone
    Bytes payload, options, packet;
    Time at;
  };
  struct Error {
    stack::IcmpError error;  // likewise
    Bytes quote;
  };
  stack::Fates* fates = nullptr;
  bool is_live = true;  // what icmp_error() answers
  std::vector<Packet> packets;
  std::vector<Error> errors;
  std::vector<IpAddress> groups;  // that this host is a member of

  void input(const wire::IpInfo& ip, Frame payload, Time now);
  bool icmp_error(const stack::IcmpError& error, Time now);
  [[nodiscard]] std::optional<Drop> refuses(const IpAddress& group, const IpAddress&, std::uint32_t, std::uint8_t) const;
};

struct Host {
  Host(std::uint64_t seed, const stack::Config& config);

  FramePools pools;
  Rng rng;
  stack::Stack stack;
  Recorder recorder;  // of UDP, where record_udp() was called
  std::uint32_t interface = 0;
  IpAddress ip;
  wire::MacAddress mac;
  std::vector<std::pair<std::uint32_t, unsigned>> wires;  // interface and wire

  // Puts the recorder in the place of UDP and group membership.
  void record_udp();
  // A frame of this host's pool that holds these bytes.
  Frame frame_of(std::span<const std::byte> bytes);
  // Sends a packet with this payload, as an upper layer would.
  Result<void> send(const IpAddress& dst, const Bytes& payload, Time now, stack::Fragmentation fragmentation = stack::Fragmentation::want,
                    std::uint8_t protocol = wire::protocol_udp);
  std::uint64_t dropped(Drop reason) const { return stack.fates().dropped_count(reason); }
  // frames_in + frames_made - (frames_out + delivered + consumed + dropped + held): 0, or a frame was lost or counted twice.
  std::int64_t unaccounted() const;
};

class Net {
 public:
  struct Carried {
    Time at;
    unsigned wire;
    Bytes frame;
  };

  Net() = default;
  ~Net();
  Net(const Net&) = delete;
  Net& operator=(const Net&) = delete;

  // `address` is "ADDR/LEN"; the host's MAC address is 02:00:00:00:00:NN, NN counting from 1. With an empty one the host has no address.
  Host& add_host(std::string_view address, const stack::Config& config = {}, unsigned wire = 0);
  // One more interface; returns its index.
  std::uint32_t add_interface(Host& host, std::string_view address, unsigned wire, std::uint32_t mtu = 1500);

  // Hands a frame to a host as if it came by its wire.
  void inject(Host& host, const Bytes& frame);
  // The same with an Ethernet header in front: to the host, from `src`.
  void inject_ipv4(Host& host, const Bytes& packet, const wire::MacAddress& src = {{std::byte{2}, {}, {}, {}, {}, std::byte{0x99}}});

  void settle();
  void run_for(Duration time);
  // Settles, then jumps to the next event; false when there is none.
  bool step();

  Time now = Time(std::chrono::hours(1));
  std::vector<Carried> carried;
  // Set to lose frames: returns whether this one is to be carried.
  std::function<bool(const Carried&)> carries;

 private:
  bool carry();

  std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace gannet::tests
