#include "stack/interface.h"

#include <gtest/gtest.h>

#include "stack/pmtu.h"

namespace gannet::stack {
namespace {

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

class InterfacesTest : public testing::Test {
 protected:
  FramePools pools = FramePools::create(4, 1).value();
  Rng rng{1};
  Fates fates;
  Config config{.interfaces = 4, .addresses_per_interface = 3, .output_queue = 2, .path_mtus = 3};
  Context context{pools, rng, fates, config};
  Interfaces interfaces{context};
};

TEST_F(InterfacesTest, LoopbackIsThereFromTheFirst) {
  EXPECT_EQ(interfaces.loopback().index(), loopback_index);
  EXPECT_EQ(interfaces.loopback().name(), "lo");
  EXPECT_EQ(interfaces.loopback().mtu(), 65535u);
  EXPECT_EQ(interfaces.kind_of(ip("127.0.0.1"), 0), AddressKind::loopback);
  EXPECT_EQ(interfaces.kind_of(ip("127.200.0.9"), 0), AddressKind::loopback);
}

TEST_F(InterfacesTest, KnowsWhatAnAddressIs) {
  const std::uint32_t one = interfaces.add({.name = "one"}).value();
  const std::uint32_t two = interfaces.add({.name = "two"}).value();
  interfaces.add_address(one, ip("10.0.0.1"), 24).value();
  interfaces.add_address(two, ip("192.0.2.2"), 31).value();
  EXPECT_EQ(interfaces.kind_of(ip("10.0.0.1"), two), AddressKind::own);  // weak host model
  EXPECT_EQ(interfaces.kind_of(ip("10.0.0.2"), one), AddressKind::foreign);
  EXPECT_EQ(interfaces.kind_of(ip("10.0.0.255"), one), AddressKind::broadcast);
  EXPECT_EQ(interfaces.kind_of(ip("10.0.0.255"), two), AddressKind::foreign);
  EXPECT_EQ(interfaces.kind_of(ip("10.0.0.255"), 0), AddressKind::broadcast);
  EXPECT_EQ(interfaces.kind_of(ip("192.0.2.3"), two), AddressKind::foreign);  // RFC 3021: the other end
  EXPECT_EQ(interfaces.kind_of(ip("255.255.255.255"), one), AddressKind::broadcast);
  EXPECT_EQ(interfaces.kind_of(ip("239.255.255.255"), one), AddressKind::multicast);
  EXPECT_EQ(interfaces.kind_of(ip("0.0.0.0"), one), AddressKind::any);
  EXPECT_EQ(interfaces.kind_of(ip("0.0.0.9"), one), AddressKind::reserved);
  EXPECT_EQ(interfaces.kind_of(ip("250.0.0.1"), one), AddressKind::reserved);

  interfaces.remove_address(one, ip("10.0.0.1")).value();  // what was remembered is forgotten
  EXPECT_EQ(interfaces.kind_of(ip("10.0.0.1"), two), AddressKind::foreign);
  EXPECT_EQ(interfaces.kind_of(ip("10.0.0.255"), one), AddressKind::foreign);
}

TEST_F(InterfacesTest, BadCallsFail) {
  EXPECT_EQ(interfaces.add({.name = "tiny", .mtu = 67}).error().code, EINVAL);
  const std::uint32_t one = interfaces.add({.name = "one"}).value();
  for (const char* bad : {"0.0.0.0", "10.0.0.0", "10.0.0.255", "224.0.0.1", "255.255.255.255", "127.0.0.2", "2001:db8::1"}) {
    EXPECT_EQ(interfaces.add_address(one, ip(bad), 24).error().code, EINVAL) << bad;
  }
  EXPECT_EQ(interfaces.add_address(one, ip("10.0.0.1"), 0).error().code, EINVAL);
  EXPECT_EQ(interfaces.add_address(one, ip("10.0.0.1"), 33).error().code, EINVAL);
  EXPECT_EQ(interfaces.add_address(99, ip("10.0.0.1"), 24).error().code, ENODEV);
  interfaces.add_address(one, ip("10.0.0.1"), 24).value();
  EXPECT_EQ(interfaces.add_address(one, ip("10.0.0.1"), 24).error().code, EEXIST);
  EXPECT_EQ(interfaces.remove_address(one, ip("10.0.0.2")).error().code, EADDRNOTAVAIL);
  interfaces.add_address(one, ip("10.0.0.2"), 24).value();
  interfaces.add_address(one, ip("10.0.0.3"), 32).value();
  EXPECT_EQ(interfaces.add_address(one, ip("10.0.0.4"), 24).error().code, ENOBUFS);
  interfaces.add({}).value();
  interfaces.add({}).value();
  EXPECT_EQ(interfaces.add({}).error().code, ENOBUFS);
  EXPECT_EQ(interfaces.find(0), nullptr);
  EXPECT_EQ(interfaces.find(99), nullptr);
}

TEST_F(InterfacesTest, QueueRefusesWhenFull) {
  Interface& one = *interfaces.find(interfaces.add({.name = "one", .ethernet = false}).value());
  for (int i = 0; i < 3; ++i) one.send(pools.small->allocate());
  EXPECT_EQ(one.output().size(), 2u);
  EXPECT_EQ(fates.dropped_count(Drop::link_queue_full), 1u);
  for (Frame& frame : one.output().front()) frame.release();
  one.output().pop(2);
  one.send(pools.small->allocate());  // around the ring
  EXPECT_EQ(one.output().front().size(), 1u);
}

// RFC 1191: only lower, never below the floor, forgotten after ten minutes; at the bound the oldest gives way.
TEST_F(InterfacesTest, PathMtusAreBoundedInNumberAndTime) {
  PathMtus mtus(context);
  EXPECT_TRUE(mtus.learn(ip("192.0.2.1"), 1400, 1500, 1500, Time{}));
  EXPECT_FALSE(mtus.learn(ip("192.0.2.1"), 1400, 1500, 1400, Time{}));
  EXPECT_FALSE(mtus.learn(ip("192.0.2.1"), 1450, 1500, 1400, Time{}));
  EXPECT_TRUE(mtus.learn(ip("192.0.2.1"), 0, 1400, 1400, Time{} + 1s));
  EXPECT_EQ(mtus.find(ip("192.0.2.1")).mtu, 1006u);
  EXPECT_TRUE(mtus.learn(ip("192.0.2.1"), 3, 1006, 1006, Time{} + 2s));
  EXPECT_EQ(mtus.find(ip("192.0.2.1")).mtu, 552u);
  EXPECT_TRUE(mtus.find(ip("192.0.2.1")).is_floor);
  EXPECT_FALSE(mtus.learn(ip("192.0.2.1"), 3, 552, 552, Time{} + 3s));
  for (int i = 2; i <= 4; ++i) EXPECT_TRUE(mtus.learn(IpAddress::ipv4(192, 0, 2, static_cast<std::uint8_t>(i)), 1400, 1500, 1500, Time{} + 4s));
  EXPECT_EQ(mtus.all().size(), 3u);
  EXPECT_EQ(mtus.find(ip("192.0.2.1")).mtu, 0u);
  EXPECT_EQ(mtus.next_wakeup(), Time{} + 604s);
  const std::uint64_t generation = context.generation;
  mtus.advance(Time{} + 604s);
  EXPECT_EQ(mtus.all().size(), 0u);
  EXPECT_NE(context.generation, generation);
}

}  // namespace
}  // namespace gannet::stack
