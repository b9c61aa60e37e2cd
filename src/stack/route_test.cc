#include "stack/route.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace gannet::stack {
namespace {

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

class RoutesTest : public testing::Test {
 protected:
  FramePools pools = FramePools::create(1, 1).value();
  Rng rng{1};
  Fates fates;
  Config config{.routes = 200};
  Context context{pools, rng, fates, config};
  Routes routes{context};
};

TEST_F(RoutesTest, LongestPrefixThenMetricWins) {
  routes.add({ip("0.0.0.0"), 0, ip("10.0.0.1"), 2}).value();
  routes.add({ip("192.0.2.0"), 24, ip("10.0.0.2"), 2, 20}).value();
  routes.add({ip("192.0.2.0"), 24, ip("10.0.0.3"), 2, 10}).value();
  routes.add({ip("192.0.2.128"), 25, ip("10.0.0.4"), 3}).value();
  EXPECT_EQ(routes.find(ip("198.51.100.1"), 0)->gateway, ip("10.0.0.1"));
  EXPECT_EQ(routes.find(ip("192.0.2.1"), 0)->gateway, ip("10.0.0.3"));
  EXPECT_EQ(routes.find(ip("192.0.2.200"), 0)->gateway, ip("10.0.0.4"));
  EXPECT_EQ(routes.find(ip("192.0.2.200"), 2)->gateway, ip("10.0.0.3"));
  EXPECT_EQ(routes.find(ip("192.0.2.1"), 9), nullptr);
}

TEST_F(RoutesTest, BadCallsFail) {
  EXPECT_EQ(routes.add({ip("192.0.2.1"), 24, ip("10.0.0.1"), 2}).error().code, EINVAL);
  EXPECT_EQ(routes.add({ip("192.0.2.0"), 33, ip("10.0.0.1"), 2}).error().code, EINVAL);
  EXPECT_EQ(routes.add({ip("2001:db8::"), 32, ip("10.0.0.1"), 2}).error().code, EINVAL);
  const Route route{ip("192.0.2.0"), 24, ip("10.0.0.1"), 2};
  routes.add(route).value();
  EXPECT_EQ(routes.add(route).error().code, EEXIST);
  routes.remove(route).value();
  EXPECT_EQ(routes.remove(route).error().code, ENOENT);
  for (std::uint32_t i = 0; i < 200; ++i) routes.add({IpAddress::ipv4(i << 8), 24, {}, 2}).value();
  EXPECT_EQ(routes.add(route).error().code, ENOBUFS);
}

// Fast against slow: the first match in the sorted table is the best of all matches.
TEST_F(RoutesTest, AgreesWithASearchOfAll) {
  for (int i = 0; i < 150; ++i) {
    const auto prefix = static_cast<std::uint8_t>(rng.below(33));
    const std::uint32_t mask = prefix == 0 ? 0 : ~0u << (32 - prefix);
    const Route route{IpAddress::ipv4(rng.below(256) * 0x01010101u & mask), prefix, {}, 1 + rng.below(3), rng.below(4)};
    (void)routes.add(route);
  }
  for (int i = 0; i < 5000; ++i) {
    const IpAddress dst = IpAddress::ipv4(rng.below(256) * 0x01010101u ^ (rng.below(2) == 0 ? 0 : rng.below(0xffffffff)));
    const std::uint32_t interface = rng.below(4);
    const Route* best = nullptr;
    for (const Route& route : routes.all()) {
      if (!route.contains(dst) || (interface != 0 && route.interface != interface)) continue;
      if (best == nullptr || route.prefix > best->prefix || (route.prefix == best->prefix && route.metric < best->metric)) best = &route;
    }
    ASSERT_EQ(routes.find(dst, interface), best);
  }
}

}  // namespace
}  // namespace gannet::stack
