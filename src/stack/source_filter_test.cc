#include "stack/source_filter.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace gannet::stack {
namespace {

IpAddress source(std::uint32_t number) { return IpAddress::ipv4(0x0a000000u + number); }

TEST(SourceFilters, AddAndRemoveKeepTheOrder) {
  SourceFilter filter;
  EXPECT_TRUE(filter.is_nothing());
  EXPECT_TRUE(filter.add(source(2)));
  EXPECT_TRUE(filter.add(source(1)));
  EXPECT_FALSE(filter.add(source(2)));
  EXPECT_EQ(filter.sources, (std::vector{source(1), source(2)}));
  EXPECT_FALSE(filter.remove(source(3)));
  EXPECT_TRUE(filter.remove(source(1)));
  EXPECT_TRUE(filter.allows(source(2)));
  EXPECT_FALSE(filter.allows(source(1)));
  filter.mode = FilterMode::exclude;
  EXPECT_FALSE(filter.allows(source(2)));
  EXPECT_TRUE(filter.allows(source(1)));
}

// The sum of filters accepts exactly what one of them accepts (RFC 9776 3.2): every combination of modes, random sources.
TEST(SourceFilters, TheSumAcceptsWhatAnyAccepts) {
  Rng rng(1);
  for (int round = 0; round < 500; ++round) {
    std::vector<SourceFilter> parts(rng.between(1, 4));
    SourceFilter sum;
    for (SourceFilter& part : parts) {
      part.mode = rng.chance(0.5) ? FilterMode::include : FilterMode::exclude;
      for (std::uint32_t i = 0; i < 8; ++i) {
        if (rng.chance(0.4)) part.add(source(i));
      }
      sum.merge(part);
    }
    for (std::uint32_t i = 0; i < 10; ++i) {
      const bool any = std::ranges::any_of(parts, [&](const SourceFilter& part) { return part.allows(source(i)); });
      ASSERT_EQ(sum.allows(source(i)), any) << "round " << round << ", source " << i;
    }
  }
}

}  // namespace
}  // namespace gannet::stack
