// The routing table: which neighbour, by which interface, leads to a destination.
//
// The longest prefix wins, then the lower metric, then the older. The networks of our own addresses are not in it: they are the interfaces'
// (IpLayer), but for a guest's, whose routes are the kernel's.
// Owner: Stack.  Thread: the engine's.  Bound: Config::routes (ENOBUFS). Lookups are linear; IpLayer remembers their results.
// Sources: RFC 1122 3.3.1.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "stack/context.h"

namespace gannet::stack {

struct Route {
  IpAddress network;  // 0.0.0.0 with prefix 0 is the default route
  std::uint8_t prefix = 0;
  IpAddress gateway;            // any: the destination is on the link
  std::uint32_t interface = 0;  // index
  std::uint32_t metric = 0;
  IpAddress source{};  // preferred for what has none yet; any: the interface's own

  [[nodiscard]] bool contains(const IpAddress& ip) const;
  friend bool operator==(const Route&, const Route&) = default;
};

class Routes {
 public:
  explicit Routes(Context& context) : context_(context) {}

  // EINVAL for bits beyond the prefix, EEXIST, ENOBUFS.
  Result<void> add(const Route& route);
  // ENOENT when there is none such.
  Result<void> remove(const Route& route);
  // The best route to `dst`, by that interface if it is not 0; null where there is none.
  [[nodiscard]] const Route* find(const IpAddress& dst, std::uint32_t interface) const;
  [[nodiscard]] std::span<const Route> all() const { return routes_; }

 private:
  Context& context_;
  std::vector<Route> routes_;  // best first
};

}  // namespace gannet::stack
