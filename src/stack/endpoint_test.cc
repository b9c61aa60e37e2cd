#include "stack/endpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "stack/endpoint_client.h"

namespace gannet::stack {
namespace {

const Address peer_address{IpAddress::ipv4(192, 0, 2, 1), 7000};
const Address local_address{IpAddress::ipv4(192, 0, 2, 2), 7};

struct EndpointTest : testing::Test {
  EndpointGroup group;
  Endpoint endpoint{1, group};
  wire::IpInfo ip{
      .src = peer_address.ip, .dst = local_address.ip, .interface = 3, .protocol = wire::protocol_udp, .hop_limit = 61, .tos = 2, .options = {}};

  std::expected<void, Drop> deliver(std::string text, std::uint16_t segment_size = 0) {
    Delivery delivery{.ip = ip,
                      .peer_port = peer_address.port,
                      .local_port = local_address.port,
                      .payload = std::as_writable_bytes(std::span(text)),
                      .segment_size = segment_size,
                      .now = Time(5s)};
    return endpoint.deliver(delivery);
  }
  EndpointClient open() {
    EXPECT_TRUE(endpoint.open_rings().has_value());
    return EndpointClient(endpoint.memory());
  }
};

struct Slot : ReceiveSlot {
  std::array<std::byte, 2048> room{};
  Slot() { buffer = room; }
  [[nodiscard]] std::string text() const { return {reinterpret_cast<const char*>(room.data()), size}; }
};

std::size_t receive(EndpointClient& client, ReceiveSlot& slot) { return client.receive({&slot, 1}); }

SocketError refused() {
  return {.code = ECONNREFUSED, .origin = SocketError::Origin::icmp, .type = 3, .icmp_code = 3, .peer = peer_address, .offender = peer_address.ip};
}

TEST_F(EndpointTest, GivesTheDatagramWithAllThatCameWithIt) {
  EndpointClient client = open();
  ASSERT_TRUE(deliver("hello").has_value());
  Slot slot;
  ASSERT_EQ(receive(client, slot), 1u);
  EXPECT_EQ(slot.text(), "hello");
  EXPECT_EQ(slot.header.peer, peer_address);
  EXPECT_EQ(slot.header.local, local_address);
  EXPECT_EQ(slot.header.interface, 3u);
  EXPECT_EQ(slot.header.hop_limit, 61);
  EXPECT_EQ(slot.header.tos, 2);
  EXPECT_EQ(slot.header.time, 0) << "no clock was asked for";
  EXPECT_EQ(slot.ip_options_size, 0u);
}

TEST_F(EndpointTest, TellsTimeAndIpOptionsWhereTheSocketAsked) {
  EndpointClient client = open();
  endpoint.options.timestamp = true;
  endpoint.options.receive_ip_options = true;
  group.real_time_offset = 1000s;
  const std::array<std::byte, 4> options{std::byte{1}, std::byte{1}, std::byte{1}, std::byte{0}};
  ip.options = options;
  ASSERT_TRUE(deliver("x").has_value());
  Slot slot;
  ASSERT_TRUE(client.peek(slot));
  EXPECT_EQ(slot.header.time, std::chrono::nanoseconds(1005s).count());
  EXPECT_EQ(slot.ip_options_size, 4u);
  EXPECT_TRUE(std::equal(options.begin(), options.end(), slot.ip_options.begin()));
  EXPECT_TRUE(client.has_datagram());
}

TEST_F(EndpointTest, ASuperDatagramIsOneRecord) {
  EndpointClient client = open();
  ASSERT_TRUE(deliver(std::string(1001, 'x'), 100).has_value());
  Slot slot;
  ASSERT_EQ(receive(client, slot), 1u);
  EXPECT_EQ(slot.header.segment_size, 100);
  EXPECT_EQ(slot.header.segment_count, 11);
  EXPECT_EQ(slot.size, 1001u);
}

// SO_RCVBUF: dropped beyond it, counted, and told with the next datagram (SO_RXQ_OVFL).
TEST_F(EndpointTest, CountsWhatTheFullQueueDrops) {
  EndpointClient client = open();
  endpoint.set_receive_limit(0);
  EXPECT_EQ(endpoint.receive_limit(), min_receive_limit);
  int taken = 0;
  while (deliver("x").has_value()) ++taken;
  EXPECT_EQ(taken, 4);
  EXPECT_EQ(deliver("x").error(), Drop::receive_queue_full);
  Slot slot;
  ASSERT_EQ(receive(client, slot), 1u);
  ASSERT_TRUE(deliver("after").has_value());
  while (receive(client, slot) == 1) {
  }
  EXPECT_EQ(slot.text(), "after");
  EXPECT_EQ(slot.header.overflow, 2u);
}

// What a process sent before it died goes out, whatever rings the others have; then its ring is gone, and others have its place.
TEST_F(EndpointTest, GivesTheRingsOfDeadProcessesBack) {
  EndpointClient keeper = open();
  keeper.set_send_ring(endpoint.add_send_ring().value());
  SendRequest request;
  for (int i = 0; i < 1000; ++i) {
    const auto ring = endpoint.add_send_ring().value();
    EndpointClient sender(endpoint.memory());
    sender.set_send_ring(ring);
    const std::string text = std::to_string(i);
    const SendSlot slot{.header = {}, .ip_options = {}, .payload = std::as_bytes(std::span(text))};
    ASSERT_EQ(sender.send({&slot, 1}), 1u);
    endpoint.abandon_send_ring(*ring);
    ASSERT_EQ(keeper.send({&slot, 1}), 1u);
    const std::uint64_t before = endpoint.taken();
    for (int k = 0; k < 2; ++k) {
      ASSERT_TRUE(endpoint.next_send(request, Time(1s)).value());
      EXPECT_EQ(request.payload.size(), text.size());
      endpoint.finish_send();
    }
    EXPECT_GT(endpoint.taken(), before);
    EXPECT_FALSE(endpoint.next_send(request, Time(1s)).value());
    ASSERT_EQ(endpoint.send_rings(), 1u);
  }
  std::vector<std::shared_ptr<SendMemory>> rings;
  while (endpoint.send_rings() < 1024) rings.push_back(endpoint.add_send_ring().value());
  EXPECT_EQ(endpoint.add_send_ring().error().code, ENOBUFS);
  for (const auto& ring : rings) endpoint.abandon_send_ring(*ring);
  EXPECT_FALSE(endpoint.next_send(request, Time(1s)).value());
  EXPECT_EQ(endpoint.send_rings(), 1u);
}

TEST_F(EndpointTest, IsDroppedWhereThereAreNoRings) { EXPECT_EQ(deliver("x").error(), Drop::socket_closed); }

TEST_F(EndpointTest, AHandlerTakesThePlaceOfTheQueue) {
  int calls = 0;
  endpoint.handler = {[](void* context, Endpoint&, Delivery& delivery) { *static_cast<int*>(context) += static_cast<int>(delivery.payload.size()); },
                      &calls};
  ASSERT_TRUE(deliver("four").has_value());
  EXPECT_EQ(calls, 4);
  EXPECT_FALSE(group.has_news());
}

TEST_F(EndpointTest, IsInTheNewsOnceForABatch) {
  EndpointClient client = open();
  Endpoint other(2, group);
  ASSERT_TRUE(other.open_rings().has_value());
  ASSERT_TRUE(deliver("1").has_value() && deliver("2").has_value());
  other.report(refused(), false);
  EXPECT_FALSE(other.memory()->control().pending_error) << "Linux tells an unconnected socket nothing unless it asked";
  {
    Endpoint closing(3, group);
    ASSERT_TRUE(closing.open_rings().has_value());
    closing.options.receive_errors = true;
    closing.report(refused(), false);
  }
  EXPECT_EQ(group.take_news(), &endpoint);
  EXPECT_EQ(endpoint.take_arrivals().datagrams, 2u);
  EXPECT_EQ(endpoint.take_arrivals().datagrams, 0u);
  EXPECT_EQ(group.take_news(), nullptr);
  ASSERT_TRUE(deliver("3").has_value());
  EXPECT_EQ(group.take_news(), &endpoint);
}

// U5: hard errors reach a connected socket, once; with IP_RECVERR all are queued, for any socket.
TEST_F(EndpointTest, ReportsErrorsAsLinuxDoes) {
  EndpointClient client = open();
  endpoint.report(refused(), true);
  EXPECT_EQ(client.take_error(), 0);
  endpoint.peer = peer_address;
  endpoint.report(refused(), false);
  EXPECT_EQ(client.take_error(), 0);
  endpoint.report(refused(), true);
  EXPECT_TRUE(client.has_pending_error());
  EXPECT_EQ(client.take_error(), ECONNREFUSED);
  EXPECT_EQ(client.take_error(), 0);
  EXPECT_FALSE(client.has_queued_error());

  endpoint.peer = {};
  endpoint.options.receive_errors = true;
  const std::array<std::byte, 3> quote{std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
  endpoint.report(refused(), false, quote);
  SocketError too_big{.code = EMSGSIZE, .origin = SocketError::Origin::local, .mtu = 1400, .peer = peer_address};
  endpoint.report(too_big, false);
  Slot slot;
  ASSERT_TRUE(client.receive_error(slot));
  EXPECT_EQ(slot.header.kind, RecordKind::error);
  EXPECT_EQ(slot.header.error_code, ECONNREFUSED);
  EXPECT_EQ(slot.header.error_offender, peer_address.ip);
  EXPECT_EQ(slot.text(), "abc");
  EXPECT_TRUE(client.has_pending_error()) << "the next one's";
  ASSERT_TRUE(client.receive_error(slot));
  EXPECT_EQ(slot.header.error_mtu, 1400u);
  EXPECT_FALSE(client.has_pending_error());
  EXPECT_FALSE(client.receive_error(slot));
}

TEST_F(EndpointTest, KeepsTheOldestErrors) {
  EndpointClient client = open();
  endpoint.options.receive_errors = true;
  for (int code = 1; code <= 100; ++code) {
    SocketError error = refused();
    error.code = code;
    endpoint.report(error, false, std::vector<std::byte>(1000));
  }
  Slot slot;
  int count = 0;
  while (client.receive_error(slot)) EXPECT_EQ(slot.header.error_code, ++count);
  EXPECT_EQ(count, 64);
  EXPECT_EQ(endpoint.errors_lost.value(), 36u);
}

TEST_F(EndpointTest, SendsWhatTheApplicationsWrote) {
  ASSERT_TRUE(endpoint.open_rings().has_value());
  EndpointClient first(endpoint.memory()), second(endpoint.memory());
  SendSlot slot;
  EXPECT_EQ(first.send({&slot, 1}), 0u) << "no ring yet";
  first.set_send_ring(endpoint.add_send_ring().value());
  second.set_send_ring(endpoint.add_send_ring().value());
  for (std::uint32_t i = 0; i < 4; ++i) {
    slot.header.timestamp_key = i;
    ASSERT_EQ((i < 3 ? first : second).send({&slot, 1}), 1u);
  }
  std::vector<std::uint32_t> order;
  SendRequest request;
  while (endpoint.next_send(request, Time{}).value()) {
    order.push_back(request.header.timestamp_key);
    endpoint.finish_send();
  }
  EXPECT_EQ(order, (std::vector<std::uint32_t>{0, 3, 1, 2})) << "each process in its turn";
}

TEST_F(EndpointTest, AsksToBeWokenOnlyWhenNothingIsLeft) {
  ASSERT_TRUE(endpoint.open_rings().has_value());
  int wakes = 0;
  EndpointClient client(endpoint.memory(), {&wakes, nullptr, [](void* context) { ++*static_cast<int*>(context); }});
  client.set_send_ring(endpoint.add_send_ring().value());
  const SendSlot slot;
  ASSERT_EQ(client.send({&slot, 1}), 1u);
  EXPECT_EQ(wakes, 1);
  EXPECT_FALSE(endpoint.request_wakeup());
  ASSERT_EQ(client.send({&slot, 1}), 1u);
  EXPECT_EQ(wakes, 1);
  SendRequest request;
  while (*endpoint.next_send(request, Time{})) endpoint.finish_send();
  EXPECT_TRUE(endpoint.request_wakeup());
  ASSERT_EQ(client.send({&slot, 1}), 1u);
  EXPECT_EQ(wakes, 2);
}

TEST_F(EndpointTest, SaysWhenWaitingSendersMayGoOn) {
  EndpointClient client = open();
  client.set_send_ring(endpoint.add_send_ring().value());
  endpoint.set_send_limit(7680);
  const SendSlot slot;
  while (client.send({&slot, 1}) == 1) {
  }
  EXPECT_FALSE(client.is_writable());
  client.send_control()->space_waiters = 1;
  int wakes = 0;
  SendRequest request;
  for (int i = 0; i < 11; ++i) {
    endpoint.wake_senders([&](SendControl&) { ++wakes; });
    EXPECT_EQ(wakes > 0, client.has_send_space());
    ASSERT_TRUE(*endpoint.next_send(request, Time{}));
    endpoint.finish_send();
  }
  EXPECT_GT(wakes, 0);
}

TEST_F(EndpointTest, ClosingIsSeenByTheApplication) {
  EndpointClient client = open();
  ASSERT_TRUE(deliver("last").has_value());
  endpoint.close();
  EXPECT_TRUE(client.is_closed());
  EXPECT_EQ(deliver("late").error(), Drop::socket_closed);
  EXPECT_EQ(group.take_news(), &endpoint);
}

}  // namespace
}  // namespace gannet::stack
