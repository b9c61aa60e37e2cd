// Many beacons in virtual time, on a network that loses, delays and reorders: who is there is known to all, and who is not is forgotten.
#include <gtest/gtest.h>

#include <map>
#include <queue>

#include "base/rng.h"
#include "beacon/node.h"

namespace gannet::tests {
namespace {

using namespace gannet::beacon;

const IpAddress group = IpAddress::ipv4(239, 255, 71, 66);

struct Faults {
  double loss = 0;
  Duration delay = 1ms;
  double duplicate = 0;
  bool multicast = true;
};

struct Member {
  std::unique_ptr<Node> node;
  Address own;
  bool hears_multicast = true;
  Time wakeup{};
  std::map<PeerEvent::Kind, std::size_t> events{};

  [[nodiscard]] std::size_t peers() const {
    const auto count = [&](PeerEvent::Kind kind) { return events.contains(kind) ? events.at(kind) : 0; };
    return count(PeerEvent::Kind::joined) - count(PeerEvent::Kind::left) - count(PeerEvent::Kind::expired);
  }
};

class Network {
 public:
  explicit Network(const Faults& faults, std::uint64_t seed = 1) : faults_(faults), rng_(seed) {}

  Member& add(BeaconOptions options) {
    const auto number = static_cast<std::uint32_t>(members_.size());
    Member& member = members_.emplace_back();
    member.own = {IpAddress::ipv4(0x0a000001 + number), 40'000};
    options.seed = number + 1;
    member.node = std::make_unique<Node>(std::move(options), HashKey{number, 7}, member.own.port, now);
    const Link link{.group = group, .interface = 2, .name = "eth0"};
    if (faults_.multicast) member.node->set_links({&link, 1}, now);
    by_ip_[member.own.ip] = &member;
    work(member);
    return member;
  }
  // It is gone, without a word.
  void kill(Member& member) {
    by_ip_.erase(member.own.ip);
    member.node.reset();
  }
  void run_for(Duration time) {
    for (const Time end = now + time;;) {
      Time next = flying_.empty() ? never : flying_.top().at;
      for (const Member& member : members_) next = member.node ? std::min(next, member.wakeup) : next;
      if (next > end) {
        now = end;
        return;
      }
      now = std::max(now, next);
      deliver();
      for (Member& member : members_) {
        if (member.node && member.wakeup <= now) work(member);
      }
    }
  }
  std::deque<Member>& members() { return members_; }
  // Whether each of those who live has all the others for peers, and nobody else.
  bool all_know_all() const {
    for (const Member& member : members_) {
      if (member.node && member.peers() + 1 != by_ip_.size()) return false;
    }
    return true;
  }

  Time now = Time(1h);
  std::uint64_t datagrams = 0;

 private:
  struct Flight {
    Time at;
    std::uint64_t order;
    Address from, to;
    Door door;
    std::shared_ptr<const std::vector<std::byte>> bytes;
    bool operator<(const Flight& other) const { return std::pair(at, order) > std::pair(other.at, other.order); }
  };

  // Time goes in milliseconds here, so that much happens at once.
  static Time in_steps(Time time) { return std::chrono::ceil<std::chrono::milliseconds>(time); }

  void work(Member& member) {
    member.node->advance(now);
    while (const auto out = member.node->output(now)) {
      ++datagrams;
      const auto bytes = std::make_shared<const std::vector<std::byte>>(out->data.begin(), out->data.end());
      const Address from{member.own.ip, out->route.door == Door::own ? member.own.port : beacon_port};
      if (out->route.peer.ip.is_multicast()) {
        for (auto& [ip, other] : by_ip_) {
          if (other->hears_multicast) fly({now, 0, from, {ip, 0}, Door::shared, bytes});  // port 0: to the group
        }
      } else {
        fly({now, 0, from, out->route.peer, out->route.peer.port == beacon_port ? Door::shared : Door::own, bytes});
      }
      member.node->sent(*out, 0);
    }
    while (const auto event = member.node->take_news(now)) ++member.events[event->kind];
    member.wakeup = in_steps(member.node->next_wakeup(now));
  }
  void fly(Flight flight) {
    for (int copies = rng_.chance(faults_.duplicate) ? 2 : 1; copies > 0; --copies) {
      if (rng_.chance(faults_.loss)) continue;
      flight.at = in_steps(now + Duration(static_cast<Duration::rep>(rng_.unit() * 2 * static_cast<double>(faults_.delay.count()))));
      flight.order = ++order_;
      flying_.push(flight);
    }
  }
  void deliver() {
    while (!flying_.empty() && flying_.top().at <= now) {
      const Flight flight = flying_.top();
      flying_.pop();
      const auto there = by_ip_.find(flight.to.ip);
      if (there == by_ip_.end()) continue;
      Member& member = *there->second;
      const bool to_group = flight.to.port == 0;
      member.node->input({.data = *flight.bytes, .route = {flight.from, to_group ? group : flight.to.ip, 2, flight.door}, .to_group = to_group}, now);
      member.wakeup = now;
    }
  }

  Faults faults_;
  Rng rng_;
  std::deque<Member> members_;
  std::map<IpAddress, Member*> by_ip_;
  std::priority_queue<Flight> flying_;
  std::uint64_t order_ = 0;
};

BeaconOptions options_of(std::size_t number) {
  return {.name = "peer" + std::to_string(number),
          .roles = {"sensor"},
          .addresses = {Address{IpAddress{}, 7000}},
          .metadata = {{"number", std::to_string(number)}}};
}

TEST(BeaconSimulation, AHundredWithLossConverge) {
  Network network({.loss = 0.1, .delay = 20ms, .duplicate = 0.05});
  for (std::size_t i = 0; i < 100; ++i) network.add(options_of(i));
  Duration took{};
  for (; took < 20s && !network.all_know_all(); took += 500ms) network.run_for(500ms);
  EXPECT_TRUE(network.all_know_all()) << took.count();
  EXPECT_LE(took, Duration(10s));
  network.run_for(60s);
  EXPECT_TRUE(network.all_know_all()) << "nobody is given up for what was lost";
  for (Member& member : network.members()) {
    EXPECT_EQ(member.events[PeerEvent::Kind::expired] + member.events[PeerEvent::Kind::left] + member.events[PeerEvent::Kind::changed], 0U);
  }
}

TEST(BeaconSimulation, TheKilledAreForgottenAndALatecomerLearnsAllAtOnce) {
  Network network({.loss = 0.05, .delay = 5ms});
  for (std::size_t i = 0; i < 40; ++i) network.add(options_of(i));
  network.run_for(5s);
  ASSERT_TRUE(network.all_know_all());
  for (std::size_t i = 0; i < 5; ++i) network.kill(network.members()[i]);
  network.run_for(8s);
  EXPECT_FALSE(network.all_know_all()) << "not before their lifetime is over";
  network.run_for(3s);
  EXPECT_TRUE(network.all_know_all());
  network.add(options_of(100));
  network.run_for(2s);
  EXPECT_TRUE(network.all_know_all()) << "it asked, and did not wait for the interval";
}

// Multicast is blocked everywhere; all know one seed, and nothing else.
TEST(BeaconSimulation, SeedsMakeAllKnownToAll) {
  Network network({.loss = 0.05, .delay = 5ms, .multicast = false});
  network.add(options_of(0));
  const Address seed{network.members()[0].own.ip, beacon_port};
  for (std::size_t i = 1; i < 60; ++i) {
    BeaconOptions options = options_of(i);
    options.seeds = {seed};
    network.add(std::move(options));
  }
  Duration took{};
  for (; took < 30s && !network.all_know_all(); took += 500ms) network.run_for(500ms);
  EXPECT_TRUE(network.all_know_all());
  EXPECT_LE(took, Duration(10s));
  network.run_for(60s);
  EXPECT_TRUE(network.all_know_all()) << "and stay so";
  // Without the seed those who know one another go on; and it is found again when it is back.
  network.kill(network.members()[0]);
  network.run_for(15s);
  EXPECT_TRUE(network.all_know_all());
}

// A thousand announce themselves; twenty of them hear multicast, the rest only what is said to them alone, as behind many an access point.
TEST(BeaconSimulation, AThousandPeers) {
  Network network({.loss = 0.05, .delay = 5ms});
  for (std::size_t i = 0; i < 1000; ++i) network.add(options_of(i)).hears_multicast = i < 20;
  Duration took{};
  const auto complete = [&] {
    for (std::size_t i = 0; i < 20; ++i) {
      if (network.members()[i].peers() != 999) return false;
    }
    return true;
  };
  for (; took < 30s && !complete(); took += 500ms) network.run_for(500ms);
  EXPECT_TRUE(complete());
  EXPECT_LE(took, Duration(12s));
  network.run_for(10s);
  EXPECT_TRUE(complete());
  // Who asks is known to who is asked; but where the last of three datagrams is lost twice, nobody asks again before long.
  std::size_t lacking = 0;
  for (std::size_t i = 20; i < 1000; ++i) lacking += 20 - std::min<std::size_t>(network.members()[i].peers(), 20);
  EXPECT_LE(lacking, 980U * 20 / 100);
  for (std::size_t i = 500; i < 1000; ++i) network.kill(network.members()[i]);
  network.run_for(12s);
  EXPECT_EQ(network.members()[0].peers(), 499U);
  EXPECT_EQ(network.members()[0].node->peers(network.now).size(), 499U);
}

TEST(BeaconSimulation, SaysNoMoreThanItHasTo) {
  Network network({.delay = 1ms});
  for (std::size_t i = 0; i < 50; ++i) network.add(options_of(i));
  network.run_for(10s);
  const std::uint64_t before = network.datagrams;
  network.run_for(60s);
  // 50 beacons, 20 intervals: one multicast each, and nothing more where nothing is lost.
  EXPECT_LE(network.datagrams - before, 50U * 22);
}

}  // namespace
}  // namespace gannet::tests
