// A hub in a process of its own, and sockets of this process that it carries: its host is alone on its loopback interface.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "hub/client.h"
#include "hub/hub.h"
#include "hub/listener.h"
#include "socket/world.h"

namespace gannet::tests {
namespace {

class HubWorld final : public World {
 public:
  HubWorld() : hub_{"gannet-suite-" + std::to_string(::getpid())} {
    a = b = IpAddress::ipv4(127, 0, 0, 1);
    interface_a = interface_b = 1;
    broadcast = IpAddress::ipv4(127, 255, 255, 255);
    one_host = on_loopback = true;
    auto listener = hub::listen(hub_.name).value();
    process_ = ::fork();
    if (process_ == 0) {
      hub::HubSetup setup;
      setup.linger = {};
      auto hub = hub::Hub::create(std::move(listener), setup);
      ::_exit(hub && (*hub)->run() ? 0 : 1);
    }
  }
  ~HubWorld() override {
    hub::Request request;
    request.kind = hub::Request::Kind::shut_down;
    if (!hub::ask(hub_, request)) ::kill(process_, SIGKILL);
    int status = 0;
    ::waitpid(process_, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the hub did not end well: " << status;
  }
  HubWorld(const HubWorld&) = delete;
  HubWorld& operator=(const HubWorld&) = delete;

  Result<Socket> open_a(Family family) override { return open(family); }
  Result<Socket> open_b(Family family) override { return open(family); }

 private:
  Result<Socket> open(Family family) {
    if (family != Family::ipv4) return Error{EAFNOSUPPORT, "a host of ours speaks IPv4: open the socket with Family::ipv4"};
    auto socket = hub::open_socket(hub_);
    if (!socket) return socket.error();
    return Socket(std::move(*socket));
  }

  const hub::HubAddress hub_;
  pid_t process_ = -1;
};

}  // namespace

std::vector<WorldKind> hub_worlds() {
  return {{"hub", [](std::string&) { return std::make_unique<HubWorld>(); }}};
}

}  // namespace gannet::tests
