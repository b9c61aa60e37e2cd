#include "stack/arp.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/net.h"
#include "wire/arp.h"

namespace gannet::tests {
namespace {

constexpr wire::MacAddress stranger_mac{{std::byte{2}, {}, {}, {}, {}, std::byte{0x99}}};

Bytes make_arp(const wire::Arp& arp, const wire::MacAddress& to = wire::MacAddress::broadcast()) {
  Bytes packet(wire::arp_size);
  wire::emit_arp(arp, packet);
  return make_ethernet(to, arp.sender_mac, wire::ethertype_arp, packet);
}

Bytes make_request(const IpAddress& sender, const IpAddress& target) {
  return make_arp({wire::ArpOperation::request, stranger_mac, sender, {}, target});
}

struct Seen {
  Time at;
  wire::MacAddress to;
  wire::Arp arp;
};

// The ARP packets that passed.
std::vector<Seen> arps(const Net& net) {
  std::vector<Seen> seen;
  for (const auto& carried : net.carried) {
    const auto ethernet = wire::parse_ethernet(carried.frame);
    if (!ethernet || ethernet->type != wire::ethertype_arp) continue;
    if (const auto arp = wire::parse_arp(ethernet->payload)) seen.push_back({carried.at, ethernet->dst, *arp});
  }
  return seen;
}

class Arp : public testing::Test {
 protected:
  void start() {
    b.record_udp();
    a.record_udp();
    net.run_for(5s);  // announcements
    net.carried.clear();
  }
  Net net;
  Host& a = net.add_host("10.0.0.1/24");
  Host& b = net.add_host("10.0.0.2/24");
};

// A2: the first datagrams wait for the answer, and leave in order.
TEST_F(Arp, FirstDatagramsAreNeverLostToResolution) {
  start();
  for (const char* text : {"first...", "second..", "third..."}) ASSERT_TRUE(a.send(b.ip, bytes_of(text), net.now));
  EXPECT_EQ(a.stack.neighbors().held(), 3u);
  net.settle();
  ASSERT_EQ(b.recorder.packets.size(), 3u);
  EXPECT_EQ(b.recorder.packets[0].payload, bytes_of("first..."));
  EXPECT_EQ(b.recorder.packets[2].payload, bytes_of("third..."));
  EXPECT_EQ(arps(net).size(), 2u);  // one request, one answer
}

// A2: a late answer is good enough.
TEST_F(Arp, AnswersThatComeLateReleaseTheQueue) {
  start();
  unsigned requests = 0;
  net.carries = [&](const Net::Carried& carried) {
    const bool is_request = wire::load_be16(carried.frame, 12) == wire::ethertype_arp && wire::load_u8(carried.frame, 21) == 1;
    return !is_request || ++requests == 3;
  };
  ASSERT_TRUE(a.send(b.ip, bytes_of("patience"), net.now));
  net.run_for(10s);
  EXPECT_EQ(b.recorder.packets.size(), 1u);
}

// A1: three requests, a second apart, then each waiting packet is dropped for this reason, and its sender is told.
TEST_F(Arp, MutePeerIsAskedOnceASecondAndGivenUp) {
  start();
  const IpAddress mute = ip("10.0.0.77");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(a.send(mute, bytes_of("anybody?"), net.now));
  net.run_for(10s);
  const auto seen = arps(net);
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[1].at - seen[0].at, 1s);
  EXPECT_EQ(seen[2].at - seen[1].at, 1s);
  EXPECT_EQ(a.dropped(Drop::neighbor_unreachable), 5u);
  ASSERT_EQ(a.recorder.errors.size(), 5u);
  EXPECT_EQ(a.recorder.errors[0].error.error, EHOSTUNREACH);
  EXPECT_EQ(a.recorder.errors[0].error.dst, mute);
  EXPECT_EQ(a.recorder.errors[0].quote, bytes_of("anybody?"));
  EXPECT_EQ(a.stack.neighbors().size(), 0u);
}

// A1: however much is sent, the destination is asked at most once a second.
TEST_F(Arp, NeverFloodsRequests) {
  start();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(a.send(ip("10.0.0.77"), bytes_of("anybody?"), net.now));
    net.run_for(100ms);
  }
  const auto seen = arps(net);
  EXPECT_GE(seen.size(), 9u);
  for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_GE(seen[i].at - seen[i - 1].at, 1s);
}

// A1: a neighbour that was silent for a minute is polled alone, and flushed when it does not answer.
TEST_F(Arp, StaleNeighborIsPolledThenFlushed) {
  start();
  ASSERT_TRUE(a.send(b.ip, bytes_of("hello..."), net.now));
  net.run_for(61s);
  net.carried.clear();
  ASSERT_TRUE(a.send(b.ip, bytes_of("again..."), net.now));
  net.settle();
  ASSERT_EQ(b.recorder.packets.size(), 2u);
  ASSERT_EQ(arps(net).size(), 2u);
  EXPECT_EQ(arps(net)[0].to, b.mac);

  net.run_for(61s);
  net.carries = [](const Net::Carried&) { return false; };
  ASSERT_TRUE(a.send(b.ip, bytes_of("lost...."), net.now));
  EXPECT_EQ(a.stack.neighbors().size(), 1u);
  net.run_for(5s);
  EXPECT_EQ(a.stack.neighbors().size(), 0u);
}

// Both bounds of the queue: the newest packet gives way, the first ones never.
TEST_F(Arp, QueueOfAnUnresolvedNeighborIsBounded) {
  start();
  for (int i = 0; i < 70; ++i) ASSERT_TRUE(a.send(b.ip, bytes_of("waiting "), net.now));
  EXPECT_EQ(a.stack.neighbors().held(), 64u);
  EXPECT_EQ(a.dropped(Drop::neighbor_queue_full), 6u);
  net.settle();
  EXPECT_EQ(b.recorder.packets.size(), 64u);
}

// A sweep over addresses that nobody has: bounded, and a neighbour that is known stays so.
TEST_F(Arp, SweepNeverEvictsKnownNeighbors) {
  start();
  ASSERT_TRUE(a.send(b.ip, bytes_of("hello..."), net.now));
  net.settle();
  a.stack.add_route({.network = ip("10.9.0.0"), .prefix = 16, .gateway = IpAddress::any(Family::ipv4), .interface = a.interface}).value();
  for (std::uint32_t i = 1; i < 2000; ++i) ASSERT_TRUE(a.send(IpAddress::ipv4(0x0a090000 + i), bytes_of("sweeping"), net.now));
  EXPECT_EQ(a.stack.neighbors().unresolved(), 256u);
  EXPECT_GT(a.dropped(Drop::neighbor_table_full), 0u);
  EXPECT_EQ(a.stack.neighbors().find(a.interface, b.ip), b.mac);
  net.run_for(10s);
  EXPECT_EQ(a.stack.neighbors().unresolved(), 0u);
}

// RFC 826: a request for us is answered to its sender, who then is known.
TEST_F(Arp, AnswersRequestsAndLearnsWhoAsks) {
  start();
  net.inject(a, make_request(ip("10.0.0.9"), a.ip));
  net.settle();
  const auto seen = arps(net);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].to, stranger_mac);
  EXPECT_EQ(seen[0].arp, (wire::Arp{wire::ArpOperation::reply, a.mac, a.ip, stranger_mac, ip("10.0.0.9")}));
  EXPECT_EQ(a.stack.neighbors().find(a.interface, ip("10.0.0.9")), stranger_mac);
}

// X11: what others tell each other, and answers that nobody asked for, make no entry.
TEST_F(Arp, GossipMakesNoEntry) {
  start();
  const std::uint64_t before = a.dropped(Drop::arp_not_for_us);
  net.inject(a, make_request(ip("10.0.0.9"), b.ip));
  net.inject(a, make_arp({wire::ArpOperation::reply, stranger_mac, ip("10.0.0.9"), a.mac, a.ip}, a.mac));
  net.inject(a, make_request(ip("192.0.2.1"), a.ip));  // answered, but not a neighbour
  EXPECT_EQ(a.stack.neighbors().size(), 0u);
  EXPECT_EQ(a.dropped(Drop::arp_not_for_us), before + 2);
}

// A neighbour that moved to another card is followed.
TEST_F(Arp, AnnouncementsUpdateWhatIsKnown) {
  start();
  ASSERT_TRUE(a.send(b.ip, bytes_of("hello..."), net.now));
  net.settle();
  net.inject(a, make_request(b.ip, b.ip));
  EXPECT_EQ(a.stack.neighbors().find(a.interface, b.ip), stranger_mac);
}

TEST_F(Arp, MalformedPacketsAreDropped) {
  start();
  net.inject(a, make_ethernet(a.mac, stranger_mac, wire::ethertype_arp, Bytes(20)));
  net.inject(a, make_arp({wire::ArpOperation::request, stranger_mac, ip("224.0.0.1"), {}, a.ip}));
  net.inject(a, make_arp({wire::ArpOperation::request, stranger_mac, ip("10.0.0.255"), {}, a.ip}));
  EXPECT_EQ(a.dropped(Drop::arp_malformed), 3u);
}

// A3, RFC 5227 2.3: an address is announced twice, two seconds apart.
TEST(ArpClaim, AnnouncesTwice) {
  Net net;
  net.add_host("10.0.0.1/24");
  net.run_for(1min);
  const auto seen = arps(net);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[1].at - seen[0].at, 2s);
  for (const auto& one : seen) {
    EXPECT_EQ(one.arp.sender_ip, ip("10.0.0.1"));
    EXPECT_EQ(one.arp.target_ip, ip("10.0.0.1"));
  }
}

// A3, RFC 5227 2.1.1: three probes 1-2 s apart, 2 s of silence, then announcements; not ours before.
TEST(ArpClaim, ProbesBeforeUse) {
  Net net;
  Host& host = net.add_host("10.0.0.1/24", {.arp_probe = true});
  const Time start = net.now;
  EXPECT_FALSE(host.stack.ip().is_own_address(host.ip));
  EXPECT_EQ(host.stack.ip().find_path(ip("10.0.0.2"), IpAddress::any(Family::ipv4), 0).error().code, EADDRNOTAVAIL);
  net.run_for(1min);
  EXPECT_TRUE(host.stack.ip().is_own_address(host.ip));
  const auto seen = arps(net);
  ASSERT_EQ(seen.size(), 5u);
  EXPECT_LE(seen[0].at - start, 1s);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(seen[i].arp.sender_ip.is_any());
    EXPECT_EQ(seen[i].arp.target_ip, host.ip);
  }
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_GE(seen[i].at - seen[i - 1].at, 1s);
    EXPECT_LE(seen[i].at - seen[i - 1].at, 2s);
  }
  EXPECT_EQ(seen[3].at - seen[2].at, 2s);
  EXPECT_EQ(seen[4].at - seen[3].at, 2s);
}

// A3: a conflict while probing, by an answer or by another's probe: the address never becomes ours.
TEST(ArpClaim, ConflictWhileProbingLosesTheAddress) {
  for (const bool by_probe : {false, true}) {
    Net net;
    Host& host = net.add_host("10.0.0.1/24", {.arp_probe = true});
    net.run_for(1500ms);
    net.inject(host, make_request(by_probe ? IpAddress::any(Family::ipv4) : host.ip, by_probe ? host.ip : ip("10.0.0.7")));
    net.run_for(1min);
    EXPECT_FALSE(host.stack.ip().is_own_address(host.ip));
    for (const auto& one : arps(net)) EXPECT_TRUE(one.arp.sender_ip.is_any());  // it never claimed it
  }
}

// A3, RFC 5227 2.4: an address in use is defended, at most once in ten seconds.
TEST_F(Arp, DefendsItsAddressAtMostOnceInTenSeconds) {
  start();
  for (int i = 0; i < 25; ++i) {
    net.inject(a, make_request(a.ip, ip("10.0.0.50")));
    net.run_for(1s);
  }
  const auto seen = arps(net);
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[1].at - seen[0].at, 10s);
  EXPECT_EQ(seen[0].arp.sender_ip, a.ip);
  EXPECT_TRUE(a.stack.ip().is_own_address(a.ip));
}

}  // namespace
}  // namespace gannet::tests
