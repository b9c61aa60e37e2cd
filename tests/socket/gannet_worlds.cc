// Our own worlds: two of our hosts on a segment in memory; one of our hosts with itself, in a thread of its own and in none; and a host of ours on a
// TAP with the kernel at the other end.
#include <net/if.h>

#include <optional>

#include <gannet/host.h>

#include "socket/world.h"
#include "support/network.h"

namespace gannet::tests {
namespace {

Host started(Result<Host> host) {
  host.value().start().value();
  return std::move(*host);
}

class Memory final : public World {
 public:
  Memory() : host_a_(started(Host::open(segment_, "10.77.0.1/24"))), host_b_(started(Host::open(segment_, "10.77.0.2/24"))) {
    a = host_a_.address();
    b = host_b_.address();
    interface_a = host_a_.interface();
    interface_b = host_b_.interface();
    broadcast = IpAddress::ipv4(10, 77, 0, 255);
  }
  Result<Socket> open_a(Family family) override { return Socket::open(host_a_, family); }
  Result<Socket> open_b(Family family) override { return Socket::open(host_b_, family); }

 private:
  Segment segment_;
  Host host_a_, host_b_;
};

class OwnLoopback final : public World {
 public:
  explicit OwnLoopback(bool has_thread) : host_(Host::open(Segment(), "10.77.0.1/24").value()) {
    if (has_thread) host_.start().value();
    a = b = IpAddress::ipv4(127, 0, 0, 1);
    interface_a = interface_b = 1;
    broadcast = IpAddress::ipv4(127, 255, 255, 255);
    one_host = on_loopback = true;
    one_thread = !has_thread;
  }
  Result<Socket> open_a(Family family) override { return Socket::open(host_, family); }
  Result<Socket> open_b(Family family) override { return Socket::open(host_, family); }

 private:
  Host host_;
};

// 10.78.0.1 the kernel's end of a TAP interface; 10.78.0.2 a host of ours. Which of them is a depends on the test's turn.
class Tap final : public World {
 public:
  Tap(const std::string& name, bool ours_is_a, std::string& why_not) : ours_is_a_(ours_is_a) {
    auto host = Host::open("tap:" + name + ",10.78.0.2/24");
    if (!host) {
      why_not = host.error().message();
      return;
    }
    host_.emplace(std::move(*host));
    why_not = run_ip("addr add 10.78.0.1/24 brd + dev " + name);
    host_->start().value();
    if (why_not.empty()) greet();
    const auto kernel = IpAddress::ipv4(10, 78, 0, 1);
    const std::uint32_t kernel_interface = ::if_nametoindex(name.c_str());
    a = ours_is_a ? host_->address() : kernel;
    b = ours_is_a ? kernel : host_->address();
    interface_a = ours_is_a ? host_->interface() : kernel_interface;
    interface_b = ours_is_a ? kernel_interface : host_->interface();
    broadcast = IpAddress::ipv4(10, 78, 0, 255);
    paces = ours_is_a;
  }
  Result<Socket> open_a(Family family) override { return open(ours_is_a_, family); }
  Result<Socket> open_b(Family family) override { return open(!ours_is_a_, family); }
  std::string narrow_path(const Address& local, const Address& peer, std::uint16_t mtu) override {
    return ours_is_a_ ? send_fragmentation_needed(local, peer, mtu) : World::narrow_path(local, peer, mtu);
  }

 private:
  Result<Socket> open(bool ours, Family family) { return ours ? Socket::open(*host_, family) : Socket::open(family); }

  // While the kernel resolves an address, it lets later datagrams overtake the first: not what the suite is about.
  void greet() {
    Socket ours = Socket::open(*host_).value();
    Socket kernels = Socket::open().value();
    ours.bind(Address{host_->address(), 9}).value();
    kernels.send_to(bytes_of("hello"), Address{host_->address(), 9}).value();
    std::array<std::byte, 16> buffer;
    const auto question = ours.receive(buffer, patience).value();
    ours.send_to(question.data, question.peer).value();
    kernels.receive(buffer, patience).value();
  }

  bool ours_is_a_;
  std::optional<Host> host_;
};

std::unique_ptr<World> make_tap(const char* name, bool ours_is_a, std::string& why_not) {
  why_not = enter_private_network();
  if (!why_not.empty()) return nullptr;
  auto world = std::make_unique<Tap>(name, ours_is_a, why_not);
  return why_not.empty() ? std::move(world) : nullptr;
}

}  // namespace

std::vector<WorldKind> gannet_worlds() {
  return {{"memory", [](std::string&) { return std::make_unique<Memory>(); }},
          {"own_loopback", [](std::string&) { return std::make_unique<OwnLoopback>(true); }},
          {"own_loopback_without_thread", [](std::string&) { return std::make_unique<OwnLoopback>(false); }},
          {"tap_ours_to_kernel", [](std::string& why_not) { return make_tap("suite_tap0", true, why_not); }},
          {"tap_kernel_to_ours", [](std::string& why_not) { return make_tap("suite_tap1", false, why_not); }}};
}

}  // namespace gannet::tests
