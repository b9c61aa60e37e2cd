// Addresses and peers: bind, connect, disconnect, and whom a socket then hears.
#include <set>

#include "socket/world.h"

namespace gannet::tests {
namespace {

using Binding = SocketTest;
INSTANTIATE_TEST_SUITE_P(In, Binding, ::testing::ValuesIn(worlds()), name_of_world);

TEST_P(Binding, TakesTheAddressAskedFor) {
  Socket socket = open_b();
  EXPECT_EQ(address_of(socket), Address{});
  ASSERT_TRUE(socket.bind(Address{world->b, 40123}));
  EXPECT_EQ(address_of(socket), (Address{world->b, 40123}));
  EXPECT_EQ(code_of(socket.bind(Address{world->b, 40124})), EINVAL);  // once only
}

TEST_P(Binding, RefusesWhatIsTaken) {
  Socket first = bound_b(40123);
  Socket second = open_b();
  const auto refused = second.bind(Address{world->b, 40123});
  EXPECT_EQ(code_of(refused), EADDRINUSE);
  EXPECT_NE(refused.error().why, nullptr);
  EXPECT_EQ(code_of(second.bind(Address{IpAddress::any(Family::ipv4), 40123})), EADDRINUSE);  // "any" has it too
  EXPECT_TRUE(second.bind(Address{world->b, 40124}));                                         // what failed left nothing behind
}

TEST_P(Binding, SharesAnAddressWhereAllAgree) {
  Socket first = open_b();
  Socket second = open_b();
  Socket third = open_b();
  ASSERT_TRUE(first.set(Option::reuse_address, 1));
  ASSERT_TRUE(second.set(Option::reuse_address, 1));
  ASSERT_TRUE(first.bind(Address{world->b, 40123}));
  EXPECT_TRUE(second.bind(Address{world->b, 40123}));
  EXPECT_EQ(code_of(third.bind(Address{world->b, 40123})), EADDRINUSE);
}

TEST_P(Binding, FreesThePortWhenClosed) {
  Socket first = bound_b(40123);
  ASSERT_TRUE(first.close());
  EXPECT_TRUE(open_b().bind(Address{world->b, 40123}));
}

TEST_P(Binding, RefusesForeignAddresses) {
  EXPECT_EQ(code_of(open_b().bind("192.0.2.77:40123")), EADDRNOTAVAIL);
  EXPECT_EQ(code_of(open_b().bind("[::1]:40123")), EAFNOSUPPORT);
}

TEST_P(Binding, RefusesTextThatIsNoAddress) {
  for (const char* text : {"", "40123", "localhost:40123", "127.0.0.1:65536"}) {
    const auto refused = open_b().bind(text);
    EXPECT_EQ(code_of(refused), EINVAL) << text;
    EXPECT_NE(refused.error().why, nullptr) << text;
  }
}

// S4, B4: ports are chosen from above the privileged ones, and not one after the other.
TEST_P(Binding, ChoosesFreePortsUnpredictably) {
  std::vector<Socket> sockets;
  std::set<std::uint16_t> ports;
  int steps_of_one = 0;
  for (std::uint16_t last = 0; sockets.size() < 32;) {
    sockets.push_back(bound_b());
    const std::uint16_t port = port_of(sockets.back());
    EXPECT_GE(port, 1024);
    if (port == last + 1) ++steps_of_one;
    last = port;
    ports.insert(port);
  }
  EXPECT_EQ(ports.size(), sockets.size());
  EXPECT_LT(steps_of_one, 8);
}

// U13, U14: the wildcard is a source too, and the application learns which address the host chose.
TEST_P(Binding, LearnsItsAddressFromConnect) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.bind(Address{IpAddress::any(Family::ipv4), 0}));
  EXPECT_TRUE(address_of(client).ip.is_any());
  ASSERT_TRUE(client.connect(address_of(server)));
  EXPECT_EQ(address_of(client).ip, world->a);
  EXPECT_EQ(client.peer_address().value(), address_of(server));
}

TEST_P(Binding, SendsFromAPortOfItsOwnWithoutBind) {
  Socket server = bound_b();
  Socket client = open_a();
  say(client, address_of(server), "hello");
  EXPECT_NE(port_of(client), 0);
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(server.receive(buffer, patience).value().peer, (Address{world->a, port_of(client)}));
}

// B5: a connected socket hears its peer and nobody else.
TEST_P(Binding, HearsOnlyItsPeerOnceConnected) {
  Socket peer = bound_a();
  Socket stranger = bound_a();
  Socket socket = bound_b();
  ASSERT_TRUE(socket.connect(address_of(peer)));
  say(stranger, address_of(socket), "stranger");
  say(peer, address_of(socket), "peer");
  EXPECT_EQ(hear(socket), "peer");
}

TEST_P(Binding, MayChangeItsPeer) {
  Socket first = bound_a();
  Socket second = bound_a();
  Socket socket = bound_b();
  ASSERT_TRUE(socket.connect(address_of(first)));
  ASSERT_TRUE(socket.connect(address_of(second)));
  EXPECT_EQ(socket.peer_address().value(), address_of(second));
  say(first, address_of(socket), "first");
  say(second, address_of(socket), "second");
  EXPECT_EQ(hear(socket), "second");
  ASSERT_TRUE(socket.send(bytes_of("hello")));
  EXPECT_EQ(hear(second), "hello");
}

TEST_P(Binding, HearsEverybodyAgainOnceDisconnected) {
  Socket peer = bound_a();
  Socket stranger = bound_a();
  Socket socket = bound_b();
  const Address bound = address_of(socket);
  ASSERT_TRUE(socket.disconnect());  // harmless
  ASSERT_TRUE(socket.connect(address_of(peer)));
  ASSERT_TRUE(socket.disconnect());
  EXPECT_EQ(address_of(socket), bound);
  EXPECT_EQ(code_of(socket.peer_address()), ENOTCONN);
  EXPECT_EQ(code_of(socket.send(bytes_of("hello"))), EDESTADDRREQ);
  say(stranger, bound, "stranger");
  EXPECT_EQ(hear(socket), "stranger");
}

// The most specific socket has a unicast datagram for itself: the connected one, the bound one, the one for any address.
// S5: unicast to the most specific.
TEST_P(Binding, GivesADatagramToTheMostSpecificSocket) {
  Socket client = bound_a();
  Socket stranger = bound_a();
  Socket anywhere = open_b();
  Socket here = open_b();
  Socket connected = open_b();
  for (Socket* socket : {&anywhere, &here, &connected}) ASSERT_TRUE(socket->set(Option::reuse_address, 1));
  ASSERT_TRUE(anywhere.bind(Address{IpAddress::any(Family::ipv4), 40123}));
  say(client, {world->b, 40123}, "to any");
  EXPECT_EQ(hear(anywhere), "to any");
  ASSERT_TRUE(here.bind(Address{world->b, 40123}));
  say(client, {world->b, 40123}, "to here");
  EXPECT_EQ(hear(here), "to here");
  ASSERT_TRUE(connected.bind(Address{world->b, 40123}));
  ASSERT_TRUE(connected.connect(address_of(client)));
  say(client, {world->b, 40123}, "to the peer");
  EXPECT_EQ(hear(connected), "to the peer");
  say(stranger, {world->b, 40123}, "from a stranger");
  EXPECT_EQ(hear(here), "from a stranger");
}

// B4: port 0 is nobody's.
TEST_P(Binding, RefusesPortZeroAsADestination) {
  Socket socket = bound_a();
  EXPECT_EQ(code_of(socket.connect(Address{world->b, 0})), EINVAL);
  EXPECT_EQ(code_of(socket.send_to(bytes_of("hello"), Address{world->b, 0})), EINVAL);
  EXPECT_EQ(code_of(socket.send(Outgoing{.data = bytes_of("hello"), .to = {world->b, 0}})), EINVAL);
}

TEST_P(Binding, SaysWhyItCannotSend) {
  Socket socket = open_a();
  EXPECT_EQ(code_of(socket.peer_address()), ENOTCONN);
  EXPECT_EQ(code_of(socket.send(bytes_of("hello"))), EDESTADDRREQ);
  EXPECT_EQ(code_of(socket.send_to(bytes_of("hello"), "[2001:db8::1]:53")), EAFNOSUPPORT);
  EXPECT_EQ(code_of(socket.send_to(bytes_of("hello"), "somewhere")), EINVAL);
  if (!world->other_networks) GTEST_SKIP() << "a default route leads everywhere";
  EXPECT_EQ(code_of(socket.send_to(bytes_of("hello"), "203.0.113.1:53")), ENETUNREACH);
  EXPECT_EQ(code_of(socket.connect("203.0.113.1:53")), ENETUNREACH);
}

// One reuse_port group takes turns: each flow stays with one socket, and many flows reach all of them.
TEST_P(Binding, SpreadsFlowsOverAGroupOfSockets) {
  std::vector<Socket> group;
  for (int i = 0; i < 4; ++i) {
    group.push_back(open_b());
    ASSERT_TRUE(group.back().set(Option::reuse_port, 1));
    ASSERT_TRUE(group.back().bind(Address{world->b, 40123}));
  }
  std::vector<Socket> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(bound_a());
    for (int round = 0; round < 2; ++round) say(clients.back(), {world->b, 40123}, std::to_string(i));
  }
  std::set<std::string> seen;
  int total = 0;
  for (Socket& socket : group) {
    std::map<std::string, int> flows;
    for (std::string text = hear(socket, total < 128 ? Deadline(200ms) : Deadline::now()); text[0] != '['; text = hear(socket, Deadline(quiet))) {
      ++flows[text];
      ++total;
    }
    EXPECT_GT(flows.size(), 0u);
    for (const auto& [flow, count] : flows) {
      EXPECT_EQ(count, 2) << "flow " << flow << " is torn between sockets";
      EXPECT_TRUE(seen.insert(flow).second);
    }
  }
  EXPECT_EQ(total, 128);
}

}  // namespace
}  // namespace gannet::tests
