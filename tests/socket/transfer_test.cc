// Datagrams there and back: sizes, truncation, batches, deadlines, readiness.
#include <poll.h>

#include <initializer_list>
#include <numeric>

#include "socket/world.h"

namespace gannet::tests {
namespace {

using Transfer = SocketTest;
INSTANTIATE_TEST_SUITE_P(In, Transfer, ::testing::ValuesIn(worlds()), name_of_world);

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  return bytes;
}

TEST_P(Transfer, EchoesADatagram) {
  Socket server = bound_b();
  Socket client = open_a();
  say(client, address_of(server), "Hello, UDP server!");
  std::array<std::byte, 1024> buffer;
  const auto datagram = server.receive(buffer, patience).value();
  EXPECT_EQ(text_of(datagram.data), "Hello, UDP server!");
  EXPECT_EQ(datagram.data.data(), buffer.data());
  EXPECT_FALSE(datagram.truncated);
  ASSERT_TRUE(server.send_to(datagram.data, datagram.peer));
  EXPECT_EQ(hear(client), "Hello, UDP server!");
}

// U22: an empty datagram is a datagram.
TEST_P(Transfer, CarriesEmptyDatagrams) {
  Socket server = bound_b();
  Socket client = open_a();
  say(client, address_of(server), "");
  std::array<std::byte, 8> buffer;
  const auto datagram = server.receive(buffer, patience);
  ASSERT_TRUE(datagram) << datagram.error().message();
  EXPECT_EQ(datagram->length, 0u);
  EXPECT_TRUE(datagram->data.empty());
  EXPECT_EQ(datagram->peer.port, port_of(client));
}

// U6: the checksum is right at every parity and over every boundary that fragments make.
TEST_P(Transfer, CarriesEverySizeIntact) {
  Socket server = bound_b();
  Socket client = open_a();
  std::vector<std::byte> buffer(65536);
  for (const std::size_t size :
       std::initializer_list<std::size_t>{1, 2, 3, 63, 64, 65, 1471, 1472, 1473, 1480, 2047, 2048, 2049, 2952, 2953, 9000, 32768, 65506, 65507}) {
    const auto sent = pattern(size);
    ASSERT_TRUE(client.send_to(sent, address_of(server), patience)) << size;
    const auto datagram = server.receive(buffer, patience);
    ASSERT_TRUE(datagram) << size << ": " << datagram.error().message();
    ASSERT_TRUE(std::ranges::equal(datagram->data, sent)) << size;
  }
}

TEST_P(Transfer, RefusesWhatNoDatagramCanCarry) {
  Socket server = bound_b();
  Socket client = open_a();
  const auto refused = client.send_to(pattern(65508), address_of(server));
  EXPECT_EQ(code_of(refused), EMSGSIZE);
  EXPECT_NE(refused.error().why, nullptr);
  say(client, address_of(server), "after");
  EXPECT_EQ(hear(server), "after");
}

TEST_P(Transfer, SaysThatItTruncated) {
  Socket server = bound_b();
  Socket client = open_a();
  for (const std::size_t room : std::initializer_list<std::size_t>{0, 1, 5}) {
    say(client, address_of(server), "0123456789");
    std::array<std::byte, 16> buffer;
    const auto datagram = server.receive(std::span(buffer).first(room), patience);
    ASSERT_TRUE(datagram);
    EXPECT_TRUE(datagram->truncated);
    EXPECT_EQ(datagram->length, 10u);
    EXPECT_EQ(text_of(datagram->data), std::string_view("0123456789").substr(0, room));
  }
  say(client, address_of(server), "next");  // the rest of the others is lost, and no more
  EXPECT_EQ(hear(server), "next");
}

TEST_P(Transfer, PeeksWithoutTaking) {
  Socket server = bound_b();
  Socket client = open_a();
  say(client, address_of(server), "one");
  say(client, address_of(server), "two");
  std::array<std::byte, 2> buffer;
  for (int i = 0; i < 2; ++i) {
    const auto datagram = server.peek(buffer, patience);
    ASSERT_TRUE(datagram);
    EXPECT_EQ(text_of(datagram->data), "on");
    EXPECT_EQ(datagram->length, 3u);
    EXPECT_TRUE(datagram->truncated);
  }
  EXPECT_EQ(hear(server), "one");
  EXPECT_EQ(hear(server), "two");
}

TEST_P(Transfer, DoesNotWaitPastItsDeadline) {
  Socket socket = bound_a();
  std::array<std::byte, 8> buffer;
  EXPECT_EQ(code_of(socket.receive(buffer, Deadline::now())), EAGAIN);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of(socket.receive(buffer, 30ms)), EAGAIN);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 30ms);
  EXPECT_EQ(code_of(socket.receive(buffer, std::chrono::steady_clock::now() - 1s)), EAGAIN);  // a moment that has passed
  EXPECT_EQ(code_of(socket.peek(buffer, 1ms)), EAGAIN);
  EXPECT_EQ(code_of(socket.receive_borrowed(4, 1ms)), EAGAIN);
  EXPECT_EQ(code_of(socket.receive_error()), EAGAIN);
}

TEST_P(Transfer, MovesBatches) {
  Socket server = bound_b();
  Socket client = open_a();
  constexpr std::size_t count = 10;
  std::array<std::string, count> texts;
  std::vector<Outgoing> outgoing;
  for (std::size_t i = 0; i < count; ++i) {
    texts[i] = std::string(i, 'x') + std::to_string(i);
    outgoing.push_back({.data = bytes_of(texts[i]), .to = address_of(server)});
  }
  EXPECT_EQ(client.send_batch(outgoing, patience).value(), count);

  std::array<std::array<std::byte, 64>, 4> buffers;
  std::vector<std::string> heard;
  while (heard.size() < count) {
    std::array<Datagram, 4> batch;
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i].buffer = buffers[i];
    const auto received = server.receive_batch(batch, patience);
    ASSERT_TRUE(received) << received.error().message();
    ASSERT_GE(*received, 1u);
    for (const Datagram& datagram : std::span(batch).first(*received)) {
      heard.emplace_back(text_of(datagram.data));
      EXPECT_EQ(datagram.peer.port, port_of(client));
      EXPECT_EQ(datagram.local, address_of(server));
    }
  }
  EXPECT_TRUE(std::ranges::equal(heard, texts));
}

// One bad datagram neither takes the ones before it along, nor is its error lost.
TEST_P(Transfer, SendsABatchUpToItsFirstBadDatagram) {
  Socket server = bound_b();
  Socket client = open_a();
  const auto huge = pattern(65508);
  const Address to = address_of(server);
  const std::array<Outgoing, 4> batch{
      {{.data = bytes_of("one"), .to = to}, {.data = bytes_of("two"), .to = to}, {.data = huge, .to = to}, {.data = bytes_of("four"), .to = to}}};
  EXPECT_EQ(client.send_batch(batch).value(), 2u);
  EXPECT_EQ(code_of(client.send_batch(std::span(batch).subspan(2))), EMSGSIZE);
  EXPECT_EQ(client.send_batch(std::span(batch).subspan(3)).value(), 1u);
  for (const char* text : {"one", "two", "four"}) EXPECT_EQ(hear(server), text);
  EXPECT_EQ(client.send_batch({}).value(), 0u);
  EXPECT_EQ(server.receive_batch({}).value(), 0u);
}

TEST_P(Transfer, LendsItsOwnMemory) {
  Socket server = bound_b();
  Socket client = open_a();
  const auto large = pattern(65507);
  ASSERT_TRUE(client.send_to(large, address_of(server), patience));
  for (const char* text : {"one", "two"}) say(client, address_of(server), text);
  std::size_t taken = 0;
  while (taken < 3) {
    const auto batch = server.receive_borrowed(2, patience);
    ASSERT_TRUE(batch) << batch.error().message();
    ASSERT_LE(batch->size(), 2u);
    for (const Datagram& datagram : *batch) {
      EXPECT_FALSE(datagram.truncated);
      if (taken == 0) {
        EXPECT_TRUE(std::ranges::equal(datagram.data, large));
      } else {
        EXPECT_EQ(text_of(datagram.data), taken == 1 ? "one" : "two");
      }
      ++taken;
    }
  }
  EXPECT_TRUE(server.receive_borrowed(0)->empty());
}

// A send with a segment size is as many datagrams, the last of them shorter: by option or by datagram, whoever cuts it.
TEST_P(Transfer, CutsWhatItSendsIntoSegments) {
  Socket server = bound_b();
  Socket client = open_a();
  const auto bytes = pattern(2500);
  const auto expect_pieces = [&](std::size_t segment_size) {
    std::vector<std::byte> buffer(65536);
    for (std::size_t at = 0; at < bytes.size(); at += segment_size) {
      const auto piece = server.receive(buffer, patience);
      ASSERT_TRUE(piece) << piece.error().message();
      EXPECT_TRUE(std::ranges::equal(piece->data, std::span(bytes).subspan(at, std::min(segment_size, bytes.size() - at)))) << at;
    }
  };
  EXPECT_EQ(client.send(Outgoing{.data = bytes, .to = address_of(server), .segment_size = 1000}, patience).value(), bytes.size());
  expect_pieces(1000);
  ASSERT_TRUE(client.set(Option::segment_size, 1200));
  EXPECT_EQ(client.get(Option::segment_size).value(), 1200);
  EXPECT_EQ(client.send_to(bytes, address_of(server), patience).value(), bytes.size());
  expect_pieces(1200);
  EXPECT_EQ(client.send(Outgoing{.data = bytes, .to = address_of(server), .segment_size = 700}, patience).value(), bytes.size());
  expect_pieces(700);

  // Segments that no packet of the path has room for must be fragmented each; more than a provider segments at a time is no error either.
  if (!world->on_loopback) {
    EXPECT_EQ(client.send(Outgoing{.data = bytes, .to = address_of(server), .segment_size = 2000}, patience).value(), bytes.size());
    expect_pieces(2000);
  }
  EXPECT_EQ(client.send(Outgoing{.data = bytes, .to = address_of(server), .segment_size = 16}, patience).value(), bytes.size());
  expect_pieces(16);
}

// B2: what is too early waits, none is lost, and it goes to whom it was sent, though the socket has another peer by then or is closed.
TEST_P(Transfer, IsPacedWhereAsked) {
  Socket first = bound_b();
  Socket second = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.set(Option::max_pacing_rate, 0));  // no limit
  EXPECT_EQ(client.get(Option::max_pacing_rate).value(), -1);
  ASSERT_TRUE(client.set(Option::max_pacing_rate, 50'000));
  EXPECT_EQ(client.get(Option::max_pacing_rate).value(), 50'000);
  const auto start = std::chrono::steady_clock::now();
  const std::string kilobyte(972, 'x');  // with its headers
  for (Socket* peer : {&first, &second}) {
    ASSERT_TRUE(client.connect(address_of(*peer)));
    for (char c = 'a'; c < 'i'; ++c) ASSERT_TRUE(client.send(bytes_of(kilobyte + c), patience));
  }
  ASSERT_TRUE(client.close());
  for (Socket* peer : {&first, &second}) {
    for (char c = 'a'; c < 'i'; ++c) EXPECT_EQ(hear(*peer), kilobyte + c);
  }
  if (world->paces) {
    EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms * (2 * 8 - 3));  // three at once
  }
}

// A sender that is faster than its pace waits for room, or does not.
TEST_P(Transfer, MakesAPacedSenderWait) {
  if (!world->paces) GTEST_SKIP() << "the kernel paces only where the queueing discipline is fq";
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.set(Option::send_buffer, 5000));
  ASSERT_TRUE(client.set(Option::max_pacing_rate, 100'000));
  const std::string kilobyte(972, 'x');
  int at_once = 0;
  while (at_once < 100 && client.send_to(bytes_of(kilobyte), address_of(server), Deadline::now())) ++at_once;
  EXPECT_LT(at_once, 20);
  for (int i = 0; i < 20; ++i) say(client, address_of(server), kilobyte);
  for (int i = 0; i < at_once + 20; ++i) ASSERT_EQ(hear(server), kilobyte) << i;
}

TEST_P(Transfer, IsReadyForPollWhenThereIsADatagram) {
  if (world->one_thread) GTEST_SKIP() << "nobody runs a host without a thread while the test is in poll(2)";
  Socket server = bound_b();
  Socket client = open_a();
  pollfd ready{.fd = server.fd().value(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&ready, 1, 0), 0);
  for (const char* text : {"one", "two"}) say(client, address_of(server), text);
  ASSERT_EQ(::poll(&ready, 1, 5000), 1);
  EXPECT_EQ(hear(server), "one");
  ASSERT_EQ(::poll(&ready, 1, 5000), 1);
  EXPECT_NE(ready.revents & POLLIN, 0);
  EXPECT_EQ(hear(server), "two");
  EXPECT_EQ(::poll(&ready, 1, 0), 0);
}

// What a slow reader loses is counted, to the last datagram.
TEST_P(Transfer, CountsWhatASlowReaderLoses) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(server.set(Option::receive_buffer, 16384));
  say(client, address_of(server), "first");  // while its address is not resolved, a host keeps few datagrams for another
  EXPECT_EQ(hear(server), "first");
  const auto bytes = pattern(1000);
  constexpr int sent = 200;
  for (int i = 0; i < sent; ++i) ASSERT_TRUE(client.send_to(bytes, address_of(server), patience));
  const auto until = std::chrono::steady_clock::now() + patience;
  int received = 0;
  std::array<std::byte, 1000> buffer;
  // The queue fills first, and is read then.
  while (server.get(Option::overflow_count).value() == 0 && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(1ms);
  while (received + server.get(Option::overflow_count).value() < sent && std::chrono::steady_clock::now() < until) {
    while (server.receive(buffer, 10ms)) ++received;
  }
  EXPECT_GT(received, 0);
  EXPECT_GT(server.get(Option::overflow_count).value(), 0);
  EXPECT_EQ(received + server.get(Option::overflow_count).value(), sent);
}

// S1: an IPv6 socket speaks both, and shows IPv4 addresses as such.
TEST_P(Transfer, SpeaksIpv4OverAnIpv6Socket) {
  auto opened = world->open_b(Family::ipv6);
  if (!opened) GTEST_SKIP() << opened.error().message();
  Socket server = std::move(*opened);
  ASSERT_TRUE(server.bind("[::]:40123"));
  Socket client = bound_a();
  say(client, {world->b, 40123}, "hello");
  std::array<std::byte, 16> buffer;
  const auto datagram = server.receive(buffer, patience).value();
  EXPECT_EQ(datagram.peer, address_of(client));
  EXPECT_EQ(datagram.local, (Address{world->b, 40123}));
  EXPECT_EQ(datagram.interface, world->interface_b);
  EXPECT_EQ(datagram.ttl, 64);
  EXPECT_TRUE(server.send(Outgoing{.data = datagram.data, .to = datagram.peer, .source = datagram.local, .ttl = 9, .tos = 4}));
  const auto answer = client.receive(buffer, patience).value();
  EXPECT_EQ(text_of(answer.data), "hello");
  EXPECT_EQ(answer.ttl, 9);
  EXPECT_EQ(answer.tos, 4);
}

TEST_P(Transfer, SpeaksIpv6) {
  auto opened = world->open_b(Family::ipv6);
  if (!opened) GTEST_SKIP() << opened.error().message();
  Socket server = std::move(*opened);
  if (!server.bind("[::1]:40123")) GTEST_SKIP() << "no IPv6 on the loopback interface here";
  Socket client = world->open_b(Family::ipv6).value();
  EXPECT_TRUE(client.send(Outgoing{.data = bytes_of("hello"), .to = Address::parse("[::1]:40123").value(), .ttl = 7, .tos = 0xb8}));
  std::array<std::byte, 16> buffer;
  const auto datagram = server.receive(buffer, patience).value();
  EXPECT_EQ(text_of(datagram.data), "hello");
  EXPECT_EQ(datagram.local, Address::parse("[::1]:40123").value());
  EXPECT_EQ(datagram.ttl, 7);
  EXPECT_EQ(datagram.tos, 0xb8);
}

}  // namespace
}  // namespace gannet::tests
