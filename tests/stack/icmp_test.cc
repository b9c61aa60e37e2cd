#include <gtest/gtest.h>

#include "stack/icmp4.h"
#include "support/net.h"
#include "wire/checksum.h"
#include "wire/endian.h"
#include "wire/icmp4.h"

namespace gannet::tests {
namespace {

using wire::Icmp4Type;

constexpr wire::MacAddress stranger_mac{{std::byte{2}, {}, {}, {}, {}, std::byte{0x99}}};
const IpAddress stranger = IpAddress::ipv4(10, 0, 0, 99);
const IpAddress any_ip = IpAddress::any(Family::ipv4);

Bytes make_icmp(Icmp4Type type, std::uint8_t code, std::uint32_t word, const Bytes& body) {
  Bytes message = Bytes(wire::icmp4_header_size) + body;
  wire::emit_icmp4(type, code, word, message);
  return message;
}

class Icmp : public testing::Test {
 protected:
  Icmp() {
    a.record_udp();
    b.record_udp();
    // Everybody knows the stranger.
    Bytes arp(wire::arp_size);
    for (Host* host : {&a, &b}) {
      wire::emit_arp({wire::ArpOperation::request, stranger_mac, stranger, {}, host->ip}, arp);
      net.inject(*host, make_ethernet(host->mac, stranger_mac, wire::ethertype_arp, arp));
    }
    net.run_for(5s);
    net.carried.clear();
  }
  // ICMP messages that passed by the wire since the last call: the IP packets.
  std::vector<Bytes> icmps() {
    net.settle();
    std::vector<Bytes> found;
    for (const auto& carried : net.carried) {
      const auto ethernet = wire::parse_ethernet(carried.frame);
      if (!ethernet || ethernet->type != wire::ethertype_ipv4) continue;
      const auto ipv4 = wire::parse_ipv4(ethernet->payload);
      if (ipv4 && ipv4->protocol == wire::protocol_icmp) found.emplace_back(ipv4->packet.begin(), ipv4->packet.end());
    }
    net.carried.clear();
    return found;
  }
  Bytes icmp_packet(const IpAddress& src, const IpAddress& dst, const Bytes& message) {
    return make_ipv4({.src = src, .dst = dst, .protocol = wire::protocol_icmp}, message);
  }
  // A packet of a protocol that nobody speaks, which is an error to tell.
  Bytes strange(const IpAddress& src, const IpAddress& dst, std::size_t size = 8, std::uint8_t tos = 0) {
    return make_ipv4({.src = src, .dst = dst, .protocol = 253, .tos = tos}, Bytes(size, std::byte{0x5a}));
  }
  // An ICMP error from the stranger to `a` about a UDP packet that `a` sent to `b`.
  Bytes error_about(Icmp4Type type, std::uint8_t code, std::uint32_t word, const IpAddress& src, const IpAddress& dst) {
    const Bytes sent = make_ipv4({.src = src, .dst = dst, .protocol = wire::protocol_udp}, make_udp(src, dst, 1111, 2222, Bytes(1400)));
    return icmp_packet(stranger, a.ip, make_icmp(type, code, word, Bytes(sent.begin(), sent.begin() + 28)));
  }
  Net net;
  Host& a = net.add_host("10.0.0.1/24");
  Host& b = net.add_host("10.0.0.2/24");
};

// I5: the same data comes back, from the address that was asked.
TEST_F(Icmp, AnswersEchoes) {
  for (const std::size_t size : {0u, 1u, 56u, 1400u, 9000u}) {
    Bytes data(size);
    for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(i);
    const auto request = make_icmp(Icmp4Type::echo_request, 0, wire::echo_word(0x1234, 7), data);
    ASSERT_TRUE(a.send(b.ip, request, net.now, stack::Fragmentation::want, wire::protocol_icmp));
    const auto before = a.dropped(Drop::icmp_type_unknown);
    const auto seen = icmps();
    EXPECT_EQ(a.dropped(Drop::icmp_type_unknown), before + 1);  // the answer, for which we have no use
    if (size > 1472) continue;
    ASSERT_EQ(seen.size(), 2u);
    const auto reply = wire::parse_ipv4(seen[1]);
    EXPECT_EQ(reply->src, b.ip);
    EXPECT_EQ(reply->dst, a.ip);
    const auto icmp = wire::parse_icmp4(reply->payload);
    ASSERT_TRUE(icmp.has_value());
    EXPECT_EQ(icmp->type, Icmp4Type::echo_reply);
    EXPECT_EQ(icmp->word, wire::echo_word(0x1234, 7));
    EXPECT_EQ(Bytes(icmp->body.begin(), icmp->body.end()), data);
  }
}

// X8, RFC 1122 3.2.2.6: no answer to an echo for everybody.
TEST_F(Icmp, NeverAnswersBroadcastEchoes) {
  a.recorder.groups.push_back(ip("224.0.0.1"));
  for (const char* dst : {"255.255.255.255", "10.0.0.255", "224.0.0.1"}) {
    const auto packet = icmp_packet(stranger, ip(dst), make_icmp(Icmp4Type::echo_request, 0, 1, Bytes(8)));
    net.inject(a, make_ethernet(wire::MacAddress::broadcast(), stranger_mac, wire::ethertype_ipv4, packet));
  }
  EXPECT_TRUE(icmps().empty());
  EXPECT_EQ(a.dropped(Drop::icmp_echo_broadcast), 3u);
}

// I2: as much of the packet as fits 576 bytes, unchanged.
TEST_F(Icmp, QuotesUpTo576Bytes) {
  for (const std::size_t size : {8u, 100u, 528u, 529u, 1400u}) {
    const Bytes packet = strange(stranger, a.ip, size);
    net.inject_ipv4(a, packet, stranger_mac);
    const auto seen = icmps();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].size(), std::min<std::size_t>(576, packet.size() + 28));
    const auto ipv4 = wire::parse_ipv4(seen[0]);
    EXPECT_EQ(ipv4->src, a.ip);
    EXPECT_EQ(ipv4->dst, stranger);
    const auto icmp = wire::parse_icmp4(ipv4->payload);
    ASSERT_TRUE(icmp.has_value());
    EXPECT_EQ(icmp->type, Icmp4Type::unreachable);
    EXPECT_EQ(icmp->code, wire::unreachable_code::protocol);
    EXPECT_TRUE(std::ranges::equal(icmp->body, std::span(packet).first(icmp->body.size())));
    net.run_for(2s);
  }
}

// U1: what IpLayer offers to UDP.
TEST_F(Icmp, TellsOfUnreachablePorts) {
  struct Closed {
    stack::Stack& stack;
    void input(const wire::IpInfo& info, Frame, Time now) {
      stack.ip().port_unreachable(info, now);
      stack.fates().drop(Drop::udp_no_socket);
    }
  } closed{b.stack};
  b.stack.context().upper.udp = stack::UpperLayers::protocol_of(closed);
  ASSERT_TRUE(a.send(b.ip, make_udp(a.ip, b.ip, 1111, 2222, bytes_of("knock")), net.now));
  net.settle();
  ASSERT_EQ(a.recorder.errors.size(), 1u);
  EXPECT_EQ(a.recorder.errors[0].error.error, ECONNREFUSED);
  EXPECT_TRUE(a.recorder.errors[0].error.hard);
  EXPECT_EQ(a.recorder.errors[0].error.offender, b.ip);
  EXPECT_EQ(wire::load_be16(a.recorder.errors[0].quote, 2), 2222);
}

// I1: whom one does not tell: everybody, nobody, another host in disguise; and not about errors or later fragments.
TEST_F(Icmp, TellsNobodyWhereForbidden) {
  const auto broadcast_frame = [&](const Bytes& packet) {
    net.inject(a, make_ethernet(wire::MacAddress::broadcast(), stranger_mac, wire::ethertype_ipv4, packet));
  };
  a.recorder.groups.push_back(ip("224.0.0.1"));
  broadcast_frame(strange(stranger, ip("255.255.255.255")));
  broadcast_frame(strange(stranger, ip("10.0.0.255")));
  broadcast_frame(strange(stranger, ip("224.0.0.1")));
  broadcast_frame(strange(any_ip, ip("255.255.255.255")));
  net.inject_ipv4(a, strange(stranger, ip("10.0.0.255")), stranger_mac);
  // An error quoted in something that is not an error.
  net.inject_ipv4(a, error_about(Icmp4Type::unreachable, 2, 0, stranger, a.ip), stranger_mac);
  // The last fragment alone, until it times out.
  net.inject_ipv4(a, make_ipv4({.src = stranger, .dst = a.ip, .protocol = 253, .id = 9, .fragment_offset = 800}, Bytes(8)), stranger_mac);
  net.run_for(2min);
  EXPECT_TRUE(icmps().empty());
  EXPECT_EQ(a.dropped(Drop::fragment_timeout), 1u);

  net.inject_ipv4(a, strange(stranger, a.ip), stranger_mac);
  EXPECT_EQ(icmps().size(), 1u);
}

// F2: 60 s after its first fragment came an incomplete datagram dies; its sender is told if the first fragment was there.
TEST_F(Icmp, ReassemblyTimesOut) {
  const auto fragment = [&](std::uint16_t id, std::uint16_t offset) {
    return make_ipv4({.src = stranger, .dst = a.ip, .protocol = wire::protocol_udp, .id = id, .more_fragments = true, .fragment_offset = offset},
                     Bytes(64, std::byte{1}));
  };
  net.inject_ipv4(a, fragment(1, 0), stranger_mac);
  net.run_for(30s);
  net.inject_ipv4(a, fragment(1, 128), stranger_mac);  // does not prolong it
  net.inject_ipv4(a, fragment(2, 64), stranger_mac);
  EXPECT_EQ(a.stack.held(), 3u);
  net.run_for(29s);
  EXPECT_TRUE(icmps().empty());
  net.run_for(1s);
  const auto seen = icmps();
  ASSERT_EQ(seen.size(), 1u);
  const auto icmp = wire::parse_icmp4(wire::parse_ipv4(seen[0])->payload);
  EXPECT_EQ(icmp->type, Icmp4Type::time_exceeded);
  EXPECT_EQ(icmp->code, wire::time_exceeded_code::in_reassembly);
  EXPECT_EQ(Bytes(icmp->body.begin(), icmp->body.end()), fragment(1, 0));
  EXPECT_EQ(a.dropped(Drop::fragment_timeout), 2u);
  net.run_for(30s);
  EXPECT_TRUE(icmps().empty());
  EXPECT_EQ(a.dropped(Drop::fragment_timeout), 3u);
  EXPECT_EQ(a.stack.held(), 0u);
}

// I4, I6: an unknown type, source quench, redirects, queries we have no use for: nothing happens.
TEST_F(Icmp, IgnoresWhatItDoesNotKnow) {
  for (const int type : {1, 2, 4, 5, 9, 10, 13, 15, 17, 30, 40, 255}) {
    net.inject_ipv4(a, error_about(static_cast<Icmp4Type>(type), 0, 0, a.ip, b.ip), stranger_mac);
  }
  EXPECT_EQ(a.dropped(Drop::icmp_type_unknown), 12u);
  EXPECT_TRUE(a.recorder.errors.empty());
  EXPECT_TRUE(icmps().empty());
}

TEST_F(Icmp, BrokenMessagesAreDropped) {
  Bytes broken = make_icmp(Icmp4Type::echo_request, 0, 0, Bytes(8));
  broken[9] ^= std::byte{1};
  net.inject_ipv4(a, icmp_packet(stranger, a.ip, broken), stranger_mac);
  net.inject_ipv4(a, icmp_packet(stranger, a.ip, Bytes(7)), stranger_mac);
  net.inject_ipv4(a, icmp_packet(stranger, a.ip, make_icmp(Icmp4Type::unreachable, 1, 0, Bytes(20, std::byte{0x45}))), stranger_mac);
  EXPECT_EQ(a.dropped(Drop::icmp_checksum_bad), 1u);
  EXPECT_EQ(a.dropped(Drop::icmp_truncated), 2u);
  EXPECT_TRUE(icmps().empty());
}

// U5: types and codes become the errors that Linux makes of them.
TEST_F(Icmp, ErrorsReachTheLayerConcerned) {
  struct Case {
    Icmp4Type type;
    std::uint8_t code;
    int error;
    bool hard;
  };
  for (const Case& one : {Case{Icmp4Type::unreachable, 0, ENETUNREACH, false}, Case{Icmp4Type::unreachable, 1, EHOSTUNREACH, false},
                          Case{Icmp4Type::unreachable, 3, ECONNREFUSED, true}, Case{Icmp4Type::unreachable, 13, EHOSTUNREACH, true},
                          Case{Icmp4Type::unreachable, 99, EHOSTUNREACH, false}, Case{Icmp4Type::time_exceeded, 0, EHOSTUNREACH, false},
                          Case{Icmp4Type::parameter_problem, 0, EPROTO, true}}) {
    a.recorder.errors.clear();
    net.inject_ipv4(a, error_about(one.type, one.code, 0, a.ip, b.ip), stranger_mac);
    ASSERT_EQ(a.recorder.errors.size(), 1u);
    const auto& error = a.recorder.errors[0].error;
    EXPECT_EQ(error.error, one.error);
    EXPECT_EQ(error.hard, one.hard);
    EXPECT_EQ(error.src, a.ip);
    EXPECT_EQ(error.dst, b.ip);
    EXPECT_EQ(error.offender, stranger);
    EXPECT_EQ(wire::load_be16(a.recorder.errors[0].quote, 0), 1111);
  }
}

// X6: an error about what we cannot have sent, or what no live socket sent, changes nothing.
TEST_F(Icmp, ForgedErrorsAreDropped) {
  net.inject_ipv4(a, error_about(Icmp4Type::unreachable, 3, 0, stranger, b.ip), stranger_mac);
  EXPECT_TRUE(a.recorder.errors.empty());
  a.recorder.is_live = false;
  net.inject_ipv4(a, error_about(Icmp4Type::unreachable, 4, 1000, a.ip, b.ip), stranger_mac);
  EXPECT_EQ(a.dropped(Drop::icmp_no_socket), 2u);
  EXPECT_EQ(a.stack.ip().find_path(b.ip, any_ip, 0)->mtu, 1500u);
}

// RFC 1191: "fragmentation needed" lowers the path's MTU for ten minutes; nothing raises it, and nothing lowers it below the floor (M1, M2).
TEST_F(Icmp, LearnsThePathMtu) {
  const auto mtu = [&] { return a.stack.ip().find_path(b.ip, any_ip, 0)->mtu; };
  const auto too_big = [&](std::uint32_t next_hop) {
    net.inject_ipv4(a, error_about(Icmp4Type::unreachable, 4, next_hop, a.ip, b.ip), stranger_mac);
  };
  too_big(1280);
  ASSERT_EQ(a.recorder.errors.size(), 1u);
  EXPECT_EQ(a.recorder.errors[0].error.error, EMSGSIZE);
  EXPECT_EQ(a.recorder.errors[0].error.mtu, 1280u);
  EXPECT_EQ(mtu(), 1280u);
  too_big(1400);
  EXPECT_EQ(mtu(), 1280u);
  EXPECT_EQ(a.send(b.ip, Bytes(1400), net.now, stack::Fragmentation::refuse).error().code, EMSGSIZE);
  EXPECT_TRUE(a.send(b.ip, Bytes(1400), net.now, stack::Fragmentation::probe));
  net.run_for(9min);
  EXPECT_EQ(mtu(), 1280u);
  net.run_for(61s);
  EXPECT_EQ(mtu(), 1500u);

  too_big(68);
  EXPECT_EQ(mtu(), 552u);
  EXPECT_TRUE(a.stack.ip().find_path(b.ip, any_ip, 0)->mtu_is_floor);
}

// M4: a router that does not say how much fits: the next plateau below what did not (RFC 1191 section 7).
TEST_F(Icmp, SearchesPlateausWhenTheRouterIsOld) {
  net.inject_ipv4(a, error_about(Icmp4Type::unreachable, 4, 0, a.ip, b.ip), stranger_mac);
  EXPECT_EQ(a.stack.ip().find_path(b.ip, any_ip, 0)->mtu, 1006u);  // 1428 bytes did not fit
}

// X7: a thousand knocks from one host are answered six times at once, then once a second.
TEST_F(Icmp, LimitsErrorsToOneDestination) {
  for (int i = 0; i < 1000; ++i) net.inject_ipv4(a, strange(stranger, a.ip), stranger_mac);
  EXPECT_EQ(icmps().size(), 6u);
  EXPECT_EQ(a.stack.counters().icmp_out_limited.value(), 994u);
  for (int second = 0; second < 5; ++second) {
    net.run_for(1s);
    for (int i = 0; i < 10; ++i) net.inject_ipv4(a, strange(stranger, a.ip), stranger_mac);
  }
  EXPECT_EQ(icmps().size(), 5u);
}

// X7: many destinations share one limit, which is not to be counted from outside.
TEST_F(Icmp, LimitsErrorsToAll) {
  std::vector<std::size_t> bursts;
  a.stack.add_route({.network = ip("198.18.0.0"), .prefix = 15, .gateway = stranger, .interface = a.interface}).value();
  for (std::uint32_t round = 0; round < 4; ++round) {
    for (std::uint32_t i = 0; i < 2000; ++i) net.inject_ipv4(a, strange(IpAddress::ipv4(0xc6120000 + round * 2000 + i), a.ip), stranger_mac);
    bursts.push_back(icmps().size());
    EXPECT_GE(bursts.back(), 25u);
    EXPECT_LE(bursts.back(), 110u);
    net.run_for(1s);
  }
  EXPECT_TRUE(bursts[0] != bursts[1] || bursts[1] != bursts[2] || bursts[2] != bursts[3]);
}

}  // namespace
}  // namespace gannet::tests
