// Errors that the network reports: heard where they belong, and never in another call's place.
#include <poll.h>

#include "socket/world.h"

namespace gannet::tests {
namespace {

using Errors = SocketTest;
INSTANTIATE_TEST_SUITE_P(In, Errors, ::testing::ValuesIn(worlds()), name_of_world);

constexpr int port_unreachable = 3;  // the code; the type, destination unreachable, is 3 too

// An address of b at which nobody listens.
Address nobody_at(const World& world) { return {world.b, 40999}; }

// Asks until an error is there: on its way it takes the time of a round trip.
Result<SocketError> next_error(Socket& socket) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto error = socket.receive_error();
    if (error || error.error().code != EAGAIN || std::chrono::steady_clock::now() > until) return error;
    std::this_thread::sleep_for(1ms);
  }
}

// U1, U5: nobody listens, so a connected socket is refused: once, and it works on.
TEST_P(Errors, RefuseAConnectedSocketOnce) {
  Socket client = open_a();
  ASSERT_TRUE(client.connect(nobody_at(*world)));
  ASSERT_TRUE(client.send(bytes_of("hello")));
  std::array<std::byte, 16> buffer;
  const auto refused = client.receive(buffer, patience);
  EXPECT_EQ(code_of(refused), ECONNREFUSED);
  EXPECT_EQ(code_of(client.receive(buffer, Deadline(quiet))), EAGAIN);

  Socket server = bound_b(nobody_at(*world).port);
  ASSERT_TRUE(client.send(bytes_of("hello")));
  EXPECT_EQ(hear(server), "hello");
}

TEST_P(Errors, RefuseAConnectedSocketThatIsNotAskedForThem) {
  Socket client = open_a();
  ASSERT_TRUE(client.set(Option::receive_errors, 0));
  ASSERT_TRUE(client.connect(nobody_at(*world)));
  ASSERT_TRUE(client.send(bytes_of("hello")));
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(code_of(client.receive(buffer, patience)), ECONNREFUSED);
  EXPECT_EQ(code_of(client.receive_error()), EAGAIN);
}

TEST_P(Errors, CanBeAskedForByOption) {
  Socket client = open_a();
  ASSERT_TRUE(client.connect(nobody_at(*world)));
  ASSERT_TRUE(client.send(bytes_of("hello")));
  int code = 0;
  const auto until = std::chrono::steady_clock::now() + patience;
  while (code == 0 && std::chrono::steady_clock::now() < until) code = client.get(Option::error).value();
  EXPECT_EQ(code, ECONNREFUSED);
  EXPECT_EQ(client.get(Option::error).value(), 0);  // asking clears it
}

// An unconnected server goes on, whatever became of its earlier answers; the errors wait, with all that is known of them.
TEST_P(Errors, NeverFailACallOfAnUnconnectedSocket) {
  Socket server = bound_a();
  Socket friendly = bound_b();
  for (int i = 0; i < 3; ++i) {
    say(server, nobody_at(*world), "to nobody");
    say(friendly, address_of(server), "a question");
    EXPECT_EQ(hear(server), "a question");
    say(server, address_of(friendly), "an answer");
    EXPECT_EQ(hear(friendly), "an answer");
  }
  for (int i = 0; i < 3; ++i) {
    const auto error = next_error(server);
    ASSERT_TRUE(error) << error.error().message();
    EXPECT_EQ(error->code, ECONNREFUSED);
    EXPECT_EQ(error->origin, SocketError::Origin::icmp);
    EXPECT_EQ(error->type, 3);
    EXPECT_EQ(error->icmp_code, port_unreachable);
    EXPECT_EQ(error->peer, nobody_at(*world));
    EXPECT_EQ(error->offender, world->b);
  }
  EXPECT_EQ(code_of(server.receive_error()), EAGAIN);
}

// B6: a waiting receive does not notice either.
TEST_P(Errors, NeverFailAWaitingReceive) {
  if (world->one_thread) GTEST_SKIP() << "a host without a thread belongs to one thread";
  for (const Deadline deadline : {Deadline::forever(), Deadline(60s)}) {
    Socket server = bound_a();
    Socket friendly = bound_b();
    std::thread thread([&] { EXPECT_EQ(hear(server, deadline), "a question"); });
    std::this_thread::sleep_for(10ms);
    say(server, nobody_at(*world), "to nobody");
    std::this_thread::sleep_for(10ms);
    say(friendly, address_of(server), "a question");
    thread.join();
    EXPECT_EQ(next_error(server).value().code, ECONNREFUSED);
  }
}

TEST_P(Errors, AreNotQueuedForAnUnconnectedSocketThatIsNotAskedForThem) {
  Socket socket = bound_a();
  Socket friendly = bound_b();
  ASSERT_TRUE(socket.set(Option::receive_errors, 0));
  say(socket, nobody_at(*world), "to nobody");
  say(socket, address_of(friendly), "to a friend");  // its answer comes after the error
  EXPECT_EQ(hear(friendly), "to a friend");
  say(friendly, address_of(socket), "an answer");
  EXPECT_EQ(hear(socket), "an answer");
  EXPECT_EQ(code_of(socket.receive_error()), EAGAIN);
}

// A program that never asks for errors still receives: what is queued is bounded, and takes no room from datagrams.
TEST_P(Errors, NeverCrowdDatagramsOut) {
  Socket server = bound_a();
  Socket friendly = bound_b();
  ASSERT_TRUE(server.set(Option::receive_buffer, 8192));
  for (int i = 0; i < 300; ++i) {
    say(server, nobody_at(*world), "to nobody");
    say(friendly, address_of(server), "a question");
    ASSERT_EQ(hear(server), "a question") << i;
  }
  int errors = 0;
  while (server.receive_error()) ++errors;
  EXPECT_GT(errors, 0);
  EXPECT_LE(errors, 64);
}

// B1: with DF on everything, what exceeds the path is refused; B1's option off, it is fragmented.
TEST_P(Errors, RefuseWhatExceedsThePathWhereAsked) {
  if (world->on_loopback) GTEST_SKIP() << "nothing exceeds the loopback's MTU";
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.connect(address_of(server)));
  EXPECT_EQ(client.get(Option::mtu).value(), 1500);
  const std::vector<std::byte> larger(1473, std::byte{7});
  ASSERT_TRUE(client.set(Option::pmtu_discovery, static_cast<int>(PmtuDiscovery::always)));
  const auto refused = client.send(larger);
  EXPECT_EQ(code_of(refused), EMSGSIZE);
  EXPECT_NE(refused.error().why, nullptr);
  EXPECT_TRUE(client.send(std::span(larger).first(1472)));
  std::vector<std::byte> buffer(2000);
  EXPECT_EQ(server.receive(buffer, patience).value().length, 1472u);
  ASSERT_TRUE(client.set(Option::pmtu_discovery, static_cast<int>(PmtuDiscovery::want)));
  EXPECT_TRUE(client.send(larger));
  EXPECT_EQ(server.receive(buffer, patience).value().length, 1473u);
}

// B1: likewise of what a router has told; the call itself fails, and no later one.
TEST_P(Errors, RefuseWhatExceedsAPathThatARouterNarrowed) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.set(Option::pmtu_discovery, static_cast<int>(PmtuDiscovery::always)));
  ASSERT_TRUE(client.connect(address_of(server)));
  const std::vector<std::byte> larger(1472, std::byte{7});
  ASSERT_TRUE(client.send(larger));
  std::vector<std::byte> buffer(2000);
  EXPECT_EQ(server.receive(buffer, patience).value().length, 1472u);
  const std::string why_not = world->narrow_path(address_of(client), address_of(server), 1000);
  if (!why_not.empty()) GTEST_SKIP() << why_not;
  const auto told = next_error(client);
  ASSERT_TRUE(told) << told.error().message();
  EXPECT_EQ(told->code, EMSGSIZE);
  EXPECT_EQ(told->mtu, 1000u);
  static_cast<void>(client.get(Option::error));
  EXPECT_EQ(client.get(Option::mtu).value(), 1000);

  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(code_of(client.send(std::span(larger).first(973))), EMSGSIZE);
    EXPECT_TRUE(client.send(std::span(larger).first(972)));
    EXPECT_EQ(server.receive(buffer, patience).value().length, 972u);
  }
  ASSERT_TRUE(client.set(Option::pmtu_discovery, static_cast<int>(PmtuDiscovery::want)));
  EXPECT_TRUE(client.send(larger));
  EXPECT_EQ(server.receive(buffer, patience).value().length, 1472u);
  // Segments of that size do not pass whole either, and are sent one by one.
  EXPECT_EQ(client.send(Outgoing{.data = larger, .segment_size = 1200}, patience).value(), larger.size());
  EXPECT_EQ(server.receive(buffer, patience).value().length, 1200u);
  EXPECT_EQ(server.receive(buffer, patience).value().length, 272u);
}

}  // namespace
}  // namespace gannet::tests
