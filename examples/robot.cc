// Commands to a robot, 200 a second, of which only the newest counts: late is as good as lost, and lost does not matter, for the next is on its way.
//
//   robot drive ADDRESS:PORT                 obeys until there have been no commands for 2 s, and tells how old the one in force was
//   robot command ADDRESS:PORT [SECONDS]     steers
//
// To send a lost command again would be worse than nothing: it would be old when it came. What the robot does need to know is that nothing comes any
// more: a command is in force for 100 ms and no longer, and then the robot stands still. (Age is told by the clock that the two share; on two
// machines, one that is synchronised, as PTP does it.)
#include <algorithm>
#include <array>
#include <cmath>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <gannet/socket.h>

using gannet::Address, gannet::Socket;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr Clock::duration period = 5ms, tick = 1ms, in_force = 100ms, silence = 2s;

// As on the wire: the number of the command, when it was made, and what to do, each big-endian. Speeds are in mm/s.
struct Command {
  std::uint32_t number = 0;
  std::int64_t made = 0;  // ns
  std::int32_t speed = 0;

  static constexpr std::size_t size = 16;
  [[nodiscard]] std::array<std::byte, size> emit() const {
    std::array<std::byte, size> bytes{};
    for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(number >> (24 - 8 * i));
    for (std::size_t i = 0; i < 8; ++i) bytes[4 + i] = static_cast<std::byte>(static_cast<std::uint64_t>(made) >> (56 - 8 * i));
    for (std::size_t i = 0; i < 4; ++i) bytes[12 + i] = static_cast<std::byte>(static_cast<std::uint32_t>(speed) >> (24 - 8 * i));
    return bytes;
  }
  static Command parse(std::span<const std::byte, size> bytes) {
    const auto number_at = [&](std::size_t from, std::size_t count) {
      std::uint64_t value = 0;
      for (const std::byte octet : bytes.subspan(from, count)) value = value << 8 | std::to_integer<std::uint64_t>(octet);
      return value;
    };
    return {static_cast<std::uint32_t>(number_at(0, 4)), static_cast<std::int64_t>(number_at(4, 8)), static_cast<std::int32_t>(number_at(12, 4))};
  }
};

void command(Socket socket, const Address& robot, std::chrono::seconds time) {
  socket.connect(robot).value();
  const Clock::time_point begin = Clock::now();
  Command command;
  std::uint32_t refused = 0;
  for (; Clock::now() < begin + time; ++command.number) {
    command.made = Clock::now().time_since_epoch().count();
    command.speed = static_cast<std::int32_t>(500 * std::sin(command.number * 0.02));
    const auto sent = socket.send(command.emit());
    if (!sent && sent.error().code != ECONNREFUSED) sent.value();  // a robot that is not there yet may come
    refused += sent ? 0 : 1;
    std::this_thread::sleep_until(begin + (command.number + 1) * period);
  }
  std::cout << command.number << " commands, " << refused << (refused == 0 ? " refused" : " refused, since nobody was there") << std::endl;
}

struct Report {
  std::vector<std::int64_t> ages;  // in each tick with a command in force, in µs
  std::uint64_t heard = 0, overtaken = 0, standing = 0, stops = 0;

  friend std::ostream& operator<<(std::ostream& out, Report report) {
    std::ranges::sort(report.ages);
    const auto share = [&](double part) {
      return report.ages.empty() ? 0 : report.ages[static_cast<std::size_t>(part * static_cast<double>(report.ages.size() - 1))];
    };
    return out << report.heard << " commands, " << report.overtaken << " overtaken by newer ones; age of the one in force: p50 " << share(0.5)
               << " us, p99 " << share(0.99) << " us, most " << share(1) << " us; stood still " << report.stops << " times, for " << report.standing
               << " ms";
  }
};

void drive(Socket socket, const Address& local, std::ostream& output) {
  socket.bind(local).value();
  output << "Listening on " << socket.local_address().value().to_string() << std::endl;
  Report report;
  Command newest;
  std::array<std::uint64_t, 3> at_newest{};  // ages, standing, stops: what comes after the last command is no part of the report
  bool moves = false;
  std::array<std::byte, 64> buffer;
  const auto hear = [&](gannet::Deadline deadline) {  // all that is there
    for (auto heard = socket.receive(buffer, deadline); heard; heard = socket.receive(buffer, gannet::Deadline::now())) {
      if (heard->length != Command::size) continue;
      const Command command = Command::parse(heard->data.first<Command::size>());
      const Clock::time_point now = Clock::now(), made{Clock::duration(command.made)};
      // A command from the future is as little to be believed as an old one, and an old one that is said again makes nobody the master.
      if (command.made < 0 || made > now + 1ms || (report.heard == 0 && now - made > in_force)) continue;
      if (report.heard++ == 0) {
        socket.connect(heard->peer).value();  // one master is enough; whoever else sends is not heard
      } else if (static_cast<std::int32_t>(command.number - newest.number) <= 0) {
        ++report.overtaken;
        continue;
      }
      newest = command;
      at_newest = {report.ages.size(), report.standing, report.stops};
    }
  };
  while (report.heard == 0) hear(gannet::Deadline::forever());
  for (Clock::time_point next = Clock::now();; next += tick) {
    while (Clock::now() < next) hear(next);
    const Clock::duration age = Clock::now().time_since_epoch() - Clock::duration(newest.made);
    const bool obeys = age < in_force;
    report.stops += moves && !obeys ? 1 : 0;
    moves = obeys;
    if (obeys) report.ages.push_back(std::chrono::duration_cast<std::chrono::microseconds>(age).count());
    if (!obeys) ++report.standing;
    if (report.ages.size() > 10'000'000 || age > silence) break;
  }
  report.ages.resize(at_newest[0]);
  report.standing = at_newest[1], report.stops = at_newest[2];
  output << report << std::endl;
}

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  const std::string seconds = words.size() == 3 ? words[2] : "5";
  const bool commands = (words.size() == 2 || words.size() == 3) && words[0] == "command" && seconds.size() < 6 &&
                        seconds.find_first_not_of("0123456789") == seconds.npos;
  if (!commands && (words.size() != 2 || words[0] != "drive"))
    return std::cerr << "usage: robot drive ADDRESS:PORT | command ADDRESS:PORT [SECONDS]" << std::endl, 2;
  try {
    const Address address = Address::parse(words[1]).value();
    Socket socket = Socket::open(address.ip.family).value();
    commands ? command(std::move(socket), address, std::chrono::seconds(std::stoi("0" + seconds))) : drive(std::move(socket), address, std::cout);
  } catch (const std::exception& failure) {
    return std::cerr << "robot: " << failure.what() << std::endl, 1;
  }
}
