// The way out of a guest host: its packets leave, and come, as datagrams of kernel sockets. No privilege is needed.
//
//   stack -> face of an interface -> Uplink -> the kernel socket of the packet's source address and port -> sendmmsg(2)
//   stack <- face of an interface <- Uplink <- recvmmsg(2), error queues <- all kernel sockets
//
// One kernel socket for each local address and port that the host's sockets claim, so that the whole machine has one set of ports: outside programs
// reach ours, and find their ports taken. What a kernel tells of a datagram comes up as a whole packet: source, destination, TTL, TOS; its errors
// come as ICMP messages. Each interface of the host has a face, which is its Link; that of `lo` receives for all.
//
// A multicast or broadcast of ours is looped by the stack itself, so the kernel's copy of it is dropped (Drop::uplink_own_copy). What the kernel
// brings twice, to a wildcard and to a bound socket of one port, is taken from the wildcard. What is for a port that is held here and wanted by
// nobody is refused here: it would come back. Owner: the guest host, and the faces.  Thread: the engine's.  Allocates: for a claim, a group, a face.
// Bounds: UplinkSetup; sockets by RLIMIT_NOFILE (EMFILE). While a face is nearly full, datagrams wait in the kernel's buffers
// (Drop::uplink_overflow).
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/fd.h"
#include "base/hash.h"
#include "link/link.h"
#include "link/uplink_groups.h"
#include "link/uplink_socket.h"

namespace gannet::link {

struct UplinkSetup {
  std::size_t waiting = 1024;  // packets for each face that was not asked yet
  HashKey key{};               // of what was sent lately; unpredictable
};

class UplinkFace;

class Uplink : public std::enable_shared_from_this<Uplink> {
 public:
  static Result<std::shared_ptr<Uplink>> create(const UplinkSetup& setup);
  ~Uplink();
  Uplink(const Uplink&) = delete;
  Uplink& operator=(const Uplink&) = delete;

  // Once for each socket of the host; the kernel's is opened for the first. EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE: as bind(2).
  Result<void> claim(const Address& local, bool reuse_address, bool reuse_port);
  void release(const Address& local);
  // What the host wants of a group: from all but `sources`, or from none but these. ENODEV, ENOBUFS.
  Result<void> update_group(const IpAddress& group, std::uint32_t interface, bool exclude, std::span<const IpAddress> sources);
  // All addresses of the kernel's interfaces; 127/8 is always among them.
  void set_own_addresses(std::span<const IpAddress> addresses);

  // The link of an interface. The face of `lo`, 1, comes first, and before any claim.
  Result<std::unique_ptr<Link>> open_face(std::uint32_t interface, std::string name, std::size_t mtu);

  [[nodiscard]] std::size_t socket_count() const { return claims_.size(); }

 private:
  friend class UplinkFace;
  static constexpr std::size_t least_asked = 4;
  struct Claim {
    UplinkSocket socket;
    std::size_t count = 0;
    bool shared = false;  // others may have the port too
    bool waits = false;   // for room in the kernel's send buffer
    // How many datagrams are asked for at a time: twice as many as came, since each that does not come costs as well.
    std::size_t ask = least_asked;
  };
  using Key = std::uint64_t;
  static Key key_of(const IpAddress& ip, std::uint16_t port) { return std::uint64_t{ip.number()} << 16 | port; }

  // A group datagram that went out lately from a port that is shared.
  struct Sent {
    std::uint64_t hash = 0;
    Time at{};
  };

  explicit Uplink(const UplinkSetup& setup);
  Result<void> watch(Claim& claim, std::uint32_t events, bool change);
  [[nodiscard]] Claim* find(const IpAddress& ip, std::uint16_t port);
  [[nodiscard]] Claim* find_sender(const IpAddress& ip, std::uint16_t port);
  [[nodiscard]] bool is_own(const IpAddress& ip) const;

  void close_face(const UplinkFace& face);
  [[nodiscard]] UplinkFace& face_of(std::uint32_t interface);

  std::size_t send(UplinkFace& face, std::span<Frame> frames, Time now);
  std::size_t send_run(UplinkFace& face, std::span<Frame> frames, Time now);
  std::size_t transmit(UplinkFace& face, Claim& claim, std::span<Frame> frames);
  void refuse(UplinkFace& face, Frame& frame, int code, std::uint32_t mtu);
  void tell(const UplinkDatagram& datagram, std::span<const std::byte> payload, std::uint8_t code, std::uint32_t mtu, const IpAddress& offender);
  std::uint32_t take_errors(Claim& claim);
  void hold(const UplinkError& error);
  void remember(std::uint64_t hash, Time now);
  [[nodiscard]] std::uint64_t hash_of(const Address& src, const Address& dst, std::span<const std::byte> payload) const;

  [[nodiscard]] bool has_room() const;
  void receive(FramePools& pools, Time now);
  void receive(Claim& claim, FramePools& pools, Time now);
  void hand_up(Claim& claim, std::size_t slot, Frame& frame, FramePools& pools, Time now);
  void hand_up(const UplinkError& error, FramePools& pools);
  [[nodiscard]] std::optional<Drop> reason_to_cancel(const Claim& claim, const UplinkDatagram& datagram, std::span<const std::byte> payload,
                                                     Time now);

  const UplinkSetup setup_;
  Fd epoll_, nudge_;
  std::unordered_map<Key, std::unique_ptr<Claim>> claims_;
  std::vector<Claim*> of_groups_;  // those bound to a group or a broadcast address
  UplinkGroups groups_;
  std::vector<std::uint32_t> own_;  // sorted numbers
  std::vector<UplinkFace*> faces_;  // lo's first
  UplinkBatch batch_;
  std::vector<UplinkError> errors_;  // that are still to become packets
  std::array<Sent, 1024> sent_{};    // by hash
};

}  // namespace gannet::link
