// What a test of the suite runs in: two hosts, a and b, that reach each other, and sockets on either.
//
// The suite says what a UDP socket does, whoever carries it out. It runs in the kernel's worlds first: what holds there is what ours must do too.
// A test asks its world for addresses and interfaces, never for its kind; what a world cannot show it skips, with the reason.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gannet/socket.h>

namespace gannet::tests {

using namespace std::chrono_literals;

inline constexpr auto patience = 5s;  // for what must come; nothing waits as long on a good day
inline constexpr auto quiet = 50ms;   // for what must not come, where no later datagram can prove it

class World {
 public:
  virtual ~World() = default;
  virtual Result<Socket> open_a(Family family) = 0;
  virtual Result<Socket> open_b(Family family) = 0;
  // Has a hear, as from a router on the way, that the path from `local` to `peer` carries packets of at most `mtu`. The reason why not, or empty.
  virtual std::string narrow_path(const Address&, const Address&, std::uint16_t) { return "no router speaks to this host"; }

  IpAddress a, b;                 // one host's, where there is but one
  std::uint32_t interface_a = 0;  // by which a reaches b
  std::uint32_t interface_b = 0;
  IpAddress broadcast;         // of the network that they share
  bool one_host = false;       // a and b are the same host
  bool on_loopback = false;    // the network is a loopback interface: what is sent to a group comes back by itself, whatever multicast_loop says
  bool other_networks = true;  // false: a default route may lead anywhere
  bool one_thread = false;     // its hosts run inside the test's own calls, and only there
  bool paces = true;           // a's max_pacing_rate has an effect; the kernel's needs the queueing discipline fq, which is not everywhere
};

struct WorldKind {
  std::string name;
  // Null with the reason in `why_not` where it cannot be had.
  std::function<std::unique_ptr<World>(std::string& why_not)> make;
};

inline void PrintTo(const WorldKind& kind, std::ostream* out) { *out << kind.name; }

std::vector<WorldKind> kernel_worlds();
std::vector<WorldKind> gannet_worlds();
std::vector<WorldKind> hub_worlds();
std::vector<WorldKind> worlds();  // all of them

class SocketTest : public ::testing::TestWithParam<WorldKind> {
 protected:
  void SetUp() override {
    std::string why_not;
    world = GetParam().make(why_not);
    if (!world) GTEST_SKIP() << why_not;
  }

  Socket open_a() { return world->open_a(Family::ipv4).value(); }
  Socket open_b() { return world->open_b(Family::ipv4).value(); }
  // Bound to their host's address.
  Socket bound_a(std::uint16_t port = 0) { return bound(open_a(), {world->a, port}); }
  Socket bound_b(std::uint16_t port = 0) { return bound(open_b(), {world->b, port}); }
  static Socket bound(Socket socket, const Address& local) {
    socket.bind(local).value();
    return socket;
  }
  static Address address_of(const Socket& socket) { return socket.local_address().value(); }
  static std::uint16_t port_of(const Socket& socket) { return address_of(socket).port; }

  static void say(Socket& socket, const Address& to, std::string_view text) {
    const auto sent = socket.send_to(bytes_of(text), to, patience);
    ASSERT_TRUE(sent) << sent.error().message();
    EXPECT_EQ(*sent, text.size());
  }
  // The text of the next datagram, or in brackets why there is none.
  static std::string hear(Socket& socket, Deadline deadline = patience) {
    std::vector<std::byte> buffer(65536);
    const auto datagram = socket.receive(buffer, deadline);
    if (!datagram) return "[" + datagram.error().message() + "]";
    return std::string(text_of(datagram->data));
  }
  static int code_of(const auto& result) { return result.error().code; }

  std::unique_ptr<World> world;
};

inline std::string name_of_world(const ::testing::TestParamInfo<WorldKind>& info) { return info.param.name; }

}  // namespace gannet::tests
