// Membership in multicast groups: which socket has joined what, from which sources; and the sum of it for each interface, which routers are told.
//
//   Multicast::join(groups of a socket, group, interface) -> the interface's filter -> Igmp -> reports
//   IP asks refuses() for each multicast packet, UDP asks accepts() for each socket that matches
//
// Owner: Stack.  Thread: the engine's.  Allocates: in the calls that join and leave.
// Bounds: Config::memberships_per_socket, sources_per_filter, groups (ENOBUFS).
// Sources: RFC 1112; RFC 3678 (the calls and their errors, as Linux reads it); RFC 4604 (232/8 without sources is refused); RFC 9776 section 3.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/hash.h"
#include "base/time.h"
#include "stack/context.h"
#include "stack/igmp.h"
#include "stack/interface.h"
#include "stack/source_filter.h"

namespace gannet::stack {

class IpLayer;

// What one socket has joined: a part of the socket, written by Multicast. leave_all() before it dies.
class SocketGroups {
 public:
  struct Membership {
    IpAddress group;
    std::uint32_t interface;
    SourceFilter filter;
  };
  [[nodiscard]] const std::vector<Membership>& all() const { return all_; }
  [[nodiscard]] const Membership* find(const IpAddress& group, std::uint32_t interface) const;

 private:
  friend class Multicast;
  std::vector<Membership> all_;
};

class Multicast {
 public:
  Multicast(Context& context, IpLayer& ip, Interfaces& interfaces);
  ~Multicast();

  // Interface 0 is the one that the route to the group names; to leave it, and to change its sources, any on which it is joined.
  // EINVAL: no group, or 232/8 without sources. ENODEV: no interface. EADDRINUSE: joined already.
  Result<void> join(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, Time now);
  // EADDRNOTAVAIL: not joined.
  Result<void> leave(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, Time now);
  // One more source, of a group joined by its sources alone or not at all. EADDRNOTAVAIL: it is there. EINVAL: joined from all sources.
  Result<void> join_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now);
  // With the last source the group is left. EADDRNOTAVAIL: it is not there. EINVAL: not joined so.
  Result<void> leave_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now);
  // Of a group joined from all sources. EADDRNOTAVAIL: blocked already, or not. EINVAL: not joined so.
  Result<void> block_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now);
  Result<void> unblock_source(SocketGroups& socket, const IpAddress& group, const IpAddress& source, std::uint32_t interface, Time now);
  // The whole filter of a group that is joined (RFC 3678 4.1.3, IP_MSFILTER). A filter that lets nothing in leaves the group.
  Result<void> set_filter(SocketGroups& socket, const IpAddress& group, SourceFilter filter, std::uint32_t interface, Time now);
  void leave_all(SocketGroups& socket, Time now);

  // Why a packet to the group that came by the interface is not for this host: nobody here is in the group, or nobody there wants to hear `src`. As
  // on Linux this also bounds what sockets hear of groups that they have not joined. All hosts are in 224.0.0.1.
  [[nodiscard]] std::optional<Drop> refuses(const IpAddress& group, const IpAddress& src, std::uint32_t interface, std::uint8_t protocol) const;
  // Whether a socket that matches by port and address is to have it. `all` is IP_MULTICAST_ALL: also from groups that it has not joined.
  [[nodiscard]] static bool accepts(const SocketGroups& socket, const IpAddress& group, std::uint32_t interface, const IpAddress& source, bool all);

  // IGMP messages.
  void input(const wire::IpInfo& ip, Frame message, Time now);
  [[nodiscard]] Time next_wakeup() const { return igmp_.next_wakeup(); }
  void advance(Time now);
  // Interfaces or addresses may have changed: an interface that can send only now, since it came up or has its first address, has its groups told
  // once more (as Linux does; RFC 9776 says nothing of it).
  void refresh(Time now);
  [[nodiscard]] const Igmp& igmp() const { return igmp_; }

 private:
  struct Key {
    IpAddress group;
    std::uint32_t interface;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    HashKey key;
    std::size_t operator()(const Key& k) const { return siphash(key, k.group, k.interface); }
  };
  struct Members {
    std::vector<SocketGroups*> sockets;
    SourceFilter sum;
  };

  [[nodiscard]] Result<std::uint32_t> find_interface(const IpAddress& group, std::uint32_t interface) const;
  static Result<SocketGroups::Membership*> find_joined(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, int error);
  Result<void> add(SocketGroups& socket, const IpAddress& group, std::uint32_t interface, SourceFilter filter, Time now);
  void remove(SocketGroups& socket, SocketGroups::Membership* membership, Time now);
  Result<void> update(const Key& key, Time now);
  void send(std::uint32_t interface, const IpAddress& dst, std::span<const std::byte> message, Time now);

  Context& context_;
  IpLayer& ip_;
  Interfaces& interfaces_;
  std::unordered_map<Key, Members, KeyHash> members_;
  Igmp igmp_;
  std::vector<bool> could_send_;  // by place in Interfaces::all(), when the generation was
  std::uint64_t generation_ = 0;
};

}  // namespace gannet::stack
