#include "preload/watches.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <random>
#include <thread>
#include <utility>

namespace gannet::preload {
namespace {

TEST(Watches, TellWhichSocketANumberStandsFor) {
  Watches watches;
  EXPECT_TRUE(watches.is_empty());
  watches.put(3, 10, 77);
  watches.put(4, 10, 78);
  watches.put(3, 11, 79);
  EXPECT_EQ(watches.find(3, 77), 10);
  EXPECT_EQ(watches.find(4, 78), 10);
  EXPECT_EQ(watches.find(4, 77), -1);
  watches.put(3, 10, 80);  // EPOLL_CTL_MOD
  EXPECT_EQ(watches.find(3, 77), -1);
  EXPECT_EQ(watches.find(3, 80), 10);
  watches.remove(3, 10);
  EXPECT_EQ(watches.find(3, 80), -1);
  EXPECT_EQ(watches.find(4, 78), 10);
  watches.remove(3, 10);
  watches.remove_number(3, 79);  // of a pipe, from now on
  EXPECT_EQ(watches.find(3, 79), -1);
  watches.remove_number(3, 79);
  EXPECT_EQ(watches.size(), 1u);
}

TEST(Watches, HaveABound) {
  Watches watches;
  for (std::size_t i = 0; i < max_watched + 10; ++i) watches.put(3, static_cast<int>(i) + 4, i);
  EXPECT_EQ(watches.size(), max_watched);
  EXPECT_EQ(watches.find(3, max_watched + 1), -1);
  watches.put(3, 4, 1'000'000);  // one that is in may change
  EXPECT_EQ(watches.find(3, 1'000'000), 4);
  watches.forget_range(3, 3);
  EXPECT_TRUE(watches.is_empty());
}

// Against a plain map, over random changes.
TEST(Watches, AreWhatWasPutAndNotForgotten) {
  std::mt19937 random(7);
  const auto below = [&](unsigned end) { return static_cast<int>(random() % end); };
  Watches watches;
  std::map<std::pair<int, std::uint64_t>, int> model;
  const auto erase_if = [&](auto true_of) { std::erase_if(model, true_of); };
  for (int i = 0; i < 20'000; ++i) {
    const int epoll = below(4), socket = 4 + below(8), fd = below(12);
    const auto number = static_cast<std::uint64_t>(below(12));
    switch (below(8)) {
      case 0:
        watches.forget(fd);
        erase_if([&](const auto& each) { return each.first.first == fd || each.second == fd; });
        break;
      case 1:
        watches.remove(epoll, socket);
        erase_if([&](const auto& each) { return each.first.first == epoll && each.second == socket; });
        break;
      case 2:
        watches.remove_number(epoll, number);
        model.erase({epoll, number});
        break;
      case 3:
        watches.forget_range(static_cast<unsigned>(fd), static_cast<unsigned>(fd) + 1);
        erase_if([&](const auto& each) {
          const auto closed = [&](int one) { return one == fd || one == fd + 1; };
          return closed(each.first.first) || closed(each.second);
        });
        break;
      default:
        watches.put(epoll, socket, number);
        erase_if([&](const auto& each) { return each.first.first == epoll && each.second == socket; });
        model[{epoll, number}] = socket;
    }
    ASSERT_EQ(watches.size(), model.size()) << i;
    for (const auto& [place, watched] : model) ASSERT_EQ(watches.find(place.first, place.second), watched) << i;
  }
}

// A child of a program whose threads look and change has no lock that a thread holds which it has not.
TEST(Watches, AreUsableInAForkedChild) {
  Watches watches;
  watches.put(3, 10, 77);
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      while (!done) {
        if (watches.find(3, 77) != 10) return;
        if (i == 0) watches.put(4, 11, 78);
        if (i == 0) watches.forget(4);
        std::this_thread::yield();
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    watches.before_fork();
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(30);
      watches.after_fork();
      watches.put(5, 12, 79);
      watches.forget(4);
      ::_exit(watches.find(3, 77) == 10 && watches.find(5, 79) == 12 ? 0 : 1);
    }
    watches.after_fork();
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0) << i;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(watches.find(3, 77), 10);
}

}  // namespace
}  // namespace gannet::preload
