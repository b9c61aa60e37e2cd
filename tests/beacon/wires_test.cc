// Beacons over the kernel's sockets and over hosts of ours in memory: one suite, since what holds of the one holds of the other.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <optional>

#include <gannet/beacon.h>

#include "beacon/ports.h"
#include "support/network.h"

namespace gannet::tests {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 20s;

BeaconOptions quick(std::string name) {
  return {.name = std::move(name), .addresses = {Address::parse("0.0.0.0:7000").value()}, .interval = 300ms, .lifetime = 1500ms};
}

// Where beacons live: each on a host of its own, or all on the kernel's.
class World {
 public:
  virtual ~World() = default;
  virtual Result<Beacon> open(BeaconOptions options) = 0;
  // That reaches the beacon that was opened first, at the groups' port.
  virtual Address first_address() = 0;
};

class Kernel final : public World {
 public:
  Result<Beacon> open(BeaconOptions options) override {
    if (options.multicast) options.interfaces = {"lo"};
    return Beacon::open(std::move(options));
  }
  Address first_address() override { return {IpAddress::ipv4(127, 0, 0, 1), beacon_port}; }
};

class Memory final : public World {
 public:
  Result<Beacon> open(BeaconOptions options) override {
    hosts_.push_back(std::make_unique<Host>(Host::open(segment_, "10.7.0." + std::to_string(hosts_.size() + 1) + "/24").value()));
    hosts_.back()->start().value();
    return Beacon::open(*hosts_.back(), std::move(options));
  }
  Address first_address() override { return {IpAddress::ipv4(10, 7, 0, 1), beacon_port}; }

 private:
  Segment segment_;
  std::vector<std::unique_ptr<Host>> hosts_;
};

class BeaconWires : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (GetParam() == std::string("memory")) {
      world = std::make_unique<Memory>();
      return;
    }
    const std::string& why_not = enter_private_network();
    if (!why_not.empty()) GTEST_SKIP() << why_not;
    world = std::make_unique<Kernel>();
  }
  Beacon started(BeaconOptions options) {
    Beacon beacon = world->open(std::move(options)).value();
    beacon.start().value();
    return beacon;
  }
  // The next event of this kind about this peer; others pass.
  static std::optional<Peer> await(Beacon& beacon, PeerEvent::Kind kind, std::string_view name) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (const auto event = beacon.next(end)) {
      if (event->kind == kind && event->peer.name == name) return event->peer;
    }
    return std::nullopt;
  }

  std::unique_ptr<World> world;
};

TEST_P(BeaconWires, JoinChangeLeave) {
  Beacon a = started(quick("a"));
  BeaconOptions options = quick("b");
  options.roles = {"sensor", "camera"};
  options.metadata = {{"model", "x1"}};
  Beacon b = started(options);
  const auto joined = await(a, PeerEvent::Kind::joined, "b");
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->id, b.id());
  EXPECT_TRUE(joined->has_role("camera") && !joined->has_role("robot"));
  EXPECT_EQ(joined->profile.metadata, options.metadata);
  ASSERT_EQ(joined->profile.addresses.size(), 1U);
  EXPECT_FALSE(joined->profile.addresses[0].ip.is_any());
  EXPECT_EQ(joined->profile.addresses[0].port, 7000);
  ASSERT_FALSE(joined->paths.empty());
  ASSERT_TRUE(await(b, PeerEvent::Kind::joined, "a"));

  b.update({.roles = {"idle"}, .addresses = {}, .metadata = {}}).value();
  const auto changed = await(a, PeerEvent::Kind::changed, "b");
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->profile.roles, std::vector<std::string>{"idle"});

  b.leave().value();
  EXPECT_EQ(b.next(patience).error().code, ESHUTDOWN);
  EXPECT_TRUE(await(a, PeerEvent::Kind::left, "b"));
  EXPECT_TRUE(a.peers().empty());
  EXPECT_GT(a.paths().at(0).heard, 0U) << a.paths().at(0).to_string();
}

TEST_P(BeaconWires, DestructionSaysGoodbye) {
  Beacon a = started(quick("a"));
  std::optional<Beacon> b = started(quick("b"));
  ASSERT_TRUE(await(a, PeerEvent::Kind::joined, "b"));
  b.reset();
  EXPECT_TRUE(await(a, PeerEvent::Kind::left, "b"));
}

TEST_P(BeaconWires, SeedsWithoutMulticast) {
  const auto alone = [](std::string name) {
    BeaconOptions options = quick(std::move(name));
    options.multicast = false;
    return options;
  };
  // On one machine the groups' port is that of who came last, so there the seed comes last.
  BeaconOptions with_seed_a = alone("a"), with_seed_b = alone("b");
  std::optional<Beacon> seed, a, b;
  const bool is_memory = GetParam() == std::string("memory");
  if (is_memory) seed = started(alone("seed"));
  with_seed_a.seeds = with_seed_b.seeds = {world->first_address()};
  a = started(with_seed_a);
  b = started(with_seed_b);
  if (!is_memory) seed = started(alone("seed"));
  ASSERT_TRUE(await(*a, PeerEvent::Kind::joined, "b")) << "it was told of by the seed, and asked";
  ASSERT_TRUE(await(*b, PeerEvent::Kind::joined, "a"));
  const auto paths = a->paths();
  ASSERT_EQ(paths.size(), 1U);
  EXPECT_NE(paths[0].to_string().find("answers"), std::string::npos) << paths[0].to_string();
  ASSERT_TRUE(await(*seed, PeerEvent::Kind::joined, "a"));
  const auto end = std::chrono::steady_clock::now() + patience;
  while (a->peers().size() < 2 && std::chrono::steady_clock::now() < end) (void)a->next(100ms);
  while (a->next(Deadline::now())) {
  }
  // They stay one another's, although nothing is said to all.
  EXPECT_EQ(a->next(3s).error().code, EAGAIN);
  EXPECT_EQ(a->peers().size(), 2U);
}

TEST_P(BeaconWires, AnObserverIsSeenByNobody) {
  Beacon a = started(quick("a"));
  Beacon observer = started(quick(""));
  EXPECT_TRUE(await(observer, PeerEvent::Kind::joined, "a"));
  EXPECT_EQ(a.next(1s).error().code, EAGAIN);
  EXPECT_EQ(observer.update({}).error().code, EINVAL);
}

TEST_P(BeaconWires, WithAKey) {
  const auto keyed = [](std::string name, std::uint8_t key) {
    BeaconOptions options = quick(std::move(name));
    options.authenticator = [key](std::span<const std::byte> message) {  // no good one, but one that knows a key from another
      BeaconTag tag{.bytes = {}, .size = 16};
      for (std::size_t i = 0; i < message.size(); ++i) {
        tag.bytes[i % 16] =
            static_cast<std::byte>((std::to_integer<unsigned>(tag.bytes[i % 16]) * 31 + std::to_integer<unsigned>(message[i]) + key) & 0xff);
      }
      return tag;
    };
    return options;
  };
  Beacon a = started(keyed("a", 1)), b = started(keyed("b", 1)), wrong = started(keyed("wrong", 2)), without = started(quick("without"));
  const auto joined = await(a, PeerEvent::Kind::joined, "b");
  ASSERT_TRUE(joined && joined->is_authenticated);
  EXPECT_EQ(a.next(1s).error().code, EAGAIN);
  const auto drops = a.drops();
  const auto has = [](const std::vector<Count>& counts, std::string_view name) {
    return std::ranges::find(counts, name, &Count::name) != counts.end();
  };
  EXPECT_TRUE(has(drops, "tag_wrong") && has(drops, "tag_missing"));
  EXPECT_TRUE(has(without.drops(), "key_missing"));
  EXPECT_TRUE(wrong.peers().empty() && without.peers().empty());
}

TEST_P(BeaconWires, ManyThreads) {
  Beacon a = started(quick("a")), b = started(quick("b"));
  std::atomic<bool> end = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; !end; ++round) {
        (void)a.peers(), (void)a.paths(), (void)a.drops();
        (void)a.next(1ms);
        (void)a.update({.roles = {"role" + std::to_string(i * 1000 + round % 10)}, .addresses = {}, .metadata = {}});
        std::this_thread::sleep_for(5ms);
      }
    });
  }
  EXPECT_TRUE(await(b, PeerEvent::Kind::changed, "a"));
  a.leave().value();
  end = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(await(b, PeerEvent::Kind::left, "a"));
}

TEST_P(BeaconWires, WithoutAThreadItLivesInNext) {
  Beacon a = world->open(quick("a")).value();
  Beacon b = started(quick("b"));
  std::string news_of_a, news_of_b;
  const auto live = [&](std::chrono::milliseconds time) {
    for (const auto end = std::chrono::steady_clock::now() + time; std::chrono::steady_clock::now() < end;) {
      if (const auto event = a.next(20ms)) news_of_a += std::string(to_string(event->kind)) + ' ';
      if (const auto event = b.next(Deadline::now())) news_of_b += std::string(to_string(event->kind)) + ' ';
    }
  };
  const auto end = std::chrono::steady_clock::now() + patience;
  while ((news_of_a.empty() || news_of_b.empty()) && std::chrono::steady_clock::now() < end) live(20ms);
  live(3s);
  EXPECT_EQ(news_of_a, "joined ");
  EXPECT_EQ(news_of_b, "joined ");
  a.leave().value();
  EXPECT_TRUE(await(b, PeerEvent::Kind::left, "a"));
}

std::string name_of_world(const ::testing::TestParamInfo<const char*>& world) { return world.param; }

INSTANTIATE_TEST_SUITE_P(Worlds, BeaconWires, ::testing::Values("kernel", "memory"), name_of_world);

// Two hosts of ours that nobody runs but the beacons themselves.
TEST(BeaconPorts, KnowsTheConnectedNetworks) {
  const auto networks = beacon::Ports::open({.name = "a"}, nullptr).value().networks();
  const auto near = [&](const IpAddress& ip) {
    return std::ranges::any_of(networks, [&](const beacon::Network& each) { return each.contains(ip); });
  };
  EXPECT_TRUE(near(IpAddress::ipv4(127, 0, 0, 1)));
  EXPECT_FALSE(near(IpAddress::ipv4(240, 0, 0, 1)));
}

TEST(BeaconHosts, WithoutAnyThread) {
  Segment segment;
  Host one = Host::open(segment, "10.7.0.1/24").value(), two = Host::open(segment, "10.7.0.2/24").value();
  Beacon a = Beacon::open(one, quick("a")).value(), b = Beacon::open(two, quick("b")).value();
  EXPECT_EQ(a.start().error().code, EINVAL);
  std::size_t joined = 0;
  for (int round = 0; round < 400 && joined < 2; ++round) {
    for (Beacon* beacon : {&a, &b}) joined += beacon->next(5ms) ? 1 : 0;
  }
  EXPECT_EQ(joined, 2U);
}

TEST(BeaconHosts, WhatAHostCannotDoIsRefused) {
  Segment segment;
  Host host = Host::open(segment, "10.7.0.1/24").value();
  BeaconOptions options = quick("a");
  options.groups = {IpAddress::parse("ff15::1").value()};
  EXPECT_EQ(Beacon::open(host, options).error().code, EAFNOSUPPORT);
  options.groups = {};
  options.interfaces = {"eth0"};
  EXPECT_EQ(Beacon::open(host, options).error().code, EINVAL);
  EXPECT_EQ(Beacon::open({.name = "a", .interfaces = {"nosuch0"}}).error().code, ENODEV);
}

}  // namespace
}  // namespace gannet::tests
