// A guest host: what it asks of the kernel whose addresses it shares, and what it gives its links. The kernel is played by the test.
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "support/app.h"
#include "wire/icmp4.h"
#include "wire/udp.h"

namespace gannet::tests {
namespace {

constexpr std::uint32_t eth = 3000;  // an index as a busy machine has them

class Guest : public ::testing::Test {
 protected:
  void SetUp() override {
    host.stack.attach_claims(
        {.self = this,
         .claim = [](void* self, const Address& local, bool, bool) { return static_cast<Guest*>(self)->claim(local); },
         .release = [](void* self, const Address& local) { --static_cast<Guest*>(self)->claims[local.to_string()]; },
         .update_group = [](void* self, const IpAddress& group, std::uint32_t interface,
                            const stack::SourceFilter& sum) { return static_cast<Guest*>(self)->update(group, interface, sum); }});
    host.stack.add_interface({.name = "eth0", .mtu = 1500, .ethernet = false, .index = eth, .guest = true}).value();
    host.stack.add_address(eth, ip("192.0.2.1"), 24, net.now).value();
    host.stack.add_route({.network = ip("192.0.2.0"), .prefix = 24, .gateway = {}, .interface = eth, .metric = 0, .source = ip("192.0.2.1")}).value();
  }
  Result<void> claim(const Address& local) {
    if (taken_outside > 0) {
      --taken_outside;
      return Error{EADDRINUSE};
    }
    ++claims[local.to_string()];
    return {};
  }
  Result<void> update(const IpAddress& group, std::uint32_t interface, const stack::SourceFilter& sum) {
    if (refuses_groups) return Error{ENODEV};
    groups[group.to_string() + "%" + std::to_string(interface)] = sum;
    return {};
  }
  // What waits to leave by an interface; taken.
  std::vector<Bytes> leaving(std::uint32_t interface) {
    net.settle();
    std::vector<Bytes> packets;
    for (Frame& frame : host.stack.output(interface)) {
      packets.emplace_back(frame.bytes().begin(), frame.bytes().end());
      frame.release();
    }
    host.stack.sent(interface, packets.size());
    return packets;
  }
  void arrive(std::uint32_t interface, const Bytes& packet) {
    host.stack.input(interface, host.frame_of(packet), net.now);
    net.settle();
  }
  void arrive_udp(std::uint32_t interface, std::string_view src, std::string_view dst, std::uint16_t port, std::string_view data) {
    const wire::Ipv4Header header{.src = ip(src), .dst = ip(dst), .protocol = wire::protocol_udp, .ttl = 9, .tos = 2};
    arrive(interface, make_ipv4(header, make_udp(header.src, header.dst, 4000, port, bytes_of(data))));
  }
  static unsigned note_of(const Bytes& packet) { return wire::load_be16(packet, 4); }

  Net net;
  Host& host = net.add_host("");
  std::map<std::string, int> claims;
  std::map<std::string, stack::SourceFilter> groups;
  int taken_outside = 0;
  bool refuses_groups = false;
};

// A port is the machine's: claimed with the bind, given back with the socket; one that a program outside has is refused.
TEST_F(Guest, ClaimsItsPortsOfTheKernel) {
  {
    App one(net, host), other(net, host);
    ASSERT_TRUE(one.bind("127.0.0.1:53"));
    EXPECT_EQ(claims["127.0.0.1:53"], 1);
    taken_outside = 1;
    EXPECT_EQ(other.bind("0.0.0.0:54").error().code, EADDRINUSE);
    taken_outside = 3;
    ASSERT_TRUE(other.bind("0.0.0.0:0"));  // takes the next one that is free outside too
    EXPECT_EQ(claims[other.local()], 1);
  }
  for (const auto& [local, count] : claims) EXPECT_EQ(count, 0) << local;
}

// A socket that connect() bound gives its port back when it forgets its peer.
TEST_F(Guest, GivesAPortBackWithThePeer) {
  App client(net, host);
  ASSERT_TRUE(client.connect("127.0.0.1:53"));
  ASSERT_EQ(claims.size(), 1u);
  EXPECT_EQ(claims.begin()->second, 1);
  client.disconnect();
  EXPECT_EQ(claims.begin()->second, 0);
}

// What we send to an own address is a socket's here, or else the kernel's to deliver.
TEST_F(Guest, HandsOverWhatNoSocketHereWants) {
  App client(net, host), server(net, host);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  ASSERT_TRUE(client.send("here", "192.0.2.1:53"));
  EXPECT_TRUE(leaving(stack::loopback_index).empty());
  EXPECT_EQ(server.receive()->data, "here");

  ASSERT_TRUE(client.send("there", "192.0.2.1:54"));
  const auto packets = leaving(stack::loopback_index);
  ASSERT_EQ(packets.size(), 1u);
  const auto ipv4 = wire::parse_ipv4(packets[0]);
  ASSERT_TRUE(ipv4.has_value());
  EXPECT_EQ(ipv4->dst, ip("192.0.2.1"));
  EXPECT_TRUE(wire::parse_udp(ipv4->info(), ipv4->payload, wire::ZeroChecksum::refused).has_value());
  EXPECT_EQ(note_of(packets[0]) & wire::guest_note::discovery, static_cast<unsigned>(stack::Fragmentation::want));
  EXPECT_EQ(client.take_error(), 0);
}

// What came from the kernel never goes back there.
TEST_F(Guest, KeepsWhatTheKernelBrought) {
  arrive_udp(stack::loopback_index, "127.0.0.1", "127.0.0.1", 54, "for nobody");
  arrive_udp(eth, "192.0.2.9", "192.0.2.1", 54, "for nobody");
  EXPECT_TRUE(leaving(stack::loopback_index).empty());
  EXPECT_TRUE(leaving(eth).empty());  // no ICMP error either
  EXPECT_EQ(host.dropped(Drop::udp_no_socket), 2u);
}

// The kernel's loopback brings own addresses as sources.
TEST_F(Guest, HearsProgramsOutside) {
  App server(net, host);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  arrive_udp(stack::loopback_index, "127.0.0.1", "127.0.0.1", 53, "by lo");
  arrive_udp(stack::loopback_index, "192.0.2.1", "192.0.2.1", 53, "by lo too");
  arrive_udp(eth, "192.0.2.9", "192.0.2.255", 53, "broadcast");
  const auto first = server.receive();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->data, "by lo");
  EXPECT_EQ(first->header.hop_limit, 9);
  EXPECT_EQ(first->header.tos, 2);
  EXPECT_EQ(server.receive()->data, "by lo too");
  const auto third = server.receive();
  ASSERT_TRUE(third);
  EXPECT_EQ(third->data, "broadcast");
  EXPECT_EQ(third->header.interface, eth);
}

// The kernel fragments, and is told how the socket wants it; who wants no fragments hears at once.
TEST_F(Guest, LeavesFragmentingToTheKernel) {
  App client(net, host);
  const std::string large(60000, 'x');
  ASSERT_TRUE(client.send(large, "192.0.2.9:53"));
  client.options().fragmentation = stack::Fragmentation::never_df;
  ASSERT_TRUE(client.send(large, "192.0.2.9:53"));
  const auto packets = leaving(eth);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].size(), 60028u);
  EXPECT_EQ(note_of(packets[0]), 1u | wire::guest_note::by_route | wire::guest_note::any_source);
  EXPECT_EQ(note_of(packets[1]) & wire::guest_note::discovery, 0u);
  client.options().fragmentation = stack::Fragmentation::refuse;
  EXPECT_EQ(client.send(large, "192.0.2.9:53").error().code, EMSGSIZE);
  ASSERT_TRUE(client.send("small", "192.0.2.9:53"));
  EXPECT_EQ(note_of(leaving(eth).at(0)) & wire::guest_note::discovery, 2u);
}

// Groups are the kernel's to announce; our own copy is looped here, and the packet says whether the kernel is to loop one.
TEST_F(Guest, JoinsGroupsThroughTheKernel) {
  App member(net, host), client(net, host);
  ASSERT_TRUE(member.bind("0.0.0.0:53"));
  ASSERT_TRUE(member.join("239.1.2.3", eth));
  EXPECT_EQ(groups["239.1.2.3%3000"].mode, stack::FilterMode::exclude);
  client.options().multicast_interface = eth;
  ASSERT_TRUE(client.send("all", "239.1.2.3:53"));
  net.settle();
  EXPECT_EQ(member.receive()->data, "all");
  client.options().multicast_loop = false;
  ASSERT_TRUE(client.send("others", "239.1.2.3:53"));
  const auto packets = leaving(eth);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(note_of(packets[0]) & wire::guest_note::no_loop, 0u);
  EXPECT_NE(note_of(packets[1]) & wire::guest_note::no_loop, 0u);
  EXPECT_FALSE(member.receive());
  ASSERT_TRUE(member.leave("239.1.2.3", eth));
  EXPECT_TRUE(groups["239.1.2.3%3000"].is_nothing());

  refuses_groups = true;
  EXPECT_EQ(member.join("239.1.2.4", eth).error().code, ENODEV);
  EXPECT_EQ(member.groups().all().size(), 0u);
  net.run_for(5s);
  EXPECT_TRUE(leaving(eth).empty());  // no IGMP of ours
}

// What goes out by lo comes back, whatever the option says.
TEST_F(Guest, GroupsOnLoopbackAreAlwaysHeard) {
  App member(net, host), client(net, host);
  ASSERT_TRUE(member.bind("0.0.0.0:53"));
  ASSERT_TRUE(member.join("239.1.2.3", stack::loopback_index));
  client.options().multicast_interface = stack::loopback_index;
  client.options().multicast_loop = false;
  ASSERT_TRUE(client.send("all", "239.1.2.3:53"));
  EXPECT_EQ(leaving(stack::loopback_index).size(), 1u);
  const auto got = member.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->data, "all");
}

// A broadcast of lo is for programs outside as well.
TEST_F(Guest, BroadcastsOnLoopbackToAll) {
  App server(net, host), client(net, host);
  ASSERT_TRUE(server.bind("0.0.0.0:53"));
  client.options().broadcast = true;
  ASSERT_TRUE(client.send("all", "127.255.255.255:53"));
  EXPECT_EQ(leaving(stack::loopback_index).size(), 1u);
  EXPECT_EQ(server.receive()->data, "all");
  EXPECT_FALSE(server.receive());
}

// When nobody outside listens either, the kernel says so, and the sender hears it.
TEST_F(Guest, TellsOfThePortsThatTheKernelRefuses) {
  App client(net, host);
  ASSERT_TRUE(client.connect("127.0.0.1:54"));
  ASSERT_TRUE(client.send("anybody?"));
  const Bytes packet = leaving(stack::loopback_index).at(0);
  Bytes message(wire::icmp4_header_size);
  message.insert(message.end(), packet.begin(), packet.begin() + 28);
  wire::emit_icmp4(wire::Icmp4Type::unreachable, wire::unreachable_code::port, 0, message);
  arrive(stack::loopback_index, make_ipv4({.src = ip("127.0.0.1"), .dst = ip("127.0.0.1"), .protocol = wire::protocol_icmp}, message));
  EXPECT_EQ(client.take_error(), ECONNREFUSED);
}

// Interfaces come and go with the kernel's.
TEST_F(Guest, InterfacesGo) {
  App client(net, host);
  ASSERT_TRUE(client.send("waits", "192.0.2.9:53"));
  ASSERT_TRUE(host.stack.set_mtu(eth, 9000));
  EXPECT_EQ(host.stack.ip().find_path(ip("192.0.2.9"), IpAddress::any(Family::ipv4), 0)->mtu, 9000u);
  ASSERT_TRUE(host.stack.remove_interface(eth));
  EXPECT_EQ(host.dropped(Drop::interface_down), 1u);
  EXPECT_EQ(client.send("lost", "192.0.2.9:53").error().code, ENETUNREACH);
  EXPECT_EQ(host.stack.remove_interface(eth).error().code, ENODEV);
  EXPECT_EQ(host.stack.remove_interface(stack::loopback_index).error().code, EINVAL);
  EXPECT_EQ(host.stack.add_interface({.name = "eth0", .ethernet = false, .index = 1, .guest = true}).error().code, EEXIST);
}

// The kernel routes, unless a socket asked for the interface.
TEST_F(Guest, LeavesTheWayToTheKernel) {
  App client(net, host);
  ASSERT_TRUE(client.send("by route", "192.0.2.9:53"));
  EXPECT_NE(note_of(leaving(eth).at(0)) & wire::guest_note::by_route, 0u);
  const auto path = host.stack.ip().find_path(ip("192.0.2.9"), IpAddress::any(Family::ipv4), eth);
  ASSERT_TRUE(path);
  EXPECT_FALSE(path->by_route);
  EXPECT_FALSE(path->any_source);
  EXPECT_FALSE(host.stack.ip().find_path(ip("239.1.2.3"), IpAddress::any(Family::ipv4), 0)->by_route);
  EXPECT_FALSE(host.stack.ip().find_path(ip("192.0.2.255"), IpAddress::any(Family::ipv4), 0)->by_route);
}

// And chooses the source, unless a socket has one.
TEST_F(Guest, LeavesTheSourceToTheKernel) {
  App unbound(net, host), bound(net, host), connected(net, host);
  ASSERT_TRUE(bound.bind("192.0.2.1:0"));
  ASSERT_TRUE(connected.connect("192.0.2.9:53"));
  for (App* app : {&unbound, &bound, &connected}) ASSERT_TRUE(app->send("x", "192.0.2.9:53"));
  const auto packets = leaving(eth);
  ASSERT_EQ(packets.size(), 3u);
  EXPECT_NE(note_of(packets[0]) & wire::guest_note::any_source, 0u);
  EXPECT_EQ(note_of(packets[1]) & wire::guest_note::any_source, 0u);
  EXPECT_EQ(note_of(packets[2]) & wire::guest_note::any_source, 0u);
}

// P2: of a TTL of 0 nothing goes beyond this machine. Its other programs are the kernel's to tell.
TEST_F(Guest, LeavesGroupsOfThisMachineToTheKernel) {
  App client(net, host);
  client.options().multicast_interface = eth;
  client.options().multicast_ttl = 0;
  ASSERT_TRUE(client.send("here", "239.1.2.3:53"));
  const auto packets = leaving(eth);
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(wire::parse_ipv4(packets[0])->ttl, 0);
}

// The kernel's preferred source of a route is ours too.
TEST_F(Guest, RoutesPreferASource) {
  host.stack.add_address(eth, ip("192.0.2.7"), 24, net.now).value();
  host.stack.add_route({.network = ip("198.51.100.0"), .prefix = 24, .gateway = ip("192.0.2.254"), .interface = eth, .source = ip("192.0.2.7")})
      .value();
  EXPECT_EQ(host.stack.ip().find_path(ip("198.51.100.1"), IpAddress::any(Family::ipv4), 0)->src, ip("192.0.2.7"));
  EXPECT_EQ(host.stack.ip().find_path(ip("192.0.2.9"), IpAddress::any(Family::ipv4), 0)->src, ip("192.0.2.1"));
}

}  // namespace
}  // namespace gannet::tests
