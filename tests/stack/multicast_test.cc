#include "stack/multicast.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/app.h"
#include "wire/igmp.h"

namespace gannet::tests {
namespace {

using stack::FilterMode;

class Groups : public ::testing::Test {
 protected:
  void SetUp() override {
    net.run_for(5s);  // announcements
    net.carried.clear();
  }
  struct Report {
    wire::MacAddress to;
    wire::Ipv4 ipv4;
    wire::Igmp igmp;
  };
  std::vector<Report> reports() const {
    std::vector<Report> found;
    for (const auto& carried : net.carried) {
      const auto ethernet = wire::parse_ethernet(carried.frame);
      if (!ethernet || ethernet->type != wire::ethertype_ipv4) continue;
      const auto ipv4 = wire::parse_ipv4(ethernet->payload);
      if (!ipv4 || ipv4->protocol != wire::protocol_igmp) continue;
      if (const auto igmp = wire::parse_igmp(ipv4->payload)) found.push_back({ethernet->dst, *ipv4, *igmp});
    }
    return found;
  }
  static std::vector<IpAddress> groups_in(const Report& report) {
    std::vector<IpAddress> groups;
    wire::IgmpRecords records(report.igmp);
    while (const auto record = records.next()) groups.push_back(record->group);
    return groups;
  }
  static std::string next(App& app) {
    const auto got = app.receive();
    return got ? got->data : "nothing";
  }

  Net net;
  Host& a = net.add_host("10.0.0.1/24");
  Host& b = net.add_host("10.0.0.2/24");
  Host& c = net.add_host("10.0.0.3/24");
};

// G1, X15: members hear, others do not, not even where a socket is bound to the port: the group is joined per interface.
TEST_F(Groups, MembersHearAndOthersDoNot) {
  App sender(net, a), member(net, b), other(net, c);
  ASSERT_TRUE(member.bind("0.0.0.0:5000"));
  ASSERT_TRUE(other.bind("0.0.0.0:5000"));
  ASSERT_TRUE(member.join("239.1.2.3"));
  net.run_for(3s);  // the reports, which c does not take either
  const std::uint64_t before = c.dropped(Drop::group_not_joined);
  ASSERT_TRUE(sender.send("hello", "239.1.2.3:5000"));
  net.settle();
  const auto got = member.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->local(), "239.1.2.3:5000") << "U11: the group reaches the application";
  EXPECT_EQ(got->header.hop_limit, 1) << "the default TTL of multicast";
  EXPECT_FALSE(other.receive());
  EXPECT_EQ(c.dropped(Drop::group_not_joined), before + 1);

  ASSERT_TRUE(member.leave("239.1.2.3"));
  ASSERT_TRUE(sender.send("hello", "239.1.2.3:5000"));
  net.settle();
  EXPECT_FALSE(member.receive());
}

// G1, X15: membership on one interface says nothing of another.
TEST_F(Groups, MembershipIsPerInterface) {
  const std::uint32_t second = net.add_interface(b, "10.1.0.2/24", 1);
  Host& d = net.add_host("10.1.0.4/24", {}, 1);
  net.run_for(5s);
  App member(net, b), near(net, a), far(net, d);
  ASSERT_TRUE(member.bind("0.0.0.0:5000"));
  ASSERT_TRUE(member.join("239.1.2.3", b.interface));
  ASSERT_TRUE(near.send("near", "239.1.2.3:5000"));
  ASSERT_TRUE(far.send("far", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(member), "near");
  EXPECT_EQ(next(member), "nothing");

  // IP_MULTICAST_ALL: with it, as Linux has it, a socket hears what another socket of the host has joined.
  App joiner(net, b);
  ASSERT_TRUE(joiner.join("239.1.2.3", second));
  ASSERT_TRUE(far.send("far", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(member), "far");
  member.options().multicast_all = false;
  ASSERT_TRUE(far.send("far", "239.1.2.3:5000"));
  ASSERT_TRUE(near.send("near", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(member), "near");
  EXPECT_EQ(next(member), "nothing");
}

// G1: members on the sending host hear it too, unless the sender says no; with TTL 0 only they do.
TEST_F(Groups, TheLoopIsOnByDefault) {
  App sender(net, a), here(net, a), there(net, b);
  for (App* app : {&here, &there}) {
    ASSERT_TRUE(app->bind("0.0.0.0:5000"));
    ASSERT_TRUE(app->join("239.1.2.3"));
  }
  ASSERT_TRUE(sender.send("all", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(here), "all");
  EXPECT_EQ(next(there), "all");
  sender.options().multicast_loop = false;
  ASSERT_TRUE(sender.send("others", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(here), "nothing");
  EXPECT_EQ(next(there), "others");
  sender.options().multicast_loop = true;
  sender.options().multicast_ttl = 0;
  ASSERT_TRUE(sender.send("here", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(here), "here");
  EXPECT_EQ(next(there), "nothing");
}

// S5: every member socket that matches has its copy; one bound to the group hears that group only.
TEST_F(Groups, EachMatchingSocketHasACopy) {
  App sender(net, a), wildcard(net, b), bound(net, b), elsewhere(net, b);
  for (App* app : {&wildcard, &bound, &elsewhere}) app->options().reuse_address = true;
  ASSERT_TRUE(wildcard.bind("0.0.0.0:5000"));
  ASSERT_TRUE(bound.bind("239.1.2.3:5000"));
  ASSERT_TRUE(elsewhere.bind("239.9.9.9:5000"));
  for (App* app : {&wildcard, &bound, &elsewhere}) ASSERT_TRUE(app->join("239.1.2.3"));
  ASSERT_TRUE(sender.send("hello", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(wildcard), "hello");
  EXPECT_EQ(next(bound), "hello");
  EXPECT_EQ(next(elsewhere), "nothing");
  ASSERT_TRUE(bound.send("from a group", "10.0.0.1:9")) << "such a socket sends from the host's own address";
}

// X15: source filters of each socket: from these only, from all but these.
TEST_F(Groups, SourceFiltersAreEachSocketsOwn) {
  App from_a(net, a), from_c(net, c), only_a(net, b), not_a(net, b);
  for (App* app : {&only_a, &not_a}) {
    app->options().reuse_address = true;
    ASSERT_TRUE(app->bind("0.0.0.0:5000"));
  }
  auto& multicast = b.stack.multicast();
  const IpAddress group = ip("239.1.2.3");
  ASSERT_TRUE(only_a.join_source("239.1.2.3", "10.0.0.1"));
  ASSERT_TRUE(not_a.join("239.1.2.3"));
  ASSERT_TRUE(multicast.block_source(not_a.groups(), group, a.ip, 0, net.now));
  ASSERT_TRUE(from_a.send("a", "239.1.2.3:5000"));
  ASSERT_TRUE(from_c.send("c", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(only_a), "a");
  EXPECT_EQ(next(only_a), "nothing");
  EXPECT_EQ(next(not_a), "c");
  EXPECT_EQ(next(not_a), "nothing");

  ASSERT_TRUE(only_a.leave("239.1.2.3"));
  only_a.options().multicast_all = false;
  ASSERT_TRUE(from_a.send("a", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(b.dropped(Drop::source_filtered), 1u);
}

// X15: a host takes what its members let in together, for whatever socket; and what it sends itself is no exception.
TEST_F(Groups, TheHostTakesWhatItsMembersLetIn) {
  App from_a(net, a), from_c(net, c), from_b(net, b), member(net, b), stranger(net, b);
  stranger.options().reuse_address = true;
  ASSERT_TRUE(stranger.bind("0.0.0.0:5000"));
  ASSERT_TRUE(member.join_source("239.1.2.3", "10.0.0.1"));
  net.run_for(3s);
  const std::uint64_t before = b.dropped(Drop::source_filtered);
  for (App* app : {&from_a, &from_b, &from_c}) ASSERT_TRUE(app->send("first", "239.1.2.3:5000"));
  net.settle();
  const auto heard = stranger.receive();
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->header.peer.ip, a.ip);
  EXPECT_EQ(next(stranger), "nothing");
  EXPECT_EQ(b.dropped(Drop::source_filtered), before + 1) << "of ours no copy was made";

  ASSERT_TRUE(member.join_source("239.1.2.3", "10.0.0.2"));
  ASSERT_TRUE(from_b.send("from here", "239.1.2.3:5000"));
  net.settle();
  EXPECT_EQ(next(stranger), "from here");
}

// G4: the querier of a group need not be one of its sources.
TEST_F(Groups, QueriesComeThroughEverySourceFilter) {
  App member(net, b);
  ASSERT_TRUE(member.join_source("239.1.2.3", "10.0.0.1"));
  net.run_for(3s);
  net.carried.clear();
  Bytes query(wire::igmp_v3_query_size);
  wire::emit_igmp_query({.group = ip("239.1.2.3")}, query);
  const Bytes alert = {std::byte{148}, std::byte{4}, {}, {}};
  const wire::Ipv4Header header{.src = ip("10.0.0.254"), .dst = ip("239.1.2.3"), .protocol = wire::protocol_igmp, .ttl = 1, .options = alert};
  const wire::MacAddress router{{std::byte{2}, {}, {}, {}, {}, std::byte{0x99}}};
  net.inject(b, make_ethernet(wire::MacAddress::of_group(header.dst), router, wire::ethertype_ipv4, make_ipv4(header, query)));
  net.run_for(10s);
  ASSERT_EQ(reports().size(), 1u);
  EXPECT_EQ(groups_in(reports()[0]), (std::vector{ip("239.1.2.3")}));
}

// G3: reports go to 224.0.0.22 with TTL 1 and router alert, in the frame of that group.
TEST_F(Groups, ReportsGoToTheRouters) {
  App member(net, b);
  ASSERT_TRUE(member.join("239.1.2.3"));
  net.run_for(3s);
  ASSERT_EQ(reports().size(), 2u);
  for (const Report& report : reports()) {
    EXPECT_EQ(report.ipv4.dst, wire::igmp_v3_routers);
    EXPECT_EQ(report.ipv4.src, b.ip);
    EXPECT_EQ(report.ipv4.ttl, 1);
    EXPECT_EQ(report.ipv4.tos, 0xc0);
    EXPECT_TRUE(wire::has_option(report.ipv4.options, wire::ipv4_option::router_alert));
    EXPECT_EQ(report.to, wire::MacAddress::of_group(wire::igmp_v3_routers));
    EXPECT_EQ(report.igmp.type, wire::IgmpType::v3_report);
  }
}

// G3, G4: a querier's question on the wire is answered; a join by a second socket changes nothing and is not told.
TEST_F(Groups, QueriesAreAnswered) {
  App member(net, b), second(net, b);
  ASSERT_TRUE(member.join("239.1.2.3"));
  ASSERT_TRUE(second.join("239.1.2.3"));
  net.run_for(3s);
  EXPECT_EQ(reports().size(), 2u);
  net.carried.clear();

  const Bytes alert = {std::byte{148}, std::byte{4}, {}, {}};
  Bytes query(wire::igmp_v3_query_size);
  wire::emit_igmp_query({}, query);
  const wire::Ipv4Header header{.src = ip("10.0.0.254"), .dst = wire::igmp_all_hosts, .protocol = wire::protocol_igmp, .ttl = 1, .options = alert};
  const Bytes packet = make_ipv4(header, query);
  const wire::MacAddress router{{std::byte{2}, {}, {}, {}, {}, std::byte{0x99}}};
  net.inject(b, make_ethernet(wire::MacAddress::of_group(wire::igmp_all_hosts), router, wire::ethertype_ipv4, packet));
  net.run_for(10s);
  EXPECT_EQ(reports().size(), 1u);

  // A malformed one is dropped under its reason.
  query[2] ^= std::byte{1};
  net.inject(b, make_ethernet(wire::MacAddress::of_group(wire::igmp_all_hosts), router, wire::ethertype_ipv4, make_ipv4(header, query)));
  EXPECT_EQ(b.dropped(Drop::igmp_checksum_bad), 1u);
}

// G4: closing a socket leaves its groups.
TEST_F(Groups, ClosingLeaves) {
  {
    App member(net, b);
    ASSERT_TRUE(member.join("239.1.2.3"));
    net.run_for(3s);
    net.carried.clear();
  }
  net.run_for(3s);
  ASSERT_EQ(reports().size(), 2u);
  wire::IgmpRecords records(reports()[0].igmp);
  EXPECT_EQ(records.next()->type, wire::IgmpRecordType::to_include);
  EXPECT_EQ(b.stack.multicast().refuses(ip("239.1.2.3"), a.ip, b.interface, wire::protocol_udp), Drop::group_not_joined);
}

// RFC 3678: the errors of the calls, as Linux has them.
TEST_F(Groups, MisuseIsRefused) {
  App app(net, b);
  auto& multicast = b.stack.multicast();
  const IpAddress group = ip("239.1.2.3");
  EXPECT_EQ(app.join("10.0.0.1").error().code, EINVAL);
  EXPECT_EQ(app.join("239.1.2.3", 99).error().code, ENODEV);
  EXPECT_EQ(app.leave("239.1.2.3").error().code, EADDRNOTAVAIL);
  ASSERT_TRUE(app.join("239.1.2.3"));
  EXPECT_EQ(app.join("239.1.2.3").error().code, EADDRINUSE);
  EXPECT_EQ(app.join_source("239.1.2.3", "10.0.0.1").error().code, EINVAL);
  EXPECT_EQ(multicast.unblock_source(app.groups(), group, a.ip, 0, net.now).error().code, EADDRNOTAVAIL);
  ASSERT_TRUE(multicast.block_source(app.groups(), group, a.ip, 0, net.now));
  EXPECT_EQ(multicast.block_source(app.groups(), group, a.ip, 0, net.now).error().code, EADDRNOTAVAIL);
  ASSERT_TRUE(multicast.unblock_source(app.groups(), group, a.ip, 0, net.now));
  ASSERT_TRUE(app.leave("239.1.2.3"));

  ASSERT_TRUE(app.join_source("239.1.2.3", "10.0.0.1"));
  EXPECT_EQ(app.join_source("239.1.2.3", "10.0.0.1").error().code, EADDRNOTAVAIL);
  EXPECT_EQ(multicast.block_source(app.groups(), group, a.ip, 0, net.now).error().code, EINVAL);
  EXPECT_EQ(multicast.leave_source(app.groups(), group, c.ip, 0, net.now).error().code, EADDRNOTAVAIL);
  ASSERT_TRUE(multicast.leave_source(app.groups(), group, a.ip, 0, net.now));
  EXPECT_TRUE(app.groups().all().empty()) << "with its last source the group is left";
  EXPECT_EQ(multicast.leave_source(app.groups(), group, a.ip, 0, net.now).error().code, EINVAL);
}

// G9: a filter holds 64 sources and more, and an error where it does not; 232/8 is for sources alone.
TEST_F(Groups, FiltersAreBounded) {
  App app(net, b);
  auto& multicast = b.stack.multicast();
  const IpAddress group = ip("232.1.2.3");
  EXPECT_EQ(app.join("232.1.2.3").error().code, EINVAL);
  const std::size_t most = b.stack.config().sources_per_filter;
  ASSERT_GE(most, 64u);
  for (std::uint32_t i = 0; i < most; ++i) {
    ASSERT_TRUE(multicast.join_source(app.groups(), group, IpAddress::ipv4(0x0a010000u + i), 0, net.now));
  }
  EXPECT_EQ(multicast.join_source(app.groups(), group, a.ip, 0, net.now).error().code, ENOBUFS);
  EXPECT_EQ(multicast.set_filter(app.groups(), group, {.mode = FilterMode::exclude}, 0, net.now).error().code, EINVAL);
  ASSERT_TRUE(multicast.set_filter(app.groups(), group, {.mode = FilterMode::include, .sources = {c.ip, a.ip, c.ip}}, 0, net.now));
  EXPECT_EQ(app.groups().all()[0].filter.sources, (std::vector{a.ip, c.ip}));
  EXPECT_EQ(multicast.set_filter(app.groups(), group, {.sources = std::vector<IpAddress>(most + 1, a.ip)}, 0, net.now).error().code, ENOBUFS);
  ASSERT_TRUE(multicast.set_filter(app.groups(), group, {}, 0, net.now));
  EXPECT_TRUE(app.groups().all().empty());
}

// G3, G4: what is told while the interface has no address, or is down, reaches nobody: so it is told when that changes, as often as a join is.
TEST_F(Groups, AreAnnouncedWhenTheInterfaceGetsAnAddress) {
  Host& late = net.add_host("");
  App app(net, late);
  ASSERT_TRUE(app.join("239.1.2.3", late.interface));
  ASSERT_TRUE(app.join_source("232.1.2.3", "10.0.0.9", late.interface));
  ASSERT_TRUE(app.join("239.9.9.9", late.interface));
  net.run_for(10s);
  EXPECT_TRUE(reports().empty()) << "there is no address to send from";
  ASSERT_TRUE(app.leave("239.9.9.9", late.interface));
  net.run_for(10s);

  ASSERT_TRUE(late.stack.add_address(late.interface, ip("10.0.0.4"), 24, net.now));
  net.run_for(5s);
  ASSERT_EQ(reports().size(), late.stack.config().igmp_robustness);
  for (const Report& report : reports()) {
    EXPECT_EQ(report.ipv4.src, ip("10.0.0.4"));
    EXPECT_EQ(groups_in(report), (std::vector{ip("239.1.2.3"), ip("232.1.2.3")}));
  }
  ASSERT_TRUE(late.stack.add_address(late.interface, ip("10.0.0.5"), 24, net.now));
  net.run_for(5s);
  EXPECT_EQ(reports().size(), late.stack.config().igmp_robustness) << "a second address is no news";
}

// G3, G4: who has lost all its addresses, and gets one at that very moment, speaks as somebody else, and tells of all its groups.
TEST_F(Groups, AreAnnouncedAnewFromAnotherAddress) {
  Host& moving = net.add_host("");
  App app(net, moving);
  ASSERT_TRUE(app.join("239.1.2.3", moving.interface));
  ASSERT_TRUE(moving.stack.add_address(moving.interface, ip("10.0.0.4"), 24, net.now));
  net.run_for(5s);
  const std::size_t before = reports().size();
  EXPECT_EQ(before, moving.stack.config().igmp_robustness);
  ASSERT_TRUE(moving.stack.remove_address(moving.interface, ip("10.0.0.4"), net.now));
  EXPECT_EQ(moving.stack.remove_address(moving.interface, ip("10.0.0.4"), net.now).error().code, EADDRNOTAVAIL);
  ASSERT_TRUE(moving.stack.add_address(moving.interface, ip("10.0.0.6"), 24, net.now));
  net.run_for(5s);
  ASSERT_EQ(reports().size(), 2 * before);
  EXPECT_EQ(reports().back().ipv4.src, ip("10.0.0.6"));
  EXPECT_EQ(groups_in(reports().back()), std::vector{ip("239.1.2.3")});
}

TEST_F(Groups, AreAnnouncedWhenAProbedAddressIsOurs) {
  Host& late = net.add_host("", {.arp_probe = true});
  App app(net, late);
  ASSERT_TRUE(app.join("239.1.2.3", late.interface));
  ASSERT_TRUE(late.stack.add_address(late.interface, ip("10.0.0.4"), 24, net.now));
  net.settle();
  EXPECT_TRUE(reports().empty());
  net.run_for(15s);
  ASSERT_EQ(reports().size(), late.stack.config().igmp_robustness);
  EXPECT_EQ(reports()[0].ipv4.src, ip("10.0.0.4"));
}

TEST_F(Groups, AreAnnouncedWhenTheInterfaceComesUp) {
  App app(net, b);
  ASSERT_TRUE(app.join("239.1.2.3"));
  net.run_for(5s);
  net.carried.clear();
  ASSERT_TRUE(b.stack.set_up(b.interface, false, net.now));
  ASSERT_TRUE(app.join("239.1.2.4", b.interface));
  net.run_for(5s);
  EXPECT_TRUE(reports().empty());
  ASSERT_TRUE(b.stack.set_up(b.interface, true, net.now));
  net.run_for(5s);
  ASSERT_EQ(reports().size(), b.stack.config().igmp_robustness);
  EXPECT_EQ(groups_in(reports()[0]), (std::vector{ip("239.1.2.3"), ip("239.1.2.4")}));
  ASSERT_TRUE(b.stack.set_up(b.interface, true, net.now));
  net.run_for(5s);
  EXPECT_EQ(reports().size(), b.stack.config().igmp_robustness) << "it was up already";
}

TEST_F(Groups, MembershipsAreBounded) {
  Net small;
  Host& host = small.add_host("10.0.0.1/24", {.memberships_per_socket = 2, .groups = 3});
  App one(small, host), two(small, host);
  EXPECT_TRUE(one.join("239.0.0.1"));
  EXPECT_TRUE(one.join("239.0.0.2"));
  EXPECT_EQ(one.join("239.0.0.3").error().code, ENOBUFS);
  EXPECT_TRUE(two.join("239.0.0.3"));
  EXPECT_EQ(two.join("239.0.0.4").error().code, ENOBUFS);
  EXPECT_TRUE(two.join("239.0.0.1")) << "a group that the host is in already";
}

}  // namespace
}  // namespace gannet::tests
