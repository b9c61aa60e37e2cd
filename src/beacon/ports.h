// The sockets of a beacon, over the kernel's UDP or a host of ours, and the interfaces by which it speaks to its groups.
//
// For each family: one of its own, at a port of its own, from which it sends, so that answers reach it and nobody else; one at the groups' port,
// where those who have it for a seed ask it (of several beacons on one machine, that which came last); and for each group one that is bound to the
// group, so that it takes no datagram that is meant for another. An observer, which is nobody's seed, has no second. Owner: Session.  Thread: its.
// Allocates: when interfaces come.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gannet/beacon.h>
#include <gannet/host.h>
#include <gannet/socket.h>

#include "beacon/node.h"

namespace gannet::beacon {

class Ports {
 public:
  static constexpr std::size_t most_interfaces = 32;

  // A null host: the kernel's sockets.
  static Result<Ports> open(const BeaconOptions& options, Host* host);

  // The default groups, where none are named, or those of `options`.
  [[nodiscard]] static std::vector<IpAddress> groups_of(const BeaconOptions& options, const Host* host);

  [[nodiscard]] std::uint16_t own_port() const { return own_port_; }
  // Joins the groups on interfaces that are new. ENODEV: the first time, one that was named is not there; later it is left out until it is back.
  Result<std::vector<Link>> join();
  // Those directly connected, up to 256. Of a host of ours none: it does not tell how far its network reaches.
  [[nodiscard]] std::vector<Network> networks() const;
  // All that came, up to 64 datagrams of each socket.
  void receive(const std::function<void(const Arrival&)>& take);
  // Errors that the network reported of what was sent.
  void receive_errors(const std::function<void(const Address& peer, int code)>& take);
  int send(const Departure& departure);  // errno; 0: it went
  // Readable when something came; none where the host runs in nobody's thread.
  [[nodiscard]] const std::vector<int>& fds() const { return fds_; }

 private:
  struct Port {
    Socket socket;
    Family family;
    Door door;
    IpAddress group{};  // any: it is bound to no group
  };
  struct Joined {
    Link link;
    IpAddress source;  // of what is sent there; any: the system chooses
    bool is_current;
  };

  Ports() = default;
  Result<void> add(Host* host, Family family, Door door, const IpAddress& local, std::uint16_t port, const BeaconOptions& options);
  Result<void> add_groups(Host* host, const BeaconOptions& options);

  std::vector<Port> ports_;
  std::vector<int> fds_;
  std::vector<Joined> joined_;
  std::vector<std::string> wanted_;  // interfaces; empty: all
  std::uint16_t own_port_ = 0;
  std::uint32_t host_interface_ = 0;  // of a host of ours; 0: the kernel's are asked
  IpAddress host_address_{};
  bool multicast_ = true, has_joined_ = false;
};

}  // namespace gannet::beacon
