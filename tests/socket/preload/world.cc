// Kernel sockets, as a program under libgannet-preload has them: the suite does not know that a hub carries them. What it sends is counted on its way
// out of the program, and each test ends with a look at the hub's counters: our stack sent no less.
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "hub/client.h"
#include "socket/world.h"

namespace {

std::atomic<std::uint64_t> datagrams_sent = 0;

// The connections to the hub are AF_UNIX.
void count_sent(int fd, int count) {
  const int code = errno;
  int domain = 0;
  socklen_t size = sizeof domain;
  if (count > 0 && ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain != AF_UNIX) {
    datagrams_sent += static_cast<std::uint64_t>(count);
  }
  errno = code;
}

}  // namespace

// The calls of the kernel's provider go through here (--wrap, tests/CMakeLists.txt).
extern "C" {

ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
int __real_sendmmsg(int fd, mmsghdr* batch, unsigned count, int flags);

ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  const ssize_t sent = __real_sendmsg(fd, message, flags);
  count_sent(fd, sent < 0 ? 0 : 1);
  return sent;
}

int __wrap_sendmmsg(int fd, mmsghdr* batch, unsigned count, int flags) {
  const int sent = __real_sendmmsg(fd, batch, count, flags);
  count_sent(fd, sent);
  return sent;
}

}  // extern "C"

namespace gannet::tests {
namespace {

class PreloadWorld final : public World {
 public:
  explicit PreloadWorld(const char* hub) : hub_(hub::HubAddress::parse(hub)), sent_before_(datagrams_sent), carried_before_(carried()) {
    a = b = IpAddress::ipv4(127, 0, 0, 1);
    interface_a = interface_b = 1;
    broadcast = IpAddress::ipv4(127, 255, 255, 255);
    one_host = on_loopback = true;
  }
  ~PreloadWorld() override {
    const std::uint64_t sent = datagrams_sent - sent_before_;
    const auto until = std::chrono::steady_clock::now() + patience;
    while (carried() - carried_before_ < sent && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(1ms);
    EXPECT_GE(carried() - carried_before_, sent) << "what our stack sent, and what the test did";
  }
  PreloadWorld(const PreloadWorld&) = delete;
  PreloadWorld& operator=(const PreloadWorld&) = delete;

  Result<Socket> open_a(Family family) override { return open(family); }
  Result<Socket> open_b(Family family) override { return open(family); }

 private:
  static Result<Socket> open(Family family) {
    if (family != Family::ipv4) return Error{EAFNOSUPPORT, "the kernel carries IPv6 sockets of programs that we are put under"};
    return Socket::open(family);
  }
  [[nodiscard]] std::uint64_t carried() const {
    hub::Request request;
    request.kind = hub::Request::Kind::status;
    const auto reply = hub::ask(hub_, request);
    if (!reply) ADD_FAILURE() << "the hub does not answer: " << reply.error().message();
    return reply ? reply->status.datagrams_out : 0;
  }

  const hub::HubAddress hub_;
  const std::uint64_t sent_before_;
  const std::uint64_t carried_before_;
};

}  // namespace

std::vector<WorldKind> worlds() {
  return {{"preload", [](std::string& why_not) -> std::unique_ptr<World> {
             const char* hub = std::getenv("GANNET_HUB");
             if (hub == nullptr) why_not = "not run by `gannet run`";
             return hub != nullptr ? std::make_unique<PreloadWorld>(hub) : nullptr;
           }}};
}

}  // namespace gannet::tests
