// Programs of a hub: what `gannet run` asks for, and what it is told.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "hub/client.h"
#include "hub/hub.h"
#include "hub/listener.h"
#include "hub/program.h"
#include "wire/capture_reader.h"

namespace gannet::hub {
namespace {

using namespace std::chrono_literals;
using socket::StackSocket;

constexpr auto patience = 10s;
constexpr IpAddress loopback = IpAddress::ipv4(127, 0, 0, 1);

std::uint64_t sum(const ProgramReport::Drops& drops) { return std::accumulate(drops.begin(), drops.end(), std::uint64_t{0}); }
std::uint64_t count(const ProgramReport::Drops& drops, Drop reason) { return drops[static_cast<std::size_t>(reason)]; }

// Each datagram has one end, or waits.
void expect_conservation(const ProgramReport& report) {
  for (const ProgramReport::Way* way : {&report.in, &report.out}) {
    EXPECT_EQ(way->taken + way->duplicates, way->passed + sum(way->drops) + way->held);
  }
  EXPECT_EQ(report.out.passed, report.here.passed + report.away.passed + report.to_groups);
}

class ProgramsOfAHub : public ::testing::Test {
 protected:
  void SetUp() override {
    HubSetup setup;
    setup.linger = 0ms;
    hub = Hub::create(listen(address.name).value(), setup).value();
    thread = std::thread([this] { EXPECT_TRUE(hub->run()); });
  }
  void TearDown() override {
    hub->stop();
    thread.join();
  }

  std::unique_ptr<StackSocket> bound(std::uint16_t port, const HubAddress& as) {
    auto socket = open_socket(as).value();
    socket->bind({loopback, port}).value();
    return socket;
  }
  static void say(StackSocket& socket, std::uint16_t port, std::string_view text) {
    const Outgoing out{.data = std::as_bytes(std::span(text)), .to = {loopback, port}};
    ASSERT_TRUE(socket.send(std::span(&out, 1), patience));
  }
  static std::string hear(StackSocket& socket, Deadline deadline) {
    std::array<std::byte, 2048> buffer;
    Datagram datagram{.buffer = buffer};
    if (!socket.receive(std::span(&datagram, 1), deadline, socket::Take::remove)) return "";
    return {reinterpret_cast<const char*>(datagram.data.data()), datagram.data.size()};
  }
  // All that has come until `last`, without it.
  static std::vector<std::string> hear_until(StackSocket& socket, std::string_view last) {
    std::vector<std::string> all;
    for (std::string text = hear(socket, patience); text != last && !text.empty(); text = hear(socket, patience)) all.push_back(text);
    return all;
  }
  Result<Program> open(const ProgramSetup& setup) { return Program::open(address, setup); }
  template <class Condition>
  static bool comes(Condition&& condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(2ms);
    }
    return true;
  }

  const HubAddress address{.name = "gannet-programs-test-" + std::to_string(::getpid())};
  std::unique_ptr<Hub> hub;
  std::thread thread;
};

// One program's faults are no other's, and to the same seed they are the same.
TEST_F(ProgramsOfAHub, LoseWhatTheyAreToLose) {
  auto receiver = bound(7101, address);
  auto other = bound(7102, address);
  std::vector<std::string> first;
  for (int run = 0; run < 2; ++run) {
    const Program program = open({.out = {.loss = 0.3, .seed = 7}, .report = 1}).value();
    auto sender = open_socket(program.address()).value();
    for (int i = 0; i < 100; ++i) say(*sender, 7101, std::to_string(i));
    ASSERT_TRUE(comes([&] { return program.report().value().out.taken == 100; }));
    say(*other, 7101, "from another program");
    const auto heard = hear_until(*receiver, "from another program");
    const ProgramReport report = program.report().value();
    expect_conservation(report);
    EXPECT_EQ(heard.size() + count(report.out.drops, Drop::fault_loss), 100u);
    EXPECT_EQ(report.here.passed, heard.size());
    EXPECT_GT(count(report.out.drops, Drop::fault_loss), 10u);
    if (run == 0) first = heard;
    EXPECT_EQ(heard, first);
  }
}

TEST_F(ProgramsOfAHub, LoseWhatComesToThem) {
  const Program program = open({.in = {.loss = 1}, .report = 1}).value();
  auto receiver = bound(7103, program.address());
  auto sender = bound(7104, address);
  say(*sender, 7103, "never heard");
  ASSERT_TRUE(comes([&] { return program.report().value().in.taken == 1; }));
  const ProgramReport report = program.report().value();
  expect_conservation(report);
  EXPECT_EQ(count(report.in.drops, Drop::fault_loss), 1u);
  EXPECT_EQ(hear(*receiver, Deadline::now()), "");
}

// Where each datagram died: at a port of nobody's, in the peer's receive queue, in the peer's fault unit.
TEST_F(ProgramsOfAHub, HearWhereTheirDatagramsDied) {
  const Program program = open({.report = 1}).value();
  const Program deaf = open({.in = {.loss = 1}}).value();
  auto sender = open_socket(program.address()).value();
  auto slow = bound(7105, address);
  ASSERT_TRUE(slow->set(Option::receive_buffer, 2000));
  auto receiver = bound(7106, deaf.address());
  say(*sender, 7199, "nobody there");
  for (int i = 0; i < 50; ++i) say(*sender, 7105, std::string(500, 'x'));
  say(*sender, 7106, "to the deaf");
  // What was sent is counted a moment before it comes to its end.
  ASSERT_TRUE(comes([&] { return sum(program.report().value().here.lost) > 2 && program.report().value().here.passed == 52; }));
  std::uint64_t heard = 0;
  ASSERT_TRUE(comes([&] {
    while (!hear(*slow, Deadline::now()).empty()) ++heard;
    return heard + count(program.report().value().here.lost, Drop::receive_queue_full) == 50;
  }));
  const ProgramReport report = program.report().value();
  expect_conservation(report);
  EXPECT_EQ(report.out.taken, 52u);
  EXPECT_EQ(count(report.here.lost, Drop::udp_no_socket), 1u);
  EXPECT_EQ(count(report.here.lost, Drop::fault_loss), 1u);
  EXPECT_EQ(report.here.passed - sum(report.here.lost), heard);
}

// A socket that is closed while its last words are delayed; then nothing is left of the program.
TEST_F(ProgramsOfAHub, AreGoneWithTheirLastDatagram) {
  auto receiver = bound(7107, address);
  {
    const Program program = open({.out = {.delay = 200ms}}).value();
    auto sender = open_socket(program.address()).value();
    say(*sender, 7107, "the last words");
  }
  EXPECT_EQ(hear(*receiver, patience), "the last words");
  EXPECT_TRUE(comes([&] {
    static_cast<void>(open({}));
    return hub->engine().call([&] { return hub->engine().stack().fates().observer.dropped == nullptr; });
  }));
}

// Whose it was, which way it went, and why it died.
TEST_F(ProgramsOfAHub, CaptureWhatTheySend) {
  std::array<char, 32> path{"/tmp/gannet-capture-XXXXXX"};
  Fd file(::mkstemp(path.data()));
  ASSERT_TRUE(file);
  ::unlink(path.data());
  Fd copy(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  Program program = open({.out = {.loss = 0.5, .seed = 3}, .capture = 1}).value();
  ASSERT_TRUE(program.capture_to(std::move(file)));
  auto sender = bound(7108, program.address());
  for (int i = 0; i < 20; ++i) say(*sender, 7109, "captured");
  ASSERT_TRUE(comes([&] { return program.report().value().out.taken == 20; }));
  ASSERT_TRUE(program.end_capture());
  EXPECT_EQ(program.report().value().missed, 0u);

  ::lseek(copy.get(), 0, SEEK_SET);
  wire::CaptureReader reader([&](std::span<std::byte> into) -> Result<std::size_t> {
    return static_cast<std::size_t>(std::max<ssize_t>(::read(copy.get(), into.data(), into.size()), 0));
  });
  std::size_t passed = 0, lost = 0, refused = 0, unreachable = 0;
  const std::string whose = "process " + std::to_string(::getpid()) + " (";
  for (auto packet = reader.next(); packet && *packet; packet = reader.next()) {
    const std::string comment((*packet)->comment);
    if ((*packet)->interface_name == "lost afterwards") {
      refused += comment.starts_with("dropped: udp_no_socket") ? 1 : 0;
      continue;
    }
    EXPECT_NE(comment.find(whose), comment.npos) << comment;
    EXPECT_EQ((*packet)->direction, wire::Direction::outbound);
    (comment.starts_with("dropped: fault_loss, ") ? lost : passed) += 1;
    unreachable += comment.find("dropped: ") != comment.npos && !comment.starts_with("dropped: fault_loss") ? 1 : 0;
  }
  EXPECT_EQ(passed + lost, 20u);
  EXPECT_EQ(refused, passed);
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(unreachable, 0u);
}

TEST_F(ProgramsOfAHub, AreRefusedWhereTheyMakeNoSense) {
  EXPECT_EQ(open({.out = {.loss = 2}}).error().code, EINVAL);
  EXPECT_EQ(open({.out = {.delay = -1ns}}).error().code, EINVAL);
  HubAddress nobodys = address;
  nobodys.program.words = {1, 2};
  EXPECT_EQ(open_socket(nobodys).error().code, ENETDOWN);
  const Program program = open({}).value();
  EXPECT_EQ(program.report().error().code, EINVAL);
  EXPECT_TRUE(open_socket(program.address()));
}

TEST_F(ProgramsOfAHub, AreNoMoreThanTheBound) {
  std::vector<Program> all;
  for (std::size_t i = 0; i < Programs::max_programs; ++i) all.push_back(open({}).value());
  EXPECT_EQ(open({}).error().code, ENOBUFS);
  all.pop_back();
  EXPECT_TRUE(comes([&] { return open({}).has_value(); }));
}

// A program that has dropped its privileges; whoever does not know its key is served nothing.
TEST_F(ProgramsOfAHub, ServeTheirOwnAsAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const Program program = open({}).value();
  const HubAddress whole = HubAddress::parse(program.address().to_string());
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(65534) != 0) ::_exit(1);
    auto socket = open_socket(whole);
    if (!socket) ::_exit(2);
    if (!(*socket)->bind({loopback, 7110})) ::_exit(3);
    HubAddress as_nobody = whole;
    as_nobody.program = {};
    if (open_socket(as_nobody).error().code != EPERM) ::_exit(4);
    Request request;
    request.kind = Request::Kind::shut_down;
    if (ask(as_nobody, request).error().code != EPERM) ::_exit(5);
    request.kind = Request::Kind::open_program;
    if (ask(as_nobody, request).error().code != EPERM) ::_exit(6);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace gannet::hub
