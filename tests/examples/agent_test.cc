// The example of agents, word for word, over hosts of ours on a wire in memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include <gannet/beacon.h>
#include <gannet/host.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
namespace agent {
#include "../../examples/agent.cc"
}
#pragma GCC diagnostic pop

namespace gannet::tests {
namespace {

// Standard output, kept, from several threads.
class Kept final : public std::stringbuf {
 public:
  Kept() : before_(std::cout.rdbuf(this)) {}
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  ~Kept() override { std::cout.rdbuf(before_); }
  std::string text() {
    const std::scoped_lock lock(mutex_);
    return str();
  }

 protected:
  std::streamsize xsputn(const char* data, std::streamsize size) override {
    const std::scoped_lock lock(mutex_);
    return std::stringbuf::xsputn(data, size);
  }
  int_type overflow(int_type c) override {
    const std::scoped_lock lock(mutex_);
    return std::stringbuf::overflow(c);
  }

 private:
  std::recursive_mutex mutex_;  // one calls the other
  std::streambuf* before_;
};

TEST(AgentExample, OverHosts) {
  Segment segment;
  Kept output;
  std::vector<std::thread> agents;
  int host = 1;
  for (const auto& [name, role] : {std::pair{"planner", "planner"}, {"thermo", "sensor"}, {"camera", "sensor"}}) {
    agents.emplace_back([&segment, name, role, address = "10.9.0." + std::to_string(host++) + "/24"] {
      Host own = Host::open(segment, address).value();
      own.start().value();
      agent::Plan plan{name, role, std::chrono::seconds(4), {}};
      Socket socket = agent::bound(Socket::open(own).value());
      Beacon beacon = Beacon::open(own, agent::options_of(plan, socket)).value();
      agent::Agent(std::move(beacon), std::move(socket), plan).run();
    });
  }
  for (std::thread& each : agents) each.join();
  const std::string said = output.text();
  for (const char* words : {"thermo joined", "camera joined", "planner joined", "from thermo: ", "from camera: ", " samples, 0 lost"}) {
    EXPECT_NE(said.find(words), std::string::npos) << words << " is not in:\n" << said;
  }
}

}  // namespace
}  // namespace gannet::tests
