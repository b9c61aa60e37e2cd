// The oracle's worlds: the kernel's loopback, and two kernels' hosts at the ends of a virtual cable.
#include <net/if.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include "socket/world.h"
#include "support/network.h"

namespace gannet::tests {
namespace {

class Loopback final : public World {
 public:
  explicit Loopback(bool is_private) {
    a = b = IpAddress::ipv4(127, 0, 0, 1);
    interface_a = interface_b = ::if_nametoindex("lo");
    broadcast = IpAddress::ipv4(127, 255, 255, 255);
    one_host = on_loopback = true;
    paces = false;
    other_networks = is_private;
  }
  Result<Socket> open_a(Family family) override { return Socket::open(family); }
  Result<Socket> open_b(Family family) override { return Socket::open(family); }
};

// 10.77.0.1 cable_a ======= cable_b 10.77.0.2, the latter in the second namespace. Laid once for all tests.
struct Cable {
  Cable() {
    why_not = enter_private_network();
    if (why_not.empty()) why_not = SecondNetwork::open(far);
    const std::string here = std::to_string(::getpid());
    if (!why_not.empty()) return;
    std::thread([&] { far.inside([&] { why_not = run_ip("link add cable_b type veth peer name cable_a netns " + here); }); }).join();
    for (const char* arguments : {"addr add 10.77.0.1/24 brd + dev cable_a", "link set cable_a up"}) {
      if (why_not.empty()) why_not = run_ip(arguments);
    }
    far.inside([&] {
      for (const char* arguments : {"addr add 10.77.0.2/24 brd + dev cable_b", "link set cable_b up"}) {
        if (why_not.empty()) why_not = run_ip(arguments);
      }
      interface_b = ::if_nametoindex("cable_b");
    });
    interface_a = ::if_nametoindex("cable_a");
  }

  SecondNetwork far;
  std::string why_not;
  std::uint32_t interface_a = 0;
  std::uint32_t interface_b = 0;
};

class TwoKernels final : public World {
 public:
  explicit TwoKernels(const Cable& cable) : cable_(cable) {
    a = IpAddress::ipv4(10, 77, 0, 1);
    b = IpAddress::ipv4(10, 77, 0, 2);
    interface_a = cable.interface_a;
    interface_b = cable.interface_b;
    broadcast = IpAddress::ipv4(10, 77, 0, 255);
    paces = false;
  }
  Result<Socket> open_a(Family family) override { return Socket::open(family); }
  Result<Socket> open_b(Family family) override {
    std::optional<Result<Socket>> socket;
    cable_.far.inside([&] { socket.emplace(Socket::open(family)); });
    return std::move(*socket);
  }
  std::string narrow_path(const Address& local, const Address& peer, std::uint16_t mtu) override {
    std::string why_not;
    cable_.far.inside([&] { why_not = send_fragmentation_needed(local, peer, mtu); });
    return why_not;
  }

 private:
  const Cable& cable_;
};

}  // namespace

std::vector<WorldKind> kernel_worlds() {
  // The machine's own loopback serves too, only that other programs may have a port that a test wants.
  const auto loopback = [](std::string&) { return std::make_unique<Loopback>(enter_private_network().empty()); };
  const auto two_kernels = [](std::string& why_not) -> std::unique_ptr<World> {
    static const Cable cable;
    why_not = cable.why_not;
    return why_not.empty() ? std::make_unique<TwoKernels>(cable) : nullptr;
  };
  return {{"kernel_loopback", loopback}, {"two_kernels", two_kernels}};
}

}  // namespace gannet::tests
