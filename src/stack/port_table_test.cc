#include "stack/port_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/rng.h"

namespace gannet::stack {
namespace {

constexpr HashKey key{0x0123456789abcdef, 0xfedcba9876543210};
constexpr IpAddress any = IpAddress::any(Family::ipv4);
constexpr IpAddress ours = IpAddress::ipv4(10, 0, 0, 1);
constexpr IpAddress other_of_ours = IpAddress::ipv4(10, 0, 0, 2);
constexpr IpAddress group = IpAddress::ipv4(239, 1, 2, 3);

Address peer(std::uint16_t number) { return {IpAddress::ipv4(0x0a000100u + number), number}; }

struct Sharing {
  bool address = false;
  bool port = false;
};

class PortTables : public ::testing::Test {
 protected:
  PortBinding& add(const Address& local, Sharing sharing = {}) {
    PortBinding& binding = make(sharing);
    EXPECT_TRUE(table_.bind(binding, local));
    return binding;
  }
  int failure(const Address& local, Sharing sharing = {}) { return table_.bind(make(sharing), local).error().code; }
  std::vector<const PortBinding*> matches(const Address& local, const Address& from) const {
    std::vector<const PortBinding*> found;
    table_.for_each(local, from, [&](PortBinding& binding) { found.push_back(&binding); });
    return found;
  }

  PortTable table_{key};

 private:
  PortBinding& make(Sharing sharing) {
    bindings_.push_back(std::make_unique<PortBinding>());
    bindings_.back()->reuse_address = sharing.address;
    bindings_.back()->reuse_port = sharing.port;
    return *bindings_.back();
  }
  std::vector<std::unique_ptr<PortBinding>> bindings_;
};

TEST_F(PortTables, APortBelongsToOneSocket) {
  PortBinding& first = add({any, 53});
  EXPECT_EQ(failure({any, 53}), EADDRINUSE);
  EXPECT_EQ(failure({ours, 53}), EADDRINUSE);
  add({ours, 54});
  EXPECT_EQ(failure({any, 54}), EADDRINUSE);
  add({other_of_ours, 54});

  table_.unbind(first);
  EXPECT_FALSE(first.is_bound());
  EXPECT_EQ(table_.find({ours, 53}, peer(1)), nullptr);
  add({ours, 53});
}

TEST_F(PortTables, SharingNeedsTheConsentOfBoth) {
  add({any, 53}, {.address = true});
  EXPECT_EQ(failure({any, 53}), EADDRINUSE);
  EXPECT_EQ(failure({any, 53}, {.port = true}), EADDRINUSE);
  PortBinding& second = add({any, 53}, {.address = true});
  EXPECT_EQ(table_.find({ours, 53}, peer(1)), &second) << "the youngest has the unicast datagrams";
}

// S5: unicast goes to the most specific socket.
TEST_F(PortTables, TheMostSpecificSocketWins) {
  constexpr Sharing shared{.address = true};
  PortBinding& wildcard = add({any, 53}, shared);
  PortBinding& specific = add({ours, 53}, shared);
  PortBinding& connected = add({ours, 53}, shared);
  table_.connect(connected, ours, peer(7));

  EXPECT_EQ(table_.find({ours, 53}, peer(7)), &connected);
  EXPECT_EQ(table_.find({ours, 53}, peer(8)), &specific);
  EXPECT_EQ(table_.find({other_of_ours, 53}, peer(7)), &wildcard);
  EXPECT_EQ(table_.find({ours, 54}, peer(7)), nullptr);
}

// B5: a connected socket hears its peer only, and all of them again once it is disconnected.
TEST_F(PortTables, AConnectedSocketFiltersItsPeer) {
  PortBinding& binding = add({any, 53});
  table_.connect(binding, ours, peer(7));
  EXPECT_EQ(binding.local_address().ip, ours);
  EXPECT_EQ(table_.find({ours, 53}, peer(7)), &binding);
  EXPECT_EQ(table_.find({ours, 53}, {peer(7).ip, 8}), nullptr);
  EXPECT_EQ(table_.find({ours, 53}, {peer(8).ip, 7}), nullptr);
  EXPECT_EQ(table_.find({other_of_ours, 53}, peer(7)), nullptr);
  EXPECT_TRUE(table_.has_connected(53));

  table_.disconnect(binding, any);
  EXPECT_FALSE(table_.has_connected(53));
  EXPECT_EQ(table_.find({other_of_ours, 53}, peer(8)), &binding);
}

TEST_F(PortTables, FamiliesDoNotMeet) {
  add({any, 53});
  PortBinding& six = add({IpAddress::any(Family::ipv6), 53});
  const Address local{IpAddress::parse("2001:db8::1").value(), 53};
  EXPECT_EQ(table_.find(local, {IpAddress::parse("2001:db8::2").value(), 9}), &six);
}

TEST_F(PortTables, ReusePortSpreadsFlowsAndKeepsEachTogether) {
  constexpr Sharing shared{.port = true};
  std::map<const PortBinding*, int> shares;
  for (int i = 0; i < 4; ++i) shares[&add({any, 53}, shared)] = 0;
  for (std::uint16_t i = 1; i <= 4000; ++i) {
    const PortBinding* chosen = table_.find({ours, 53}, peer(i));
    EXPECT_EQ(table_.find({ours, 53}, peer(i)), chosen);
    ++shares[chosen];
  }
  ASSERT_EQ(shares.size(), 4u);
  for (const auto& [binding, share] : shares) EXPECT_NEAR(share, 1000, 150);
}

// S5: broadcast and multicast are copied to every matching socket.
TEST_F(PortTables, AGroupsDatagramGoesToEveryMatch) {
  constexpr Sharing shared{.address = true};
  const PortBinding& a = add({any, 53}, shared);
  const PortBinding& b = add({any, 53}, shared);
  const PortBinding& c = add({group, 53}, shared);
  PortBinding& d = add({group, 53}, shared);
  add({ours, 53}, shared);
  table_.connect(d, group, peer(7));

  auto found = matches({group, 53}, peer(7));
  EXPECT_EQ((std::set<const PortBinding*>(found.begin(), found.end())), (std::set<const PortBinding*>{&a, &b, &c, &d}));
  found = matches({group, 53}, peer(8));
  EXPECT_EQ((std::set<const PortBinding*>(found.begin(), found.end())), (std::set<const PortBinding*>{&a, &b, &c}));
}

// S4, X9: ephemeral ports are uniform over their range (chi-square over 63 bins, p = 0.001).
TEST_F(PortTables, EphemeralPortsAreUniform) {
  constexpr int draws = 63 * 400;
  std::array<int, 63> bins{};
  PortBinding binding;
  for (int i = 0; i < draws; ++i) {
    ASSERT_TRUE(table_.bind(binding, {any, 0}));
    ASSERT_GE(binding.local_address().port, 1024);
    ++bins[(binding.local_address().port - 1024u) / 1024];
    table_.unbind(binding);
  }
  double chi_square = 0;
  for (const int count : bins) chi_square += (count - 400.0) * (count - 400.0) / 400.0;
  EXPECT_LT(chi_square, 103.4);
}

// S4: a service's port is given to no client, not even where nothing else is left.
TEST(PortTable, KeepsThePortsOfServices) {
  PortTable table({3, 4}, {5352, 5354});
  PortBinding first, second, third;
  ASSERT_TRUE(table.bind(first, {any, 0}));
  ASSERT_TRUE(table.bind(second, {any, 0}));
  EXPECT_EQ((std::set{first.local_address().port, second.local_address().port}), (std::set<std::uint16_t>{5352, 5354}));
  EXPECT_FALSE(table.bind(third, {any, 0}));
  EXPECT_TRUE(table.bind(third, {any, 5353}));
  for (PortBinding* binding : {&first, &second, &third}) table.unbind(*binding);
}

// X9: another key, another sequence.
TEST_F(PortTables, EphemeralPortsDependOnTheKey) {
  PortTable other({1, 2});
  int equal = 0;
  for (int i = 0; i < 100; ++i) {
    PortBinding ours_now, theirs;
    ASSERT_TRUE(table_.bind(ours_now, {any, 0}) && other.bind(theirs, {any, 0}));
    equal += ours_now.local_address().port == theirs.local_address().port ? 1 : 0;
    table_.unbind(ours_now);
    other.unbind(theirs);
  }
  EXPECT_LE(equal, 3);
}

TEST_F(PortTables, TheLastFreePortIsFoundAndThenThereIsNone) {
  PortTable small(key, {.low = 40000, .high = 40199});
  std::vector<std::unique_ptr<PortBinding>> bindings;
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 200; ++i) {
    bindings.push_back(std::make_unique<PortBinding>());
    bindings.back()->reuse_address = true;
    ASSERT_TRUE(small.bind(*bindings.back(), {any, 0}));
    ports.insert(bindings.back()->local_address().port);
  }
  EXPECT_EQ(ports.size(), 200u) << "an ephemeral port is never shared";
  PortBinding more;
  EXPECT_EQ(small.bind(more, {any, 0}).error().code, EADDRINUSE);
}

// The table against a list that is searched from end to end: many random steps, then the same answers.
TEST_F(PortTables, AgreesWithASlowReference) {
  Rng rng(42);
  const std::array<IpAddress, 4> locals = {any, ours, other_of_ours, group};
  std::vector<std::unique_ptr<PortBinding>> youngest_last;
  const auto score = [](const PortBinding& b, const Address& local, const Address& from) {
    if (b.local_address().port != local.port) return -1;
    if (b.is_connected()) return b.peer_address() == from && b.local_address() == local ? 3 : -1;
    if (b.local_address().ip.is_any()) return 1;
    return b.local_address() == local ? 2 : -1;
  };
  for (int step = 0; step < 4000; ++step) {
    const auto port = static_cast<std::uint16_t>(rng.between(1, 8));
    if (youngest_last.size() > 300 || rng.chance(0.3)) {
      if (youngest_last.empty()) continue;
      const auto at = youngest_last.begin() + rng.below(static_cast<std::uint32_t>(youngest_last.size()));
      table_.unbind(**at);
      youngest_last.erase(at);
    } else {
      auto binding = std::make_unique<PortBinding>();
      binding->reuse_address = true;
      const IpAddress& local = locals[rng.below(4)];
      ASSERT_TRUE(table_.bind(*binding, {local, port}));
      if (rng.chance(0.5)) table_.connect(*binding, local.is_any() ? ours : local, peer(static_cast<std::uint16_t>(rng.between(1, 20))));
      youngest_last.push_back(std::move(binding));
    }
    const Address local{locals[rng.between(1, 3)], port};
    const Address from = peer(static_cast<std::uint16_t>(rng.between(1, 20)));
    const PortBinding* best = nullptr;
    std::set<const PortBinding*> all;
    int best_score = 0;
    for (const auto& b : youngest_last) {
      const int s = score(*b, local, from);
      if (s > 0) all.insert(b.get());
      if (s > 0 && s >= best_score) best = b.get(), best_score = s;
    }
    ASSERT_EQ(table_.find(local, from), best) << "step " << step;
    const auto found = matches(local, from);
    ASSERT_EQ((std::set<const PortBinding*>(found.begin(), found.end())), all) << "step " << step;
  }
  EXPECT_EQ(table_.size(), youngest_last.size());
}

}  // namespace
}  // namespace gannet::stack
