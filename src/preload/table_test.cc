#include "preload/table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "hub/client.h"
#include "hub/hub.h"
#include "hub/listener.h"

namespace gannet::preload {
namespace {

using socket::PosixSocket;
using socket::StackSocket;

// A socket is known by how it refuses to be attached.
constexpr int first_mark = 10'000;
constexpr std::size_t marks = 256;
template <std::size_t... Numbers>
constexpr std::array<PosixSocket::Attach, marks> make_marks(std::index_sequence<Numbers...>) {
  return {+[](int) -> Result<std::unique_ptr<StackSocket>> { return Error{first_mark + static_cast<int>(Numbers)}; }...};
}
constexpr auto attach_as = make_marks(std::make_index_sequence<marks>());

// Runs `work` in a child, which ends with what it returns; 14 is SIGALRM: it hung.
int result_in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

Table table;  // a process has one, and never gives its entries back

class Tables : public ::testing::Test {
 protected:
  static Fd open() { return Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
  void add(int fd, std::size_t mark) { ASSERT_TRUE(table.add(fd, attach_as[mark], Family::ipv4)); }
  // -1: not ours.
  static int mark_of(const Table::Use& use, int fd) { return use ? use->attach(fd).error().code - first_mark : -1; }
  int mark_at(int fd) { return mark_of(table.find(fd), fd); }
  const void* place_of(int fd) {
    const auto use = table.find(fd);
    return use ? use.operator->() : nullptr;
  }

  void TearDown() override { table.remove_range(0, ~0u); }
};

TEST_F(Tables, KnowWhatWasAddedUntilItIsRemoved) {
  const Fd fd = open();
  EXPECT_EQ(mark_at(fd.get()), -1);
  add(fd.get(), 1);
  EXPECT_EQ(mark_at(fd.get()), 1);
  table.remove(fd.get());
  EXPECT_EQ(mark_at(fd.get()), -1);
  table.remove(fd.get());
}

TEST_F(Tables, HaveBounds) {
  for (const int fd : {-1, max_descriptors, INT_MAX}) {
    EXPECT_FALSE(table.find(fd)) << fd;
    table.remove(fd);
    table.duplicate(fd, 3);
    table.duplicate(3, fd);
  }
  static Table full;  // whose highest number is looked up to for ever
  constexpr int highest = max_descriptors - 1;
  EXPECT_FALSE(full.add(max_descriptors, attach_as[0], Family::ipv4));
  EXPECT_TRUE(full.add(highest, attach_as[7], Family::ipv4));
  EXPECT_EQ(mark_of(full.find(highest), highest), 7);
}

TEST_F(Tables, KeepASocketAsLongAsAnyDuplicate) {
  const Fd first = open(), second(::dup(first.get())), third(::dup(first.get())), other = open();
  add(first.get(), 1);
  add(other.get(), 2);
  const void* const place = place_of(first.get());
  table.duplicate(first.get(), second.get());
  table.duplicate(second.get(), third.get());
  table.duplicate(third.get(), third.get());
  table.remove(first.get());
  EXPECT_EQ(mark_at(second.get()), 1);
  table.duplicate(other.get(), second.get());  // dup2(2) closes what was there
  EXPECT_EQ(mark_at(second.get()), 2);
  EXPECT_EQ(mark_at(third.get()), 1);
  EXPECT_EQ(place_of(third.get()), place);
  table.remove(third.get());
  add(first.get(), 3);
  EXPECT_EQ(place_of(first.get()), place) << "its memory is used again";
}

TEST_F(Tables, ForgetASocketThatAnotherFileReplaces) {
  const Fd ours = open(), foreign(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  add(ours.get(), 1);
  table.duplicate(foreign.get(), ours.get());
  EXPECT_EQ(mark_at(ours.get()), -1);
}

TEST_F(Tables, ForgetRanges) {
  std::vector<Fd> fds;
  for (std::size_t i = 0; i < 6; ++i) {
    fds.push_back(open());
    add(fds.back().get(), i);
  }
  table.remove_range(static_cast<unsigned>(fds[1].get()), static_cast<unsigned>(fds[2].get()));
  EXPECT_EQ(mark_at(fds[0].get()), 0);
  EXPECT_EQ(mark_at(fds[1].get()), -1);
  EXPECT_EQ(mark_at(fds[2].get()), -1);
  EXPECT_EQ(mark_at(fds[3].get()), 3);
  table.remove_range(static_cast<unsigned>(fds[4].get()), ~0u);
  EXPECT_EQ(mark_at(fds[3].get()), 3);
  EXPECT_EQ(mark_at(fds[5].get()), -1);
  table.remove_range(~0u - 1, ~0u);
  table.remove_range(0, ~0u);
  EXPECT_EQ(mark_at(fds[0].get()), -1);
}

// A call goes on with the socket that it began with, though another thread closes it meanwhile and opens others.
TEST_F(Tables, KeepASocketWhileACallUsesIt) {
  const Fd fd = open();
  add(fd.get(), 1);
  {
    const auto use = table.find(fd.get());
    table.remove(fd.get());
    EXPECT_EQ(mark_at(fd.get()), -1);
    add(fd.get(), 2);
    EXPECT_NE(place_of(fd.get()), use.operator->());
    EXPECT_EQ(mark_of(use, fd.get()), 1);
  }
  table.remove(fd.get());
}

// Descriptors are opened, duplicated and closed, and their numbers used again at once, while other threads call.
TEST_F(Tables, FindRacesEveryChange) {
  constexpr int first_number = 900, numbers = 8;
  std::atomic<bool> done = false;
  std::atomic<int> found = 0;
  std::vector<std::thread> threads;
  for (int caller = 0; caller < 3; ++caller) {
    threads.emplace_back([&, caller] {
      for (int i = caller; !done; ++i) {
        const int fd = first_number + i % numbers;
        const auto use = table.find(fd);
        const int mark = mark_of(use, fd);
        if (mark == -1) continue;
        // A mark is of the number that it was made under, or was duplicated from: the one before.
        ASSERT_TRUE(mark % numbers == i % numbers || mark % numbers + 1 == i % numbers) << mark << " at " << i % numbers;
        std::this_thread::yield();
        ASSERT_EQ(mark_of(use, fd), mark) << "it became another socket under a call";
        ++found;
      }
    });
  }
  // Two threads that change: even numbers are one's, and duplicated to the odd ones behind them; the odd ones' removal is the other's.
  threads.emplace_back([&] {
    for (std::size_t i = 0; i < 3000; ++i) {
      const int number = static_cast<int>(i * 2 % numbers), fd = first_number + number;
      if (!table.add(fd, attach_as[(i * numbers) % marks + static_cast<std::size_t>(number)], Family::ipv4)) break;
      table.duplicate(fd, fd + 1);
      if (i % 3 == 0) std::this_thread::yield();
      table.remove(fd);
    }
    done = true;
  });
  threads.emplace_back([&] {
    for (int number = 1; !done; number = (number + 2) % numbers) {
      table.remove(first_number + number);
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(found, 0);
}

TEST_F(Tables, AreWholeInAForkedChild) {
  const Fd fd = open();
  add(fd.get(), 1);
  std::atomic<bool> done = false;
  std::thread changer([&] {
    for (std::size_t i = 0; !done; ++i) {
      if (!table.add(900, attach_as[i % marks], Family::ipv4)) return;
      table.duplicate(900, 901);
      table.remove_range(900, 901);
    }
  });
  for (int i = 0; i < 30; ++i) {
    table.before_fork();
    const int status = result_in_child([&] {
      table.after_fork_in_child();
      if (mark_at(fd.get()) != 1 || !table.add(902, attach_as[2], Family::ipv4) || mark_at(902) != 2) return 1;
      table.remove(fd.get());
      return mark_at(fd.get()) == -1 ? 0 : 2;
    });
    table.after_fork_in_parent();
    ASSERT_EQ(status, 0) << i;
  }
  done = true;
  changer.join();
  EXPECT_EQ(mark_at(fd.get()), 1);
}

// What a child of vfork(2) closes before it becomes another program is closed in the child alone.
TEST_F(Tables, StayAsTheyAreInAVforkedChild) {
  const Fd fd = open(), other = open();
  add(fd.get(), 1);
  EXPECT_EQ(result_in_child([&] {
              table.remove(fd.get());
              table.remove_range(0, ~0u);
              table.duplicate(other.get(), fd.get());
              return mark_at(fd.get()) == 1 ? 0 : 1;
            }),
            0);
}

// Sockets of a hub.
class HubTables : public Tables {
 protected:
  void SetUp() override {
    auto listener = hub::listen(address().name).value();
    process_ = ::fork();
    if (process_ != 0) return;
    hub::HubSetup setup;
    setup.linger = {};
    auto hub = hub::Hub::create(std::move(listener), setup);
    ::_exit(hub && (*hub)->run() ? 0 : 1);
  }
  void TearDown() override {
    hub::Request request;
    request.kind = hub::Request::Kind::shut_down;
    if (!hub::ask(address(), request)) ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }

  static const hub::HubAddress& address() {
    static const hub::HubAddress one{.name = "gannet-table-test-" + std::to_string(::getpid())};
    return one;
  }
  Fd open_bound(std::uint16_t port) {
    Fd fd = open();
    EXPECT_TRUE(table.add(fd.get(), [](int made) { return hub::open_socket(address(), made); }, Family::ipv4));
    const sockaddr_in local = at(port);
    EXPECT_TRUE(table.find(fd.get())->bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local));
    return fd;
  }
  static sockaddr_in at(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  bool say(int fd, std::uint16_t port, std::string text) {
    sockaddr_in to = at(port);
    iovec piece{text.data(), text.size()};
    msghdr message{};
    message.msg_name = &to;
    message.msg_namelen = sizeof to;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    return table.find(fd)->send(fd, message, 0).has_value();
  }
  // Waits for it.
  std::string hear(int fd) {
    std::array<char, 100> buffer;
    iovec piece{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const auto size = table.find(fd)->receive(fd, message, 0);
    return size ? std::string(buffer.data(), *size) : "[" + std::to_string(size.error().code) + "]";
  }

  pid_t process_ = -1;
};

// The number under which it was made is closed, and another file's by then: no byte of the doorbell goes there.
TEST_F(HubTables, ASocketLivesOnUnderAnotherNumber) {
  Fd first = open_bound(7001);
  const Fd other = open_bound(7002);
  const Fd second(::dup(first.get()));
  table.duplicate(first.get(), second.get());
  table.remove(first.get());
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK), 0);
  ASSERT_EQ(::dup2(pipe[1], first.get()), first.get());
  for (int i = 0; i < 10; ++i) {
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      EXPECT_TRUE(say(other.get(), 7001, "a question"));
    });
    EXPECT_EQ(hear(second.get()), "a question");
    later.join();
    EXPECT_TRUE(say(second.get(), 7002, "an answer"));
    EXPECT_EQ(hear(other.get()), "an answer");
  }
  char byte = 0;
  EXPECT_EQ(::read(pipe[0], &byte, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  for (const int end : pipe) ::close(end);
}

// What was set on a socket that was not used yet, whoever gets it by whichever descriptor has.
TEST_F(HubTables, TheHubIsToldWhatWasSetBeforeTheFirstUse) {
  const Fd fd = open(), copy(::dup(fd.get()));  // by a child of vfork(2), say
  const auto attach = [](int made) { return hub::open_socket(address(), made); };
  ASSERT_TRUE(table.add(fd.get(), attach, Family::ipv4));
  EXPECT_FALSE(table.has_unsettled());
  const int on = 1;
  ASSERT_TRUE(table.find(fd.get())->set_option(fd.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on));
  ASSERT_TRUE(table.find(fd.get())->set_option(fd.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on));
  EXPECT_TRUE(table.has_unsettled());
  table.settle(STDIN_FILENO);
  EXPECT_TRUE(table.has_unsettled());
  table.settle(copy.get());
  EXPECT_FALSE(table.has_unsettled());

  ASSERT_TRUE(table.add(copy.get(), attach, Family::ipv4));  // as another program knows it
  for (const int each : {copy.get(), fd.get()}) {
    using Pair = std::pair<int, int>;
    for (const auto& [level, name] : {Pair{SOL_SOCKET, SO_BROADCAST}, Pair{IPPROTO_IP, IP_PKTINFO}}) {
      int value = 0;
      socklen_t size = sizeof value;
      ASSERT_TRUE(table.find_certain(each)->get_option(each, level, name, &value, &size));
      EXPECT_EQ(value, 1) << name;
    }
  }
  table.remove(fd.get());
  table.remove(copy.get());
}

// Parent and child have the same socket, each with a way of its own into it.
TEST_F(HubTables, AForkedChildSendsAndReceivesToo) {
  const Fd shared = open_bound(7003), other = open_bound(7004);
  ASSERT_TRUE(say(other.get(), 7003, "first"));
  table.before_fork();
  const pid_t child = ::fork();
  if (child == 0) {
    table.after_fork_in_child();
    ::alarm(60);
    for (int i = 0; i < 100; ++i) {
      if (hear(shared.get()).empty() || !say(shared.get(), 7004, "by the child")) ::_exit(1);
    }
    ::_exit(0);
  }
  table.after_fork_in_parent();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(hear(other.get()), "by the child");
    EXPECT_TRUE(say(other.get(), 7003, "next"));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(hear(shared.get()), "next") << "the child left it";
  EXPECT_TRUE(say(shared.get(), 7004, "by the parent"));
  EXPECT_EQ(hear(other.get()), "by the parent");
}

}  // namespace
}  // namespace gannet::preload
