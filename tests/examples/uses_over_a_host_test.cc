// The uses of UDP, word for word, over hosts of ours on a wire in memory that loses, delays, reorders and doubles: what their functions say of a
// Socket holds for any Socket.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <net/if.h>

#include <gannet/host.h>
#include <gannet/socket.h>

#include "../../examples/dns_message.h"

// Their main() is a function like any other here, and is not called.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
namespace dns_query {
#include "../../examples/dns_query.cc"
}
namespace mdns_query {
#include "../../examples/mdns_query.cc"
}
namespace tftp {
#include "../../examples/tftp.cc"
}
namespace collector {
#include "../../examples/collector.cc"
}
namespace sensors {
#include "../../examples/sensors.cc"
}
namespace robot {
#include "../../examples/robot.cc"
}
namespace game {
#include "../../examples/game_players.cc"
namespace server {
#include "../../examples/game_server.cc"
}
}  // namespace game
namespace reliable {
#include "../../examples/reliable.cc"
}
#pragma GCC diagnostic pop

namespace gannet::tests {
namespace {

using namespace std::chrono_literals;

// What a program says, in a thread of its own.
class Output final : public std::stringbuf {
 public:
  std::ostream stream{this};
  void await_first_line() const { has_line_.wait(false); }

 protected:
  int sync() override {
    has_line_ = true;
    has_line_.notify_all();
    return 0;
  }

 private:
  std::atomic<bool> has_line_ = false;
};

Host* near_host = nullptr;
Host* far_host = nullptr;
Socket open_near(Family family) { return Socket::open(*near_host, family).value(); }
Socket open_far(Family family) { return Socket::open(*far_host, family).value(); }

// One host that hears all, and one whose link impairs both directions.
class UsesOverAHost : public ::testing::Test {
 protected:
  static HostOptions impaired() {
    HostOptions options;
    options.seed = 7;
    options.in = {.loss = 0.1, .delay = 4ms, .jitter = 2ms, .reorder = 0.1, .duplicate = 0.05, .corrupt = 0.01, .seed = 3};
    options.out = options.in;
    return options;
  }
  UsesOverAHost() : near(Host::open(segment, "10.9.0.1/24", impaired()).value()), far(Host::open(segment, "10.9.0.2/24").value()) {
    near.start().value();
    far.start().value();
    near_host = &near;
    far_host = &far;
  }
  // The link did what it was told to.
  [[nodiscard]] bool has_lost() const {
    return std::ranges::any_of(near.drops(), [](const Count& each) { return each.name == "fault_loss" && each.value > 0; });
  }

  Segment segment;
  Host near, far;
};

TEST_F(UsesOverAHost, Dns) {
  // A name server of one name.
  far.serve(Address::parse("10.9.0.2:53").value(),
            [](Request& request) {
              std::string answer(gannet::text_of(request.data));
              const std::size_t end = answer.find('\0', header_size) + 5;
              answer.resize(end);
              answer.replace(2, 10, std::string("\x81\x80\0\1\0\1\0\0\0\0", 10));
              answer += std::string("\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1", 16);
              request.reply(bytes_of(answer));
            })
      .value();
  for (int i = 0; i < 20; ++i) {
    const dns_query::Answer answer = dns_query::ask(Socket::open(near).value(), Address::parse("10.9.0.2:53").value(), "a.test", type_a);
    ASSERT_EQ(answer.records.size(), 1u);
    EXPECT_EQ(text_of(answer.records[0]), "192.0.2.1");
  }
  EXPECT_TRUE(has_lost());
}

TEST_F(UsesOverAHost, Mdns) {
  std::atomic<bool> ends = false;
  std::thread responder([&] {
    Socket socket = Socket::open(far).value();
    socket.bind("0.0.0.0:5353").value();
    socket.join("224.0.0.251").value();
    socket.set(Option::multicast_ttl, 255).value();
    socket.set(Option::ttl, 255).value();
    std::array<std::byte, 2000> buffer;
    while (!ends) {
      const auto asked = socket.receive(buffer, 50ms);
      if (!asked) continue;
      const std::string text(gannet::text_of(asked->data));
      const std::string name = text.substr(header_size, text.find('\0', header_size) + 1 - header_size);
      const std::string answer =
          text.substr(0, 2) + std::string("\x84\0\0\0\0\1\0\0\0\0", 10) + name + std::string("\0\1\x80\1\0\0\0\x3c\0\4\xc0\0\2\1", 14);
      socket.send_to(bytes_of(answer), asked->peer.port == 5353 ? Address::parse("224.0.0.251:5353").value() : asked->peer).value();
    }
  });
  for (const bool one_shot : {false, true, false, true}) {
    mdns_query::Plan plan;
    plan.name = name_of("a.local"), plan.type = type_a, plan.one_shot = one_shot, plan.time = 30s;
    plan.group = Address::parse("224.0.0.251:5353").value();
    Output said;
    EXPECT_TRUE(mdns_query::ask(Socket::open(near).value(), plan, said.stream));
    EXPECT_EQ(said.str(), "a.local 60 A 192.0.2.1\n");
  }
  ends = true;
  responder.join();
}

TEST_F(UsesOverAHost, Tftp) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("gannet-tftp-" + std::to_string(std::random_device()()));
  fs::create_directories(folder / "served");
  std::string original(20'001, '\0');
  std::mt19937 random(1350);
  for (char& each : original) each = static_cast<char>(random());
  std::ofstream(folder / "original", std::ios::binary) << original;

  Output said;
  const Address server = Address::parse("10.9.0.2:69").value();
  Socket socket = Socket::open(far).value();
  std::thread serving([&] { tftp::serve(socket, open_far, server, folder / "served", said.stream); });
  said.await_first_line();
  tftp::put(open_near, server, folder / "original", "name");
  tftp::get(open_near, server, "name", folder / "copy");
  EXPECT_THROW(tftp::get(open_near, server, "../original", folder / "stolen"), std::runtime_error);
  std::ostringstream copy;
  copy << std::ifstream(folder / "copy", std::ios::binary).rdbuf();
  EXPECT_TRUE(copy.str() == original);
  EXPECT_FALSE(fs::exists(folder / "stolen"));
  EXPECT_TRUE(has_lost());
  socket.close().value();
  serving.join();
  fs::remove_all(folder);
}

TEST_F(UsesOverAHost, Telemetry) {
  Output collected, sent;
  const Address local = Address::parse("10.9.0.2:8125").value();
  std::thread collecting([&] { collector::collect(Socket::open(far).value(), local, 3s, collected.stream); });
  collected.await_first_line();
  sensors::Plan plan;
  plan.count = 40, plan.hertz = 500, plan.seconds = 2;  // what overtakes goes 4 ms ahead
  sensors::send(Socket::open(near).value(), local, plan, sent.stream);
  collecting.join();
  EXPECT_TRUE(sent.str().starts_with("40000 reports of 40 sensors")) << sent.str();
  const std::string text = collected.str();
  std::istringstream sum(text.substr(text.rfind("\n40 sensors: ") + 13));
  std::string word;
  std::array<unsigned, 4> counts{};  // reports, lost, late, doubled
  for (unsigned& each : counts) sum >> each >> word;
  EXPECT_LE(counts[0] + counts[1], 40'000u);
  EXPECT_GE(counts[0] + counts[1], 40'000u - 40 * 100);  // of what was lost at the end nobody knows
  for (const unsigned count : counts) EXPECT_GT(count, 0u) << text;
}

TEST_F(UsesOverAHost, Control) {
  Output said;
  const Address local = Address::parse("10.9.0.2:7272").value();
  std::thread driving([&] { robot::drive(Socket::open(far).value(), local, said.stream); });
  said.await_first_line();
  robot::command(Socket::open(near).value(), local, 2s);
  driving.join();
  const std::string text = said.str();
  std::istringstream report(text.substr(text.find('\n') + 1));
  unsigned heard = 0, overtaken = 0;
  std::string word;
  report >> heard >> word >> overtaken;
  EXPECT_GT(heard, 100u) << text;
  EXPECT_LT(heard, 400u) << text;
  EXPECT_GT(overtaken, 0u) << text;
}

TEST_F(UsesOverAHost, Game) {
  Output served, played;
  const Address local = Address::parse("10.9.0.2:7373").value();
  Socket socket = Socket::open(far).value();
  std::thread serving([&] { game::server::serve(socket, local, served.stream); });
  served.await_first_line();
  game::play(open_near, local, 8, 2, false, played.stream);
  socket.close().value();
  serving.join();
  EXPECT_TRUE(played.str().starts_with("oneself, from where one's inputs led: p50 0 mm")) << played.str();
  EXPECT_TRUE(has_lost());
}

TEST_F(UsesOverAHost, ReliabilityByHand) {
  std::string original(100'001, '\0');
  std::mt19937 random(7171);
  for (char& each : original) each = static_cast<char>(random());
  std::ostringstream copy;
  const Address local = Address::parse("10.9.0.2:7171").value();
  // It does not say to us that it listens; what comes before is sent again.
  std::thread receiving([&] { reliable::receive(Socket::open(far).value(), local, copy); });
  std::this_thread::sleep_for(100ms);
  std::istringstream input(original);
  reliable::send(Socket::open(near).value(), local, input);
  receiving.join();
  EXPECT_TRUE(copy.str() == original);
  EXPECT_TRUE(has_lost());
}

}  // namespace
}  // namespace gannet::tests
