// The engine's loop with sockets that wait, send and poll from other threads.
#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "link/memory_link.h"

namespace gannet::engine {
namespace {

Moment soon(std::chrono::milliseconds from_now = 10s) { return std::chrono::steady_clock::now() + from_now; }

// A socket as an application has it.
struct App {
  Engine& engine;
  stack::Endpoint* endpoint = nullptr;
  std::uint32_t seat = 0;
  std::unique_ptr<stack::EndpointClient> client;
  std::unique_ptr<BellClient> bell;
  Fd fd;

  App(Engine& e, const Address& local) : engine(e) {
    const stack::ClientHooks hooks{this,
                                   [](void* self, bool emptied) {
                                     auto& app = *static_cast<App*>(self);
                                     if (app.bell) app.bell->received(emptied);
                                   },
                                   [](void* self) { static_cast<App*>(self)->engine.notify_sends(static_cast<App*>(self)->seat); }};
    engine.call([&] {
      endpoint = engine.open_endpoint().value();
      seat = endpoint->slot;
      EXPECT_TRUE(engine.stack().udp().bind(*endpoint, local).has_value());
      client = std::make_unique<stack::EndpointClient>(endpoint->memory(), hooks);
      client->set_send_ring(endpoint->add_send_ring().value());
    });
  }
  ~App() {
    if (endpoint != nullptr) close();
  }
  void close() {
    engine.call([&] { engine.close_endpoint(*std::exchange(endpoint, nullptr)); });
  }
  int ring() {
    fd = engine.call([&] { return engine.open_bell(*endpoint); }).value();
    bell = std::make_unique<BellClient>(*client, fd.get());
    return fd.get();
  }
  [[nodiscard]] Address address() const {
    return engine.call([&] { return endpoint->local; });
  }
  bool send(const Address& to, std::string_view text) const {
    stack::SendSlot slot;
    slot.header.peer = to;
    slot.payload = std::as_bytes(std::span(text));
    return client->send({&slot, 1}) == 1;
  }
  // What came, and from whom; "" where nothing did.
  std::string receive(Address* from = nullptr) const {
    std::array<std::byte, 2048> room{};
    stack::ReceiveSlot slot{.buffer = room};
    if (client->receive({&slot, 1}) != 1) return "";
    if (from != nullptr) *from = slot.header.peer;
    return {reinterpret_cast<const char*>(room.data()), slot.size};
  }
  std::string wait(Address* from = nullptr, std::chrono::milliseconds longest = 10s) const {
    for (;;) {
      if (auto text = receive(from); !text.empty()) return text;
      if (!wait_readable(*client, soon(longest))) return "";
    }
  }
};

IpAddress host_address(std::uint8_t last) { return IpAddress::ipv4(192, 0, 2, last); }

std::unique_ptr<Engine> make_engine(link::MemorySegment& segment, std::uint8_t last, EngineSetup setup = {}) {
  setup.small_frames = 1024;
  setup.large_frames = 4;
  setup.seed = last;
  auto engine = Engine::create(setup).value();
  engine->call([&] {
    const std::uint32_t interface = engine->add_link(segment.attach().value()).value();
    EXPECT_TRUE(engine->stack().add_address(interface, host_address(last), 24, engine->now()).has_value());
  });
  return engine;
}

struct LoopTest : testing::Test {
  std::shared_ptr<link::MemorySegment> segment = link::MemorySegment::create().value();
};

TEST_F(LoopTest, RunsInAThreadAndSleepsWhenThereIsNothingToDo) {
  const auto a = make_engine(*segment, 1);
  const auto b = make_engine(*segment, 2);
  ASSERT_TRUE(a->start().has_value() && b->start().has_value());
  App client(*a, {IpAddress::any(Family::ipv4), 0});
  App server(*b, {IpAddress::any(Family::ipv4), 7});
  constexpr int rounds = 500;
  std::thread echo([&] {
    Address from;
    for (int i = 0; i < rounds; ++i) {
      const std::string text = server.wait(&from);
      ASSERT_TRUE(server.send(from, text));
    }
  });
  for (int i = 0; i < rounds; ++i) {
    const std::string text = "number " + std::to_string(i);
    ASSERT_TRUE(client.send({host_address(2), 7}, text));
    ASSERT_EQ(client.wait(), text);
  }
  echo.join();
  // On a busy machine it may take a while until the last sender is done with its bell.
  const auto rounds_in_a_while = [&] {
    const std::uint64_t before = a->counters().rounds.value();
    std::this_thread::sleep_for(20ms);
    return a->counters().rounds.value() - before;
  };
  bool sleeps = false;
  for (int i = 0; i < 100 && !sleeps; ++i) sleeps = rounds_in_a_while() == 0;
  EXPECT_TRUE(sleeps);
  EXPECT_GT(a->counters().sleeps.value(), 0u);
}

TEST_F(LoopTest, ADescriptorTellsWhenToReceiveAndWhenToSend) {
  const auto a = make_engine(*segment, 1);
  App app(*a, {host_address(1), 7});
  App other(*a, {host_address(1), 8});
  other.send({host_address(1), 7}, "before");
  for (int i = 0; i < 10; ++i) a->run_once(Moment::min());
  const int fd = app.ring();
  EXPECT_EQ(a->call([&] { return a->open_bell(*app.endpoint).error().code; }), EEXIST);
  const auto poll_for = [&](short events, int milliseconds = 0) {
    pollfd descriptor{fd, events, 0};
    return poll(&descriptor, 1, milliseconds) == 1 ? descriptor.revents : 0;
  };
  EXPECT_EQ(poll_for(POLLIN), POLLIN) << "what came before the descriptor was made";
  EXPECT_EQ(app.receive(), "before");
  EXPECT_EQ(poll_for(POLLIN), 0);

  ASSERT_TRUE(a->start().has_value());
  other.send({host_address(1), 7}, "x");
  EXPECT_EQ(poll_for(POLLIN, 10000), POLLIN);
  EXPECT_EQ(app.receive(), "x");
  EXPECT_EQ(app.receive(), "");
  EXPECT_EQ(poll_for(POLLIN), 0);
  for (int full = 0; full < 3;) {
    if (app.send({host_address(1), 9}, "nobody there")) continue;
    ++full;
    app.bell->plug();
    EXPECT_NE(poll_for(POLLOUT, 10000), 0);
  }
  app.close();
  EXPECT_NE(poll_for(POLLIN, 10000) & POLLHUP, 0);
}

TEST_F(LoopTest, ClosingWakesWhoWaitsAndSendsWhatWasSent) {
  const auto a = make_engine(*segment, 1);
  ASSERT_TRUE(a->start().has_value());
  App receiver(*a, {host_address(1), 7});
  {
    App sender(*a, {host_address(1), 0});
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(sender.send({host_address(1), 7}, "last words"));
  }
  for (int i = 0; i < 100; ++i) ASSERT_EQ(receiver.wait(), "last words");
  std::thread waiter([&] {
    EXPECT_TRUE(wait_readable(*receiver.client, soon()));
    EXPECT_TRUE(receiver.client->is_closed());
  });
  while (receiver.client->control().bell.waiters == 0) std::this_thread::yield();
  receiver.close();
  waiter.join();
}

// A2: the loop sleeps until ARP gives up, not longer, and the socket hears of it.
TEST_F(LoopTest, WakesForItsTimers) {
  const auto a = make_engine(*segment, 1);
  App app(*a, {host_address(1), 0});
  app.endpoint->options.receive_errors = true;  // without it Linux tells nobody of a host that cannot be reached
  ASSERT_TRUE(a->start().has_value());
  ASSERT_TRUE(app.send({host_address(77), 7}, "anybody?"));
  EXPECT_TRUE(wait_readable(*app.client, soon()));
  EXPECT_EQ(app.client->take_error(), EHOSTUNREACH);
}

TEST_F(LoopTest, ManySocketsAndThreadsSendAndReceive) {
  const auto a = make_engine(*segment, 1);
  const auto b = make_engine(*segment, 2);
  ASSERT_TRUE(a->start().has_value() && b->start().has_value());
  App server(*b, {IpAddress::any(Family::ipv4), 7});
  b->call([&] { server.endpoint->set_receive_limit(stack::max_buffer_limit); });
  {
    // While ARP resolves, no more than 64 packets wait for one neighbour.
    App first(*a, {IpAddress::any(Family::ipv4), 0});
    ASSERT_TRUE(first.send({host_address(2), 7}, "first"));
    ASSERT_EQ(server.wait(), "first");
  }
  constexpr int threads = 16, each = 50;
  std::vector<std::thread> senders;
  for (int t = 0; t < threads; ++t) {
    senders.emplace_back([&] {
      App app(*a, {IpAddress::any(Family::ipv4), 0});
      for (int i = 0; i < each;) {
        if (app.send({host_address(2), 7}, "x"))
          ++i;
        else
          wait_writable(*app.client, soon());
        if (i % 10 == 0) std::this_thread::sleep_for(1ms);
      }
    });
  }
  // A wire in memory loses what its receiver does not take in time, and says how much.
  std::uint64_t got = 0;
  while (got < threads * each && !server.wait(nullptr, 500ms).empty()) ++got;
  for (std::thread& sender : senders) sender.join();
  const std::uint64_t lost = a->call([&] { return a->link(2)->counters().drops[static_cast<std::size_t>(Drop::link_queue_full)].value(); });
  EXPECT_EQ(got + lost, std::uint64_t{threads * each});
}

TEST_F(LoopTest, TheHostPageFollowsTheHost) {
  const auto a = make_engine(*segment, 1);
  const HostView view(a->host_page());
  EXPECT_TRUE(view.find(host_address(9), 0)->reachable);
  EXPECT_FALSE(view.find(IpAddress::ipv4(203, 0, 113, 1), 0)->reachable);
  a->call([&] {
    ASSERT_TRUE(a->stack().add_route({.network = IpAddress::any(Family::ipv4), .prefix = 0, .gateway = host_address(9), .interface = 2}).has_value());
  });
  EXPECT_TRUE(view.find(IpAddress::ipv4(203, 0, 113, 1), 0)->reachable);
}

// The loop wakes for what an interposer holds, and takes an interposed socket's sends to it.
TEST_F(LoopTest, DelaysBetweenTwoSocketsOfOneHost) {
  const auto a = make_engine(*segment, 1);
  ASSERT_TRUE(a->start().has_value());
  App first(*a, {host_address(1), 0});
  App second(*a, {host_address(1), 7});
  Interposer* interposer = a->call([&] { return a->interposers().add({.in = {.delay = 20ms}, .out = {.delay = 30ms}}); }).value();
  ASSERT_TRUE(a->call([&] { return a->interpose(*first.endpoint, *interposer); }).has_value());
  const auto start = std::chrono::steady_clock::now();
  Address from;
  ASSERT_TRUE(first.send({host_address(1), 7}, "ping"));
  ASSERT_EQ(second.wait(&from), "ping");
  EXPECT_GE(std::chrono::steady_clock::now() - start, 30ms);
  ASSERT_TRUE(second.send(from, "pong"));
  ASSERT_EQ(first.wait(), "pong");
  EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);
}

// As on a network: who closes the socket does not call back what is on its way.
TEST_F(LoopTest, WhatIsDelayedOutlivesItsSocket) {
  const auto a = make_engine(*segment, 1);
  ASSERT_TRUE(a->start().has_value());
  App second(*a, {host_address(1), 7});
  Interposer* interposer = a->call([&] { return a->interposers().add({.in = {}, .out = {.delay = 50ms}}); }).value();
  {
    App first(*a, {host_address(1), 8});
    ASSERT_TRUE(a->call([&] { return a->interpose(*first.endpoint, *interposer); }).has_value());
    ASSERT_TRUE(first.send({host_address(1), 7}, "the last words"));
  }
  Address from;
  EXPECT_EQ(second.wait(&from), "the last words");
  EXPECT_EQ(from, (Address{host_address(1), 8}));
  while (a->call([&] { return interposer->has_endpoints(); })) std::this_thread::sleep_for(1ms);
  a->call([&] { a->interposers().remove(*interposer); });
  EXPECT_EQ(a->call([&] { return a->stack().udp().socket_count(); }), 1u);
}

}  // namespace
}  // namespace gannet::engine
