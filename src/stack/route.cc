#include "stack/route.h"

#include <algorithm>
#include <tuple>

namespace gannet::stack {
namespace {

std::uint32_t mask_of(std::uint8_t prefix) { return prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix); }

}  // namespace

bool Route::contains(const IpAddress& ip) const { return ip.is_ipv4() && ((ip.number() ^ network.number()) & mask_of(prefix)) == 0; }

Result<void> Routes::add(const Route& route) {
  if (!route.network.is_ipv4() || !route.gateway.is_ipv4()) return Error{EINVAL, "routes are of IPv4: this host has no IPv6"};
  if (route.prefix > 32 || (route.network.number() & ~mask_of(route.prefix)) != 0) {
    return Error{EINVAL, "a route's network has no bits beyond its prefix length, which is at most 32"};
  }
  if (std::ranges::find(routes_, route) != routes_.end()) return Error{EEXIST, "the route is there already"};
  if (routes_.size() >= context_.config.routes) return Error{ENOBUFS, "this host has as many routes as it is configured for"};
  // Sorted, so that the first match is the best. Of equals the older stays first.
  const auto worse = [&](const Route& other) { return std::tuple(-int{other.prefix}, other.metric) > std::tuple(-int{route.prefix}, route.metric); };
  routes_.insert(std::ranges::find_if(routes_, worse), route);
  ++context_.generation;
  return {};
}

Result<void> Routes::remove(const Route& route) {
  if (std::erase(routes_, route) == 0) return Error{ENOENT, "there is no such route"};
  ++context_.generation;
  return {};
}

const Route* Routes::find(const IpAddress& dst, std::uint32_t interface) const {
  for (const Route& route : routes_) {
    if ((interface == 0 || route.interface == interface) && route.contains(dst)) return &route;
  }
  return nullptr;
}

}  // namespace gannet::stack
