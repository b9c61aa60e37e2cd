// The readiness protocol for real: threads and processes that share a descriptor, native poll and epoll, and kills at random moments.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <random>
#include <thread>
#include <vector>

#include "engine/doorbell.h"
#include "engine/played_engine.h"

namespace gannet::engine {
namespace {

using stack::EndpointClient;
using stack::ReceiveSlot;
using stack::SendSlot;

// The engine's part, played with a real epoll.
class Player : public PlayedEngine {
 public:
  Player() {
    endpoint.set_receive_limit(stack::max_buffer_limit);
    watch(EPOLL_CTL_ADD, EPOLLIN | EPOLLET);
  }
  // One turn: what the bell's end has to say, waiting for it at most so long.
  Bell::Requests turn(int milliseconds = 0) {
    epoll_event event{};
    if (epoll_wait(epoll_.get(), &event, 1, milliseconds) != 1) return {};
    auto requests = ends.bell.handle(endpoint);
    if ((event.events & EPOLLHUP) != 0) requests.hung_up = true;
    if (requests.share) {
      watch(EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT | EPOLLET);
      ends.bell.recheck(endpoint);
    }
    return requests;
  }
  void take_sends() {
    stack::SendRequest request;
    while (endpoint.next_send(request, Time{}).value_or(false)) {
      endpoint.finish_send();
      ends.bell.sent(endpoint);
    }
  }
  [[nodiscard]] int application() const { return ends.application.get(); }
  void close_application() { ends.application.reset(); }

 private:
  void watch(int operation, std::uint32_t events) {
    epoll_event event{.events = events, .data = {}};
    ASSERT_EQ(epoll_ctl(epoll_.get(), operation, ends.bell.fd(), &event), 0);
  }

  Fd epoll_{epoll_create1(EPOLL_CLOEXEC)};
};

struct Application {
  explicit Application(Player& player) : fd(player.application()), client(player.endpoint.memory(), {this, received, nullptr}), bell(client, fd) {}
  static void received(void* self, bool emptied) { static_cast<Application*>(self)->bell.received(emptied); }
  bool receive(std::uint32_t& number) {
    ReceiveSlot slot;
    if (client.receive({&slot, 1}) != 1) return false;
    number = slot.header.interface;
    return true;
  }
  // poll(2) alone decides when to look.
  [[nodiscard]] bool wait(short events, int milliseconds) const {
    pollfd descriptor{fd, events, 0};
    return poll(&descriptor, 1, milliseconds) == 1;
  }
  int fd;
  EndpointClient client;
  BellClient bell;
};

constexpr int patience = 5000;  // milliseconds after which somebody is taken to sleep for ever

TEST(ReadinessStress, ThreadsThatPollReadEverything) {
  Player player;
  Application application(player);
  constexpr std::uint32_t total = 3000;
  std::atomic<std::uint32_t> taken = 0;
  std::atomic<bool> slept = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&, i] {
      std::uint32_t number = 0;
      while (taken < total) {
        if (!application.wait(POLLIN, 100)) continue;
        do taken += application.receive(number);
        while (i == 0 && application.client.has_datagram());
      }
    });
  }
  std::mt19937 random(1);
  for (std::uint32_t sent = 0; sent < total;) {
    for (std::uint32_t batch = random() % 4 + 1; batch > 0 && sent < total; --batch) player.publish(sent++);
    player.ring();
    player.turn();
    for (int turns = 0; sent - taken > 100 && turns < patience; ++turns) player.turn(1);
  }
  for (int turns = 0; taken < total && turns < patience; ++turns) player.turn(1);
  slept = taken < total;
  taken = total;
  for (std::thread& reader : readers) reader.join();
  EXPECT_FALSE(slept);
  while (player.turn().hung_up) {
  }
  EXPECT_FALSE(application.wait(POLLIN, 0)) << "readable over an empty ring";
}

TEST(ReadinessStress, AnEdgeTriggeredReaderReadsEverything) {
  Player player;
  Application application(player);
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, application.fd, &event), 0);
  constexpr std::uint32_t total = 3000;
  std::atomic<std::uint32_t> taken = 0;
  std::thread reader([&] {
    std::uint32_t number = 0;
    while (taken < total) {
      epoll_event got{};
      if (epoll_wait(epoll.get(), &got, 1, 100) != 1) continue;
      while (application.receive(number)) ++taken;
    }
  });
  for (std::uint32_t sent = 0; sent < total; ++sent) {
    player.publish(sent);
    player.ring();
    player.turn();
    for (int turns = 0; sent + 1 - taken > 3 && turns < patience; ++turns) player.turn(1);
    if (sent + 1 - taken > 3) break;
  }
  for (int turns = 0; taken < total && turns < patience; ++turns) player.turn(1);
  EXPECT_EQ(taken, total);
  taken = total;
  reader.join();
}

// Two children share the descriptor; one is killed at a random moment of its reading. The other reads on, and everything ends: read, or lost with the
// dead.
TEST(ReadinessStress, AKilledProcessStrandsNoOther) {
  auto* taken = static_cast<std::atomic<std::uint32_t>*>(
      mmap(nullptr, sizeof(std::atomic<std::uint32_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::mt19937 random(2);
  for (int round = 0; round < 25; ++round) {
    Player player;
    Application(player).bell.share();
    while (!player.turn(1).share) {
    }
    taken->store(0);
    std::array<pid_t, 2> children{};
    for (pid_t& child : children) {
      child = fork();
      if (child == 0) {
        Application application(player);
        std::uint32_t number = 0;
        while (application.wait(POLLIN, -1)) {
          if (application.receive(number)) taken->fetch_add(1);
        }
        _exit(0);
      }
    }
    constexpr std::uint32_t total = 300;
    const std::uint32_t kill_at = static_cast<std::uint32_t>(random() % total);
    for (std::uint32_t sent = 0; sent < total; ++sent) {
      if (sent == kill_at) kill(children[0], SIGKILL);
      player.publish(sent);
      player.ring();
      player.turn();
      if (random() % 3 == 0) std::this_thread::yield();
    }
    int turns = 0;
    while (player.endpoint.receive_tail() != player.endpoint.receive_head() && ++turns < patience) player.turn(1);
    EXPECT_LT(turns, patience) << "round " << round << ": the survivor sleeps over a datagram";
    kill(children[1], SIGKILL);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
    EXPECT_GE(taken->load() + 2, total) << "each that was killed may have taken one that it did not count";
    player.close_application();
    EXPECT_TRUE(player.turn(100).hung_up);
  }
  munmap(taken, sizeof *taken);
}

// Senders of two processes wait for POLLOUT on the shared descriptor; one is killed at a random moment.
TEST(ReadinessStress, AKilledSenderStrandsNoOther) {
  std::mt19937 random(3);
  for (int round = 0; round < 6; ++round) {
    Player player;
    player.endpoint.set_send_limit(0);
    Application(player).bell.share();
    std::array<pid_t, 2> children{};
    constexpr int total = 300;
    for (pid_t& child : children) {
      auto ring = player.endpoint.add_send_ring().value();
      child = fork();
      if (child == 0) {
        Application application(player);
        application.client.set_send_ring(ring);
        const SendSlot slot;
        for (int sent = 0; sent < total && application.wait(POLLOUT, -1);) {
          if (application.client.send({&slot, 1}) == 1)
            ++sent;
          else
            application.bell.plug();
        }
        _exit(0);
      }
    }
    const int kill_after = static_cast<int>(random() % 200);
    int status = 0;
    int turns = 0;
    for (; waitpid(children[1], &status, WNOHANG) == 0 && turns < patience; ++turns) {
      if (turns == kill_after) kill(children[0], SIGKILL);
      player.turn(random() % 4 == 0);
      if (random() % 2 == 0) player.take_sends();
    }
    EXPECT_LT(turns, patience) << "round " << round << ": the survivor waits for space that is there";
    for (const pid_t child : children) kill(child, SIGKILL);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
  }
}

}  // namespace
}  // namespace gannet::engine
