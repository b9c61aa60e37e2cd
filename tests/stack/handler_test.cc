// Handlers: datagrams taken in their frame, and answered in it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "support/app.h"
#include "wire/udp.h"

namespace gannet::tests {
namespace {

using Action = std::function<void(stack::Endpoint&, stack::Delivery&)>;

class Handlers : public ::testing::Test {
 protected:
  void SetUp() override { net.run_for(5s); }
  static void serve(App& app, Action& action) {
    app.endpoint().handler = {
        [](void* context, stack::Endpoint& endpoint, stack::Delivery& delivery) { (*static_cast<Action*>(context))(endpoint, delivery); }, &action};
  }

  Net net;
  Host& a = net.add_host("10.0.0.1/24");
  Host& b = net.add_host("10.0.0.2/24");
  stack::Udp& udp = b.stack.udp();
  Result<void> replied;
  Action echo = [this](stack::Endpoint& endpoint, stack::Delivery& delivery) { replied = udp.reply(endpoint, delivery, delivery.payload.size()); };
};

// B3: the answer leaves from the address that was asked, though the route would choose another.
TEST_F(Handlers, AnswerFromTheAddressThatWasAsked) {
  ASSERT_TRUE(b.stack.add_address(b.interface, ip("10.0.0.22"), 24, net.now));
  App server(net, b), client(net, a);
  serve(server, echo);
  ASSERT_TRUE(server.bind("0.0.0.0:7"));
  for (const char* to : {"10.0.0.2:7", "10.0.0.22:7"}) {
    for (const char* data : {"", "x", "hello"}) {
      ASSERT_TRUE(client.send(data, to));
      net.settle();
      const auto got = client.receive();
      ASSERT_TRUE(got) << to;
      EXPECT_EQ(got->data, data);
      EXPECT_EQ(got->peer(), to);
    }
  }
  EXPECT_EQ(b.pools.small->available(), b.pools.small->capacity());
  EXPECT_EQ(udp.counters().out_datagrams.value(), 6u);
}

// B3: asked by a broadcast, a host answers from its own address.
TEST_F(Handlers, AnswerABroadcastFromAnOwnAddress) {
  App server(net, b), client(net, a);
  serve(server, echo);
  ASSERT_TRUE(server.bind("0.0.0.0:7"));
  client.options().broadcast = true;
  ASSERT_TRUE(client.send("who is there?", "255.255.255.255:7"));
  net.settle();
  EXPECT_EQ(client.receive().value().peer(), "10.0.0.2:7");
}

TEST_F(Handlers, AnswersMayBeShorterOrLonger) {
  App server(net, b), client(net, a);
  Action action = [this](stack::Endpoint& endpoint, stack::Delivery& delivery) {
    const std::size_t size = delivery.payload[0] == std::byte{'s'} ? 1 : 1000;
    std::fill_n(delivery.payload.data(), std::min(size, delivery.payload.size()), std::byte{'z'});
    replied = udp.reply(endpoint, delivery, size);
  };
  serve(server, action);
  ASSERT_TRUE(server.bind("0.0.0.0:7"));
  ASSERT_TRUE(client.send("shorter", "10.0.0.2:7"));
  ASSERT_TRUE(client.send("longer", "10.0.0.2:7"));
  net.settle();
  EXPECT_EQ(client.receive().value().data, "z");
  const auto longer = client.receive();
  ASSERT_TRUE(longer);
  EXPECT_EQ(longer->data.size(), 1000u);
  EXPECT_EQ(longer->data.substr(0, 6), "zzzzzz");
}

TEST_F(Handlers, WhatCannotBeAnsweredIsRefused) {
  App server(net, b), client(net, a);
  Result<void> second;
  Action action = [&](stack::Endpoint& endpoint, stack::Delivery& delivery) {
    const std::size_t size = delivery.payload.size();
    if (size == 3) {
      replied = udp.reply(endpoint, delivery, 100'000);
    } else {
      replied = udp.reply(endpoint, delivery, size);
      second = udp.reply(endpoint, delivery, size);
    }
  };
  serve(server, action);
  ASSERT_TRUE(server.bind("0.0.0.0:7"));
  ASSERT_TRUE(client.send("big", "10.0.0.2:7"));
  net.settle();
  EXPECT_EQ(replied.error().code, EMSGSIZE);
  EXPECT_EQ(b.dropped(Drop::send_refused), 1u);
  ASSERT_TRUE(client.send("twice", "10.0.0.2:7"));
  net.settle();
  EXPECT_TRUE(replied);
  EXPECT_EQ(second.error().code, EINVAL);
  EXPECT_EQ(b.dropped(Drop::send_refused), 2u);

  // U22, B4: port 0 may send, but wants no answer.
  Bytes datagram = make_udp(a.ip, b.ip, 0, 7, bytes_of("none"));
  net.inject_ipv4(b, make_ipv4({.src = a.ip, .dst = b.ip, .protocol = wire::protocol_udp}, datagram));
  EXPECT_EQ(replied.error().code, EINVAL);
  EXPECT_EQ(b.dropped(Drop::send_refused), 4u);
}

// Too few frames for the fragments of an answer: it is lost, and counted as any other that finds none.
TEST_F(Handlers, AnAnswerWithoutFramesIsCounted) {
  App server(net, b), client(net, a);
  ASSERT_TRUE(server.bind("0.0.0.0:7"));
  std::vector<Frame> hogs;
  Action hungry = [&](stack::Endpoint& endpoint, stack::Delivery& delivery) {
    while (Frame hog = b.pools.small->allocate()) hogs.push_back(std::move(hog));
    replied = udp.reply(endpoint, delivery, delivery.payload.size());
    hogs.clear();
  };
  serve(server, hungry);
  ASSERT_TRUE(client.send(std::string(3000, 'x'), "10.0.0.2:7"));
  net.settle();
  EXPECT_EQ(replied.error().code, ENOBUFS);
  EXPECT_EQ(b.dropped(Drop::no_frame), 1u);
  EXPECT_FALSE(client.receive());
}

// S5: several handlers and a queue: each has the datagram as it came, though the handlers write into theirs.
TEST_F(Handlers, EachOfSeveralHasItsOwnFrame) {
  App one(net, b), two(net, b), queue(net, b), client(net, a);
  std::vector<std::string> seen;
  Action scribble = [&](stack::Endpoint& endpoint, stack::Delivery& delivery) {
    seen.emplace_back(reinterpret_cast<const char*>(delivery.payload.data()), delivery.payload.size());
    std::ranges::fill(delivery.payload, std::byte{'#'});
    replied = udp.reply(endpoint, delivery, delivery.payload.size());
  };
  for (App* app : {&one, &queue, &two}) {
    app->options().reuse_address = true;
    ASSERT_TRUE(app->bind("0.0.0.0:7"));
  }
  serve(one, scribble);
  serve(two, scribble);
  client.options().broadcast = true;
  ASSERT_TRUE(client.send("hello", "10.0.0.255:7"));
  net.settle();
  EXPECT_EQ(seen, (std::vector<std::string>{"hello", "hello"}));
  EXPECT_EQ(queue.receive().value().data, "hello");
  EXPECT_EQ(client.receive().value().data, "#####");
  EXPECT_EQ(client.receive().value().data, "#####");
  EXPECT_FALSE(client.receive());
}

}  // namespace
}  // namespace gannet::tests
