#include "hub/launch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "hub/listener.h"

namespace gannet::hub {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

pid_t in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  return child;
}

bool ends_well(pid_t child) {
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class Launch : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "gannet-launch-XXXXXX").string();
    base = ::mkdtemp(pattern.data());
    setup.linger = 100ms;
  }
  void TearDown() override {
    Request request;
    request.kind = Request::Kind::shut_down;
    static_cast<void>(ask({name}, request));
    fs::remove_all(base);
  }

  [[nodiscard]] LaunchPlace place(const std::string& folder = "gannet") const { return {.folder = base / folder, .name = name}; }
  [[nodiscard]] Result<Status> status() const {
    const auto reply = ask({name}, Request{});
    if (!reply) return reply.error();
    return reply->status;
  }
  [[nodiscard]] bool goes() const {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (connect({name}).error().code != ECONNREFUSED) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(5ms);
    }
    return true;
  }

  fs::path base;
  const std::string name = "gannet-launch-test-" + std::to_string(::getpid());
  HubSetup setup;
};

TEST_F(Launch, StartsOneHubAndFindsItAgain) {
  const auto first = join(place(), setup).value();
  const auto hub = status().value().process;
  const auto second = join(place(), setup).value();
  EXPECT_EQ(status().value().process, hub);
  EXPECT_EQ(status().value().sockets, 2u);
}

// However many come at once, and whatever folders their environments name.
TEST_F(Launch, OfManyAtOnceOneStartsIt) {
  setup.linger = 60s;
  std::array<int, 2> gate{}, told{};
  ASSERT_EQ(::pipe(gate.data()), 0);
  ASSERT_EQ(::pipe(told.data()), 0);
  std::vector<pid_t> children;
  for (int i = 0; i < 12; ++i) {
    children.push_back(in_child([&] {
      ::close(gate[1]);
      char byte = 0;
      if (::read(gate[0], &byte, 1) != 0) return 1;
      const auto joined = join(place("gannet-" + std::to_string(i % 3)), setup);
      if (!joined) return 2;
      const auto found = status();
      return found && ::write(told[1], &found->process, sizeof found->process) == sizeof found->process ? 0 : 3;
    }));
  }
  ::close(gate[0]);
  ::close(gate[1]);
  for (const pid_t child : children) EXPECT_TRUE(ends_well(child));
  std::vector<std::int32_t> hubs(children.size());
  ASSERT_EQ(::read(told[0], hubs.data(), hubs.size() * sizeof hubs[0]), static_cast<ssize_t>(hubs.size() * sizeof hubs[0]));
  for (const std::int32_t hub : hubs) EXPECT_EQ(hub, hubs[0]);
  ::close(told[0]);
  ::close(told[1]);
}

// Who comes while a hub goes gets another one, never an error: each joins just when the one before has lingered long enough.
TEST_F(Launch, FindsAHubWhileOneGoes) {
  setup.linger = 10ms;
  std::size_t others = 0;
  std::int32_t last = 0;
  for (int round = 0; round < 40; ++round) {
    {
      const auto joined = join(place(), setup);
      ASSERT_TRUE(joined) << joined.error().message();
      const auto found = status();
      ASSERT_TRUE(found) << found.error().message();
      others += found->process != last ? 1 : 0;
      last = found->process;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(10'000 + 100 * (round % 20)));
  }
  EXPECT_GT(others, 1u);
  EXPECT_TRUE(goes());
  EXPECT_EQ(std::distance(fs::directory_iterator(base / "gannet"), fs::directory_iterator()), 1);  // the lock
}

// `$(gannet run ...)` ends when the program does, though the hub lives on.
TEST_F(Launch, HoldsNothingOfItsStarter) {
  setup.linger = 60s;
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t child = in_child([&] {
    ::close(ends[0]);
    for (const int fd : {0, 1, 2, 40, 900}) ::dup2(ends[1], fd);
    if (::chdir(base.c_str()) != 0) return 1;
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGTERM, &ignore, nullptr);
    return join(place(), setup) ? 0 : 2;
  });
  ::close(ends[1]);
  EXPECT_TRUE(ends_well(child));
  pollfd wait{ends[0], POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 10'000), 1);
  char byte = 0;
  EXPECT_EQ(::read(ends[0], &byte, 1), 0);
  ::close(ends[0]);

  const pid_t hub = status().value().process;
  const fs::path proc = "/proc/" + std::to_string(hub);
  EXPECT_EQ(::getsid(hub), hub);
  EXPECT_EQ(fs::read_symlink(proc / "cwd"), "/");
  std::string line;
  std::getline(std::ifstream(proc / "cmdline"), line, '\0');
  EXPECT_EQ(line, "gannet-hub") << "who ends its starter by his command line does not end it";
  for (const auto& entry : fs::directory_iterator(proc / "fd")) {
    const std::string target = fs::read_symlink(entry.path()).string();
    EXPECT_TRUE(target == "/dev/null" || target.starts_with("socket:") || target.starts_with("anon_inode:") || target.starts_with("/memfd:gannet"))
        << target;
  }
  rlimit files{};
  ASSERT_EQ(::prlimit(hub, RLIMIT_NOFILE, nullptr, &files), 0);
  EXPECT_EQ(files.rlim_cur, files.rlim_max);
  EXPECT_EQ(::kill(hub, SIGTERM), 0);
  EXPECT_TRUE(goes());
}

// A hub that was killed is followed by another at the next join.
TEST_F(Launch, FollowsAHubThatWasKilled) {
  std::int32_t last = 0;
  for (int round = 0; round < 5; ++round) {
    const auto joined = join(place(), setup).value();
    const std::int32_t hub = status().value().process;
    EXPECT_NE(hub, last);
    last = hub;
    ::kill(hub, SIGKILL);
  }
}

TEST_F(Launch, TellsWhyAHubDidNotStart) {
  setup.engine.small_frames = std::size_t{1} << 50;
  const auto joined = join(place(), setup);
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().code, ENOMEM);
  EXPECT_NE(joined.error().why, nullptr);
}

TEST_F(Launch, RefusesAFolderThatOthersEnter) {
  fs::create_directory(base / "open");
  ASSERT_EQ(::chmod((base / "open").c_str(), 0750), 0);
  EXPECT_EQ(join(place("open"), setup).error().code, EACCES);
  fs::create_directory(base / "real");
  ASSERT_EQ(::chmod((base / "real").c_str(), 0700), 0);
  fs::create_directory_symlink(base / "real", base / "link");
  EXPECT_EQ(join(place("link"), setup).error().code, ENOTDIR);
  std::ofstream(base / "file") << "no folder";
  EXPECT_EQ(join(place("file"), setup).error().code, ENOTDIR);
  fs::create_symlink(base / "elsewhere", base / "real" / "lock");
  EXPECT_EQ(join(place("real"), setup).error().code, ELOOP);
  EXPECT_FALSE(fs::exists(base / "elsewhere"));
  if (::geteuid() == 0) {
    fs::create_directory(base / "theirs");
    ASSERT_EQ(::chmod((base / "theirs").c_str(), 0700), 0);
    ASSERT_EQ(::chown((base / "theirs").c_str(), 65534, 65534), 0);
    EXPECT_EQ(join(place("theirs"), setup).error().code, EACCES);
  }
}

// Who listens under the hub's name is asked for his credentials, as the hub asks whoever connects.
TEST_F(Launch, TrustsNoOtherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs to be root, to become another user";
  std::array<int, 2> ready{}, gate{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  ASSERT_EQ(::pipe(gate.data()), 0);
  const pid_t stranger = in_child([&] {
    ::close(gate[1]);
    if (::setresuid(65534, 65534, 65534) != 0) return 1;
    const auto listener = listen(name);
    if (!listener || ::write(ready[1], "x", 1) != 1) return 2;
    char byte = 0;
    return ::read(gate[0], &byte, 1) == 0 ? 0 : 3;
  });
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(join(place(), setup).error().code, EPERM);
  for (const int fd : {gate[0], gate[1], ready[0], ready[1]}) ::close(fd);
  EXPECT_TRUE(ends_well(stranger));

  const auto joined = join(place(), setup).value();
  EXPECT_TRUE(ends_well(in_child([&] {
    if (::setresuid(65534, 65534, 65534) != 0) return 1;
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    const auto to = UnixName::abstract(name).value();
    if (::connect(fd.get(), &to.any, to.size) != 0 || !send(fd.get(), Request{})) return 2;
    const auto reply = receive_reply(fd.get(), 5s);
    return reply && reply->reply.error == EPERM ? 0 : 3;
  })));
}

}  // namespace
}  // namespace gannet::hub
