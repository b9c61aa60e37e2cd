#include "stack/pmtu.h"

#include <algorithm>
#include <array>

namespace gannet::stack {
namespace {

constexpr std::uint32_t smallest_ipv4_mtu = 68;  // RFC 791

// RFC 1191 section 7: the MTUs that links have. What did not fit goes to the next one below.
std::uint32_t plateau_below(std::uint32_t size) {
  static constexpr std::array<std::uint32_t, 11> plateaus = {65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, smallest_ipv4_mtu};
  for (const std::uint32_t plateau : plateaus) {
    if (plateau < size) return plateau;
  }
  return smallest_ipv4_mtu;
}

}  // namespace

PathMtus::PathMtus(Context& context) : context_(context) { entries_.reserve(context.config.path_mtus); }

PathMtus::Known PathMtus::find(const IpAddress& dst) const {
  const auto found = std::ranges::find(entries_, dst, &Entry::dst);
  return found == entries_.end() ? Known{0, false} : found->known;
}

bool PathMtus::learn(const IpAddress& dst, std::uint32_t mtu, std::uint32_t packet_size, std::uint32_t current, Time now) {
  if (mtu == 0) mtu = plateau_below(std::min(packet_size, current));
  const std::uint32_t floor = std::max(context_.config.path_mtu_floor, smallest_ipv4_mtu);
  const bool is_floor = mtu < floor;
  mtu = std::max(mtu, floor);
  // A message that raises the MTU, or tells what is known, is an old one or a lie (RFC 1191 3, RFC 8201 4).
  if (mtu > current || (mtu == current && !(is_floor && !find(dst).is_floor))) return false;

  std::erase_if(entries_, [&](const Entry& entry) { return entry.dst == dst; });
  if (entries_.size() >= context_.config.path_mtus) entries_.erase(entries_.begin());
  entries_.push_back({dst, {mtu, is_floor}, now + context_.config.path_mtu_age});
  ++context_.generation;
  return true;
}

void PathMtus::advance(Time now) {
  const auto fresh = std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.expires > now; });
  if (fresh == entries_.begin()) return;
  entries_.erase(entries_.begin(), fresh);
  ++context_.generation;
}

}  // namespace gannet::stack
