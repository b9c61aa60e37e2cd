#include "engine/mailbox.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace gannet::engine {
namespace {

// As the engine watches it: edge-triggered.
struct Watch {
  Fd epoll{epoll_create1(EPOLL_CLOEXEC)};
  explicit Watch(const Wakeup& wakeup) {
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
    EXPECT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wakeup.fd(), &event), 0);
  }
  [[nodiscard]] bool wait(int milliseconds) const {
    epoll_event event{};
    return epoll_wait(epoll.get(), &event, 1, milliseconds) == 1;
  }
};

struct MailboxTest : testing::Test {
  Wakeup wakeup;
  Mailbox mailbox{wakeup};
  Watch watch{wakeup};
  std::atomic<bool> stop = false;
  std::thread engine;

  void start() {
    std::atomic<bool> entered = false;
    engine = std::thread([&] {
      mailbox.enter();
      entered = true;
      while (!stop) {
        if (watch.wait(-1) && wakeup.clear()) mailbox.run();
      }
      mailbox.leave();
    });
    while (!entered) std::this_thread::yield();
  }
  void finish() {
    stop = true;
    wakeup.wake();
    engine.join();
  }
};

TEST_F(MailboxTest, CallsInlineWhileNoThreadRunsTheEngine) {
  const auto here = std::this_thread::get_id();
  EXPECT_EQ(mailbox.call([] { return std::this_thread::get_id(); }), here);
  EXPECT_FALSE(wakeup.clear());
}

TEST_F(MailboxTest, CallsInTheEnginesThreadAndBringsTheResultBack) {
  start();
  EXPECT_EQ(mailbox.call([] { return std::this_thread::get_id(); }), engine.get_id());
  const auto moved = mailbox.call([] { return std::make_unique<int>(42); });
  EXPECT_EQ(*moved, 42);
  int calls = 0;
  mailbox.call([&] { mailbox.call([&] { ++calls; }); });
  EXPECT_EQ(calls, 1) << "a call within a call is made inline";
  EXPECT_FALSE(mailbox.is_inline());
  finish();
  EXPECT_TRUE(mailbox.is_inline());
}

TEST_F(MailboxTest, ManyThreadsCallAndNoneIsForgottenAtTheEnd) {
  start();
  constexpr int threads = 8, each = 200;
  int sum = 0;  // written by the engine's thread alone
  std::vector<std::thread> callers;
  for (int i = 0; i < threads; ++i) {
    callers.emplace_back([&] {
      for (int n = 0; n < each; ++n) mailbox.call([&] { ++sum; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(mailbox.call([&] { return sum; }), threads * each);

  std::atomic<int> late = 0;
  callers.clear();
  for (int i = 0; i < threads; ++i) callers.emplace_back([&] { mailbox.call([&] { ++late; }); });
  finish();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(late, threads);
}

TEST(WakeupTest, IsWrittenOncePerLook) {
  Wakeup wakeup;
  ASSERT_TRUE(wakeup.is_open());
  EXPECT_FALSE(wakeup.clear());
  const Watch watch(wakeup);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 5; ++i) wakeup.wake();
    EXPECT_TRUE(watch.wait(0));
    EXPECT_FALSE(watch.wait(0));
    EXPECT_TRUE(wakeup.clear());
    EXPECT_FALSE(wakeup.clear());
  }
}

}  // namespace
}  // namespace gannet::engine
