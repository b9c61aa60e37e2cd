// Applications and hubs are killed at random moments, while others exchange datagrams.
//
// GANNET_KILLS is how many applications are killed, and ten times as many as hubs: 100, or what is set.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <vector>

#include "base/rng.h"
#include "hub/hubs.h"
#include "hub/launch.h"

namespace gannet::tests {
namespace {

using socket::StackSocket;
namespace fs = std::filesystem;

int kills() {
  const char* wanted = std::getenv("GANNET_KILLS");
  return wanted != nullptr ? std::atoi(wanted) : 100;
}

// Where killed processes had their sockets.
constexpr std::uint16_t first_port = 21000;
constexpr std::uint16_t ports = 8;

// What an application can be doing when it is killed: everything, again and again.
class Victim {
 public:
  Victim(const hub::HubAddress& address, std::uint16_t honest, std::uint64_t seed) : address_(address), honest_(honest), rng_(seed) {}
  [[noreturn]] void run() {
    for (;;) step();
  }

 private:
  void open() {
    if (rng_.below(2) == 0) {
      if (auto socket = hub::open_socket(address_)) sockets_.push_back(std::move(*socket));
      return;
    }
    fds_.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (auto socket = hub::open_socket(address_, fds_.back().get())) sockets_.push_back(std::move(*socket));
  }
  void step() {
    if (sockets_.empty()) return open();
    StackSocket& socket = *sockets_[rng_.below(static_cast<std::uint32_t>(sockets_.size()))];
    const auto port = static_cast<std::uint16_t>(first_port + rng_.below(ports));
    switch (rng_.below(12)) {
      case 0:
        return open();
      case 1:
        return static_cast<void>(socket.bind(on_loopback(port)));
      case 2:
        return static_cast<void>(socket.connect(on_loopback(port)));
      case 3:
        return static_cast<void>(socket.change_membership(socket::Membership::join, IpAddress::ipv4(239, 1, 1, 1), IpAddress::any(Family::ipv4), 1));
      case 4:
        return static_cast<void>(socket.set(Option::receive_buffer, 100'000));
      case 5:
        return fork_and_send(socket, port);
      case 6:
        if (sockets_.size() > 4) sockets_.erase(sockets_.begin());
        return;
      case 7:
        return static_cast<void>(hear(socket, 1ms));
      default:
        for (int i = 0; i < 20; ++i)
          static_cast<void>(say(socket, on_loopback(i == 0 ? honest_ : port), std::string(rng_.below(2000), 'v'), Deadline::now()));
    }
  }
  // A child that shares the socket, and outlives it for a moment.
  void fork_and_send(StackSocket& socket, std::uint16_t port) {
    socket.share();
    static_cast<void>(in_child([&] {
      if (socket.renew_send_ring()) static_cast<void>(say(socket, on_loopback(port), "from a child", Deadline::now()));
      return 0;
    }));
  }

  const hub::HubAddress& address_;
  const std::uint16_t honest_;
  Rng rng_;
  std::vector<std::unique_ptr<StackSocket>> sockets_;
  std::vector<Fd> fds_;
};

TEST(Killed, ApplicationsLeaveNothingBehind) {
  const hub::HubAddress address{.name = "gannet-kill-test-" + std::to_string(::getpid())};
  hub::HubSetup setup;
  setup.linger = 0ms;
  const pid_t hub = start_hub(address.name, setup);
  HonestPair honest(address, 20999);
  ASSERT_TRUE(comes_true([&] { return honest.exchanged() > 100; }));
  const auto own = status_of(address).value().sockets;
  const Belongings before = Belongings::of(hub);
  [[maybe_unused]] long resident = 0;

  Rng rng(20261123);
  std::vector<pid_t> alive;
  for (int i = 0; i < kills(); ++i) {
    alive.push_back(in_child([&]() -> int { Victim(address, honest.port(), static_cast<std::uint64_t>(i) + 1).run(); }));
    ::usleep(static_cast<useconds_t>(rng.below(10'000)));
    if (alive.size() < 4) continue;
    const std::size_t which = rng.below(static_cast<std::uint32_t>(alive.size()));
    ::kill(alive[which], SIGKILL);
    EXPECT_EQ(end_of(alive[which]), 1000 + SIGKILL);
    alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(which));
    if (i == kills() / 4) resident = resident_kilobytes(hub);
  }
  for (const pid_t each : alive) ::kill(each, SIGKILL);
  for (const pid_t each : alive) EXPECT_EQ(end_of(each), 1000 + SIGKILL);

  EXPECT_TRUE(comes_true([&] { return status_of(address).value().sockets == own; }));
  EXPECT_TRUE(comes_true([&] { return Belongings::of(hub).is_within(before); }))
      << Belongings::of(hub).descriptors << " descriptors, " << Belongings::of(hub).mappings << " mappings";
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep what was freed, and notes of it
  EXPECT_LT(resident_kilobytes(hub), resident + 1024);
#endif
  for (std::uint16_t port = first_port; port < first_port + ports; ++port) {
    auto socket = hub::open_socket(address).value();
    EXPECT_TRUE(socket->bind(on_loopback(port))) << port;
  }
  const std::uint64_t exchanged = honest.exchanged();
  EXPECT_TRUE(comes_true([&] { return honest.exchanged() > exchanged + 100; })) << honest.whereabouts();
  EXPECT_FALSE(honest.has_lost_silently()) << honest.whereabouts();
  EXPECT_EQ(honest.end(), (std::array{0, 0}));
  EXPECT_EQ(shut_down(address, hub), 0);
}

// Applications that begin again with the next hub whenever theirs is gone.
class Survivors {
 public:
  static constexpr std::size_t kinds = 5;
  explicit Survivors(const hub::HubAddress& address) : address_(address) {
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      processes_[kind] = in_child([&] { return live(kind); });
    }
  }
  // Each of them has lost its hub so often.
  [[nodiscard]] bool have_lost(int hubs) const {
    return std::ranges::all_of(shared_->lost, [&](const std::atomic<int>& lost) { return lost >= hubs; });
  }
  [[nodiscard]] bool are_busy() const {
    return std::ranges::all_of(shared_->busy, [](const std::atomic<bool>& busy) { return busy.load(); });
  }
  void end() {
    shared_->stop = true;
    for (const pid_t process : processes_) EXPECT_EQ(end_of(process), 0);
  }

 private:
  struct State {
    std::atomic<bool> stop = false;
    std::array<std::atomic<int>, kinds> lost{};
    std::array<std::atomic<bool>, kinds> busy{};
  };

  // 0, or the first error that was not the one of a hub that is gone.
  int live(std::size_t kind) {
    while (!shared_->stop) {
      auto socket = hub::open_socket(address_);
      if (!socket && (socket.error().code == ECONNREFUSED || socket.error().code == ENETDOWN)) {
        ::usleep(1000);
        continue;
      }
      if (!socket) return socket.error().code;
      const int code = work(kind, **socket);
      shared_->busy[kind] = false;
      if (code != ENETDOWN) return code == 0 ? 255 : code;
      ++shared_->lost[kind];
    }
    return 0;
  }
  int work(std::size_t kind, StackSocket& socket) {
    if (const auto bound = socket.bind(on_loopback(0)); !bound) return bound.error().code;
    const auto self = socket.local_address();
    if (!self) return self.error().code;
    const int fd = socket.fd().value();
    for (;;) {
      shared_->busy[kind] = true;
      Result<std::size_t> sent = std::size_t{0};
      switch (kind) {
        case 0:  // sleeps in a call
          return hear(socket).error().code;
        case 1: {  // sleeps in poll(2), which says that there is something, namely the end
          pollfd wait{fd, POLLIN, 0};
          if (::poll(&wait, 1, 60'000) != 1) return ETIMEDOUT;
          return hear(socket, Deadline::now()).error().code;
        }
        case 2:  // sends and sends
          sent = say(socket, on_loopback(9), std::string(1000, 's'));
          break;
        case 3: {  // sends to itself, and waits for it
          sent = say(socket, {IpAddress::ipv4(127, 0, 0, 1), self->port}, "ping");
          if (!sent) break;
          if (const auto heard = hear(socket); !heard) return heard.error().code;
          break;
        }
        default: {  // has something done
          auto other = hub::open_socket(address_);
          if (!other) return other.error().code == ECONNREFUSED ? ENETDOWN : other.error().code;
          if (const auto set = socket.set(Option::ttl, 7); !set) return set.error().code;
          break;
        }
      }
      // The port that nobody has is told of now and then.
      if (!sent && sent.error().code != ECONNREFUSED) return sent.error().code;
    }
  }

  const hub::HubAddress address_;
  Shared<State> shared_;
  std::array<pid_t, kinds> processes_{};
};

TEST(Killed, HubsLeaveNobodyHanging) {
  std::string pattern = (fs::temp_directory_path() / "gannet-kill-XXXXXX").string();
  const fs::path base = ::mkdtemp(pattern.data());
  const hub::LaunchPlace place{.folder = base / "gannet", .name = "gannet-hub-kill-test-" + std::to_string(::getpid())};
  Survivors survivors({.name = place.name});
  Rng rng(20261123);
  for (int i = 0; i < std::max(kills() / 10, 1); ++i) {
    const auto joined = hub::join(place);
    ASSERT_TRUE(joined) << joined.error().message();
    const pid_t hub = status_of(joined->address).value().process;
    ASSERT_TRUE(comes_true([&] { return survivors.are_busy(); })) << i;
    ::usleep(static_cast<useconds_t>(rng.below(10'000)));
    ::kill(hub, SIGKILL);
    ASSERT_TRUE(comes_true([&] { return survivors.have_lost(i + 1); })) << i;
  }
  survivors.end();
  EXPECT_EQ(std::distance(fs::directory_iterator(base / "gannet"), fs::directory_iterator()), 1);  // the lock
  fs::remove_all(base);
}

}  // namespace
}  // namespace gannet::tests
