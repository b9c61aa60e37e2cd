#include "hub/guest.h"

#include <gtest/gtest.h>

namespace gannet::hub {
namespace {

TEST(GuestConfig, TakesTheKernelsDefaults) {
  stack::Config config;
  set_default_ttl(config, "63\n");
  set_port_range(config, "32768\t60999\n");
  EXPECT_EQ(config.ttl, 63);
  EXPECT_EQ(config.ephemeral_low, 32768);
  EXPECT_EQ(config.ephemeral_high, 60999);
}

TEST(GuestConfig, KeepsItsOwnWhereTheKernelsMakeNoSense) {
  stack::Config config;
  for (const char* text : {"", "\n", "0", "256", "-1", "x"}) set_default_ttl(config, text);
  for (const char* text : {"", "1024", "0 10", "20 10", "1 65536", "a b"}) set_port_range(config, text);
  EXPECT_EQ(config.ttl, stack::Config().ttl);
  EXPECT_EQ(config.ephemeral_low, stack::Config().ephemeral_low);
  EXPECT_EQ(config.ephemeral_high, stack::Config().ephemeral_high);
}

// On this machine's kernel, whatever it has.
TEST(Guest, HasTheKernelsLoopback) {
  engine::EngineSetup setup;
  setup.stack = guest_config({});
  auto engine = engine::Engine::create(setup).value();
  const auto guest = Guest::create(*engine);
  ASSERT_TRUE(guest) << guest.error().message();
  EXPECT_TRUE(engine->stack().interfaces().loopback().is_guest());
  ASSERT_NE(engine->link(stack::loopback_index), nullptr);
  EXPECT_GE(engine->link(stack::loopback_index)->fd(), 0);
  EXPECT_EQ((*guest)->mirror().omitted(), engine::Omitted{});
  EXPECT_EQ((*guest)->uplink().socket_count(), 0u);
}

}  // namespace
}  // namespace gannet::hub
