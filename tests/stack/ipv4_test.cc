#include "stack/ipv4.h"

#include <gtest/gtest.h>

#include <set>

#include "support/net.h"
#include "wire/endian.h"

namespace gannet::tests {
namespace {

using stack::Fragmentation;

constexpr wire::MacAddress stranger_mac{{std::byte{2}, {}, {}, {}, {}, std::byte{0x99}}};
const IpAddress stranger = IpAddress::ipv4(10, 0, 0, 99);
const IpAddress any_ip = IpAddress::any(Family::ipv4);

class Ipv4 : public testing::Test {
 protected:
  Ipv4() {
    a.record_udp();
    b.record_udp();
    net.run_for(5s);  // announcements
    net.carried.clear();
  }
  // A UDP-like packet to `a`, by hand.
  [[nodiscard]] Bytes packet(const IpAddress& src, const IpAddress& dst, wire::Ipv4Header header = {}) const {
    header.src = src;
    header.dst = dst;
    header.protocol = wire::protocol_udp;
    return make_ipv4(header, bytes_of("payload."));
  }
  // The packets that passed by the wire.
  [[nodiscard]] std::vector<Bytes> carried_packets() const {
    std::vector<Bytes> packets;
    for (const auto& carried : net.carried) {
      const auto ethernet = wire::parse_ethernet(carried.frame);
      if (ethernet && ethernet->type == wire::ethertype_ipv4) packets.emplace_back(ethernet->payload.begin(), ethernet->payload.end());
    }
    return packets;
  }
  Net net;
  Host& a = net.add_host("10.0.0.1/24");
  Host& b = net.add_host("10.0.0.2/24");
};

// P1: a wrong version or header checksum is counted, and nothing else happens.
TEST_F(Ipv4, WrongVersionAndChecksumAreSilentlyDropped) {
  Bytes wrong_version = packet(stranger, a.ip);
  wrong_version[0] = std::byte{0x65};
  Bytes wrong_checksum = packet(stranger, a.ip);
  wrong_checksum[10] ^= std::byte{1};
  net.inject_ipv4(a, wrong_version);
  net.inject_ipv4(a, wrong_checksum);
  net.settle();
  EXPECT_EQ(a.dropped(Drop::ip_version_wrong), 1u);
  EXPECT_EQ(a.dropped(Drop::ip_checksum_bad), 1u);
  EXPECT_TRUE(a.recorder.packets.empty());
  EXPECT_TRUE(net.carried.empty());
}

// P2: what came is accepted with any TTL; nothing leaves with 0.
TEST_F(Ipv4, AcceptsAnyTtlAndNeverSendsZero) {
  net.inject_ipv4(a, packet(stranger, a.ip, {.ttl = 0}));
  net.inject_ipv4(a, packet(stranger, a.ip, {.ttl = 1}));
  ASSERT_EQ(a.recorder.packets.size(), 2u);
  EXPECT_EQ(a.recorder.packets[0].info.hop_limit, 0);

  const auto path = a.stack.ip().find_path(b.ip, any_ip, 0);
  const wire::IpInfo info{.src = path->src, .dst = b.ip, .protocol = wire::protocol_udp, .hop_limit = 0};
  EXPECT_EQ(a.stack.ip().output(a.frame_of(bytes_of("x")), info, *path, Fragmentation::want, net.now).error().code, EINVAL);
}

// P3, U2: an option that nobody knows is passed up and otherwise ignored. A source route is refused: we forward nothing.
TEST_F(Ipv4, UnknownOptionsAreIgnored) {
  const Bytes unknown = {std::byte{0x5e}, std::byte{4}, std::byte{1}, std::byte{2}};
  net.inject_ipv4(a, packet(stranger, a.ip, {.options = unknown}));
  ASSERT_EQ(a.recorder.packets.size(), 1u);
  EXPECT_EQ(a.recorder.packets[0].options, unknown);
  EXPECT_EQ(a.recorder.packets[0].payload, bytes_of("payload."));

  const Bytes source_route = {std::byte{131}, std::byte{3}, std::byte{4}, std::byte{0}};
  net.inject_ipv4(a, packet(stranger, a.ip, {.options = source_route}));
  const Bytes endless = {std::byte{0x5e}, std::byte{40}, std::byte{1}, std::byte{2}};
  net.inject_ipv4(a, packet(stranger, a.ip, {.options = endless}));
  EXPECT_EQ(a.dropped(Drop::ip_source_route), 1u);
  EXPECT_EQ(a.dropped(Drop::ip_options_malformed), 1u);
}

// P5: what a link pads is not part of the packet.
TEST_F(Ipv4, PaddingIsNotPayload) {
  Bytes padded = packet(stranger, a.ip);
  padded.resize(46, std::byte{0xaa});
  net.inject_ipv4(a, padded);
  ASSERT_EQ(a.recorder.packets.size(), 1u);
  EXPECT_EQ(a.recorder.packets[0].payload, bytes_of("payload."));
  EXPECT_EQ(a.recorder.packets[0].packet.size(), 28u);
}

// P6, X9: identifications of packets that may be fragmented do not repeat within 65,536 of them, and do not count up.
TEST_F(Ipv4, IdentificationsAreUniqueAndUnpredictable) {
  ASSERT_TRUE(a.send(b.ip, bytes_of("resolve"), net.now));
  net.settle();
  net.carried.clear();
  std::set<std::uint16_t> ids;
  std::vector<std::uint16_t> steps;
  std::uint16_t last = 0;
  for (unsigned i = 0; i < 65536; ++i) {
    ASSERT_TRUE(a.send(b.ip, bytes_of("x"), net.now, Fragmentation::never_df));
    const auto frames = a.stack.output(a.interface);
    ASSERT_EQ(frames.size(), 1u);
    const std::uint16_t id = wire::load_be16(std::as_const(frames[0]).bytes(), wire::ethernet_header_size + 4);
    frames[0].release();
    a.stack.sent(a.interface, 1);
    ids.insert(id);
    steps.push_back(static_cast<std::uint16_t>(id - std::exchange(last, id)));
  }
  EXPECT_EQ(ids.size(), 65536u);
  EXPECT_LT(std::ranges::count(steps, 1), 16);  // a counter would make 65,535 of them
}

// P6: another destination has another sequence.
TEST_F(Ipv4, IdentificationsDifferBetweenDestinations) {
  Host& c = net.add_host("10.0.0.3/24");
  c.record_udp();
  std::vector<std::uint16_t> to_b, to_c;
  for (int i = 0; i < 8; ++i) {
    for (const IpAddress& dst : {b.ip, c.ip}) ASSERT_TRUE(a.send(dst, bytes_of("x"), net.now, Fragmentation::never_df));
  }
  net.settle();
  for (const Bytes& one : carried_packets()) (wire::parse_ipv4(one)->dst == b.ip ? to_b : to_c).push_back(wire::parse_ipv4(one)->id);
  ASSERT_EQ(to_b.size(), 8u);
  ASSERT_EQ(to_c.size(), 8u);
  EXPECT_NE(to_b, to_c);
}

// P7: every form of a broadcast address is recognised.
TEST_F(Ipv4, RecognisesAllBroadcastForms) {
  for (const char* dst : {"255.255.255.255", "10.0.0.255", "10.0.0.0", "0.0.0.0"}) {
    net.inject(a, make_ethernet(wire::MacAddress::broadcast(), stranger_mac, wire::ethertype_ipv4, packet(stranger, ip(dst))));
  }
  EXPECT_EQ(a.recorder.packets.size(), 4u);
  EXPECT_TRUE(a.stack.ip().is_broadcast(ip("10.0.0.255"), a.interface));
  EXPECT_FALSE(a.stack.ip().is_broadcast(ip("10.0.0.254"), a.interface));
}

// P7: what we send goes to the link's broadcast address, and we hear it too.
TEST_F(Ipv4, SendsBroadcastsToAllAndItself) {
  for (const char* dst : {"255.255.255.255", "10.0.0.255"}) {
    ASSERT_EQ(a.stack.ip().find_path(ip(dst), any_ip, 0)->kind, stack::PathKind::broadcast);
    ASSERT_TRUE(a.send(ip(dst), bytes_of("to all.."), net.now));
  }
  net.settle();
  ASSERT_EQ(net.carried.size(), 2u);
  EXPECT_TRUE(wire::load_mac(net.carried[0].frame, 0).is_broadcast());
  EXPECT_EQ(b.recorder.packets.size(), 2u);
  ASSERT_EQ(a.recorder.packets.size(), 2u);
  EXPECT_EQ(a.recorder.packets[0].info.interface, a.interface);
}

// P8: a unicast packet in a frame for everybody.
TEST_F(Ipv4, UnicastInBroadcastFrameIsDropped) {
  net.inject(a, make_ethernet(wire::MacAddress::broadcast(), stranger_mac, wire::ethertype_ipv4, packet(stranger, a.ip)));
  net.inject(a, make_ethernet(wire::MacAddress::of_group(ip("224.0.0.1")), stranger_mac, wire::ethertype_ipv4, packet(stranger, a.ip)));
  EXPECT_EQ(a.dropped(Drop::ip_unicast_in_broadcast_frame), 2u);
}

TEST_F(Ipv4, FramesOfOthersAreDropped) {
  net.inject(a, make_ethernet(b.mac, stranger_mac, wire::ethertype_ipv4, packet(stranger, b.ip)));
  net.inject(a, make_ethernet(a.mac, a.mac, wire::ethertype_ipv4, packet(stranger, a.ip)));
  net.inject(a, make_ethernet(a.mac, stranger_mac, 0x86dd, Bytes(40)));
  net.inject(a, Bytes(13));
  net.inject_ipv4(a, packet(stranger, b.ip));
  EXPECT_EQ(a.dropped(Drop::ethernet_not_for_us), 1u);
  EXPECT_EQ(a.dropped(Drop::ethernet_own_frame), 1u);
  EXPECT_EQ(a.dropped(Drop::ethernet_type_unknown), 1u);
  EXPECT_EQ(a.dropped(Drop::ethernet_truncated), 1u);
  EXPECT_EQ(a.dropped(Drop::ip_not_for_us), 1u);
}

// P9 on receive (RFC 1042), and a tag that carries only a priority; any VLAN is another network.
TEST_F(Ipv4, ReceivesLlcSnapAndPriorityTags) {
  const Bytes inner = packet(stranger, a.ip);
  const Bytes snap = {std::byte{0xaa}, std::byte{0xaa}, std::byte{3}, {}, {}, {}, std::byte{8}, {}};
  net.inject(a, make_ethernet(a.mac, stranger_mac, static_cast<std::uint16_t>(snap.size() + inner.size()), snap + inner));
  const Bytes priority = {std::byte{0xe0}, {}, std::byte{8}, {}};
  net.inject(a, make_ethernet(a.mac, stranger_mac, wire::ethertype_vlan, priority + inner));
  EXPECT_EQ(a.recorder.packets.size(), 2u);
  const Bytes vlan = {std::byte{0xe0}, std::byte{7}, std::byte{8}, {}};
  net.inject(a, make_ethernet(a.mac, stranger_mac, wire::ethertype_vlan, vlan + inner));
  EXPECT_EQ(a.dropped(Drop::ethernet_vlan_unknown), 1u);
}

// U15, X2, X3: sources that no packet on a wire may have.
TEST_F(Ipv4, InvalidSourcesAreDiscarded) {
  for (const char* src : {"224.0.0.5", "255.255.255.255", "10.0.0.255", "10.0.0.0", "127.0.0.1", "0.0.0.0", "0.1.2.3", "240.0.0.1"}) {
    net.inject_ipv4(a, packet(ip(src), a.ip));
  }
  EXPECT_EQ(a.dropped(Drop::ip_source_invalid), 8u);
  EXPECT_TRUE(a.recorder.packets.empty());
  EXPECT_TRUE(a.stack.output(a.interface).empty());
}

// X2, X3: destinations that no packet on a wire may have.
TEST_F(Ipv4, InvalidDestinationsAreDiscarded) {
  for (const char* dst : {"127.0.0.1", "127.1.2.3", "127.255.255.255", "240.0.0.1", "0.0.0.1"}) net.inject_ipv4(a, packet(stranger, ip(dst)));
  EXPECT_EQ(a.dropped(Drop::ip_destination_invalid), 5u);
}

// A host without an address may ask everybody for one (RFC 951).
TEST_F(Ipv4, SourceZeroIsForBroadcastsOnly) {
  const auto broadcast = [&](const char* dst) {
    return make_ethernet(wire::MacAddress::broadcast(), stranger_mac, wire::ethertype_ipv4, packet(any_ip, ip(dst)));
  };
  net.inject(a, broadcast("255.255.255.255"));
  EXPECT_EQ(a.recorder.packets.size(), 1u);
  net.inject(a, broadcast("10.0.0.255"));
  EXPECT_EQ(a.dropped(Drop::ip_source_invalid), 1u);
}

// X4: our own address as source, from a wire.
TEST_F(Ipv4, LandIsDropped) {
  net.inject_ipv4(a, packet(a.ip, a.ip));
  EXPECT_EQ(a.dropped(Drop::ip_source_is_ours), 1u);
}

// X3: loopback addresses never leave, and reach only ourselves. To any of 127/8 it is 127.0.0.1 that speaks, as on Linux.
TEST_F(Ipv4, LoopbackStaysHere) {
  EXPECT_EQ(a.stack.ip().find_path(b.ip, ip("127.0.0.1"), 0).error().code, EINVAL);
  for (const char* dst : {"127.0.0.1", "127.9.9.9", "10.0.0.1"}) {
    const auto path = a.stack.ip().find_path(ip(dst), any_ip, 0);
    ASSERT_TRUE(path);
    EXPECT_EQ(path->kind, stack::PathKind::local);
    EXPECT_EQ(path->src, ip(dst).is_loopback() ? ip("127.0.0.1") : ip(dst));
    ASSERT_TRUE(a.send(ip(dst), bytes_of("to self."), net.now));
  }
  EXPECT_LE(a.stack.next_wakeup(), net.now);
  net.settle();
  EXPECT_EQ(a.recorder.packets.size(), 3u);
  EXPECT_EQ(a.recorder.packets[0].info.interface, stack::loopback_index);
  EXPECT_TRUE(net.carried.empty());
}

// P7, X3: nor does the loopback network's broadcast, whatever source or interface is asked for.
TEST_F(Ipv4, LoopbackBroadcastsStayHere) {
  for (const char* src : {"0.0.0.0", "127.0.0.1", "10.0.0.1"}) {
    const auto path = a.stack.ip().find_path(stack::loopback_broadcast, ip(src), 0);
    ASSERT_TRUE(path) << src;
    EXPECT_EQ(path->kind, stack::PathKind::broadcast);
    EXPECT_EQ(path->interface, stack::loopback_index);
  }
  EXPECT_EQ(a.stack.ip().find_path(stack::loopback_broadcast, any_ip, 0)->src, ip("127.0.0.1"));
  EXPECT_EQ(a.stack.ip().find_path(stack::loopback_broadcast, any_ip, a.interface)->interface, stack::loopback_index);
  ASSERT_TRUE(a.send(stack::loopback_broadcast, bytes_of("to all here"), net.now));
  net.settle();
  ASSERT_EQ(a.recorder.packets.size(), 1u);
  EXPECT_EQ(a.recorder.packets[0].info.dst, stack::loopback_broadcast);
  EXPECT_TRUE(net.carried.empty());
}

TEST_F(Ipv4, LoopbackTakesTheLargestPacketWhole) {
  ASSERT_TRUE(a.send(ip("127.0.0.1"), Bytes(65515, std::byte{7}), net.now));
  EXPECT_EQ(a.send(ip("127.0.0.1"), Bytes(65516), net.now).error().code, EMSGSIZE);
  net.settle();
  ASSERT_EQ(a.recorder.packets.size(), 1u);
  EXPECT_EQ(a.recorder.packets[0].payload, Bytes(65515, std::byte{7}));
}

TEST_F(Ipv4, LoopbackQueueIsBounded) {
  for (int i = 0; i < 1030; ++i) ASSERT_TRUE(a.send(ip("127.0.0.1"), bytes_of("x"), net.now));
  EXPECT_EQ(a.dropped(Drop::loopback_queue_full), 6u);
  EXPECT_EQ(a.stack.held(), 1024u);
}

// F1: up to the largest packet there is, both ways.
TEST_F(Ipv4, FragmentsAndReassembles) {
  for (const std::size_t size : {1480u, 1481u, 2960u, 2961u, 9000u, 65515u}) {
    Bytes payload(size);
    for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<std::byte>(i * 31 >> 3);
    b.recorder.packets.clear();
    ASSERT_TRUE(a.send(b.ip, payload, net.now));
    net.settle();
    ASSERT_EQ(b.recorder.packets.size(), 1u) << size;
    EXPECT_EQ(b.recorder.packets[0].payload, payload) << size;
    EXPECT_EQ(b.recorder.packets[0].packet.size(), size + 20) << size;
  }
  EXPECT_EQ(b.stack.held(), 0u);
}

// F8: fragments do not overlap, fill the MTU in multiples of eight, share one identification; options that are to be copied are in each of them,
// others in the first.
TEST_F(Ipv4, FragmentsAreWellFormed) {
  const Bytes options = {std::byte{0x94}, std::byte{4}, {}, {}, std::byte{7}, std::byte{7}, std::byte{4}, {}, {}, {}, {}, {}};
  const auto path = a.stack.ip().find_path(b.ip, any_ip, 0);
  const wire::IpInfo info{.src = path->src, .dst = b.ip, .protocol = wire::protocol_udp, .options = options};
  ASSERT_TRUE(a.stack.ip().output(a.frame_of(Bytes(4000)), info, *path, Fragmentation::want, net.now));
  net.settle();
  const auto packets = carried_packets();
  ASSERT_EQ(packets.size(), 3u);
  std::size_t offset = 0;
  for (const Bytes& one : packets) {
    const auto ipv4 = wire::parse_ipv4(one);
    ASSERT_TRUE(ipv4.has_value());
    EXPECT_EQ(ipv4->fragment_offset, offset);
    EXPECT_FALSE(ipv4->dont_fragment);
    EXPECT_LE(one.size(), 1500u);
    EXPECT_EQ(ipv4->id, wire::parse_ipv4(packets[0])->id);
    EXPECT_EQ(ipv4->options.size(), offset == 0 ? 12u : 4u);
    offset += ipv4->payload.size();
  }
  EXPECT_EQ(offset, 4000u);
  ASSERT_EQ(b.recorder.packets.size(), 1u);
  EXPECT_EQ(b.recorder.packets[0].options, options);
}

// F11: a packet with DF is never fragmented; what the socket asked for decides.
TEST_F(Ipv4, DontFragmentIsObeyed) {
  const auto error = [&](Fragmentation fragmentation, std::size_t size) { return a.send(b.ip, Bytes(size), net.now, fragmentation).error().code; };
  for (const auto mode : {Fragmentation::refuse, Fragmentation::probe, Fragmentation::interface}) EXPECT_EQ(error(mode, 1481), EMSGSIZE);
  for (const auto mode : {Fragmentation::never_df, Fragmentation::want, Fragmentation::omit}) EXPECT_EQ(error(mode, 1481), 0);
  for (const auto mode : {Fragmentation::refuse, Fragmentation::probe, Fragmentation::want}) EXPECT_EQ(error(mode, 1480), 0);
  for (const auto mode : {Fragmentation::never_df, Fragmentation::interface, Fragmentation::omit}) EXPECT_EQ(error(mode, 1480), 0);
  net.settle();
  const auto packets = carried_packets();
  ASSERT_EQ(packets.size(), 12u);
  for (std::size_t i = 0; i < packets.size(); ++i) {
    const auto ipv4 = wire::parse_ipv4(packets[i]);
    EXPECT_EQ(ipv4->dont_fragment, i >= 6 && i < 9) << i;
  }
}

TEST_F(Ipv4, NoFragmentLeavesWhenNotAllCan) {
  std::vector<Frame> hoard;
  while (a.pools.small->available() > 3) hoard.push_back(a.pools.small->allocate());
  EXPECT_EQ(a.send(b.ip, Bytes(9000), net.now).error().code, ENOBUFS);
  hoard.clear();
  net.settle();
  EXPECT_TRUE(carried_packets().empty());
}

// G2: 01:00:5e and 23 bits of the group.
TEST_F(Ipv4, GroupsMapToLinkAddresses) {
  ASSERT_TRUE(a.send(ip("239.129.2.3"), bytes_of("to group"), net.now));
  net.settle();
  ASSERT_EQ(net.carried.size(), 1u);
  EXPECT_EQ(wire::load_mac(net.carried[0].frame, 0), *wire::MacAddress::parse("01:00:5e:01:02:03"));
  EXPECT_EQ(b.dropped(Drop::group_not_joined), 1u);
}

// RFC 1112 6.1: a member on the sending host hears it too, if the sender wants that; with TTL 0 nobody else does.
TEST_F(Ipv4, GroupsLoopBackToMembersHere) {
  const IpAddress group = ip("239.1.2.3");
  const auto path = a.stack.ip().find_path(group, any_ip, 0);
  const auto send = [&](bool loop, std::uint8_t ttl) {
    const wire::IpInfo info{.src = path->src, .dst = group, .protocol = wire::protocol_udp, .hop_limit = ttl};
    ASSERT_TRUE(a.stack.ip().output(a.frame_of(bytes_of("to group")), info, *path, Fragmentation::want, net.now, loop));
    net.settle();
  };
  send(true, 1);
  EXPECT_EQ(a.recorder.packets.size(), 0u);
  a.recorder.groups.push_back(group);
  send(true, 1);
  EXPECT_EQ(a.recorder.packets.size(), 1u);
  send(false, 1);
  EXPECT_EQ(a.recorder.packets.size(), 1u);
  EXPECT_EQ(net.carried.size(), 3u);
  send(true, 0);
  EXPECT_EQ(a.recorder.packets.size(), 2u);
  EXPECT_EQ(net.carried.size(), 3u);
}

// RFC 1122 3.3.1: by the longest prefix, through the gateway; without a route the sender knows at once.
TEST_F(Ipv4, RoutesThroughGateways) {
  EXPECT_EQ(a.stack.ip().find_path(ip("192.0.2.1"), any_ip, 0).error().code, ENETUNREACH);
  const std::uint64_t before = a.stack.generation();
  a.stack.add_route({.network = any_ip, .prefix = 0, .gateway = b.ip, .interface = a.interface}).value();
  EXPECT_NE(a.stack.generation(), before);
  const auto path = a.stack.ip().find_path(ip("192.0.2.1"), any_ip, 0);
  ASSERT_TRUE(path);
  EXPECT_EQ(path->next_hop, b.ip);
  EXPECT_EQ(path->src, a.ip);
  EXPECT_EQ(a.stack.ip().find_path(b.ip, any_ip, 0)->next_hop, b.ip);
  ASSERT_TRUE(a.send(ip("192.0.2.1"), bytes_of("far away"), net.now));
  net.settle();
  EXPECT_EQ(b.dropped(Drop::ip_not_for_us), 1u);
}

// RFC 1122 3.3.4.3 and U16: the source is ours, and fits the interface.
TEST_F(Ipv4, SelectsTheSourceByInterface) {
  const std::uint32_t second = net.add_interface(a, "192.168.7.1/24", 1);
  EXPECT_EQ(a.stack.ip().find_path(ip("192.168.7.9"), any_ip, 0)->src, ip("192.168.7.1"));
  EXPECT_EQ(a.stack.ip().find_path(ip("192.168.7.9"), any_ip, 0)->interface, second);
  EXPECT_EQ(a.stack.ip().find_path(b.ip, any_ip, 0)->src, a.ip);
  EXPECT_EQ(a.stack.ip().find_path(b.ip, ip("192.168.7.1"), 0)->src, ip("192.168.7.1"));
  EXPECT_EQ(a.stack.ip().find_path(b.ip, stranger, 0).error().code, EINVAL);
  EXPECT_EQ(a.stack.ip().find_path(b.ip, any_ip, 77).error().code, ENODEV);
  EXPECT_EQ(a.stack.ip().find_path(ip("239.1.1.1"), any_ip, second)->src, ip("192.168.7.1"));
  // Weak host model: either address is ours on either wire.
  net.inject_ipv4(a, packet(stranger, ip("192.168.7.1")));
  EXPECT_EQ(a.recorder.packets.size(), 1u);
}

TEST_F(Ipv4, InterfaceThatIsDownNeitherSendsNorReceives) {
  a.stack.set_up(a.interface, false, net.now).value();
  EXPECT_EQ(a.send(b.ip, bytes_of("x"), net.now).error().code, ENETDOWN);
  net.inject_ipv4(a, packet(stranger, a.ip));
  EXPECT_EQ(a.dropped(Drop::interface_down), 1u);
}

TEST_F(Ipv4, OutputQueueIsBounded) {
  ASSERT_TRUE(a.send(b.ip, bytes_of("resolve"), net.now));
  net.settle();
  for (int i = 0; i < 1030; ++i) ASSERT_TRUE(a.send(b.ip, bytes_of("x"), net.now));
  EXPECT_EQ(a.dropped(Drop::link_queue_full), 6u);
}

}  // namespace
}  // namespace gannet::tests
