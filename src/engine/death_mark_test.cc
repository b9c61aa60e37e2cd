#include "engine/death_mark.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <new>
#include <thread>

namespace gannet::engine {
namespace {

class DeathMarks : public ::testing::Test {
 protected:
  void SetUp() override {
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    word = ::new (memory) std::atomic<std::uint32_t>(0);
  }
  void TearDown() override { ::munmap(word, 4096); }
  std::atomic<std::uint32_t>* word = nullptr;
};

TEST_F(DeathMarks, ShowsThatAThreadHasEnded) {
  EXPECT_FALSE(DeathMark::is_dead(*word));
  DeathMark mark;
  std::thread([&] {
    mark.stand(*word);
    EXPECT_FALSE(DeathMark::is_dead(*word));
  }).join();
  EXPECT_TRUE(DeathMark::is_dead(*word));
  // Another stands in its place.
  std::thread([&] {
    mark.stand(*word);
    EXPECT_FALSE(DeathMark::is_dead(*word));
  }).join();
}

TEST_F(DeathMarks, ShowsThatAProcessWasKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    DeathMark mark;
    std::thread([&] {
      mark.stand(*word);
      ::kill(::getpid(), SIGKILL);
    }).join();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(DeathMark::is_dead(*word));
}

}  // namespace
}  // namespace gannet::engine
