#include "engine/doorbell.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "engine/played_engine.h"

namespace gannet::engine {
namespace {

using stack::EndpointClient;
using stack::ReceiveSlot;
using stack::SendSlot;

Moment soon(std::chrono::milliseconds from_now = 10s) { return std::chrono::steady_clock::now() + from_now; }

// An endpoint, its engine played by the test, and an application with a descriptor.
struct DoorbellTest : testing::Test, PlayedEngine {
  EndpointClient client{endpoint.memory(),
                        {this, [](void* test, bool emptied) { static_cast<DoorbellTest*>(test)->bell_client.received(emptied); }, nullptr}};
  BellClient bell_client{client, ends.application.get()};

  void arrive(int count = 1) {
    for (int i = 0; i < count; ++i) publish();
    ring();
  }
  bool receive() {
    ReceiveSlot slot;
    return client.receive({&slot, 1}) == 1;
  }
  [[nodiscard]] int poll_for(short events) const {
    pollfd fd{ends.application.get(), events, 0};
    return poll(&fd, 1, 0) == 1 ? fd.revents : 0;
  }
};

TEST_F(DoorbellTest, IsReadableWhileTheRingIsNotEmpty) {
  EXPECT_EQ(poll_for(POLLIN), 0);
  arrive(3);
  for (int left = 3; left > 0; --left) {
    EXPECT_EQ(poll_for(POLLIN), POLLIN);
    EXPECT_TRUE(receive());
  }
  EXPECT_EQ(poll_for(POLLIN), 0);
  EXPECT_FALSE(receive());
  EXPECT_EQ(poll_for(POLLIN), 0);
}

TEST_F(DoorbellTest, EdgeTriggeredEpollSeesEachBatchThatFollowsARead) {
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, ends.application.get(), &event), 0);
  const auto edge = [&] { return epoll_wait(epoll.get(), &event, 1, 0) == 1; };
  arrive(2);
  EXPECT_TRUE(edge());
  EXPECT_FALSE(edge());
  ASSERT_TRUE(receive());
  EXPECT_FALSE(edge()) << "no edge without an arrival";
  arrive();
  EXPECT_TRUE(edge()) << "one datagram was left, and somebody had read";
  while (receive()) {
  }
  arrive();
  EXPECT_TRUE(edge());
}

// As on Linux, where somebody waits for edges.
TEST_F(DoorbellTest, EachArrivalIsAnEdgeWhereAsked) {
  bell_client.watch_edges();
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, ends.application.get(), &event), 0);
  const auto edge = [&] { return epoll_wait(epoll.get(), &event, 1, 0) == 1; };
  for (int i = 0; i < 100; ++i) {
    arrive();
    EXPECT_TRUE(edge()) << i;
    EXPECT_FALSE(edge()) << i;
  }
  while (receive()) {
  }
  EXPECT_EQ(poll_for(POLLIN), 0);
}

TEST_F(DoorbellTest, AReaderThatNeverEmptiesTheRingDoesNotDrownInTokens) {
  arrive(2);
  for (int i = 0; i < 2000; ++i) {
    arrive();
    ASSERT_TRUE(receive());
    ASSERT_LE(endpoint.memory()->control().bell.tokens, stack::max_bell_tokens + 1);
  }
  EXPECT_EQ(poll_for(POLLIN), POLLIN);
  while (receive()) {
  }
  EXPECT_EQ(poll_for(POLLIN), 0);
}

// The engine publishes, a reader takes all of it, and only then the engine would ring.
TEST_F(DoorbellTest, IsNotLeftRingingOverAnEmptyRing) {
  publish();
  std::thread reader([&] { EXPECT_TRUE(receive()); });
  while (client.has_datagram()) std::this_thread::yield();
  ring();
  reader.join();
  EXPECT_EQ(poll_for(POLLIN), 0);
}

// A reader takes the token, and a datagram comes before it looks again.
TEST_F(DoorbellTest, AsksForAnotherTokenWhenADatagramCameMeanwhile) {
  arrive();
  ASSERT_TRUE(receive());
  arrive();
  std::byte token{};
  ASSERT_EQ(recv(ends.application.get(), &token, 1, MSG_DONTWAIT), 1) << "as a reader that emptied the ring before would";
  arrive();
  EXPECT_EQ(poll_for(POLLIN), 0) << "the engine believes that its token is there";
  bell_client.received(true);
  ends.bell.handle(endpoint);
  EXPECT_EQ(poll_for(POLLIN), POLLIN);
}

TEST_F(DoorbellTest, AnErrorMakesItReadableUntilItIsTaken) {
  endpoint.peer.port = 9;
  endpoint.report({.code = ECONNREFUSED, .origin = SocketError::Origin::icmp, .peer = {}, .offender = {}}, true);
  ring();
  EXPECT_EQ(poll_for(POLLIN), POLLIN);
  EXPECT_FALSE(receive());
  EXPECT_EQ(poll_for(POLLIN), POLLIN) << "the error is pending still";
  EXPECT_EQ(client.take_error(), ECONNREFUSED);
  EXPECT_EQ(poll_for(POLLIN), 0);
  arrive();
  EXPECT_EQ(poll_for(POLLIN), POLLIN);
}

TEST_F(DoorbellTest, AFullSendRingMakesItUnwritableUntilHalfIsFree) {
  client.set_send_ring(endpoint.add_send_ring().value());
  const SendSlot slot;
  stack::SendRequest request;
  for (int round = 0; round < 3; ++round) {
    EXPECT_NE(poll_for(POLLOUT), 0);
    while (client.send({&slot, 1}) == 1) {
    }
    bell_client.plug();
    ends.bell.handle(endpoint);
    EXPECT_EQ(poll_for(POLLOUT), 0);
    bell_client.plug();
    while (!endpoint.has_send_space()) {
      EXPECT_EQ(poll_for(POLLOUT), 0);
      ASSERT_TRUE(*endpoint.next_send(request, Time{}));
      endpoint.finish_send();
      ends.bell.sent(endpoint);
    }
    EXPECT_NE(poll_for(POLLOUT), 0);
  }
}

// Requests stand behind a plug that the engine leaves unread: none is lost, however many.
TEST_F(DoorbellTest, HearsRequestsBehindAPlug) {
  client.set_send_ring(endpoint.add_send_ring().value());
  const SendSlot slot;
  while (client.send({&slot, 1}) == 1) {
  }
  bell_client.plug();
  ends.bell.handle(endpoint);
  for (int i = 0; i < 100; ++i) {
    bell_client.wake_engine();
    ASSERT_TRUE(ends.bell.handle(endpoint).sends) << i;
  }
}

TEST_F(DoorbellTest, PutsNoTokenWhereNobodyListens) {
  bell_client.unwatch();
  arrive(3);
  EXPECT_EQ(poll_for(POLLIN), 0);
  EXPECT_TRUE(receive());
  bell_client.watch();
  ends.bell.handle(endpoint);
  EXPECT_EQ(poll_for(POLLIN), POLLIN) << "who watches is told of what came before";
  while (receive()) {
  }
  EXPECT_EQ(poll_for(POLLIN), 0);
  arrive();
  EXPECT_EQ(poll_for(POLLIN), POLLIN);
}

TEST_F(DoorbellTest, WakesEveryCallThatSleepsOnTheDescriptor) {
  bell_client.unwatch();
  ASSERT_EQ(fcntl(ends.application.get(), F_SETFL, 0), 0) << "it blocks";
  constexpr int threads = 4, each = 500;
  std::atomic<int> taken = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < threads; ++i) {
    readers.emplace_back([&] {
      while (taken < threads * each) {
        if (receive()) {
          if (++taken == threads * each) shutdown(ends.application.get(), SHUT_RD);
        } else {
          ASSERT_EQ(bell_client.wait(ends.application.get()), 0);
        }
      }
    });
  }
  const auto end = soon();
  for (int sent = 0; (sent < threads * each || taken < sent) && std::chrono::steady_clock::now() < end;) {
    if (sent < threads * each && sent - taken < 100) {
      arrive(std::min(sent % 3 + 1, threads * each - sent));
      sent += std::min(sent % 3 + 1, threads * each - sent);
    }
    ends.bell.handle(endpoint);
  }
  EXPECT_EQ(taken, threads * each);
  taken = threads * each;
  shutdown(ends.application.get(), SHUT_RD);
  for (std::thread& reader : readers) reader.join();
}

TEST_F(DoorbellTest, ASleepIsAsLongAsTheDescriptorSays) {
  bell_client.unwatch();
  EXPECT_EQ(bell_client.wait(ends.application.get()), EAGAIN) << "it does not block";
  EXPECT_EQ(endpoint.memory()->control().bell.listeners, 0u);
  arrive();
  EXPECT_EQ(bell_client.wait(ends.application.get()), 0);
  EXPECT_EQ(poll_for(POLLIN), 0) << "nobody had to be told";
}

TEST_F(DoorbellTest, HangsUpBothWays) {
  ends.application.reset();
  EXPECT_TRUE(ends.bell.handle(endpoint).hung_up);
  ends = Bell::create().value();
  BellClient other(client, ends.application.get());
  {
    const Bell dying = std::move(ends.bell);
  }
  EXPECT_NE(poll_for(POLLIN) & POLLHUP, 0);
  other.received(true);
  EXPECT_TRUE(other.is_hung_up());
}

TEST_F(DoorbellTest, WaitingThreadsAreWokenOnePerDatagram) {
  constexpr int threads = 8;
  std::atomic<int> taken = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < threads; ++i) {
    readers.emplace_back([&] {
      do ASSERT_TRUE(wait_readable(client, soon()));
      while (!receive());
      ++taken;
    });
  }
  for (int sent = 0; sent < threads; sent += 2) arrive(2);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(taken, threads);
}

TEST_F(DoorbellTest, WhoOnlyLooksPassesTheWakeUpOn) {
  std::vector<std::thread> lookers;
  for (int i = 0; i < 4; ++i) lookers.emplace_back([&] { EXPECT_TRUE(wait_readable(client, soon(), Intent::look)); });
  while (endpoint.memory()->control().bell.waiters < 4) std::this_thread::yield();
  arrive();
  for (std::thread& looker : lookers) looker.join();
}

TEST_F(DoorbellTest, AWaitEndsAtItsDeadlineAndAtTheEnd) {
  EXPECT_FALSE(wait_readable(client, soon(1ms)));
  EXPECT_FALSE(wait_readable(client, Moment::min()));
  std::thread waiter([&] { EXPECT_TRUE(wait_readable(client, Moment::max())); });
  while (endpoint.memory()->control().bell.waiters == 0) std::this_thread::yield();
  endpoint.close();
  ring();
  waiter.join();
}

TEST_F(DoorbellTest, SendersWaitForHalfTheRing) {
  client.set_send_ring(endpoint.add_send_ring().value());
  EXPECT_TRUE(wait_writable(client, Moment::min()));
  const SendSlot slot;
  while (client.send({&slot, 1}) == 1) {
  }
  EXPECT_FALSE(wait_writable(client, soon(1ms)));
  std::thread waiter([&] { EXPECT_TRUE(wait_writable(client, soon())); });
  while (client.send_control()->space_waiters == 0) std::this_thread::yield();
  stack::SendRequest request;
  while (*endpoint.next_send(request, Time{})) {
    endpoint.finish_send();
    wake_senders(endpoint);
  }
  waiter.join();
}

}  // namespace
}  // namespace gannet::engine
