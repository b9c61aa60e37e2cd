// SO_MAX_PACING_RATE: how fast a socket may send, in virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>

#include "stack/pacer.h"
#include "support/app.h"

namespace gannet::tests {
namespace {

using stack::Pacer;

constexpr std::size_t headers = 28;
const std::string_view sink = "10.0.0.2:9";  // where nobody listens, which a paced sender need not know

class Pacing : public ::testing::Test {
 protected:
  void SetUp() override {
    net.run_for(5s);  // announcements
    App first(net, a);
    first.send_by_ring("who has it?", sink);
    net.settle();
    net.carried.clear();
  }
  // What an engine does: lets time pass, and empties the rings as far as that goes whenever something in them comes due.
  template <class Refill>
  void run_for(Duration time, std::initializer_list<App*> apps, Refill refill) {
    const Time end = net.now + time;
    for (;;) {
      for (App* app : apps) {
        refill(*app);
        while (app->flush() != 0) refill(*app);
      }
      net.settle();
      Time next = end;
      for (App* app : apps) {
        if (app->endpoint().held_until() > net.now) next = std::min(next, app->endpoint().held_until());
      }
      if (next == end) break;
      net.run_for(next - net.now);
    }
    net.run_for(end - net.now);
  }
  void run_for(Duration time, std::initializer_list<App*> apps) {
    run_for(time, apps, [](App&) {});
  }
  // The UDP packets that passed from this port, with their times.
  struct Sent {
    Time at;
    std::size_t bytes;
  };
  std::vector<Sent> sent(App& app) const {
    std::vector<Sent> all;
    for (const auto& carried : net.carried) {
      const auto ethernet = wire::parse_ethernet(carried.frame);
      if (!ethernet || ethernet->type != wire::ethertype_ipv4) continue;
      const auto ipv4 = wire::parse_ipv4(ethernet->payload);
      if (!ipv4 || ipv4->protocol != wire::protocol_udp || ipv4->src != a.ip) continue;
      if (wire::load_be16(ipv4->payload, 0) == app.endpoint().local.port) all.push_back({carried.at, ipv4->packet.size()});
    }
    return all;
  }
  static std::size_t total(const std::vector<Sent>& all) {
    std::size_t sum = 0;
    for (const Sent& one : all) sum += one.bytes;
    return sum;
  }
  // In no stretch of time did more pass than its share and one burst.
  static void expect_within(int rate, const std::vector<Sent>& all) {
    for (std::size_t first = 0; first < all.size(); ++first) {
      std::size_t sum = 0;
      for (std::size_t last = first; last < all.size(); ++last) {
        sum += all[last].bytes;
        const std::chrono::duration<double> time = all[last].at - all[first].at;
        ASSERT_LE(static_cast<double>(sum), static_cast<double>(Pacer::burst_of(rate)) + time.count() * rate + 1) << first << " to " << last;
      }
    }
  }

  Net net;
  Host& a = net.add_host("10.0.0.1/24");
  Host& b = net.add_host("10.0.0.2/24");
};

// B2: the average is what was asked for, whatever the datagrams' size, up to those that are larger than a burst.
TEST_F(Pacing, KeepsTheRate) {
  struct Run {
    std::size_t size;
    int rate;
    Duration time;
  };
  for (const Run& run :
       {Run{1, 20'000, 5s}, Run{1472, 125'000, 20s}, Run{8000, 125'000, 20s}, Run{65507, 1'000'000, 15s}, Run{1472, 1'000'000'000, 3ms}}) {
    App client(net, a);
    client.endpoint().set_pacing_rate(run.rate, net.now);
    const std::string data(run.size, 'x');
    const std::uint64_t before = client.udp().counters().out_datagrams.value();
    run_for(run.time, {&client}, [&](App& app) {
      while (app.offer(data, sink)) {
      }
      net.carried.clear();
    });
    const auto bytes = static_cast<double>((client.udp().counters().out_datagrams.value() - before) * (run.size + headers));
    const double due = std::chrono::duration<double>(run.time).count() * run.rate + static_cast<double>(Pacer::burst_of(run.rate));
    EXPECT_LE(bytes, due + static_cast<double>(run.size)) << run.size;
    EXPECT_GE(bytes, due * 0.99) << run.size;
  }
}

// B2: an idle socket saves up one burst and no more; from then on each packet has its time.
TEST_F(Pacing, BoundsTheBurst) {
  constexpr int rate = 100'000;
  App client(net, a);
  client.endpoint().set_pacing_rate(rate, net.now);
  for (int round = 0; round < 2; ++round) {
    net.carried.clear();
    net.run_for(std::chrono::hours(1));
    for (int i = 0; i < 60; ++i) ASSERT_TRUE(client.offer(std::string(972, 'x'), sink));
    client.flush();
    net.settle();
    EXPECT_EQ(total(sent(client)), Pacer::burst_of(rate));
    EXPECT_EQ(client.endpoint().held_until(), net.now + 10ms);
    run_for(10s, {&client});
    const auto all = sent(client);
    EXPECT_EQ(all.size(), 60u) << "held, not lost";
    expect_within(rate, all);
  }
}

TEST_F(Pacing, LeavesOtherSocketsAlone) {
  App slow(net, a), quick(net, a), free(net, a);
  slow.endpoint().set_pacing_rate(10'000, net.now);
  quick.endpoint().set_pacing_rate(100'000, net.now);
  const auto refill = [](App& app) { app.offer(std::string(972, 'x'), sink); };
  run_for(10s, {&slow, &quick}, refill);
  EXPECT_NEAR(static_cast<double>(total(sent(slow))), 103'000, 1000);
  EXPECT_NEAR(static_cast<double>(total(sent(quick))), 1'003'000, 1000);
  for (int i = 0; i < 50; ++i) free.send_by_ring("at once", sink);
  net.settle();
  EXPECT_EQ(sent(free).size(), 50u);
}

// A sender that is faster finds its ring full, and may go on as it empties.
TEST_F(Pacing, MakesTheSenderWait) {
  App client(net, a);
  client.endpoint().set_pacing_rate(50'000, net.now);
  client.endpoint().set_send_limit(0);  // the least there is
  std::size_t offered = 0;
  run_for(10s, {&client}, [&](App& app) {
    std::size_t at_once = 0;
    while (app.offer(std::string(972, 'x'), sink)) ++at_once;
    EXPECT_LE(at_once, 4u);
    offered += at_once;
  });
  EXPECT_FALSE(client.offer("x", sink));
  EXPECT_NEAR(static_cast<double>(offered), 500, 10);
  run_for(1s, {&client});
  EXPECT_EQ(sent(client).size(), offered);
}

TEST_F(Pacing, IsOffUntilAskedFor) {
  App client(net, a);
  const auto burst = [&] {
    net.carried.clear();
    for (int i = 0; i < 60; ++i) EXPECT_TRUE(client.offer(std::string(1472, 'x'), sink));
    client.flush();
    net.settle();
    return sent(client).size();
  };
  EXPECT_EQ(burst(), 60u);
  client.endpoint().set_pacing_rate(1000, net.now);
  EXPECT_EQ(burst(), 2u);
  client.endpoint().set_pacing_rate(Pacer::unlimited, net.now);  // what was held goes out as well
  client.flush();
  client.flush();
  net.settle();
  EXPECT_EQ(sent(client).size(), 60u);
}

// Who sets the rate again and again, as congestion control does, has no new burst each time.
TEST_F(Pacing, RemembersWhatWasSentBeforeTheRateChanged) {
  App client(net, a);
  for (int i = 0; i < 1000; ++i) {
    client.endpoint().set_pacing_rate(i % 2 == 0 ? 100'000 : 101'000, net.now);
    run_for(1ms, {&client}, [](App& app) { app.offer(std::string(72, 'x'), sink); });
  }
  expect_within(101'000, sent(client));
  EXPECT_GT(total(sent(client)), 99'000u);
}

// A super-datagram is one burst; its headers are counted for each of its datagrams.
TEST_F(Pacing, CountsSegments) {
  App client(net, a);
  client.endpoint().set_pacing_rate(100'000, net.now);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(client.offer(std::string(7200, 'x'), sink, {.segment_size = 72}));
  client.flush();
  net.settle();
  EXPECT_EQ(sent(client).size(), 100u);
  EXPECT_EQ(client.endpoint().held_until(), net.now + 100ms);
}

}  // namespace
}  // namespace gannet::tests
