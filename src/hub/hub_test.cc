#include "hub/hub.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "hub/client.h"
#include "hub/listener.h"

namespace gannet::hub {
namespace {

using namespace std::chrono_literals;
using socket::StackSocket;

constexpr auto patience = 5s;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// Runs `work` in a child, which ends with what it returns.
pid_t in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  return child;
}

int end_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

// A hub in a process of its own.
class Hubs : public ::testing::Test {
 protected:
  void start(const HubSetup& setup = {}, const std::function<void()>& prepare = [] {}) {
    auto listener = listen(address.name).value();
    process = in_child([&] {
      prepare();
      auto hub = Hub::create(std::move(listener), setup);
      if (!hub) return 1;
      return (*hub)->run() ? 0 : 2;
    });
  }
  void TearDown() override {
    if (process <= 0) return;
    Request request;
    request.kind = Request::Kind::shut_down;
    if (!ask(address, request)) ::kill(process, SIGKILL);
    end_of(process);
  }

  Status status() {
    Request request;
    request.kind = Request::Kind::status;
    return ask(address, request).value().status;
  }
  bool comes_to(std::size_t sockets) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (status().sockets != sockets) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(5ms);
    }
    return true;
  }
  std::unique_ptr<StackSocket> bound(std::uint16_t port) {
    auto socket = open_socket(address).value();
    socket->bind({IpAddress::ipv4(127, 0, 0, 1), port}).value();
    return socket;
  }
  static Result<std::size_t> say(StackSocket& socket, std::uint16_t port, std::string_view text) {
    const Outgoing out{.data = bytes_of(text), .to = {IpAddress::ipv4(127, 0, 0, 1), port}};
    return socket.send(std::span(&out, 1), patience);
  }
  static std::string hear(StackSocket& socket, Deadline deadline = patience) {
    std::array<std::byte, 2048> buffer;
    Datagram datagram{.buffer = buffer};
    const auto count = socket.receive(std::span(&datagram, 1), deadline, socket::Take::remove);
    if (!count) return "[" + std::to_string(count.error().code) + "]";
    return {reinterpret_cast<const char*>(datagram.data.data()), datagram.data.size()};
  }

  const HubAddress address{"gannet-hub-test-" + std::to_string(::getpid())};
  pid_t process = -1;
};

TEST_F(Hubs, CarryDatagramsBetweenProcesses) {
  start();
  auto server = bound(7001);
  const pid_t child = in_child([&] {
    auto client = open_socket(address).value();
    if (!say(*client, 7001, "hello from a child")) return 1;
    return hear(*client) == "hello to a child" ? 0 : 2;
  });
  std::array<std::byte, 64> buffer;
  Datagram question{.buffer = buffer};
  ASSERT_TRUE(server->receive(std::span(&question, 1), patience, socket::Take::remove));
  EXPECT_EQ(std::memcmp(question.data.data(), "hello from a child", question.data.size()), 0);
  const Outgoing answer{.data = bytes_of("hello to a child"), .to = question.peer};
  ASSERT_TRUE(server->send(std::span(&answer, 1), patience));
  EXPECT_EQ(end_of(child), 0);
  EXPECT_EQ(status().datagrams_out, 2u);
}

// An application that is killed leaves no socket, and its port is free again.
TEST_F(Hubs, CloseTheSocketsOfAKilledProcess) {
  start();
  for (int round = 0; round < 20; ++round) {
    std::array<int, 2> ready{};
    ASSERT_EQ(::pipe(ready.data()), 0);
    const pid_t child = in_child([&]() -> int {
      auto server = bound(7002);
      auto client = open_socket(address).value();
      [[maybe_unused]] const ssize_t told = ::write(ready[1], "x", 1);
      for (;;) static_cast<void>(say(*client, 7002, "again"));
    });
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
    ::kill(child, SIGKILL);
    end_of(child);
    ::close(ready[0]);
    ::close(ready[1]);
    ASSERT_TRUE(comes_to(0));
  }
  EXPECT_TRUE(bound(7002));
}

// A socket lives as long as any process that has its descriptor.
TEST_F(Hubs, KeepASocketThatAChildInherited) {
  start();
  std::array<int, 2> gate{};
  ASSERT_EQ(::pipe(gate.data()), 0);
  const pid_t parent = in_child([&] {
    auto server = bound(7003);
    in_child([&] {
      ::close(gate[1]);
      char byte = 0;
      return ::read(gate[0], &byte, 1) == 0 ? 0 : 1;
    });
    return server.release() != nullptr ? 0 : 1;  // ends without closing it
  });
  end_of(parent);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(status().sockets, 1u);
  ::close(gate[1]);
  EXPECT_TRUE(comes_to(0));
  ::close(gate[0]);
}

TEST_F(Hubs, FailWaitingCallsWhenTheyAreKilled) {
  start();
  auto socket = bound(7004);
  std::thread killer([&] {
    std::this_thread::sleep_for(50ms);
    ::kill(process, SIGKILL);
  });
  EXPECT_EQ(hear(*socket, 60s), "[" + std::to_string(ENETDOWN) + "]");
  killer.join();
  end_of(process);
  process = -1;
  EXPECT_EQ(say(*socket, 7004, "into the void").error().code, ENETDOWN);
  EXPECT_EQ(socket->bind({IpAddress::ipv4(127, 0, 0, 1), 7005}).error().code, ENETDOWN);
}

TEST_F(Hubs, FailASenderWhenTheyAreKilled) {
  start();
  auto socket = bound(7006);
  ::kill(process, SIGKILL);
  end_of(process);
  process = -1;
  EXPECT_EQ(say(*socket, 7006, "into the void").error().code, ENETDOWN);
}

// Even one that was looking at the send ring all the time, and had not asked to be woken.
TEST_F(Hubs, FailABusySenderWhenTheyAreKilled) {
  HubSetup setup;
  setup.engine.spin = 10s;
  start(setup);
  auto socket = bound(7006);
  ASSERT_TRUE(say(*socket, 7006, "so that it looks"));
  ::kill(process, SIGKILL);
  end_of(process);
  process = -1;
  EXPECT_EQ(say(*socket, 7006, "into the void").error().code, ENETDOWN);
}

// The socket of a hub that was killed is nothing to the hub that came after it.
TEST_F(Hubs, KnowNothingOfTheirPredecessorsSockets) {
  start();
  auto socket = bound(7006);
  ::kill(process, SIGKILL);
  end_of(process);
  start();
  EXPECT_EQ(socket->local_address().error().code, ENETDOWN);
  EXPECT_EQ(socket->close().error().code, ENETDOWN);
  EXPECT_TRUE(bound(7006));
}

// A hub that does not answer costs time, but no more than it is given.
TEST_F(Hubs, AreWaitedForNoLongerThanTheyHave) {
  start();
  ::kill(process, SIGSTOP);
  std::vector<Fd> crowd;
  const auto name = UnixName::abstract(address.name).value();
  for (int i = 0; i < 1000; ++i) {
    crowd.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    if (::connect(crowd.back().get(), &name.any, name.size) != 0) break;
  }
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(connect(address).error().code, ETIMEDOUT);
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  const timeval own{77, 0};
  ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &own, sizeof own), 0);
  ::kill(process, SIGCONT);
  crowd.clear();
  EXPECT_TRUE(open_socket(address, fd.get()));
  timeval after{};
  socklen_t size = sizeof after;
  ASSERT_EQ(::getsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &after, &size), 0);
  EXPECT_EQ(after.tv_sec, own.tv_sec);
}

// As on Linux: who closes a socket's last descriptor and then asks for its port gets it, however busy the engine.
TEST_F(Hubs, FreeAPortBeforeTheNextRequest) {
  HubSetup setup;
  setup.engine.spin = 10s;
  start(setup);
  auto busy = bound(7012);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(say(*busy, 7012, "busy"));
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto socket = open_socket(address, fd.get()).value();
    ASSERT_TRUE(socket->bind({IpAddress::ipv4(127, 0, 0, 1), 7011})) << i;
    fd.reset();
  }
}

// As on Linux, poll(2) says when there is room to send again.
TEST_F(Hubs, AreUnwritableWhileTheSendRingIsFull) {
  start();
  auto receiver = bound(7009);
  auto socket = bound(7010);
  ASSERT_TRUE(socket->set(Option::max_pacing_rate, 1000));
  const std::string text(1000, 'x');
  const Outgoing out{.data = bytes_of(text), .to = {IpAddress::ipv4(127, 0, 0, 1), 7009}};
  Result<std::size_t> sent = std::size_t{0};
  for (int i = 0; i < 10'000 && sent; ++i) sent = socket->send(std::span(&out, 1), Deadline::now());
  EXPECT_EQ(sent.error().code, EAGAIN);
  pollfd wait{socket->fd().value(), POLLOUT, 0};
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
  ASSERT_TRUE(socket->set(Option::max_pacing_rate, -1));
  EXPECT_EQ(::poll(&wait, 1, 5000), 1);
}

TEST_F(Hubs, EndWhenNobodyNeedsThem) {
  HubSetup setup;
  setup.linger = 50ms;
  start(setup);
  {
    auto socket = bound(7007);
    std::this_thread::sleep_for(150ms);
    EXPECT_EQ(::waitpid(process, nullptr, WNOHANG), 0);
  }
  EXPECT_EQ(end_of(process), 0);
  process = -1;
  EXPECT_EQ(connect(address).error().code, ECONNREFUSED);
}

// However long it was used before: the end of the last socket is when nobody needs it any more.
TEST_F(Hubs, LingerAfterTheLastSocketIsGone) {
  HubSetup setup;
  setup.linger = 400ms;
  start(setup);
  const pid_t child = in_child([&]() -> int {
    const auto* socket = bound(7009).release();  // which says nothing at its end
    std::this_thread::sleep_for(500ms);
    return socket != nullptr ? 0 : 1;
  });
  const auto before = std::chrono::steady_clock::now();
  end_of(child);
  EXPECT_EQ(end_of(process), 0);
  process = -1;
  EXPECT_GE(std::chrono::steady_clock::now() - before, 500ms + 350ms);
}

// Out of descriptors a hub sleeps, and serves whoever waits as soon as there is one.
TEST_F(Hubs, SleepWithoutADescriptorLeft) {
  HubSetup setup;
  setup.request_patience = 60s;
  start(setup);
  ASSERT_TRUE(open_socket(address));
  const rlimit few{32, 32};  // of which it knows nothing
  ASSERT_EQ(::prlimit(process, RLIMIT_NOFILE, &few, nullptr), 0);
  std::vector<Fd> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(connect(address).value());
  const auto cpu_time = [&] {
    clockid_t clock = 0;
    timespec time{};
    EXPECT_EQ(::clock_getcpuclockid(process, &clock), 0);
    EXPECT_EQ(::clock_gettime(clock, &time), 0);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  };
  std::this_thread::sleep_for(50ms);
  const auto before = cpu_time();
  std::this_thread::sleep_for(500ms);
  EXPECT_LT(cpu_time() - before, 50ms);
  silent.clear();
  EXPECT_TRUE(open_socket(address));
}

TEST_F(Hubs, BoundTheSocketsOfAProcess) {
  HubSetup setup;
  setup.limits.sockets = 3;
  start(setup);
  std::vector<std::unique_ptr<StackSocket>> sockets;
  for (int i = 0; i < 3; ++i) sockets.push_back(open_socket(address).value());
  EXPECT_EQ(open_socket(address).error().code, EMFILE);
  const pid_t child = in_child([&] { return open_socket(address) ? 0 : 1; });
  EXPECT_EQ(end_of(child), 0);
  sockets.pop_back();
  EXPECT_TRUE(comes_to(2));
  EXPECT_TRUE(open_socket(address));
}

// Each socket costs the hub a descriptor; whoever finds none left is told so at once.
TEST_F(Hubs, BoundTheirSocketsByTheirDescriptors) {
  start({}, [] {
    const rlimit few{64, 64};
    ::setrlimit(RLIMIT_NOFILE, &few);
  });
  std::vector<std::unique_ptr<StackSocket>> sockets;
  Error last{};
  for (int i = 0; i < 64; ++i) {
    auto socket = open_socket(address);
    if (!socket) {
      last = socket.error();
      break;
    }
    sockets.push_back(std::move(*socket));
  }
  EXPECT_EQ(last.code, EMFILE);
  EXPECT_GE(sockets.size(), 12u);
  EXPECT_EQ(status().sockets, sockets.size());
  sockets.pop_back();
  EXPECT_TRUE(open_socket(address));
}

TEST_F(Hubs, BoundTheMemoryOfAProcess) {
  HubSetup setup;
  setup.limits.memory = 5 * stack::default_buffer_limit;
  start(setup);
  auto first = open_socket(address).value();
  auto second = open_socket(address).value();
  EXPECT_EQ(open_socket(address).error().code, ENOBUFS);
  EXPECT_EQ(first->set(Option::receive_buffer, static_cast<int>(stack::default_buffer_limit) + 1).error().code, ENOBUFS);
  EXPECT_EQ(first->get(Option::receive_buffer).value(), static_cast<int>(stack::default_buffer_limit));
  EXPECT_TRUE(first->set(Option::receive_buffer, static_cast<int>(stack::default_buffer_limit)));
  EXPECT_EQ(first->renew_send_ring().error().code, ENOBUFS);
  EXPECT_EQ(end_of(in_child([&] { return open_socket(address) ? 0 : 1; })), 0);
  second.reset();
  EXPECT_TRUE(first->renew_send_ring());
  first.reset();
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(open_socket(address));
}

TEST_F(Hubs, BoundTheGroupsOfAProcess) {
  HubSetup setup;
  setup.limits.memberships = 3;
  start(setup);
  auto first = open_socket(address).value();
  auto second = open_socket(address).value();
  const auto change = [](StackSocket& socket, socket::Membership kind, std::uint8_t last) {
    const auto changed = socket.change_membership(kind, IpAddress::ipv4(239, 1, 1, last), IpAddress::any(Family::ipv4), 1);
    return changed ? 0 : changed.error().code;
  };
  using socket::Membership;
  EXPECT_EQ(change(*first, Membership::join, 1), 0);
  EXPECT_EQ(change(*first, Membership::join, 2), 0);
  EXPECT_EQ(change(*second, Membership::join, 1), 0);
  EXPECT_EQ(change(*second, Membership::join, 2), ENOBUFS);
  EXPECT_EQ(change(*first, Membership::leave, 2), 0);
  EXPECT_EQ(change(*second, Membership::join, 2), 0);
  first.reset();
  EXPECT_EQ(change(*second, Membership::join, 3), 0);
}

// A server that forks for each request: each child sends by a ring of its own, which goes with it, even though nobody waits for the child.
TEST_F(Hubs, TakeTheRingsOfDeadProcessesBack) {
  start();
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto server = open_socket(address, fd.get()).value();
  auto receiver = bound(7013);
  server->share();
  constexpr int children = 150;
  std::vector<pid_t> zombies;
  for (int i = 0; i < children; ++i) {
    zombies.push_back(in_child([&] {
      if (!server->renew_send_ring()) return 1;
      return say(*server, 7013, "from child " + std::to_string(i)) ? 0 : 2;
    }));
    ASSERT_EQ(hear(*receiver), "from child " + std::to_string(i));
  }
  for (const pid_t zombie : zombies) EXPECT_EQ(end_of(zombie), 0);
  EXPECT_TRUE(say(*server, 7013, "from the parent"));
  EXPECT_EQ(hear(*receiver), "from the parent");
}

// A process that connects and says nothing loses its own places, not those of others.
TEST_F(Hubs, ShowOutWhoHasMostConnections) {
  HubSetup setup;
  setup.connections = 8;
  setup.request_patience = 60s;
  start(setup);
  const auto other = connect(address).value();
  std::array<int, 2> gate{}, ready{};
  ASSERT_EQ(::pipe(gate.data()), 0);
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t flood = in_child([&] {
    ::close(gate[1]);
    std::vector<Fd> silent;
    for (int i = 0; i < 100; ++i) silent.push_back(connect(address).value());
    char byte = 0;
    return ::write(ready[1], "x", 1) == 1 && ::read(gate[0], &byte, 1) == 0 ? 0 : 1;
  });
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_TRUE(open_socket(address));
  Request request;
  ASSERT_TRUE(send(other.get(), request));
  EXPECT_TRUE(receive_reply(other.get(), patience));
  for (const int end : {gate[0], gate[1], ready[0], ready[1]}) ::close(end);
  EXPECT_EQ(end_of(flood), 0);
}

// Descriptors that nobody asked for are not kept.
TEST_F(Hubs, KeepNoDescriptorsThatAreSentToThem) {
  start();
  const auto descriptors = [&] {
    const std::filesystem::path folder = "/proc/" + std::to_string(process) + "/fd";
    return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
  };
  auto keeper = open_socket(address).value();
  const auto before = descriptors();  // or some more, where the hub is still busy with what came before
  const auto send_with_fds = [](int to, std::span<std::byte> bytes) {
    std::array<int, 8> fds{};
    fds.fill(to);
    iovec piece{bytes.data(), bytes.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof fds)> control{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fds);
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof fds);
    return ::sendmsg(to, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  };
  for (int i = 0; i < 20; ++i) {
    const auto fd = connect(address).value();
    Request request;
    EXPECT_TRUE(send_with_fds(fd.get(), std::as_writable_bytes(std::span(&request, 1))));
    EXPECT_TRUE(receive_reply(fd.get(), patience));
    std::byte token{1};
    EXPECT_TRUE(send_with_fds(keeper->fd().value(), std::span(&token, 1)));
  }
  const auto end = std::chrono::steady_clock::now() + patience;
  while (descriptors() > before && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
  EXPECT_LE(descriptors(), before);  // which may have been seen as the hub still closed what it had sent
}

TEST_F(Hubs, RefuseWhatIsNoRequest) {
  start();
  const auto answered = [&](const Request& request) {
    const auto fd = connect(address).value();
    EXPECT_TRUE(send(fd.get(), request));
    const auto reply = receive_reply(fd.get(), patience);
    return reply ? reply->reply.error : reply.error().code;
  };
  Request request;
  request.magic = 1;
  EXPECT_EQ(answered(request), EPROTO);
  request = {};
  request.version = 99;
  EXPECT_EQ(answered(request), EPROTO);
  request = {};
  request.kind = static_cast<Request::Kind>(77);
  EXPECT_EQ(answered(request), EPROTO);
  request = {};
  request.kind = Request::Kind::control;
  request.key.words = {1, 2};
  EXPECT_EQ(answered(request), EBADF);
  request.kind = Request::Kind::open;
  request.control.option = static_cast<Option>(200);
  EXPECT_EQ(answered(request), EINVAL);
  EXPECT_EQ(status().sockets, 0u);
}

TEST_F(Hubs, RefuseSourcesOfAnotherFamily) {
  start();
  auto socket = bound(7010);
  const IpAddress group = IpAddress::ipv4(239, 1, 2, 3);
  const IpAddress ipv6 = IpAddress::any(Family::ipv6);
  EXPECT_EQ(socket->change_membership(socket::Membership::join_source, group, ipv6, 1).error().code, EAFNOSUPPORT);
  EXPECT_EQ(socket->change_membership(socket::Membership::block_source, group, ipv6, 1).error().code, EAFNOSUPPORT);
  EXPECT_TRUE(socket->change_membership(socket::Membership::join, group, ipv6, 1));
}

// Who says nothing, or half of it, is shown out, and the others are served meanwhile.
TEST_F(Hubs, DoNotWaitForTheSlow) {
  HubSetup setup;
  setup.connections = 4;
  setup.request_patience = 100ms;
  start(setup);
  std::vector<Fd> slow;
  for (int i = 0; i < 4; ++i) slow.push_back(connect(address).value());
  const char half[10] = {};
  ASSERT_EQ(::send(slow[0].get(), half, sizeof half, MSG_NOSIGNAL), 10);
  for (const Fd& fd : slow) {
    pollfd wait{fd.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&wait, 1, 5000), 1);
    char byte = 0;
    EXPECT_LE(::recv(fd.get(), &byte, 1, MSG_DONTWAIT), 0);
  }
  EXPECT_TRUE(open_socket(address));
}

// Whoever holds the doorbell has the socket: what he needs, he is given for showing it.
TEST_F(Hubs, GiveASocketToWhoeverHasItsDoorbell) {
  start();
  auto peer = bound(7010);
  const Fd doorbell = make_doorbell(SOCK_CLOEXEC, Family::ipv4);
  EXPECT_EQ(family_of_doorbell(address, doorbell.get()), Family::ipv4);
  auto first = open_socket(address, doorbell.get()).value();
  EXPECT_EQ(family_of_doorbell(address, doorbell.get()), Family::ipv4);
  ASSERT_TRUE(first->connect({IpAddress::ipv4(127, 0, 0, 1), 7010}));
  first->notes()[0] = 77;

  const Fd copy(::dup(doorbell.get()));
  auto second = open_socket(address, copy.get()).value();
  EXPECT_EQ(status().sockets, 2u);
  EXPECT_TRUE(second->is_connected());
  EXPECT_EQ(second->notes()[0], 77u);
  EXPECT_EQ(second->local_address().value(), first->local_address().value());
  ASSERT_TRUE(say(*second, 7010, "by the second"));
  EXPECT_EQ(hear(*peer), "by the second");
  ASSERT_TRUE(say(*first, 7010, "by the first"));
  EXPECT_EQ(hear(*peer), "by the first");
  ASSERT_TRUE(say(*peer, second->local_address().value().port, "to either"));
  pollfd wait{copy.get(), POLLIN, 0};  // a descriptor of our own is ours to wait on
  EXPECT_EQ(::poll(&wait, 1, std::chrono::milliseconds(patience).count()), 1);
  EXPECT_EQ(hear(*second), "to either");
}

TEST_F(Hubs, GiveASocketToNobodyElse) {
  start();
  auto other = bound(7011);
  Request request;
  request.kind = Request::Kind::adopt;
  const Fd connected = connect(address).value(), stranger = make_doorbell(SOCK_CLOEXEC, Family::ipv4),
           file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const int shown : {-1, connected.get(), stranger.get(), file.get()}) {
    const Fd asking = connect(address).value();
    ASSERT_TRUE(send(asking.get(), request, shown));
    const auto received = receive_reply(asking.get(), patience);
    ASSERT_TRUE(received);
    EXPECT_EQ(received->reply.error, EBADF);
    EXPECT_EQ(received->reply.fds, 0u);
  }
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Fd one(ends[0]), two(ends[1]);
  EXPECT_FALSE(family_of_doorbell(address, one.get()));
  EXPECT_FALSE(family_of_doorbell(address, file.get()));
}

// What the hub shares can be filled with anything, and neither shrunk nor grown: that would kill the hub at its next touch.
TEST_F(Hubs, ShareSealedMemory) {
  start();
  const auto fd = connect(address).value();
  Request request;
  request.kind = Request::Kind::open;
  request.control = {.kind = socket::ControlRequest::Kind::local_address};
  ASSERT_TRUE(send(fd.get(), request));
  auto received = receive_reply(fd.get(), patience).value();
  ASSERT_EQ(received.reply.fds, max_reply_fds);
  for (const Fd& file : received.fds) {
    EXPECT_EQ(::ftruncate(file.get(), 0), -1);
    EXPECT_EQ(errno, EPERM);
    struct stat about{};
    ASSERT_EQ(::fstat(file.get(), &about), 0);
    EXPECT_EQ(::ftruncate(file.get(), about.st_size + 4096), -1);
  }
  // The page that all applications go by, none of them can write.
  const int page = received.fds[2].get();
  EXPECT_EQ(::pwrite(page, "x", 1, 0), -1);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0), MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
  void* const seen = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, page, 0);
  ASSERT_NE(seen, MAP_FAILED);
  EXPECT_EQ(::mprotect(seen, 4096, PROT_READ | PROT_WRITE), -1);
  ::munmap(seen, 4096);

  std::vector<std::byte> nonsense(1 << 20, std::byte{0xa5});
  EXPECT_GT(::pwrite(received.fds[0].get(), nonsense.data(), nonsense.size(), 0), 0);
  EXPECT_GT(::pwrite(received.fds[1].get(), nonsense.data(), nonsense.size(), 0), 0);
  EXPECT_EQ(::send(fd.get(), "xxxx", 4, MSG_NOSIGNAL), 4);
  auto honest = bound(7008);
  ASSERT_TRUE(say(*honest, 7008, "still here"));
  EXPECT_EQ(hear(*honest), "still here");
}

}  // namespace
}  // namespace gannet::hub
