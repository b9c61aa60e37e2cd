#include "hub/privileges.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace gannet::hub {
namespace {

TEST(Privileges, AreReadOfAProcess) {
  EXPECT_TRUE(has_bind_capability("Name:\troot\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"));
  EXPECT_TRUE(has_bind_capability("Name:\tnamed\nCapEff:\t0000000000000400\n"));
  EXPECT_FALSE(has_bind_capability("Name:\tnamed\nCapPrm:\t0000000000000400\nCapEff:\t00000000fffffbff\n"));
  for (const char* text : {"", "CapEff:\t", "\nCapEff:\t", "\nCapEff:\tx", "\nCapEff: 400", "\nCapEff:\tfffffffffffffffff"})
    EXPECT_FALSE(has_bind_capability(text)) << text;
}

TEST(Privileges, MatterForLowPortsAlone) {
  EXPECT_TRUE(may_bind(::getpid(), 0));
  EXPECT_TRUE(may_bind(::getpid(), 65535));
  EXPECT_TRUE(may_bind(-1, 65535));
  EXPECT_FALSE(may_bind(-1, 1)) << "of a process that is gone nothing is known";
}

}  // namespace
}  // namespace gannet::hub
