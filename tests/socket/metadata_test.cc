// What comes with a datagram, and what a datagram may choose for itself.
#include "socket/world.h"

namespace gannet::tests {
namespace {

using Metadata = SocketTest;
INSTANTIATE_TEST_SUITE_P(In, Metadata, ::testing::ValuesIn(worlds()), name_of_world);

constexpr int default_ttl = 64;

// U11, U19: to which address, by which interface, with which TTL and TOS.
TEST_P(Metadata, ComesWithEveryDatagram) {
  Socket server = open_b();
  ASSERT_TRUE(server.bind(Address{IpAddress::any(Family::ipv4), 40123}));
  Socket client = open_a();
  say(client, {world->b, 40123}, "hello");
  std::array<std::byte, 16> buffer;
  const auto datagram = server.receive(buffer, patience).value();
  EXPECT_EQ(datagram.peer, (Address{world->a, port_of(client)}));
  EXPECT_EQ(datagram.local, (Address{world->b, 40123}));
  EXPECT_EQ(datagram.interface, world->interface_b);
  EXPECT_EQ(datagram.ttl, default_ttl);
  EXPECT_EQ(datagram.tos, 0);
  EXPECT_EQ(datagram.ecn(), 0);
  EXPECT_EQ(datagram.timestamp.time_since_epoch().count(), 0);
  EXPECT_TRUE(datagram.ip_options.view().empty());
}

// U18: by socket and by datagram.
TEST_P(Metadata, CarriesTtlAndTosOfSocketAndDatagram) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.connect(address_of(server)));
  ASSERT_TRUE(client.set(Option::ttl, 33));
  ASSERT_TRUE(client.set(Option::tos, 0x28));
  const std::array<Outgoing, 3> batch{
      {{.data = bytes_of("socket")}, {.data = bytes_of("datagram"), .ttl = 7, .tos = 0xb9}, {.data = bytes_of("socket")}}};
  ASSERT_EQ(client.send_batch(batch).value(), 3u);
  std::array<std::byte, 16> buffer;
  for (const auto& [ttl, tos] : {std::pair{33, 0x28}, std::pair{7, 0xb9}, std::pair{33, 0x28}}) {
    const auto datagram = server.receive(buffer, patience).value();
    EXPECT_EQ(datagram.ttl, ttl);
    EXPECT_EQ(datagram.tos, tos);
    EXPECT_EQ(datagram.ecn(), tos & 3);
  }
}

TEST_P(Metadata, RefusesImpossibleChoices) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.connect(address_of(server)));
  for (const int ttl : {-2, 0, 256}) EXPECT_EQ(code_of(client.send(Outgoing{.data = bytes_of("x"), .ttl = ttl})), EINVAL) << ttl;
  for (const int tos : {-2, 256}) EXPECT_EQ(code_of(client.send(Outgoing{.data = bytes_of("x"), .tos = tos})), EINVAL) << tos;
  say(client, address_of(server), "after");
  EXPECT_EQ(hear(server), "after");
}

TEST_P(Metadata, CanBeTurnedOff) {
  Socket server = bound_b();
  ASSERT_TRUE(server.set(Option::receive_metadata, 0));
  Socket client = open_a();
  say(client, address_of(server), "hello");
  std::array<std::byte, 16> buffer;
  const auto datagram = server.receive(buffer, patience).value();
  EXPECT_EQ(datagram.peer.ip, world->a);
  EXPECT_TRUE(datagram.local.ip.is_any());
  EXPECT_EQ(datagram.interface, 0u);
  EXPECT_EQ(datagram.ttl, -1);
}

TEST_P(Metadata, TellsTheTimeWhereAsked) {
  Socket server = bound_b();
  ASSERT_TRUE(server.set(Option::timestamp, 1));
  Socket client = open_a();
  const auto before = std::chrono::system_clock::now();
  for (const char* text : {"one", "two"}) say(client, address_of(server), text);
  std::array<std::byte, 16> buffer;
  const auto first = server.receive(buffer, patience).value().timestamp;
  const auto second = server.receive(buffer, patience).value().timestamp;
  EXPECT_GE(first, before - 10ms);  // the two clocks need not tick together
  EXPECT_LE(first, second);
  EXPECT_LE(second, std::chrono::system_clock::now() + 10ms);
}

// U12: the application chooses the source; B3: an answer goes out from the address that was asked.
TEST_P(Metadata, AnswersFromTheAddressThatWasAsked) {
  Socket server = open_b();
  ASSERT_TRUE(server.bind(Address{IpAddress::any(Family::ipv4), 40123}));
  Socket client = open_a();
  const Address asked{world->on_loopback ? IpAddress::ipv4(127, 0, 0, 2) : world->b, 40123};
  say(client, asked, "hello");
  std::array<std::byte, 16> buffer;
  const auto question = server.receive(buffer, patience).value();
  EXPECT_EQ(question.local, asked);
  ASSERT_TRUE(server.send(Outgoing{.data = question.data, .to = question.peer, .source = question.local, .interface = question.interface}));
  EXPECT_EQ(client.receive(buffer, patience).value().peer, asked);
}

// U16: never from an address that is not ours.
TEST_P(Metadata, SendsFromItsOwnAddressesOnly) {
  Socket server = bound_b();
  Socket client = open_a();
  const auto refused = client.send(Outgoing{.data = bytes_of("x"), .to = address_of(server), .source = {IpAddress::ipv4(192, 0, 2, 77)}});
  EXPECT_FALSE(refused);
  say(client, address_of(server), "after");
  EXPECT_EQ(hear(server), "after");
}

// U2, U3, U4: IP options go out as given and come to the application as they stood.
TEST_P(Metadata, CarriesIpOptions) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(server.set(Option::receive_ip_options, 1));
  const std::array router_alert{std::byte{148}, std::byte{4}, std::byte{0}, std::byte{0}};
  ASSERT_TRUE(client.set_ip_options(router_alert));
  say(client, address_of(server), "with");
  ASSERT_TRUE(client.set_ip_options({}));
  say(client, address_of(server), "without");
  std::array<std::byte, 16> buffer;
  const auto with = server.receive(buffer, patience).value();
  EXPECT_TRUE(std::ranges::equal(with.ip_options.view(), router_alert));
  EXPECT_EQ(text_of(with.data), "with");
  EXPECT_TRUE(server.receive(buffer, patience).value().ip_options.view().empty());
  EXPECT_EQ(code_of(client.set_ip_options(std::array<std::byte, 41>{})), EINVAL);
}

}  // namespace
}  // namespace gannet::tests
