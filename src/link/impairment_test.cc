#include <gannet/impairment.h>
#include <gtest/gtest.h>

#include <limits>

namespace gannet {
namespace {

using namespace std::chrono_literals;

TEST(Impairment, ParsesProbabilities) {
  EXPECT_DOUBLE_EQ(parse_probability("5%").value(), 0.05);
  EXPECT_DOUBLE_EQ(parse_probability("0.05").value(), 0.05);
  EXPECT_DOUBLE_EQ(parse_probability("0").value(), 0);
  EXPECT_DOUBLE_EQ(parse_probability("100%").value(), 1);
  for (const char* text : {"", "%", "101%", "1.5", "-1%", "-0", "5 %", "5%%", "nan", "inf", "five", "1e-2", "0x1"}) {
    EXPECT_EQ(parse_probability(text).error().code, EINVAL) << text;
  }
}

TEST(Impairment, ParsesDurations) {
  EXPECT_EQ(parse_duration("80ms").value(), 80ms);
  EXPECT_EQ(parse_duration("1.5s").value(), 1500ms);
  EXPECT_EQ(parse_duration("250us").value(), 250us);
  EXPECT_EQ(parse_duration("7ns").value(), 7ns);
  EXPECT_EQ(parse_duration("0").value(), 0ns);
  for (const char* text : {"", "80", "ms", "-1ms", "1h", "80 ms", "80MS", "99999999999999s", "inf", "infs"}) {
    EXPECT_EQ(parse_duration(text).error().code, EINVAL) << text;
  }
}

TEST(Impairment, ParsesRates) {
  EXPECT_EQ(parse_rate("10mbit").value(), 10'000'000u);
  EXPECT_EQ(parse_rate("1.5gbit").value(), 1'500'000'000u);
  EXPECT_EQ(parse_rate("64kbit").value(), 64'000u);
  EXPECT_EQ(parse_rate("9600bit").value(), 9600u);
  for (const char* text : {"", "0", "0mbit", "0.5bit", "10", "10mbps", "-1mbit", "1001gbit", "nanbit"}) {
    EXPECT_EQ(parse_rate(text).error().code, EINVAL) << text;
  }
}

TEST(Impairment, ChecksItsRanges) {
  EXPECT_TRUE(Impairment{}.check());
  EXPECT_TRUE((Impairment{.loss = 1, .delay = 1h, .jitter = 1h, .rate = 1'000'000'000'000}.check()));
  const Impairment wrong[] = {{.loss = -0.1},
                              {.loss = 1.1},
                              {.loss = std::numeric_limits<double>::quiet_NaN()},
                              {.burst_start = 0.1, .burst_end = 0},
                              {.delay = -1ns},
                              {.delay = 1h + 1ns},
                              {.jitter = -1ns},
                              {.rate = 1'000'000'000'001},
                              {.queue_bytes = 0},
                              {.held_packets = 0}};
  for (const Impairment& impairment : wrong) {
    EXPECT_EQ(impairment.check().error().code, EINVAL);
    EXPECT_NE(impairment.check().error().why, nullptr);
  }
}

}  // namespace
}  // namespace gannet
