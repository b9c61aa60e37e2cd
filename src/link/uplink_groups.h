// The groups that a guest host has the kernel hear for it.
//
// A kernel socket may join some twenty groups only, and any of its sockets hears what another has joined (IP_MULTICAST_ALL): so the memberships stand
// on sockets of their own, and those that receive join nothing. What more is heard than was asked for, the stack sorts out by its members. Owner:
// Uplink.  Thread: the engine's.  Allocates: for a group.  Bound: max_sockets (ENOBUFS). Sources: RFC 3678; Linux's ip(7).
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/fd.h"

namespace gannet::link {

class UplinkGroups {
 public:
  static constexpr std::size_t max_sockets = 64;

  // From all but `sources`, or from none but these; none at all leaves the group.
  Result<void> update(const IpAddress& group, std::uint32_t interface, bool exclude, std::span<const IpAddress> sources);
  [[nodiscard]] std::size_t size() const { return joined_.size(); }

 private:
  Result<std::size_t> join(const IpAddress& group, std::uint32_t interface, const IpAddress* source);

  std::vector<Fd> sockets_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> joined_;  // group's number and interface -> socket
};

}  // namespace gannet::link
