// What the kernel says of its interfaces, addresses and routes: rtnetlink messages -> values.
//
//   +-----------+----------------+-----------+-----------+--
//   | nlmsghdr  | ifinfomsg, ... | rtattr    | rtattr    |       one message of many; each length is padded to 4 bytes
//   +-----------+----------------+-----------+-----------+--
//
// IPv4 only: unicast routes of the main table, whose local ones are those of the addresses. What else the kernel tells is passed over: routes that
// refuse (blackhole, unreachable, prohibit; the kernel refuses such a datagram itself), those for one TOS, those that are dead. Of a route with many
// next hops the first that lives is taken.
// Thread: any; there is no state.  Allocates: the values.  Bound: kernel_entries_at_most of each kind (KernelHost::overflow).
// Sources: netlink(7), rtnetlink(7).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gannet/address.h>

#include "stack/route.h"

namespace gannet::engine {

inline constexpr std::size_t kernel_entries_at_most = 16384;

struct KernelInterface {
  std::uint32_t index = 0;
  std::string name;
  std::uint32_t mtu = 0;
  bool up = false;

  friend bool operator==(const KernelInterface&, const KernelInterface&) = default;
};

struct KernelAddress {
  std::uint32_t interface = 0;
  IpAddress ip;
  std::uint8_t prefix = 0;

  friend bool operator==(const KernelAddress&, const KernelAddress&) = default;
};

// In the kernel's order, which decides between equals.
struct KernelHost {
  std::vector<KernelInterface> interfaces;
  std::vector<KernelAddress> addresses;
  std::vector<stack::Route> routes;
  bool overflow = false;  // it has more of a kind than is taken
};

// What one read from a netlink socket was.
struct NetlinkPart {
  bool last = false;         // of a dump: no more comes
  bool interrupted = false;  // the kernel changed while it told: ask again
  int error = 0;             // an errno: the kernel's answer to the request, or EPROTO where a length is wrong
};

// Adds what the messages say to `host`. Those that answer another request than `sequence` are passed over.
[[nodiscard]] NetlinkPart parse_netlink(std::span<const std::byte> bytes, std::uint32_t sequence, KernelHost& host);

}  // namespace gannet::engine
