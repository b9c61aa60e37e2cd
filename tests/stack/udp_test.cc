#include "stack/udp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/app.h"
#include "wire/icmp4.h"
#include "wire/udp.h"

namespace gannet::tests {
namespace {

using stack::Fragmentation;

// A packet that a wire carried, taken apart.
struct Seen {
  wire::Ipv4 ipv4;
  std::span<const std::byte> payload;
};

class UdpHosts : public ::testing::Test {
 protected:
  void SetUp() override {
    net.run_for(5s);  // announcements
    net.carried.clear();
  }
  // The IPv4 packets of a protocol that passed since the last call of forget().
  std::vector<wire::Ipv4> packets(std::uint8_t protocol = wire::protocol_udp) const {
    std::vector<wire::Ipv4> found;
    for (const auto& carried : net.carried) {
      const auto ethernet = wire::parse_ethernet(carried.frame);
      if (!ethernet || ethernet->type != wire::ethertype_ipv4) continue;
      const auto ipv4 = wire::parse_ipv4(ethernet->payload);
      if (ipv4 && ipv4->protocol == protocol) found.push_back(*ipv4);
    }
    return found;
  }
  wire::Ipv4 last_packet() const {
    const auto all = packets();
    EXPECT_FALSE(all.empty());
    return all.empty() ? wire::Ipv4{} : all.back();
  }
  // Hands b a datagram from a stranger, which may be broken on the way.
  template <class Break = void (*)(Bytes&)>
  void inject(std::string_view data, Break&& change = [](Bytes&) {}, wire::Ipv4Header header = {}) {
    if (header.src.is_any()) header.src = stranger;
    if (header.dst.is_any()) header.dst = b.ip;
    header.protocol = wire::protocol_udp;
    Bytes datagram = make_udp(header.src, header.dst, 4000, 53, bytes_of(data));
    change(datagram);
    net.inject_ipv4(b, make_ipv4(header, datagram));
  }
  // Hands `host` an ICMP error about the last datagram that it sent.
  void inject_error(Host& host, wire::Icmp4Type type, std::uint8_t code, std::uint32_t word = 0, std::size_t spoil = 0) {
    const wire::Ipv4 about = last_packet();
    Bytes message(wire::icmp4_header_size);
    message.insert(message.end(), about.packet.begin(), about.packet.begin() + 28);
    if (spoil != 0) message[spoil] ^= std::byte{1};
    wire::emit_icmp4(type, code, word, message);
    net.inject_ipv4(host, make_ipv4({.src = router, .dst = host.ip, .protocol = wire::protocol_icmp}, message));
  }

  const IpAddress stranger = ip("10.0.0.9");
  const IpAddress router = ip("10.0.0.254");
  Net net;
  Host& a = net.add_host("10.0.0.1/24");
  Host& b = net.add_host("10.0.0.2/24");
};

// U6, U9: datagrams of odd and even sizes arrive as they were sent; the checksum on the wire is right, and there by default.
TEST_F(UdpHosts, DatagramsArriveWhole) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  for (const std::size_t size : {0u, 1u, 2u, 63u, 64u, 1471u, 1472u}) {
    const std::string data(size, 'x');
    ASSERT_TRUE(client.send(data, "10.0.0.2:53"));
    net.settle();
    const auto got = server.receive();
    ASSERT_TRUE(got) << size;
    EXPECT_EQ(got->data, data);
    EXPECT_EQ(got->peer(), "10.0.0.1:" + std::to_string(client.endpoint().local.port));
    const wire::Ipv4 packet = last_packet();
    const auto udp = wire::parse_udp(packet.info(), packet.payload, wire::ZeroChecksum::refused);
    EXPECT_TRUE(udp) << size;
  }
}

// U6: from 1,473 bytes on in fragments, up to the largest.
TEST_F(UdpHosts, TheLargestDatagramArrivesWhole) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  for (const std::size_t size : {1473u, 9000u, 65507u}) {
    std::string data(size, '\0');
    for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 7);
    ASSERT_TRUE(client.send(data, "10.0.0.2:53"));
    net.settle();
    const auto got = server.receive();
    ASSERT_TRUE(got) << size;
    EXPECT_TRUE(got->data == data) << size;
  }
  EXPECT_EQ(client.send(std::string(65508, 'x'), "10.0.0.2:53").error().code, EMSGSIZE);
}

// U1: nobody listens: the sender is told, and a connected socket's next call fails.
TEST_F(UdpHosts, AClosedPortIsReported) {
  App client(net, a);
  ASSERT_TRUE(client.connect("10.0.0.2:53"));
  ASSERT_TRUE(client.send("anyone?"));
  net.settle();
  ASSERT_EQ(packets(wire::protocol_icmp).size(), 1u);
  const auto icmp = wire::parse_icmp4(packets(wire::protocol_icmp)[0].payload);
  ASSERT_TRUE(icmp);
  EXPECT_EQ(icmp->type, wire::Icmp4Type::unreachable);
  EXPECT_EQ(icmp->code, wire::unreachable_code::port);
  EXPECT_EQ(client.take_error(), ECONNREFUSED);
  EXPECT_EQ(client.take_error(), 0);
  EXPECT_EQ(b.dropped(Drop::udp_no_socket), 1u);
  EXPECT_EQ(b.stack.udp().counters().no_ports.value(), 1u);
}

// X7: the limits of ICMP errors are for the network; a program of this host hears of each of its datagrams, as on Linux.
TEST_F(UdpHosts, OwnProgramsAreAlwaysToldOfClosedPorts) {
  App client(net, a);
  ASSERT_TRUE(client.connect("127.0.0.1:53"));
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(client.send("anybody?"));
    net.settle();
    ASSERT_EQ(client.take_error(), ECONNREFUSED) << i;
  }
}

// U7: a wrong checksum is dropped without a word.
TEST_F(UdpHosts, AWrongChecksumIsDroppedSilently) {
  App server(net, b);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  inject("broken", [](Bytes& datagram) { datagram.back() ^= std::byte{1}; });
  net.settle();
  EXPECT_FALSE(server.receive());
  EXPECT_EQ(b.dropped(Drop::udp_checksum_bad), 1u);
  EXPECT_TRUE(packets(wire::protocol_icmp).empty());
}

// U8, U10: the checksum may be left out by the sender, and insisted upon by the receiver.
TEST_F(UdpHosts, TheChecksumIsOptionalOnBothSides) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.options().no_checksum = true;
  ASSERT_TRUE(client.send("bare", "10.0.0.2:53"));
  net.settle();
  EXPECT_EQ(wire::load_be16(last_packet().payload, 6), 0);
  ASSERT_TRUE(server.receive());

  server.options().require_checksum = true;
  ASSERT_TRUE(client.send("bare", "10.0.0.2:53"));
  net.settle();
  EXPECT_FALSE(server.receive());
  EXPECT_EQ(b.dropped(Drop::udp_checksum_missing), 1u);
}

// U20: a checksum that comes out as zero is sent as FFFF.
TEST_F(UdpHosts, AZeroChecksumIsSentAsOnes) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  ASSERT_TRUE(client.bind("10.0.0.1:4000"));
  ASSERT_TRUE(client.send(std::string(2, '\0'), "10.0.0.2:53"));
  net.settle();
  const std::uint16_t checksum = wire::load_be16(last_packet().payload, 6);
  ASSERT_TRUE(server.receive());
  // These two bytes make the sum of the rest all ones.
  const std::string data{static_cast<char>(checksum >> 8), static_cast<char>(checksum & 0xff)};
  ASSERT_TRUE(client.send(data, "10.0.0.2:53"));
  net.settle();
  EXPECT_EQ(wire::load_be16(last_packet().payload, 6), 0xffff);
  EXPECT_EQ(server.receive().value().data, data);
}

// U21: Length below 8 or beyond the packet drops the datagram; less than the packet leaves a surplus, which the application never sees.
TEST_F(UdpHosts, LengthBoundsTheDatagram) {
  App server(net, b);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  const auto with_length = [](int length) {
    return [length](Bytes& datagram) {
      wire::store_be16(datagram, 4, static_cast<std::uint16_t>(length));
      wire::store_be16(datagram, 6, 0);  // no checksum: it is the length that is wrong
    };
  };
  for (const int length : {0, 7, 12, 65535}) inject("abc", with_length(length));
  EXPECT_EQ(b.dropped(Drop::udp_length_invalid), 4u);
  EXPECT_FALSE(server.receive());
  inject("abc", with_length(10));
  EXPECT_EQ(server.receive().value().data, "ab");
  inject("abc", [](Bytes& datagram) { datagram.resize(7); });
  EXPECT_EQ(b.dropped(Drop::udp_header_truncated), 1u);
}

// U22: source port 0 and empty datagrams are welcome.
TEST_F(UdpHosts, SourcePortZeroAndNoDataAreFine) {
  App server(net, b);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  inject("", [](Bytes& datagram) {
    wire::store_be16(datagram, 0, 0);
    wire::store_be16(datagram, 6, 0);
  });
  const auto got = server.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->data, "");
  EXPECT_EQ(got->header.peer.port, 0);
}

// U15: what claims to come from a group, a broadcast address or this machine is discarded.
TEST_F(UdpHosts, InvalidSourcesAreDiscarded) {
  App server(net, b);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  for (const char* source : {"224.1.2.3", "255.255.255.255", "10.0.0.255", "127.0.0.1", "240.0.0.1"}) {
    inject("spoofed", [](Bytes&) {}, {.src = ip(source)});
  }
  EXPECT_FALSE(server.receive());
  EXPECT_EQ(b.dropped(Drop::ip_source_invalid), 5u);
  net.settle();
  EXPECT_TRUE(packets(wire::protocol_icmp).empty());
}

// U11: the application learns to which address of ours a datagram was sent: unicast or broadcast (groups: see the multicast tests).
TEST_F(UdpHosts, TheDestinationReachesTheApplication) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.options().broadcast = true;
  for (const char* to : {"10.0.0.2:53", "10.0.0.255:53", "255.255.255.255:53"}) {
    ASSERT_TRUE(client.send("hello", to));
    net.settle();
    const auto got = server.receive();
    ASSERT_TRUE(got) << to;
    EXPECT_EQ(got->local(), to);
    EXPECT_EQ(got->header.interface, b.interface);
  }
}

// U12, U13, U14: the source is what the socket is bound to, what the send says, or what the route chooses, and connect() tells which.
TEST_F(UdpHosts, TheSourceCanBeChosen) {
  ASSERT_TRUE(a.stack.add_address(a.interface, ip("10.0.0.11"), 24, net.now));
  App server(net, b), client(net, a), bound(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  const auto source_of_next = [&] {
    net.settle();
    const auto got = server.receive();
    return got ? got->header.peer.ip.to_string() : "nothing came";
  };
  ASSERT_TRUE(client.send("by route", "10.0.0.2:53"));
  EXPECT_EQ(source_of_next(), "10.0.0.1");
  ASSERT_TRUE(client.send("by send", "10.0.0.2:53", {.source = "10.0.0.11"}));
  EXPECT_EQ(source_of_next(), "10.0.0.11");
  ASSERT_TRUE(client.send("by route", "10.0.0.2:53"));
  EXPECT_EQ(source_of_next(), "10.0.0.1");
  ASSERT_TRUE(bound.bind("10.0.0.11:0"));
  ASSERT_TRUE(bound.send("by bind", "10.0.0.2:53"));
  EXPECT_EQ(source_of_next(), "10.0.0.11");

  EXPECT_EQ(client.endpoint().local.ip, ip("0.0.0.0"));
  ASSERT_TRUE(client.connect("10.0.0.2:53"));
  EXPECT_EQ(client.endpoint().local.ip, ip("10.0.0.1"));
}

// U16: only an own address may be the source.
TEST_F(UdpHosts, SpoofingIsRefused) {
  App client(net, a), unbound(net, a);
  EXPECT_EQ(client.send("spoof", "10.0.0.2:53", {.source = "10.0.0.77"}).error().code, EINVAL);
  EXPECT_EQ(unbound.bind("10.0.0.77:53").error().code, EADDRNOTAVAIL);
  EXPECT_EQ(unbound.bind("[::]:53").error().code, EAFNOSUPPORT);
}

// U18, U19: TTL and TOS by socket and by send, and both as received.
TEST_F(UdpHosts, TtlAndTosTravel) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  const auto next = [&] {
    net.settle();
    const auto got = server.receive();
    return got ? std::pair<int, int>(got->header.hop_limit, got->header.tos) : std::pair(-2, -2);
  };
  ASSERT_TRUE(client.send("default", "10.0.0.2:53"));
  EXPECT_EQ(next(), std::pair(64, 0));
  client.options().ttl = 7;
  client.options().tos = 0xb8;
  ASSERT_TRUE(client.send("by socket", "10.0.0.2:53"));
  EXPECT_EQ(next(), std::pair(7, 0xb8));
  ASSERT_TRUE(client.send("by send", "10.0.0.2:53", {.hop_limit = 9, .tos = 0x2e}));
  EXPECT_EQ(next(), std::pair(9, 0x2e));
}

// U2, U3, U4: IP options go out as the application gave them, and come in to the application that asked for them.
TEST_F(UdpHosts, IpOptionsTravelIntact) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  // Record route with room for two addresses, padded.
  const Bytes options = {std::byte{7}, std::byte{11}, std::byte{4}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
  std::ranges::copy(options, client.options().ip_options.begin());
  client.options().ip_options_size = 12;
  ASSERT_TRUE(client.send("where?", "10.0.0.2:53"));
  net.settle();
  EXPECT_TRUE(std::ranges::equal(last_packet().options, options));
  EXPECT_EQ(server.receive().value().ip_options, Bytes());
  server.options().receive_ip_options = true;
  ASSERT_TRUE(client.send("where?", "10.0.0.2:53"));
  net.settle();
  EXPECT_EQ(server.receive().value().ip_options, options);
}

// U5: every ICMP error reaches the application: by the error queue, where it asked for that, and as the pending error.
TEST_F(UdpHosts, IcmpErrorsReachTheSender) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.options().receive_errors = true;
  using enum wire::Icmp4Type;
  struct Case {
    wire::Icmp4Type type;
    std::uint8_t code;
    int error;
  };
  for (const Case& c : {Case{unreachable, 0, ENETUNREACH},
                        {unreachable, 1, EHOSTUNREACH},
                        {unreachable, 2, ENOPROTOOPT},
                        {unreachable, 3, ECONNREFUSED},
                        {unreachable, 5, EOPNOTSUPP},
                        {unreachable, 13, EHOSTUNREACH},
                        {time_exceeded, 0, EHOSTUNREACH},
                        {parameter_problem, 0, EPROTO}}) {
    ASSERT_TRUE(client.send("hello", "10.0.0.2:53"));
    net.settle();
    inject_error(a, c.type, c.code);
    const auto error = client.receive_error();
    ASSERT_TRUE(error) << int(c.code);
    EXPECT_EQ(error->error_code, c.error);
    EXPECT_EQ(error->error_type, static_cast<std::uint8_t>(c.type));
    EXPECT_EQ(error->error_icmp_code, c.code);
    EXPECT_EQ(error->peer.to_string(), "10.0.0.2:53");
    EXPECT_EQ(error->error_offender, router);
    EXPECT_EQ(error->payload_size, 0u) << "the quote ends with the UDP header";
  }
}

// B6: without asking, an unconnected socket hears nothing of errors, and a connected one only of those that last.
TEST_F(UdpHosts, SoftErrorsAreHints) {
  App server(net, b), client(net, a), connected(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  ASSERT_TRUE(client.send("hello", "10.0.0.2:53"));
  net.settle();
  inject_error(a, wire::Icmp4Type::unreachable, wire::unreachable_code::port);
  EXPECT_EQ(client.take_error(), 0);

  ASSERT_TRUE(connected.connect("10.0.0.2:53"));
  ASSERT_TRUE(connected.send("hello"));
  net.settle();
  inject_error(a, wire::Icmp4Type::unreachable, wire::unreachable_code::host);
  EXPECT_EQ(connected.take_error(), 0);
  inject_error(a, wire::Icmp4Type::unreachable, wire::unreachable_code::port);
  EXPECT_EQ(connected.take_error(), ECONNREFUSED);
}

// B6, M3: an error about what was never sent, or not lately, has no effect: no report, no lower MTU.
TEST_F(UdpHosts, IcmpErrorsAreValidated) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.options().receive_errors = true;
  ASSERT_TRUE(client.send("hello", "10.0.0.2:53"));
  net.settle();
  constexpr std::size_t quote = wire::icmp4_header_size;
  for (const std::size_t spoil : {quote + 19, quote + 21, quote + 23}) {  // destination, source port, destination port
    inject_error(a, wire::Icmp4Type::unreachable, wire::unreachable_code::fragmentation_needed, 600, spoil);
  }
  EXPECT_EQ(a.dropped(Drop::icmp_no_socket), 3u);
  EXPECT_FALSE(client.receive_error());
  EXPECT_EQ(a.stack.ip().find_path(b.ip, ip("0.0.0.0"), 0)->mtu, 1500u);

  net.run_for(121s);
  inject_error(a, wire::Icmp4Type::unreachable, wire::unreachable_code::fragmentation_needed, 600);
  EXPECT_FALSE(client.receive_error());
  EXPECT_EQ(a.dropped(Drop::icmp_no_socket), 4u);
}

// B1: larger than the path's MTU is refused where the socket says so, and that MTU is learned from routers.
TEST_F(UdpHosts, LargerThanThePathCanBeRefused) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.options().fragmentation = Fragmentation::refuse;
  ASSERT_TRUE(client.connect("10.0.0.2:53"));
  EXPECT_EQ(client.send(std::string(1473, 'x')).error().code, EMSGSIZE);
  ASSERT_TRUE(client.send(std::string(1472, 'x')));
  net.settle();
  EXPECT_TRUE(last_packet().dont_fragment);
  inject_error(a, wire::Icmp4Type::unreachable, wire::unreachable_code::fragmentation_needed, 1400);
  EXPECT_EQ(client.take_error(), EMSGSIZE);
  EXPECT_EQ(client.udp().path_mtu(client.endpoint()).value(), 1400u);
  EXPECT_EQ(client.send(std::string(1373, 'x')).error().code, EMSGSIZE);
  EXPECT_TRUE(client.send(std::string(1372, 'x')));
  client.options().fragmentation = Fragmentation::want;
  EXPECT_TRUE(client.send(std::string(1373, 'x'))) << "the default fragments";
}

// B4: port 0 is nobody's; broadcast needs the option; a peer is needed; a route too.
TEST_F(UdpHosts, WhatCannotBeSentIsRefused) {
  App client(net, a);
  EXPECT_EQ(client.send("x", "10.0.0.2:0").error().code, EINVAL);
  EXPECT_TRUE(client.connect("10.0.0.2:0")) << "which tells the source address, and no more";
  EXPECT_EQ(client.send("x").error().code, EDESTADDRREQ);
  EXPECT_EQ(client.send("x", "10.0.0.255:53").error().code, EACCES);
  EXPECT_EQ(client.send("x", "255.255.255.255:53").error().code, EACCES);
  EXPECT_EQ(client.connect("10.0.0.255:53").error().code, EACCES);
  EXPECT_EQ(client.send("x", "192.0.2.1:53").error().code, ENETUNREACH);
  EXPECT_EQ(client.connect("192.0.2.1:53").error().code, ENETUNREACH);
}

// The same through the send ring: what is refused is reported and counted, and the next datagram goes out.
TEST_F(UdpHosts, RefusalsFromTheRingAreReported) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.send_by_ring("x", "192.0.2.1:53");
  EXPECT_EQ(client.take_error(), ENETUNREACH);
  EXPECT_EQ(a.dropped(Drop::send_refused), 1u);
  client.send_by_ring("one", "10.0.0.2:53");
  client.send_by_ring("two", "10.0.0.2:53", {.hop_limit = 3});
  net.settle();
  EXPECT_EQ(server.receive().value().data, "one");
  EXPECT_EQ(server.receive().value().header.hop_limit, 3);
}

// U14, B5: a connected socket has one peer; disconnected it hears all again, and loses what connect() chose for it.
TEST_F(UdpHosts, ConnectFixesThePeer) {
  App server(net, b), client(net, a), stranger_app(net, b);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  ASSERT_TRUE(stranger_app.bind("0.0.0.0:54"));
  ASSERT_TRUE(client.connect("10.0.0.2:53"));
  const std::string local = client.local();
  EXPECT_EQ(local.substr(0, 9), "10.0.0.1:");
  ASSERT_TRUE(stranger_app.send("psst", local));
  ASSERT_TRUE(server.send("hello", local));
  net.settle();
  EXPECT_EQ(client.receive().value().data, "hello");
  EXPECT_FALSE(client.receive());
  EXPECT_EQ(a.dropped(Drop::udp_wrong_peer), 1u);

  client.disconnect();
  EXPECT_EQ(client.local(), "0.0.0.0:0");
  ASSERT_TRUE(client.bind("0.0.0.0:4000"));
  ASSERT_TRUE(client.connect("10.0.0.2:53"));
  EXPECT_EQ(client.local(), "10.0.0.1:4000");
  client.disconnect();
  EXPECT_EQ(client.local(), "0.0.0.0:4000");
  ASSERT_TRUE(stranger_app.send("psst", "10.0.0.1:4000"));
  net.settle();
  EXPECT_TRUE(client.receive());
}

// S5: of unicast the most specific socket alone, of broadcast every matching one has its copy.
TEST_F(UdpHosts, BroadcastsGoToAllAndUnicastToOne) {
  App wildcard(net, b), specific(net, b), second(net, b), client(net, a);
  for (App* app : {&wildcard, &specific, &second}) app->options().reuse_address = true;
  ASSERT_TRUE(wildcard.bind("0.0.0.0:53"));
  ASSERT_TRUE(second.bind("0.0.0.0:53"));
  ASSERT_TRUE(specific.bind("10.0.0.2:53"));
  client.options().broadcast = true;
  ASSERT_TRUE(client.send("one", "10.0.0.2:53"));
  ASSERT_TRUE(client.send("all", "10.0.0.255:53"));
  net.settle();
  EXPECT_EQ(specific.receive().value().data, "one");
  EXPECT_FALSE(specific.receive());
  for (App* app : {&wildcard, &second}) {
    EXPECT_EQ(app->receive().value().data, "all");
    EXPECT_FALSE(app->receive());
  }
  EXPECT_EQ(b.stack.udp().counters().in_datagrams.value(), 2u);
}

// U17: the interface of RFC 1122 3.4: source address and largest sizes. Errors: IcmpErrorsAreValidated, SoftErrorsAreHints; advice: the next test.
TEST_F(UdpHosts, TheInterfaceToIpIsWhole) {
  EXPECT_EQ(a.stack.ip().find_path(b.ip, ip("0.0.0.0"), 0)->src, a.ip);
  EXPECT_EQ(stack::IpLayer::max_payload(Family::ipv4), 65515u);
  App client(net, a);
  EXPECT_EQ(client.udp().path_mtu(client.endpoint()).error().code, ENOTCONN);
  ASSERT_TRUE(client.connect("10.0.0.2:53"));
  EXPECT_EQ(client.udp().path_mtu(client.endpoint()).value(), 1500u);
}

// U17: advice about a next hop. One that delivers is not asked whether it is there, though a minute has passed; one that does not is asked at once.
TEST_F(UdpHosts, AdviceReachesTheNextHop) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  const auto frames_for_one_datagram = [&] {
    net.carried.clear();
    EXPECT_TRUE(client.send("hello", "10.0.0.2:53"));
    net.settle();
    return net.carried.size();
  };
  EXPECT_EQ(frames_for_one_datagram(), 3u);  // request, answer, datagram
  net.run_for(59s);
  a.stack.ip().advise_delivery(b.ip, true, net.now);
  net.run_for(59s);
  EXPECT_EQ(frames_for_one_datagram(), 1u);
  a.stack.ip().advise_delivery(b.ip, false, net.now);
  EXPECT_EQ(frames_for_one_datagram(), 3u);
  EXPECT_EQ(frames_for_one_datagram(), 1u);
  // About nobody that it knows, and about itself: nothing to do.
  a.stack.ip().advise_delivery(ip("10.0.0.77"), true, net.now);
  a.stack.ip().advise_delivery(ip("127.0.0.1"), false, net.now);
  EXPECT_EQ(a.stack.neighbors().size(), 1u);
}

// A super-datagram is cut into datagrams of its segment size; the last may be shorter.
TEST_F(UdpHosts, SuperDatagramsAreCut) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.send_by_ring("aaabbbcc", "10.0.0.2:53", {.segment_size = 3});
  net.settle();
  EXPECT_EQ(server.receive().value().data, "aaa");
  EXPECT_EQ(server.receive().value().data, "bbb");
  EXPECT_EQ(server.receive().value().data, "cc");
  EXPECT_FALSE(server.receive());
  EXPECT_EQ(client.send(std::string(1000, 'x'), "10.0.0.2:53", {.segment_size = 7}).error().code, EINVAL);
  EXPECT_EQ(client.send(std::string(4000, 'x'), "10.0.0.2:53", {.segment_size = 1473}).error().code, EMSGSIZE);
}

// Datagrams to ourselves, by lo and by our own address.
TEST_F(UdpHosts, LoopbackWorks) {
  App server(net, a), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  for (const char* to : {"127.0.0.1:53", "10.0.0.1:53", "0.0.0.0:53"}) {
    ASSERT_TRUE(client.send("me", to));
    net.settle();
    const auto got = server.receive();
    ASSERT_TRUE(got) << to;
    EXPECT_EQ(got->header.peer.ip, got->header.local.ip);
  }
  EXPECT_TRUE(net.carried.empty());
  ASSERT_TRUE(client.connect("0.0.0.0:54"));
  EXPECT_EQ(client.endpoint().peer.to_string(), "127.0.0.1:54");
  ASSERT_TRUE(client.send("nobody"));
  net.settle();
  EXPECT_EQ(client.take_error(), ECONNREFUSED);
}

// A full receive queue drops, counts, and leaves what is there.
TEST_F(UdpHosts, AFullQueueDrops) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  server.endpoint().set_receive_limit(0);  // the least there is
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client.send("flood", "10.0.0.2:53"));
  net.settle();
  int received = 0;
  while (server.receive()) ++received;
  EXPECT_GT(received, 0);
  EXPECT_EQ(b.dropped(Drop::receive_queue_full), static_cast<std::uint64_t>(20 - received));
}

TEST_F(UdpHosts, SocketsAreBounded) {
  Net small;
  Host& host = small.add_host("10.0.0.1/24", {.sockets = 2});
  App one(small, host);
  stack::EndpointGroup group;
  stack::Endpoint& two = *host.stack.udp().open(group).value();
  EXPECT_EQ(host.stack.udp().open(group).error().code, ENFILE);
  host.stack.udp().close(two, small.now);
  EXPECT_TRUE(host.stack.udp().open(group));
  EXPECT_EQ(host.stack.udp().socket_count(), 2u);
}

}  // namespace
}  // namespace gannet::tests
