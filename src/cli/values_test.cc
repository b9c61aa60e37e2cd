#include "cli/values.h"

#include <gtest/gtest.h>

#include <array>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

using namespace std::chrono_literals;

// The sentence with which a text is refused; empty when it is taken.
template <class Parse>
std::string refusal(Parse parse) {
  try {
    parse();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, Status::usage);
    return failure.sentence;
  }
  return {};
}

TEST(Values, DurationsHaveUnitsAndBareNumbersAreSeconds) {
  EXPECT_EQ(parse_duration("--delay", "80ms"), 80ms);
  EXPECT_EQ(parse_duration("--delay", "1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("--delay", "2"), 2s);
  EXPECT_EQ(parse_duration("--delay", "250us"), 250us);
  EXPECT_EQ(parse_duration("--delay", "0"), 0s);
  for (const char* bad : {"", "ms", "-1s", "1 s", "1parsec", "nan", "inf", "1e400s", "99999999999999999999"}) {
    EXPECT_NE(refusal([&] { (void)parse_duration("--delay", bad); }).find("--delay takes a time"), std::string::npos) << bad;
  }
}

TEST(Values, ProbabilitiesArePercentOrShare) {
  EXPECT_DOUBLE_EQ(parse_probability("--loss", "5%"), 0.05);
  EXPECT_DOUBLE_EQ(parse_probability("--loss", "0.25"), 0.25);
  EXPECT_DOUBLE_EQ(parse_probability("--loss", "100%"), 1);
  for (const char* bad : {"5", "101%", "-1%", "%", "five"}) {
    EXPECT_NE(refusal([&] { (void)parse_probability("--loss", bad); }).find("0% to 100%"), std::string::npos) << bad;
  }
}

TEST(Values, BytesRatesAndPorts) {
  EXPECT_EQ(parse_bytes("--size", "1472"), 1472u);
  EXPECT_EQ(parse_bytes("--size", "64k"), 65536u);
  EXPECT_EQ(parse_rate("--rate", "10Mbit"), 10'000'000u);
  EXPECT_EQ(parse_rate("--rate", "1mbit"), 1'000'000u);
  EXPECT_EQ(parse_rate("--rate", "1.5k"), 1500u);
  EXPECT_EQ(parse_port("PORT", "65433"), 65433u);
  EXPECT_NE(refusal([] { (void)parse_rate("--rate", "0"); }), "");
  EXPECT_NE(refusal([] { (void)parse_port("PORT", "65536"); }).find("from 1 to 65535"), std::string::npos);
  EXPECT_NE(refusal([] { (void)parse_port("PORT", "0"); }), "");
  EXPECT_NE(refusal([] { (void)parse_port("PORT", "53x"); }), "");
}

TEST(Values, TosByNumberAndByName) {
  EXPECT_EQ(parse_tos("-T", "0xb8"), 0xb8);
  EXPECT_EQ(parse_tos("-T", "ef"), 0xb8);
  EXPECT_EQ(parse_tos("-T", "cs1"), 0x20);
  EXPECT_EQ(parse_tos("-T", "af11"), 0x28);
  EXPECT_EQ(parse_tos("-T", "af43"), 0x98);
  EXPECT_EQ(parse_tos("-T", "lowdelay"), 0x10);
  for (const char* bad : {"256", "cs8", "af44", "af1", "", "0x", "-1"}) EXPECT_NE(refusal([&] { (void)parse_tos("-T", bad); }), "") << bad;
}

TEST(Values, JoinsNameGroupSourceAndInterface) {
  const Join plain = parse_join("--join", "239.1.2.3");
  EXPECT_EQ(plain.group, IpAddress::ipv4(239, 1, 2, 3));
  EXPECT_FALSE(plain.source.has_value());
  const Join full = parse_join("--join", "232.1.2.3@10.0.0.1%eth0");
  EXPECT_EQ(full.group, IpAddress::ipv4(232, 1, 2, 3));
  EXPECT_EQ(full.source, IpAddress::ipv4(10, 0, 0, 1));
  EXPECT_EQ(full.interface, "eth0");
  for (const char* bad : {"10.0.0.1", "239.1.2", "239.1.2.3@x", "239.1.2.3%", ""}) {
    EXPECT_NE(refusal([&] { (void)parse_join("--join", bad); }), "") << bad;
  }
}

TEST(Values, NearestFindsTheWordThatWasMeant) {
  const std::array<std::string_view, 3> names{"--delay", "--duplicate", "--loss"};
  EXPECT_EQ(nearest("--dealy", names), "--delay");
  EXPECT_EQ(nearest("--los", names), "--loss");
  EXPECT_EQ(nearest("--completely-else", names), "");
}

}  // namespace
}  // namespace gannet::cli
