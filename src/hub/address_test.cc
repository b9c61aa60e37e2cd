#include "hub/address.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace gannet::hub {
namespace {

TEST(HubAddresses, SayAllThatAProcessMustKnow) {
  const HubAddress address{.name = "gannet-hub-1000-tap:gnt0", .user = 1000, .program = {.words = {0x0123456789abcdef, 7}}};
  const std::string text = "1000:0123456789abcdef0000000000000007:gannet-hub-1000-tap:gnt0";
  EXPECT_EQ(address.to_string(), text);
  const HubAddress read = HubAddress::parse(text);
  EXPECT_EQ(read.name, address.name);
  EXPECT_EQ(read.user, address.user);
  EXPECT_EQ(read.program, address.program);
}

TEST(HubAddresses, AreOnesOwnWhereANameStandsAlone) {
  for (const char* text : {"gannet-hub-1000-none", "a:b:c", "1000:12:name", "1000:0123456789abcdef000000000000000g:name",
                           "x:0123456789abcdef0000000000000007:name", "gannet-hub-1000-tap:gnt0", ""}) {
    const HubAddress read = HubAddress::parse(text);
    EXPECT_EQ(read.name, text);
    EXPECT_FALSE(read.user);
    EXPECT_EQ(read.program, ProgramKey{});
  }
}

}  // namespace
}  // namespace gannet::hub
