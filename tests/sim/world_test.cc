// Worlds of hosts that send each other what they like, over wires that do what they like.
#include "sim/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace gannet::sim {
namespace {

// A wire with some of all that can be wrong with one.
Impairment any_impairment(Rng& rng) {
  Impairment impairment{.held_packets = 1024};
  if (rng.chance(0.5)) impairment.loss = rng.unit() * 0.1;
  if (rng.chance(0.3)) {
    impairment.burst_start = rng.unit() * 0.03;
    impairment.burst_end = 0.1 + rng.unit() * 0.5;
    impairment.burst_loss = 0.5 + rng.unit() * 0.5;
  }
  if (rng.chance(0.5)) {
    impairment.delay = Duration(rng.below(50'000'000));
    impairment.jitter = Duration(rng.below(20'000'000));
    impairment.reorder = rng.chance(0.5) ? rng.unit() * 0.2 : 0;
  }
  if (rng.chance(0.3)) impairment.duplicate = rng.unit() * 0.05;
  if (rng.chance(0.3)) impairment.corrupt = rng.unit() * 0.02;
  if (rng.chance(0.2)) {
    impairment.rate = 1'000'000 + rng.below(9'000'000);
    impairment.queue_bytes = 4096 + rng.below(64 * 1024);
  }
  return impairment;
}

Options any_world(std::uint64_t seed) {
  Rng rng(seed);
  constexpr std::array<std::size_t, 4> mtus = {576, 1280, 1500, 4000};
  Options options{.seed = seed, .hosts = rng.between(3, 7), .networks = rng.between(1, 2), .mtu = mtus[rng.below(mtus.size())]};
  options.in = any_impairment(rng);
  options.out = any_impairment(rng);
  options.pause = 30ms;
  return options;
}

TEST(World, KeepsItsBooksWhateverTheWiresDo) {
  std::uint64_t datagrams = 0, deliveries = 0, reordered = 0, lost = 0;
  const auto all = seeds(24);
  for (const std::uint64_t seed : all) {
    World world(any_world(seed));
    world.run(5s);
    world.finish();
    if (HasFailure()) return;
    datagrams += world.ledger().size();
    deliveries += world.ledger().deliveries();
    reordered += world.ledger().reordered();
    lost += world.ledger().lost(Drop::fault_loss);
  }
  if (all.size() == 1) return;
  EXPECT_GT(datagrams, 24u * 500);
  EXPECT_GT(deliveries, datagrams / 2);
  EXPECT_GT(reordered, 100u);
  EXPECT_GT(lost, 100u);
}

TEST(World, ReplaysWhatASeedDecided) {
  const auto trace_of = [](std::uint64_t seed) {
    Options options = any_world(21);
    options.seed = seed;
    World world(options);
    world.run(5s);
    world.finish();
    return world.trace();
  };
  const std::uint64_t first = trace_of(21);
  EXPECT_EQ(trace_of(21), first);
  EXPECT_NE(trace_of(22), first);
}

// Where the wires are perfect, so is the network: each datagram reaches all that it is for, once and in order, whoever joins or leaves meanwhile.
TEST(World, LosesNothingWithoutAFault) {
  for (const std::uint64_t seed : seeds(4)) {
    World world({.seed = seed, .hosts = 6, .networks = 2, .pause = 20ms, .mix = {.multicast = 30, .membership = 30, .members_read_late = false}});
    world.run(10s);
    world.finish();
    world.ledger().check_perfect();
    EXPECT_GT(world.ledger().size(), 2000u);
    EXPECT_EQ(world.ledger().collisions(), 0u);
  }
}

// A slow wire reorders nothing and loses nothing either.
TEST(World, KeepsTheOrderOnAWireWithDelay) {
  World world({.seed = seeds(1)[0],
               .out = {.delay = 40ms, .jitter = 30ms},
               .pause = 10ms,
               .mix = {.large = 0, .broadcast = 0, .multicast = 0, .members_read_late = false}});
  world.run(20s);
  world.finish();
  EXPECT_EQ(world.ledger().reordered(), 0u);
  EXPECT_EQ(world.dropped(Drop::neighbor_queue_full) + world.dropped(Drop::receive_queue_full), 0u);
}

TEST(World, LivesThroughAnHourOfTwentyHostsInSeconds) {
  const auto started = std::chrono::steady_clock::now();
  World world({.seed = seeds(1)[0],
               .hosts = 20,
               .out = {.loss = 0.1, .delay = 40ms, .jitter = 20ms, .reorder = 0.05, .held_packets = 1024},
               .pause = 3s,
               .check_every = 64});
  world.run(1h);
  world.finish();
  const std::chrono::duration<double> real = std::chrono::steady_clock::now() - started;
  const std::chrono::duration<double> lived = world.now() - Time(std::chrono::hours(1));
  std::printf("%s\n%.0f s lived in %.2f s, %.0f times as fast; %llu frames in %llu steps\n", world.ledger().summary().c_str(), lived.count(),
              real.count(), lived.count() / real.count(), static_cast<unsigned long long>(world.frames()),
              static_cast<unsigned long long>(world.steps()));
  EXPECT_GT(world.ledger().size(), 30'000u);
  EXPECT_GT(world.ledger().reordered(), 300u);
}

// Hosts with hardly a frame to their names drop what they have no room for, by name, and go on.
TEST(World, SurvivesWithHardlyAnyFrames) {
  std::uint64_t starved = 0;
  for (const std::uint64_t seed : seeds(4)) {
    World world({.seed = seed,
                 .out = {.delay = 20ms, .jitter = 5ms},
                 .pause = 5ms,
                 .mix = {.large = 15, .segments = 15},
                 .small_frames = 24,
                 .large_frames = 2});
    world.run(5s);
    world.finish();
    starved += world.dropped(Drop::no_frame);
    EXPECT_GT(world.ledger().deliveries(), 1000u);
  }
  EXPECT_GT(starved, 100u);
}

// RFC 1122 2.3.2.1: on a dead network nobody floods. What waits for a neighbour dies by name.
TEST(World, AsksADeadNetworkOnceASecond) {
  World world({.seed = seeds(1)[0], .hosts = 5, .out = {.loss = 1}, .pause = 4ms});
  world.run(12s);
  world.finish();
  for (const auto& host : world.hosts()) {
    constexpr unsigned destinations = 5;  // four hosts and one that does not exist
    EXPECT_LE(host->arp_requests, destinations * 14);
    EXPECT_GT(host->stack.fates().dropped_count(Drop::neighbor_unreachable), 100u);
    EXPECT_GT(host->stack.fates().dropped_count(Drop::neighbor_queue_full), 100u);
  }
}

}  // namespace
}  // namespace gannet::sim
