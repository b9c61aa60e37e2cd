#include "engine/interposer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/interposers.h"
#include "stack/endpoint_client.h"
#include "stack/stack.h"

namespace gannet::engine {
namespace {

const Address server_address{IpAddress::ipv4(127, 0, 0, 1), 7};

// Two sockets of one host, which talk over lo, in virtual time; the first is interposed.
struct InterposerTest : testing::Test {
  FramePools pools = FramePools::create(256, 4).value();
  Rng rng{1};
  stack::Stack stack{pools, rng};
  stack::EndpointGroup group;
  Time now{1s};
  Senders senders;
  std::unique_ptr<Interposer> interposer;
  stack::Endpoint* first = nullptr;
  stack::Endpoint* second = nullptr;
  std::optional<stack::EndpointClient> first_app, second_app;

  void SetUp() override {
    first = open(0, first_app);
    second = open(7, second_app);
  }
  void TearDown() override {
    if (first != nullptr) close();
    stack.udp().close(*second, now);
    interposer.reset();
  }
  void close() {
    if (interposer) interposer->detach(*first);
    stack.udp().close(*std::exchange(first, nullptr), now);
  }
  stack::Endpoint* open(std::uint16_t port, std::optional<stack::EndpointClient>& app) {
    stack::Endpoint* endpoint = stack.udp().open(group).value();
    EXPECT_TRUE(endpoint->open_rings().has_value());
    EXPECT_TRUE(stack.udp().bind(*endpoint, {IpAddress::any(Family::ipv4), port}).has_value());
    app.emplace(endpoint->memory());
    app->set_send_ring(endpoint->add_send_ring().value());
    return endpoint;
  }
  void interpose(const Impairment& in, const Impairment& out, link::Capture* capture = nullptr, std::uint32_t capture_interface = 0) {
    interposer =
        Interposer::create({.in = in, .out = out, .capture = capture, .capture_interface = capture_interface, .capture_lost = capture_interface},
                           senders, stack)
            .value();
    ASSERT_TRUE(interposer->attach(*first, {.process = 812, .name = {"nc"}}).has_value());
  }
  static void send(stack::EndpointClient& app, const Address& to, std::string_view text, std::uint16_t segment_size = 0) {
    stack::SendSlot slot{.header = {}, .ip_options = {}, .payload = std::as_bytes(std::span(text))};
    slot.header.peer = to;
    slot.header.segment_size = segment_size;
    ASSERT_EQ(app.send({&slot, 1}), 1u);
  }
  void step(Duration passes = 0ms) {
    now += passes;
    while (interposer->flush(*first, now, 64) + stack.udp().flush(*second, now, 64) != 0) {
    }
    while (std::min(interposer->next_wakeup(), stack.next_wakeup()) <= now) {
      interposer->advance(now);
      stack.advance(now);
    }
  }
  static std::vector<std::string> receive_all(stack::EndpointClient& app) {
    std::vector<std::string> all;
    std::array<std::byte, 2048> room{};
    stack::ReceiveSlot slot;
    slot.buffer = room;
    while (app.receive({&slot, 1}) == 1) all.emplace_back(reinterpret_cast<const char*>(room.data()), slot.size);
    return all;
  }
  void expect_conservation() const {
    const Interposer::Counters& c = interposer->counters();
    for (const auto direction : {link::Direction::in, link::Direction::out}) {
      const Interposer::Counters::Way& way = direction == link::Direction::in ? c.in : c.out;
      EXPECT_EQ(way.taken.value() + way.duplicates.value(), way.passed.value() + sum(way.drops) + interposer->held(direction));
    }
    EXPECT_EQ(c.out.passed.value(), c.here.passed.value() + c.away.passed.value() + c.to_groups.value());
  }
  static std::uint64_t sum(const Interposer::Drops& drops) {
    std::uint64_t all = 0;
    for (const Counter& drop : drops) all += drop.value();
    return all;
  }
  static std::uint64_t count(const Interposer::Drops& drops, Drop reason) { return drops[static_cast<std::size_t>(reason)].value(); }
  [[nodiscard]] std::uint64_t dropped(Drop reason) const {
    return count(interposer->counters().in.drops, reason) + count(interposer->counters().out.drops, reason);
  }
};

TEST_F(InterposerTest, IsAPathOfAnMtu) {
  interposer = Interposer::create({.in = {}, .out = {}, .mtu = 100}, senders, stack).value();
  ASSERT_TRUE(interposer->attach(*first).has_value());
  first->options.receive_errors = true;
  const std::string fits(72, 'x'), large(73, 'y');
  // Linux's default: lost and told once, then fragmented.
  for (const auto& text : {fits, large, large}) send(*first_app, server_address, text);
  step();
  EXPECT_EQ(receive_all(*second_app), (std::vector<std::string>{fits, large}));
  EXPECT_EQ(dropped(Drop::ip_too_big), 1u);
  EXPECT_EQ(interposer->path_mtu(server_address.ip), 100u);
  EXPECT_EQ(interposer->path_mtu(IpAddress::ipv4(127, 0, 0, 2)), 0u);
  EXPECT_EQ(first_app->take_error(), EMSGSIZE);
  // Who never lets it be fragmented is told each time; who always does, never.
  first->options.fragmentation = stack::Fragmentation::probe;
  for (int i = 0; i < 2; ++i) send(*first_app, server_address, large);
  step();
  EXPECT_EQ(dropped(Drop::ip_too_big), 3u);
  first->options.fragmentation = stack::Fragmentation::never_df;
  send(*first_app, {IpAddress::ipv4(127, 0, 0, 2), server_address.port}, large);
  step();
  EXPECT_EQ(receive_all(*second_app), std::vector<std::string>{large});
  expect_conservation();
}

TEST_F(InterposerTest, RefusesAnImpossibleMtu) {
  for (const std::uint32_t mtu : {1u, 67u, 65536u})
    EXPECT_EQ(Interposer::create({.in = {}, .out = {}, .mtu = mtu}, senders, stack).error().code, EINVAL) << mtu;
}

TEST_F(InterposerTest, IsNotNoticedWhereItDoesNothing) {
  interpose({}, {});
  send(*first_app, server_address, "there");
  step();
  EXPECT_EQ(receive_all(*second_app), std::vector<std::string>{"there"});
  send(*second_app, {server_address.ip, first->local.port}, "and back");
  step();
  EXPECT_EQ(receive_all(*first_app), std::vector<std::string>{"and back"});
  expect_conservation();
}

TEST_F(InterposerTest, DelaysBothWays) {
  interpose({.delay = 20ms}, {.delay = 50ms});
  send(*first_app, server_address, "there");
  step();
  EXPECT_EQ(interposer->next_wakeup(), now + 50ms);
  step(49ms);
  EXPECT_TRUE(receive_all(*second_app).empty());
  step(1ms);
  EXPECT_EQ(receive_all(*second_app).size(), 1u);
  send(*second_app, {server_address.ip, first->local.port}, "back");
  step();
  EXPECT_TRUE(receive_all(*first_app).empty());
  step(20ms);
  EXPECT_EQ(receive_all(*first_app), std::vector<std::string>{"back"});
  expect_conservation();
}

// The same seed loses the same datagrams, whatever port the socket has.
TEST_F(InterposerTest, LosesTheSameForTheSameSeed) {
  std::vector<std::string> expected;
  for (int run = 0; run < 2; ++run) {
    if (run == 1) {
      close();
      first_app.reset();
      first = open(0, first_app);
    }
    interpose({}, {.loss = 0.3, .seed = 7});
    for (int i = 0; i < 100; ++i) send(*first_app, server_address, std::to_string(i));
    step();
    const auto got = receive_all(*second_app);
    EXPECT_EQ(got.size() + dropped(Drop::fault_loss), 100u);
    EXPECT_GT(dropped(Drop::fault_loss), 10u);
    if (run == 0) expected = got;
    EXPECT_EQ(got, expected);
    expect_conservation();
  }
}

TEST_F(InterposerTest, DuplicatesAndCorrupts) {
  interpose({}, {.duplicate = 1});
  send(*first_app, server_address, "twice");
  step();
  EXPECT_EQ(receive_all(*second_app), (std::vector<std::string>{"twice", "twice"}));
  expect_conservation();
  close();
  first_app.reset();
  first = open(0, first_app);
  interpose({}, {.corrupt = 1});
  send(*first_app, server_address, "whole");
  step();
  EXPECT_EQ(receive_all(*second_app), std::vector<std::string>());
  EXPECT_EQ(dropped(Drop::udp_checksum_bad), 1u) << "the checksum finds it";
  expect_conservation();
  first->options.no_checksum = true;
  send(*first_app, server_address, "whole");
  step();
  const auto got = receive_all(*second_app);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_NE(got[0], "whole");
}

TEST_F(InterposerTest, ASuperDatagramIsImpairedAsWhatItBecomes) {
  interpose({}, {.loss = 0.5, .seed = 3});
  send(*first_app, server_address, std::string(1000, 'x'), 10);
  step();
  const auto got = receive_all(*second_app);
  EXPECT_EQ(interposer->counters().out.taken.value(), 100u);
  EXPECT_EQ(got.size() + dropped(Drop::fault_loss), 100u);
  EXPECT_GT(got.size(), 20u);
  EXPECT_GT(dropped(Drop::fault_loss), 20u);
}

TEST_F(InterposerTest, HoldsNoMoreThanItMay) {
  interpose({}, {.delay = 1s, .held_packets = 3});
  for (int i = 0; i < 5; ++i) send(*first_app, server_address, "x");
  step();
  EXPECT_EQ(interposer->held(), 3u);
  EXPECT_EQ(dropped(Drop::fault_held_full), 2u);
  expect_conservation();
}

TEST_F(InterposerTest, WhatIsHeldForAClosedSocketIsDropped) {
  interpose({.delay = 1s}, {.delay = 1s});
  send(*first_app, server_address, "x");
  send(*second_app, {server_address.ip, first->local.port}, "y");
  step();
  EXPECT_EQ(interposer->held(), 2u);
  close();
  now += 1s;
  interposer->advance(now);
  EXPECT_EQ(dropped(Drop::socket_closed), 2u);
  EXPECT_TRUE(receive_all(*second_app).empty());
  expect_conservation();
}

TEST_F(InterposerTest, RefusesASocketWithAHandlerAndABadImpairment) {
  EXPECT_EQ(Interposer::create({.in = {.loss = 2}, .out = {}}, senders, stack).error().code, EINVAL);
  interpose({}, {});
  second->handler = {[](void*, stack::Endpoint&, stack::Delivery&) {}, nullptr};
  EXPECT_EQ(interposer->attach(*second).error().code, EBUSY);
}

TEST_F(InterposerTest, CapturesWhatPassesAndWhatIsLost) {
  link::ByteRing file(1 << 16);
  link::Capture capture(file, 0s);
  const std::uint32_t interface = capture.add_interface("program", false);
  interpose({}, {.loss = 1}, &capture, interface);
  send(*first_app, server_address, "lost");
  send(*second_app, {server_address.ip, first->local.port}, "comes");
  step();
  EXPECT_EQ(capture.seen(interface), 2u);
  const auto written = file.readable();
  const std::string_view text(reinterpret_cast<const char*>(written.data()), written.size());
  EXPECT_NE(text.find("dropped: fault_loss, process 812 (nc), socket 1"), text.npos);
}

// What passed and then died in this host is told to the one that sent it: in the stack, in a peer's receive queue, in a peer's fault unit.
TEST_F(InterposerTest, HearsOfTheEndOfWhatItLetPass) {
  Interposers interposers(stack, now);
  Interposer& sender = *interposers.add({.in = {}, .out = {}}).value();
  const auto& here = sender.counters().here;
  ASSERT_TRUE(sender.attach(*first));
  const auto go = [&] {
    while (sender.flush(*first, now, 64) != 0) {
    }
    while (std::min(interposers.next_wakeup(), stack.next_wakeup()) <= now) {
      interposers.advance(now);
      stack.advance(now);
    }
  };
  send(*first_app, {server_address.ip, 9}, "nobody there");
  go();
  EXPECT_EQ(count(here.lost, Drop::udp_no_socket), 1u);

  second->set_receive_limit(1);  // as little as there is
  for (int i = 0; i < 10; ++i) send(*first_app, server_address, std::string(1000, 'x'));
  go();
  EXPECT_GT(count(here.lost, Drop::receive_queue_full), 0u);
  EXPECT_EQ(here.passed.value() - sum(here.lost), receive_all(*second_app).size());

  Interposer& receiver = *interposers.add({.in = {.loss = 1}, .out = {}}).value();
  ASSERT_TRUE(receiver.attach(*second));
  send(*first_app, server_address, "lost by the peer's fault unit");
  go();
  EXPECT_EQ(count(here.lost, Drop::fault_loss), 1u);
  EXPECT_EQ(count(sender.counters().out.drops, Drop::fault_loss), 0u);
  EXPECT_EQ(here.passed.value() + sum(sender.counters().away.lost), 12u);
  receiver.detach(*second);
  interposers.remove(receiver);
  sender.detach(*first);
  stack.udp().close(*std::exchange(first, nullptr), now);
  interposers.remove(sender);
  EXPECT_EQ(stack.fates().observer.dropped, nullptr);
}

}  // namespace
}  // namespace gannet::engine
