// Many threads on one socket, and close() under all of them.
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "socket/world.h"

namespace gannet::tests {
namespace {

class Threads : public SocketTest {
 protected:
  void SetUp() override {
    SocketTest::SetUp();
    if (world && world->one_thread) GTEST_SKIP() << "a host without a thread belongs to one thread";
  }
};
INSTANTIATE_TEST_SUITE_P(In, Threads, ::testing::ValuesIn(worlds()), name_of_world);

TEST_P(Threads, CloseWakesEveryWaitingReceive) {
  Socket socket = bound_b();
  std::atomic<int> waiting = 0;
  std::atomic<int> woken = 0;
  std::vector<std::thread> threads;
  for (const Deadline deadline : {Deadline::forever(), Deadline::forever(), Deadline(60s), Deadline(60s)}) {
    threads.emplace_back([&, deadline] {
      std::array<std::byte, 16> buffer;
      ++waiting;
      const auto datagram = socket.receive(buffer, deadline);
      EXPECT_EQ(code_of(datagram), EBADF);
      ++woken;
    });
  }
  while (waiting < 4) std::this_thread::yield();
  std::this_thread::sleep_for(quiet);  // so that they wait in earnest; without it the test still holds
  EXPECT_EQ(woken, 0);
  EXPECT_TRUE(socket.close());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken, 4);
}

TEST_P(Threads, CloseWakesAConnectedReceiveToo) {
  Socket peer = bound_a();
  Socket socket = bound_b();
  ASSERT_TRUE(socket.connect(address_of(peer)));
  std::thread thread([&] { EXPECT_EQ(hear(socket, Deadline::forever()), "[the socket is closed]"); });
  std::this_thread::sleep_for(quiet);
  EXPECT_TRUE(socket.close());
  thread.join();
}

using Close = SocketTest;
INSTANTIATE_TEST_SUITE_P(In, Close, ::testing::ValuesIn(worlds()), name_of_world);

TEST_P(Close, MakesEveryLaterCallEbadf) {
  Socket socket = bound_b();
  const Address address = address_of(socket);
  ASSERT_TRUE(socket.fd());
  ASSERT_TRUE(socket.close());
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(code_of(socket.close()), EBADF);
  EXPECT_EQ(code_of(socket.bind(address)), EBADF);
  EXPECT_EQ(code_of(socket.connect(address)), EBADF);
  EXPECT_EQ(code_of(socket.disconnect()), EBADF);
  EXPECT_EQ(code_of(socket.local_address()), EBADF);
  EXPECT_EQ(code_of(socket.peer_address()), EBADF);
  EXPECT_EQ(code_of(socket.send_to(bytes_of("hello"), address)), EBADF);
  EXPECT_EQ(code_of(socket.receive(buffer)), EBADF);
  EXPECT_EQ(code_of(socket.receive_borrowed()), EBADF);
  EXPECT_EQ(code_of(socket.receive_error()), EBADF);
  EXPECT_EQ(code_of(socket.set(Option::ttl, 3)), EBADF);
  EXPECT_EQ(code_of(socket.get(Option::ttl)), EBADF);
  EXPECT_EQ(code_of(socket.join("239.1.2.3")), EBADF);
  EXPECT_EQ(code_of(socket.fd()), EBADF);
}

// Senders and receivers share one socket; every datagram comes out once, in one piece.
TEST_P(Threads, ShareASocket) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.connect(address_of(server)));
  constexpr int senders = 4;
  constexpr int each = 250;
  std::array<std::atomic<int>, senders * each> seen{};
  std::atomic<int> sent = 0;
  std::atomic<int> received = 0;
  std::vector<std::thread> threads;
  for (int receiver = 0; receiver < 4; ++receiver) {
    threads.emplace_back([&] {
      std::array<std::byte, 64> buffer;
      while (const auto datagram = server.receive(buffer)) {
        int number = -1;
        ASSERT_EQ(datagram->data.size(), sizeof number);
        std::memcpy(&number, datagram->data.data(), sizeof number);
        ASSERT_TRUE(number >= 0 && number < senders * each);
        ++seen[static_cast<std::size_t>(number)];
        ++received;
      }
    });
  }
  std::vector<std::thread> sending;
  for (int sender = 0; sender < senders; ++sender) {
    sending.emplace_back([&, sender] {
      for (int i = 0; i < each; ++i) {
        const int number = sender * each + i;
        ASSERT_TRUE(client.send(std::as_bytes(std::span(&number, 1)), patience));
        ++sent;
        while (sent - received > 50) std::this_thread::yield();  // no further ahead than any receive buffer holds
      }
    });
  }
  for (std::thread& thread : sending) thread.join();
  const auto until = std::chrono::steady_clock::now() + patience;
  while (received < senders * each && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(server.close());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(received, senders * each);
  for (const auto& count : seen) EXPECT_EQ(count, 1);
}

// close() races calls of every kind: none may touch a descriptor that is another file's by then.
TEST_P(Threads, CloseRacesEveryCall) {
  Socket peer = bound_a();
  for (int round = 0; round < 20; ++round) {
    Socket socket = bound_b();
    std::vector<std::thread> threads;
    for (int kind = 0; kind < 4; ++kind) {
      threads.emplace_back([&, kind] {
        std::array<std::byte, 16> buffer;
        for (int code = 0; code != EBADF;) {
          if (kind == 0) code = code_of(socket.receive(buffer, Deadline::now()));
          if (kind == 1) code = code_of(socket.send_to(bytes_of("x"), address_of(peer)));
          if (kind == 2) code = code_of(socket.get(Option::ttl));
          if (kind == 3) code = code_of(socket.receive(buffer, 1s));
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::microseconds(round * 50));
    EXPECT_TRUE(socket.close());
    for (std::thread& thread : threads) thread.join();
  }
}

// A signal without SA_RESTART interrupts no call of ours.
TEST_P(Threads, WaitingCallsSurviveSignals) {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  struct sigaction before{};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  for (const Deadline deadline : {Deadline::forever(), Deadline(60s)}) {
    Socket server = bound_b();
    Socket client = open_a();
    std::thread thread([&] { EXPECT_EQ(hear(server, deadline), "hello"); });
    for (int i = 0; i < 20; ++i) {
      ::pthread_kill(thread.native_handle(), SIGUSR1);
      std::this_thread::sleep_for(1ms);
    }
    say(client, address_of(server), "hello");
    thread.join();
  }
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_P(Threads, LendToOneThreadAtATime) {
  Socket socket = bound_b();
  std::thread thread([&] {
    int code = EBUSY;
    while (code == EBUSY) code = code_of(socket.receive_borrowed());
    EXPECT_EQ(code, EBADF);
  });
  const auto until = std::chrono::steady_clock::now() + patience;
  int code = EAGAIN;
  while (code == EAGAIN && std::chrono::steady_clock::now() < until) code = code_of(socket.receive_borrowed(1, Deadline::now()));
  EXPECT_EQ(code, EBUSY);
  EXPECT_TRUE(socket.close());
  thread.join();
}

}  // namespace
}  // namespace gannet::tests
