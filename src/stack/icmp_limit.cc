#include "stack/icmp_limit.h"

#include <algorithm>

namespace gannet::stack {
namespace {

TokenBucket bucket(std::uint32_t rate, std::uint32_t burst) { return {std::max(rate, 1u), std::max(burst, 1u)}; }

}  // namespace

IcmpLimit::IcmpLimit(Context& context)
    : context_(context),
      key_{context.rng.next(), context.rng.next()},
      all_(bucket(context.config.icmp_rate, context.config.icmp_burst)),
      destinations_(256, bucket(context.config.icmp_destination_rate, context.config.icmp_destination_burst)) {}

bool IcmpLimit::allow(const IpAddress& dst, Time now) {
  if (context_.config.icmp_destination_rate != 0 && !destinations_[siphash(key_, dst) % destinations_.size()].take(now)) return false;
  if (context_.config.icmp_rate == 0) return true;
  if (all_.ready_at(now) > now) return false;
  if (!all_.take(now, context_.rng.below(3))) return all_.take(now);
  return true;
}

}  // namespace gannet::stack
