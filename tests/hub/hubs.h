// Hubs in processes of their own, and applications in others, for tests that kill them.
//
// Owner and thread: the test, which has one thread, since it forks.
#pragma once
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <new>
#include <string>
#include <thread>

#include "hub/client.h"
#include "hub/hub.h"
#include "hub/listener.h"
#include "hub/sheet.h"

namespace gannet::tests {

using namespace std::chrono_literals;
inline constexpr auto patience = 60s;  // beyond it something hangs

inline pid_t in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  return child;
}

// How it ended: 0, its exit status, or 1000 and a signal.
inline int end_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

template <class Condition>
bool comes_true(Condition&& condition) {
  for (const auto end = std::chrono::steady_clock::now() + patience; !condition(); std::this_thread::sleep_for(2ms)) {
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return true;
}

// What a test shares with its children.
template <class T>
class Shared {
 public:
  Shared() : at_(::new(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) T) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(at_, sizeof(T)); }
  T* operator->() const { return at_; }
  T& operator*() const { return *at_; }

 private:
  T* at_;
};

inline pid_t start_hub(const std::string& name, const hub::HubSetup& setup) {
  auto listener = hub::listen(name).value();
  return in_child([&] {
    auto hub = hub::Hub::create(std::move(listener), setup);
    return hub && (*hub)->run() ? 0 : 1;
  });
}

inline Result<hub::Status> status_of(const hub::HubAddress& address) {
  const auto reply = hub::ask(address, hub::Request{});
  if (!reply) return reply.error();
  return reply->status;
}

// Ends it, with its exit status, or -1 where it did not take the request.
inline int shut_down(const hub::HubAddress& address, pid_t hub) {
  hub::Request down;
  down.kind = hub::Request::Kind::shut_down;
  return hub::ask(address, down) ? end_of(hub) : -1;
}

inline Result<hub::Listing> listing_of(const hub::HubAddress& address) {
  hub::Request request;
  request.kind = hub::Request::Kind::list;
  const auto reply = [&]() -> Result<hub::ReceivedReply> {
    Fd connection;
    return hub::ask(address, request, connection);
  }();
  if (!reply) return reply.error();
  const auto bytes = hub::read_sheet(reply->fds[0]);
  if (!bytes) return bytes.error();
  return hub::Listing::parse(*bytes);
}

// What a process has that could leak.
struct Belongings {
  long descriptors = 0, mappings = 0;  // of memory that it shares
  [[nodiscard]] bool is_within(const Belongings& other) const { return descriptors <= other.descriptors && mappings <= other.mappings; }

  static Belongings of(pid_t process) {
    const std::filesystem::path folder = "/proc/" + std::to_string(process);
    Belongings all;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator(folder / "fd")) ++all.descriptors;
    std::ifstream maps(folder / "maps");
    for (std::string line; std::getline(maps, line);) all.mappings += line.find("memfd:gannet") != std::string::npos ? 1 : 0;
    return all;
  }
};

inline long resident_kilobytes(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string word; status >> word;) {
    if (word == "VmRSS:" && status >> word) return std::atol(word.c_str());
  }
  return 0;
}

inline Address on_loopback(std::uint16_t port) { return {IpAddress::ipv4(127, 0, 0, 1), port}; }

inline Result<std::size_t> say(socket::StackSocket& socket, const Address& to, std::string_view text, Deadline deadline = patience) {
  const Outgoing out{.data = std::as_bytes(std::span(text)), .to = to};
  return socket.send(std::span(&out, 1), deadline);
}

struct Heard {
  std::string text;
  Address peer;
};
inline Result<Heard> hear(socket::StackSocket& socket, Deadline deadline = patience) {
  std::array<std::byte, 2048> buffer;
  Datagram datagram{.buffer = buffer};
  const auto count = socket.receive(std::span(&datagram, 1), deadline, socket::Take::remove);
  if (!count) return count.error();
  return Heard{{reinterpret_cast<const char*>(datagram.data.data()), datagram.data.size()}, datagram.peer};
}

// Two honest processes that exchange numbered datagrams until they are told to stop. Nothing is lost but what finds a queue full, to which anybody
// may send: such a datagram is said again.
class HonestPair {
 public:
  HonestPair(const hub::HubAddress& address, std::uint16_t port) : address_(address), port_(port) {
    server_ = in_child([&] { return serve(address); });
    client_ = in_child([&] { return ask(address); });
  }
  // 0, or what went wrong; and how many went to and fro.
  std::array<int, 2> end() {
    shared_->stop = true;
    return {end_of(client_), end_of(server_)};
  }
  [[nodiscard]] std::uint64_t exchanged() const { return shared_->exchanged; }
  // Datagrams without an answer of which no queue knows; before end().
  [[nodiscard]] bool has_lost_silently() const {
    const std::uint64_t lost = shared_->lost;
    if (lost == 0) return false;
    const auto listing = listing_of(address_);
    if (!listing) return true;
    std::uint64_t counted = 0;
    for (const auto& each : listing->sockets) counted += each.process == server_ || each.process == client_ ? each.receive_queue_full : 0;
    return lost > counted;
  }
  // Where the pair's datagrams are: what waits unread was not rung for, what waits unsent was not looked at, and the rest was lost.
  [[nodiscard]] std::string whereabouts() const {
    const auto listing = listing_of(address_);
    if (!listing) return listing.error().message();
    std::string text = std::to_string(exchanged()) + " exchanged";
    for (const auto& each : listing->sockets) {
      if (each.process != server_ && each.process != client_) continue;
      text += each.process == server_ ? "; server: " : "; client: ";
      text += std::to_string(each.in) + " in, " + std::to_string(each.receive_used) + " octets unread, " + std::to_string(each.receive_queue_full) +
              " found the queue full; " + std::to_string(each.out) + " out, " + std::to_string(each.send_used) + " octets unsent, " +
              std::to_string(each.send_refused) + " refused";
    }
    for (const auto& each : listing->drops) text += "; " + std::string(each.name.view()) + " " + std::to_string(each.value);
    return text;
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  struct State {
    std::atomic<bool> ready = false, stop = false;
    std::atomic<std::uint64_t> exchanged = 0, lost = 0;
  };
  static constexpr std::uint64_t most_lost = 20;
  static constexpr std::string_view word = "honest ";

  int serve(const hub::HubAddress& address) {
    auto socket = hub::open_socket(address);
    if (!socket || !(*socket)->bind(on_loopback(port_))) return 1;
    shared_->ready = true;
    for (;;) {
      const auto heard = hear(**socket);
      if (!heard) return 2;
      if (!heard->text.starts_with(word)) continue;  // a stranger's
      if (!say(**socket, heard->peer, heard->text)) return 3;
      if (heard->text.ends_with("the end")) return 0;
    }
  }
  int ask(const hub::HubAddress& address) {
    if (!comes_true([&] { return shared_->ready.load(); })) return 1;
    auto socket = hub::open_socket(address);
    if (!socket) return 2;
    for (std::uint64_t i = 0;; ++i) {
      const bool last = shared_->stop;
      const std::string text = std::string(word) + (last ? "the end" : std::to_string(i));
      if (!say(**socket, on_loopback(port_), text)) return 3;
      for (;;) {
        const auto heard = hear(**socket, 3s);
        if (heard && heard->text == text && heard->peer.port == port_) break;
        if (heard && heard->text.starts_with(word) && shared_->lost == 0) return 5;
        if (heard) continue;
        if (heard.error().code != EAGAIN || ++shared_->lost > most_lost) return 4;
        if (!say(**socket, on_loopback(port_), text)) return 3;
      }
      ++shared_->exchanged;
      if (last) return 0;
    }
  }

  Shared<State> shared_;
  const hub::HubAddress address_;
  const std::uint16_t port_;
  pid_t server_ = -1, client_ = -1;
};

}  // namespace gannet::tests
