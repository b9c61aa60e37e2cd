// A host as a program holds it: opened by a line of text, driven by its owner or by itself, watched, captured, and served by handlers.
#include <gannet/host.h>

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace gannet {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds patience = 5s;

Address at(const Host& host, std::uint16_t port) { return {host.address(), port}; }

Socket bound(Host& host, std::uint16_t port) {
  Socket socket = Socket::open(host).value();
  socket.bind(at(host, port)).value();
  return socket;
}

std::uint64_t value_of(const std::vector<Count>& counts, std::string_view name) {
  for (const Count& count : counts) {
    if (count.name == name) return count.value;
  }
  return 0;
}

// Two hosts on a wire, in the test's own thread.
class Hosts : public ::testing::Test {
 protected:
  explicit Hosts(HostOptions options = {}) : a(open(std::move(options))), b(Host::open(segment, "10.9.0.2/24").value()) {}
  Host open(HostOptions options) { return Host::open(segment, "10.9.0.1/24", std::move(options)).value(); }

  // Rounds of both, as many as a datagram with its ARP exchange and an answer take.
  void run() {
    for (int i = 0; i < 8; ++i) {
      a.run_once().value();
      b.run_once().value();
    }
  }
  static std::string hear(Socket& socket) {
    std::array<std::byte, 2048> buffer;
    const auto datagram = socket.receive(buffer, Deadline::now());
    return datagram ? std::string(text_of(datagram->data)) : "[" + datagram.error().message() + "]";
  }

  Segment segment;
  Host a, b;
};

TEST_F(Hosts, RunInTheCallersLoop) {
  Socket client = bound(a, 1111);
  Socket server = bound(b, 2222);
  ASSERT_TRUE(client.send_to(bytes_of("hello"), at(b, 2222)));
  run();
  EXPECT_EQ(hear(server), "hello");
  ASSERT_TRUE(server.send_to(bytes_of("and back"), at(a, 1111)));
  run();
  EXPECT_EQ(hear(client), "and back");
  EXPECT_EQ(client.receive({}, 1ms).error().code, EAGAIN);
}

// A call that waits runs the loop, so a program with one host and one thread needs no other.
TEST_F(Hosts, RunInsideACallThatWaits) {
  b.start().value();
  Socket client = Socket::open(a).value();
  b.serve(at(b, 7), [](Request& request) { request.reply(request.data.size()); }).value();
  ASSERT_TRUE(client.send_to(bytes_of("hello"), at(b, 7)));
  std::array<std::byte, 16> buffer;
  const auto answer = client.receive(buffer, patience);
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(text_of(answer->data), "hello");
  EXPECT_EQ(answer->peer, at(b, 7));
}

TEST_F(Hosts, StartAndStop) {
  Socket server = bound(b, 2222);
  Socket client = bound(a, 1111);
  std::array<std::byte, 16> buffer;
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(a.start());
    ASSERT_TRUE(b.start());
    EXPECT_EQ(a.start().error().code, EALREADY);
    EXPECT_EQ(a.run_once().error().code, EBUSY);
    ASSERT_TRUE(client.send_to(bytes_of("threads"), at(b, 2222)));
    EXPECT_EQ(text_of(server.receive(buffer, patience).value().data), "threads");
    a.stop();
    b.stop();
    b.stop();
    ASSERT_TRUE(client.send_to(bytes_of("none"), at(b, 2222)));
    run();
    EXPECT_EQ(hear(server), "none");
  }
}

// A Host may be moved under its sockets.
TEST_F(Hosts, Move) {
  Socket server = bound(b, 2222);
  a.start().value();
  Host moved = std::move(a);
  Socket client = Socket::open(moved).value();
  ASSERT_TRUE(client.send_to(bytes_of("hello"), at(b, 2222)));
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(text_of(server.receive(buffer, patience).value().data), "hello");
}

TEST_F(Hosts, ServeWithAHandler) {
  std::vector<std::string> asked;
  b.serve(at(b, 2222), [&](Request& request) {
     asked.emplace_back(text_of(request.data));
     EXPECT_EQ(request.local, at(b, 2222));
     EXPECT_EQ(request.peer, at(a, 1111));
     EXPECT_EQ(request.ttl, 64);
     EXPECT_EQ(request.tos, 0x2e << 2);
     if (asked.back() == "in place") request.reply(2);
     if (asked.back() == "more than there is") request.reply(4000);
     if (asked.back() == "other bytes") request.reply(bytes_of("longer than the question was"));
     if (asked.back() == "part of itself") request.reply(request.data.subspan(5));
     if (asked.back() == "twice") {
       request.reply(bytes_of("once"));
       request.reply(bytes_of("and again"));
       request.reply(3);
     }
   }).value();
  Socket client = bound(a, 1111);
  ASSERT_TRUE(client.set(Option::tos, 0x2e << 2));
  const std::map<std::string, std::string> answers{{"in place", "in"},
                                                   {"more than there is", "more than there is"},
                                                   {"other bytes", "longer than the question was"},
                                                   {"part of itself", "of itself"},
                                                   {"twice", "once"}};
  for (const auto& [question, answer] : answers) {
    ASSERT_TRUE(client.send_to(bytes_of(question), at(b, 2222)));
    run();
    EXPECT_EQ(hear(client), answer);
  }
  ASSERT_TRUE(client.send_to(bytes_of("no answer"), at(b, 2222)));
  run();
  EXPECT_EQ(hear(client), "[nothing came before the deadline]");
  EXPECT_EQ(asked.size(), answers.size() + 1);
  EXPECT_EQ(value_of(b.counters(), "udp_out_datagrams"), answers.size());
  EXPECT_EQ(value_of(b.drops(), "send_refused"), 2u) << "the second and third answer to one question";

  const auto taken = b.serve(at(b, 2222), [](Request&) {});
  EXPECT_EQ(taken.error().code, EADDRINUSE);
  EXPECT_NE(taken.error().why, nullptr);
}

// An answer that no frame of the question's size holds.
TEST_F(Hosts, AnswerWithMoreThanAFrame) {
  const std::string large(20000, 'x');
  b.serve(at(b, 2222), [&](Request& request) { request.reply(bytes_of(large)); }).value();
  Socket client = bound(a, 1111);
  ASSERT_TRUE(client.send_to(bytes_of("?"), at(b, 2222)));
  run();
  std::vector<std::byte> buffer(large.size());
  EXPECT_EQ(client.receive(buffer, Deadline::now()).value().length, large.size());
}

// Answers are not asked for their fate, but counted: larger than a datagram, in place or not.
TEST_F(Hosts, CountAnswersThatCannotBeSent) {
  const std::string too_large(70000, 'x');
  b.serve(at(b, 2222), [&](Request& request) { request.reply(bytes_of(too_large)); }).value();
  Socket client = bound(a, 1111);
  ASSERT_TRUE(client.send_to(bytes_of("?"), at(b, 2222)));
  run();
  EXPECT_EQ(hear(client), "[nothing came before the deadline]");
  EXPECT_EQ(value_of(b.drops(), "send_refused"), 1u);
}

// RFC 8085 5.1.2, RFC 1122 4.1.3.5: what was sent to everybody is answered from the host's own address.
TEST_F(Hosts, AnswerABroadcastFromTheirOwnAddress) {
  const std::string large(3000, 'x');
  b.serve({IpAddress::any(Family::ipv4), 2222}, [&](Request& request) {
     EXPECT_EQ(request.local.ip, IpAddress::ipv4(10, 9, 0, 255));
     if (text_of(request.data) == "short") {
       request.reply(5);
     } else {
       request.reply(bytes_of(large));
     }
   }).value();
  Socket client = bound(a, 1111);
  ASSERT_TRUE(client.set(Option::broadcast, 1));
  for (const auto& [question, size] : {std::pair{"short", std::size_t{5}}, std::pair{"long", large.size()}}) {
    ASSERT_TRUE(client.send_to(bytes_of(question), Address{IpAddress::ipv4(10, 9, 0, 255), 2222}));
    run();
    std::vector<std::byte> buffer(large.size());
    const auto answer = client.receive(buffer, Deadline::now());
    ASSERT_TRUE(answer) << question;
    EXPECT_EQ(answer->length, size);
    EXPECT_EQ(answer->peer, at(b, 2222));
  }
}

// RFC 4113, RFC 4293.
TEST_F(Hosts, CountAndSayWhatBecameOfDatagrams) {
  Socket client = bound(a, 1111);
  Socket server = bound(b, 2222);
  EXPECT_EQ(value_of(b.counters(), "udp_in_datagrams"), 0u);
  for (const std::uint16_t port : {std::uint16_t{2222}, std::uint16_t{3333}, std::uint16_t{2222}}) {
    ASSERT_TRUE(client.send_to(bytes_of("hello"), at(b, port)));
    run();
  }
  EXPECT_EQ(value_of(a.counters(), "udp_out_datagrams"), 3u);
  EXPECT_EQ(value_of(b.counters(), "udp_in_datagrams"), 2u);
  EXPECT_EQ(value_of(b.counters(), "udp_no_ports"), 1u);
  EXPECT_EQ(value_of(b.counters(), "icmp_out_msgs"), 1u);
  EXPECT_EQ(value_of(b.drops(), "udp_no_socket"), 1u);
  for (const Count& drop : b.drops()) EXPECT_NE(drop.value, 0u) << drop.name;

  // X7: the errors that the limit held back are counted, too.
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(client.send_to(bytes_of("hello"), at(b, 3333)));
    run();
    (void)client.receive_error();
  }
  EXPECT_GT(value_of(b.counters(), "icmp_out_limited"), 0u);
  EXPECT_EQ(value_of(b.counters(), "icmp_out_msgs") + value_of(b.counters(), "icmp_out_limited"), 21u);
}

// What people see, and what stands in the file: each packet, and the reason where one ended early.
class WatchedHosts : public Hosts {
 public:
  ~WatchedHosts() override { ::unlink(path.c_str()); }

 protected:
  WatchedHosts() : Hosts(watched(*this)) {}

  static HostOptions watched(WatchedHosts& self) {
    self.path = ::testing::TempDir() + "gannet_host_test_" + std::to_string(::getpid()) + ".pcapng";
    HostOptions options;
    options.capture_file = self.path;
    options.on_packet = [&lines = self.lines](std::string_view line) { lines.emplace_back(line); };
    return options;
  }
  int count(std::string_view text) const {
    int found = 0;
    for (const std::string& line : lines) found += line.find(text) != std::string::npos ? 1 : 0;
    return found;
  }

  static inline std::string path;
  static inline std::vector<std::string> lines;
};

TEST_F(WatchedHosts, AreSeenAndCaptured) {
  lines.clear();
  Socket client = bound(b, 1111);
  ASSERT_TRUE(client.send_to(bytes_of("to nobody here"), at(a, 4444)));
  run();
  // Frames that the stack drops are shown as frames.
  EXPECT_EQ(count("ARP, Announcement 10.9.0.2 is-at 02:00:00:00:00:02 dropped: arp_not_for_us"), 1) << ::testing::PrintToString(lines);
  EXPECT_EQ(count("10.9.0.2.1111 > 10.9.0.1.4444"), 2);  // as it came, and as it was dropped
  EXPECT_EQ(count("dropped: udp_no_socket"), 1);
  EXPECT_EQ(count("unreachable"), 1);

  {
    const Host ended = std::move(a);
  }
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(bytes.substr(0, 4), "\x0a\x0d\x0d\x0a");
  EXPECT_NE(bytes.find("to nobody here"), std::string::npos);
  EXPECT_NE(bytes.find("dropped: udp_no_socket"), std::string::npos);
}

// The same seed loses the same datagrams, and each loss is seen and counted.
TEST(Host, LosesWhatItsSeedSays) {
  const auto lost_of = [](std::uint64_t seed, bool inbound) {
    Segment segment;
    std::vector<std::string> lines;
    HostOptions options;
    (inbound ? options.in : options.out) = Impairment{.loss = 0.3, .seed = seed};
    options.on_packet = [&](std::string_view line) { lines.emplace_back(line); };
    Host a = Host::open(segment, "10.9.0.1/24", options).value();
    Host b = Host::open(segment, "10.9.0.2/24").value();
    a.start().value();
    b.start().value();
    Host& from = inbound ? b : a;
    Host& to = inbound ? a : b;
    Socket client = bound(from, 1111);
    Socket server = bound(to, 2222);
    constexpr int sent = 64;
    for (int i = 0; i < sent; ++i) EXPECT_TRUE(client.send_to(std::as_bytes(std::span(&i, 1)), at(to, 2222)));
    std::set<int> lost;
    for (int i = 0; i < sent; ++i) lost.insert(i);
    // The first waits for ARP, whose requests are lost like all else.
    int number = -1;
    for (auto wait = patience; server.receive(std::as_writable_bytes(std::span(&number, 1)), wait); wait = 200ms) lost.erase(number);
    a.stop();
    std::size_t told = 0;
    for (const std::string& line : lines) told += line.find("dropped: fault_loss") != std::string::npos && line.find("UDP") != std::string::npos;
    EXPECT_EQ(told, lost.size());
    EXPECT_GE(value_of(a.drops(), "fault_loss"), lost.size());
    return lost;
  };
  for (const bool inbound : {false, true}) {
    const auto first = lost_of(7, inbound);
    EXPECT_GT(first.size(), 8u);
    EXPECT_LT(first.size(), 32u);
    EXPECT_EQ(lost_of(7, inbound), first);
    EXPECT_NE(lost_of(8, inbound), first);
  }
}

void lose_the_interface() {
  if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no right to make a network namespace";
  std::vector<std::string> told;
  HostOptions options;
  options.on_link_lost = [&](const Error& why) { told.push_back(why.message()); };
  auto opened = Host::open("tap:gannet-test,10.9.0.1/24", options);
  const int code = opened.error().code;
  if (code == EPERM || code == EACCES || code == ENOENT) GTEST_SKIP() << opened.error().message();
  Host& host = *opened;
  Socket socket = bound(host, 1111);
  ASSERT_TRUE(host.run_once());
  ASSERT_TRUE(socket.send_to(bytes_of("anybody?"), Address::parse("10.9.0.9:1").value()));
  if (std::system("ip link delete gannet-test") != 0) GTEST_SKIP() << "there is no ip(8) here";

  const auto end = std::chrono::steady_clock::now() + patience;
  while (host.run_once(Deadline(100ms)) && std::chrono::steady_clock::now() < end) {
  }
  EXPECT_EQ(host.run_once().error().code, ENODEV);
  EXPECT_EQ(host.link_status().error().code, ENODEV);
  EXPECT_EQ(told, std::vector{host.link_status().error().message()});
  EXPECT_EQ(socket.send_to(bytes_of("anybody?"), Address::parse("10.9.0.9:1").value()).error().code, ENETUNREACH);
  // To ourselves there is still a way.
  ASSERT_TRUE(socket.send_to(bytes_of("myself"), at(host, 1111)));
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(host.run_once());
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(text_of(socket.receive(buffer, Deadline::now()).value().data), "myself");
}

// In a thread, and with it the network namespace, that the other tests do not share.
TEST(Host, SaysThatItsInterfaceWasDeleted) { std::thread(lose_the_interface).join(); }

TEST(Host, SaysWhatIsWrongWithAnAddress) {
  const Segment segment;
  const std::map<std::string, std::string> texts{{"", "needs an address and the length"},
                                                 {"10.0.0.1", "needs an address and the length"},
                                                 {"ten/24", "address"},
                                                 {"fe80::1/64", "IPv4"},
                                                 {"10.0.0.1/0", "1 to 32"},
                                                 {"10.0.0.1/33", "1 to 32"},
                                                 {"10.0.0.1/24x", "1 to 32"},
                                                 {"10.0.0.0/24", "first and last"},
                                                 {"10.0.0.255/24", "first and last"},
                                                 {"224.0.0.1/24", "not an address that an interface can have"},
                                                 {"127.0.0.1/8", "not an address that an interface can have"},
                                                 {"10.0.0.1/24,router", "only ,gw=ADDR may follow"},
                                                 {"10.0.0.1/24,gw=", "address"},
                                                 {"10.0.0.1/24,gw=10.1.0.1", "own network"},
                                                 {"10.0.0.1/24,gw=10.0.0.1", "own network"},
                                                 {"10.0.0.1/24,gw=fe80::1", "own network"}};
  for (const auto& [text, sentence] : texts) {
    const auto host = Host::open(segment, text);
    ASSERT_FALSE(host) << text;
    EXPECT_NE(host.error().code, 0) << text;
    EXPECT_NE(host.error().message().find(sentence), std::string::npos) << text << ": " << host.error().message();
  }
  EXPECT_TRUE(Host::open(segment, "10.0.0.1/24,gw=10.0.0.2"));
  EXPECT_TRUE(Host::open(segment, "10.0.0.1/32"));
}

TEST(Host, SaysWhatIsWrongWithALink) {
  for (const char* via : {"", "eth0", "tap", "tap:", "tap:gannet0", "tap:,10.0.0.1/24", "tap:a-name-that-is-far-too-long,10.0.0.1/24"}) {
    const auto host = Host::open(via);
    ASSERT_FALSE(host) << via;
    EXPECT_EQ(host.error().code, EINVAL) << via << ": " << host.error().message();
    EXPECT_NE(host.error().why, nullptr) << via;
  }
  EXPECT_EQ(Host::open(Segment(67), "10.0.0.1/24").error().code, EINVAL);
}

TEST(Host, SaysWhatIsWrongWithItsOptions) {
  const Segment segment;
  HostOptions options;
  options.in.loss = 1.5;
  EXPECT_EQ(Host::open(segment, "10.0.0.1/24", options).error().code, EINVAL);
  options = {};
  options.capture_file = "/nowhere/at/all.pcapng";
  EXPECT_EQ(Host::open(segment, "10.0.0.1/24", options).error().code, ENOENT);
}

// RFC 5227 2.1: until the address is claimed, it is not used.
TEST(Host, ClaimsItsAddressFirstWhereAsked) {
  const Segment segment;
  HostOptions options;
  options.arp_probe = true;
  Host host = Host::open(segment, "10.0.0.1/24", options).value();
  Socket socket = Socket::open(host).value();
  EXPECT_EQ(socket.bind("10.0.0.1:7").error().code, EADDRNOTAVAIL);
  EXPECT_EQ(socket.send_to(bytes_of("hello"), "10.0.0.2:7").error().code, ENETUNREACH);
}

TEST(Host, RoutesByItsGateway) {
  const Segment segment;
  std::vector<std::string> lines;
  HostOptions options;
  options.on_packet = [&](std::string_view line) { lines.emplace_back(line); };
  Host host = Host::open(segment, "10.0.0.1/24,gw=10.0.0.9", options).value();
  Host without = Host::open(segment, "10.0.0.2/24").value();
  Socket socket = Socket::open(host).value();
  ASSERT_TRUE(socket.send_to(bytes_of("hello"), "192.0.2.1:7"));
  host.run_once().value();
  ASSERT_FALSE(lines.empty());
  EXPECT_NE(lines.back().find("who-has 10.0.0.9"), std::string::npos) << lines.back();
  EXPECT_EQ(Socket::open(without).value().send_to(bytes_of("hello"), "192.0.2.1:7").error().code, ENETUNREACH);
}

TEST(Host, SpeaksIpv4Only) {
  Host host = Host::open(Segment(), "10.0.0.1/24").value();
  const auto socket = Socket::open(host, Family::ipv6);
  EXPECT_EQ(socket.error().code, EAFNOSUPPORT);
  EXPECT_NE(socket.error().why, nullptr);
}

// Counters may be read while the host runs.
TEST(Host, CountsForAnyThread) {
  const Segment segment;
  Host host = Host::open(segment, "10.0.0.1/24").value();
  host.start().value();
  host.serve(at(host, 7), [](Request& request) { request.reply(request.data.size()); }).value();
  Socket socket = Socket::open(host).value();
  std::atomic<bool> done = false;
  std::thread reader([&] {
    std::uint64_t last = 0;
    while (!done) {
      const std::uint64_t now = value_of(host.counters(), "udp_in_datagrams");
      EXPECT_GE(now, last);
      last = now;
      EXPECT_TRUE(host.drops().empty());
    }
  });
  std::array<std::byte, 16> buffer;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(socket.send_to(bytes_of("hello"), at(host, 7)));
    ASSERT_TRUE(socket.receive(buffer, patience));
  }
  done = true;
  reader.join();
  EXPECT_EQ(value_of(host.counters(), "udp_in_datagrams"), 400u);
}

}  // namespace
}  // namespace gannet
