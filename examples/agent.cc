// Agents that find each other: each says who it is, what it does and how it fares; sensors stream to every planner there is.
//
//   agent NAME sensor|planner [SECONDS [SEED...]]     ends after SECONDS (10); a SEED is the ADDRESS of an agent, for where multicast does not pass
//
// Presence and status are the beacon's: announced to all, and to a newcomer at once. Samples go by a socket of their own, at whose address the beacon
// announces them, 50 a second and numbered: a lost one is not sent again, but the planner knows that it was. No broker, no configuration, no order in
// which to start them; an agent that is killed is missed after the lifetime of its last announcement.
#include <algorithm>
#include <array>
#include <charconv>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <gannet/beacon.h>

using gannet::Address, gannet::Beacon, gannet::PeerEvent, gannet::Socket;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr Clock::duration period = 20ms;
constexpr std::size_t most_sensors = 1'000;

struct Plan {
  std::string name, role;
  std::chrono::seconds time{10};
  std::vector<Address> seeds;
};

// What came of one sensor.
struct Stream {
  std::uint64_t samples = 0, lost = 0;
  std::uint32_t next = 0;

  void take(std::uint32_t number) {
    const auto missed = static_cast<std::int32_t>(number - next);
    if (samples > 0 && missed < 0) return;  // late, or doubled: its place was counted
    if (samples > 0) lost += static_cast<std::uint64_t>(missed);
    ++samples;
    next = number + 1;
  }
};

// What others say goes to a terminal, which obeys some characters.
std::string printable(std::string text) {
  std::ranges::replace_if(text, [](unsigned char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

class Agent {
 public:
  Agent(Beacon beacon, Socket socket, Plan plan) : beacon_(std::move(beacon)), socket_(std::move(socket)), plan_(std::move(plan)) {}

  void run() {
    beacon_.start().value();
    std::cout << plan_.name << " is here" << std::endl;
    const Clock::time_point begin = Clock::now();
    for (Clock::time_point tick = begin; tick < begin + plan_.time; tick += period) {
      while (const auto event = beacon_.next(gannet::Deadline::now())) tell(*event);
      if (plan_.role == "sensor") stream();
      listen(tick + period);
      be(plan_.role == "sensor" ? (planners_.empty() ? "waits" : "measures") : "hears " + std::to_string(streams_.size()));
    }
    beacon_.leave().value();
    for (const auto& [name, one] : streams_) std::cout << "from " << name << ": " << one.samples << " samples, " << one.lost << " lost" << std::endl;
  }

 private:
  void tell(const PeerEvent& event) {
    const gannet::Peer& peer = event.peer;
    std::cout << peer.name << ' ' << to_string(event.kind);
    for (const auto& [key, value] : peer.profile.metadata) std::cout << ", " << printable(key) << ": " << printable(value);
    std::cout << std::endl;
    const bool is_here = event.kind == PeerEvent::Kind::joined || event.kind == PeerEvent::Kind::changed;
    // Samples go to where the planner was heard from, and not to a third to whom it points.
    const auto was_heard = [&](const Address& to) {
      return std::ranges::any_of(peer.paths, [&](const auto& path) { return path.source.ip == to.ip; });
    };
    if (is_here && peer.has_role("planner") && !peer.profile.addresses.empty() && was_heard(peer.profile.addresses.front())) {
      planners_[peer.id] = peer.profile.addresses.front();
    } else {
      planners_.erase(peer.id);
    }
  }

  // One sample to each planner: "NAME NUMBER VALUE".
  void stream() {
    if (planners_.empty()) return;
    const std::string sample = plan_.name + ' ' + std::to_string(number_++) + " 21.5";
    for (const auto& [id, planner] : planners_) static_cast<void>(socket_.send_to(gannet::bytes_of(sample), planner));  // it may have gone just now
  }

  void listen(Clock::time_point until) {
    std::array<std::byte, 256> buffer;
    do {
      const auto datagram = socket_.receive(buffer, until);
      if (!datagram) return;
      // Anybody can send to a socket: what is no sample is left out, and so are sensors that are too many.
      const std::string_view text = gannet::text_of(datagram->data);
      const std::size_t space = text.find(' ');
      std::uint32_t number = 0;
      if (space == 0 || space == text.npos || plan_.role != "planner") continue;
      if (std::from_chars(text.data() + space + 1, text.data() + text.size(), number).ec != std::errc()) continue;
      const std::string name = printable(std::string(text.substr(0, space)));
      if (streams_.contains(name) || streams_.size() < most_sensors) streams_[name].take(number);
    } while (Clock::now() < until);  // however much comes
  }

  // Says how it fares, to all, where that has changed.
  void be(const std::string& status) {
    if (status == status_) return;
    status_ = status;
    beacon_.update({.roles = {plan_.role}, .addresses = {{{}, socket_.local_address().value().port}}, .metadata = {{"status", status}}}).value();
  }

  Beacon beacon_;
  Socket socket_;
  Plan plan_;
  std::string status_;
  std::uint32_t number_ = 0;
  std::map<std::uint64_t, Address> planners_;
  std::map<std::string, Stream> streams_;
};

// Bound to every address, which is announced as 0.0.0.0: wherever the beacon is heard from, there the socket is.
Socket bound(Socket socket) {
  socket.bind("0.0.0.0:0").value();
  return socket;
}

gannet::BeaconOptions options_of(const Plan& plan, const Socket& socket) {
  return {.name = plan.name, .roles = {plan.role}, .addresses = {{{}, socket.local_address().value().port}}, .seeds = plan.seeds};
}

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  const bool good = words.size() >= 2 && (words[1] == "sensor" || words[1] == "planner") &&
                    (words.size() < 3 || (words[2].size() < 6 && !words[2].empty() && words[2].find_first_not_of("0123456789") == std::string::npos));
  if (!good) return std::cerr << "usage: agent NAME sensor|planner [SECONDS [SEED...]]" << std::endl, 2;
  try {
    Plan plan{words[0], words[1], std::chrono::seconds(words.size() > 2 ? std::stoi(words[2]) : 10), {}};
    for (std::size_t i = 3; i < words.size(); ++i) plan.seeds.push_back({gannet::IpAddress::parse(words[i]).value(), 0});
    Socket socket = bound(Socket::open().value());
    Beacon beacon = Beacon::open(options_of(plan, socket)).value();
    Agent(std::move(beacon), std::move(socket), plan).run();
  } catch (const std::exception& failure) {
    return std::cerr << "agent: " << failure.what() << std::endl, 1;
  }
}
