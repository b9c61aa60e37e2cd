// Many sensors that report what they measure, in statsd's format: lines of `name:value|g`, as many to a datagram as fit.
//
//   sensors ADDRESS:PORT [COUNT [HERTZ [SECONDS]]] [--plain] [--single]
//
// A lost report matters little, the next one is on its way; waiting for it to be sent again would only make the newer ones late. But the receiver
// should know what it does not know, and so each report has a number (`|#seq:7`, a tag as DogStatsD has them); --plain leaves it out, for collectors
// that take none. --single sends each report alone, at a time of its own, as sensors do that know nothing of each other.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iostream>
#include <thread>
#include <vector>

#include <gannet/socket.h>

using gannet::Address, gannet::Socket;

constexpr std::size_t largest = 1400;  // passes in one packet, with room for tunnels

struct Plan {
  unsigned count = 100, hertz = 10, seconds = 10;
  bool numbered = true, single = false;
};

// Datagrams that wait to be sent in one call.
class Outbox {
 public:
  Outbox(Socket socket, bool single) : socket_(std::move(socket)), single_(single) {}

  // False: the outbox is full, and to be sent first.
  bool add(std::string_view line) {
    if (used_ == 0 || single_ || texts_[used_ - 1].size() + line.size() > largest) {
      if (used_ == texts_.size()) return false;
      texts_[used_++].clear();
    }
    texts_[used_ - 1].append(line);
    return true;
  }
  void send() {
    std::array<gannet::Outgoing, at_once> batch;
    for (std::size_t i = 0; i < used_; ++i) batch[i].data = gannet::bytes_of(texts_[i]);
    for (std::span<const gannet::Outgoing> rest(batch.data(), used_); !rest.empty();) {
      const auto sent = socket_.send_batch(rest);
      if (!sent && sent.error().code != ECONNREFUSED) sent.value();
      if (!sent) ++refused;  // an earlier datagram was, since nobody listens just now: the sensors do not stop for that
      if (sent) datagrams += *sent, rest = rest.subspan(*sent);
    }
    used_ = 0;
  }
  std::uint64_t datagrams = 0, refused = 0;

 private:
  static constexpr std::size_t at_once = 64;
  Socket socket_;
  bool single_;
  std::array<std::string, at_once> texts_;
  std::size_t used_ = 0;
};

std::string_view report(std::array<char, 96>& line, unsigned sensor, std::uint32_t sequence, bool numbered) {
  char *at = line.data(), *const end = line.data() + line.size();
  const auto text = [&](std::string_view words) { at = std::copy(words.begin(), words.end(), at); };
  text("sensor.");
  at = std::to_chars(at, end, sensor).ptr;
  text(":");
  at = std::to_chars(at, end, 20 + 5 * std::sin(sequence * 0.01 + sensor), std::chars_format::fixed, 3).ptr;
  text("|g");
  if (numbered) text("|#seq:"), at = std::to_chars(at, end, sequence).ptr;
  text("\n");
  return {line.data(), at};
}

void send(Socket socket, const Address& collector, const Plan& plan, std::ostream& output) {
  socket.connect(collector).value();
  Outbox outbox(std::move(socket), plan.single);
  const auto begin = std::chrono::steady_clock::now();
  const auto period = std::chrono::nanoseconds(std::chrono::seconds(1)) / plan.hertz;
  std::uint64_t reports = 0;
  std::array<char, 96> line;
  for (std::uint32_t round = 0; round < plan.hertz * plan.seconds; ++round) {
    std::this_thread::sleep_until(begin + round * period);
    for (unsigned sensor = 0; sensor < plan.count; ++sensor, ++reports) {
      const std::string_view text = report(line, sensor, round, plan.numbered);
      if (outbox.add(text)) continue;
      if (plan.single) std::this_thread::sleep_until(begin + round * period + sensor * period / plan.count);
      outbox.send();
      outbox.add(text);
    }
    outbox.send();
  }
  output << reports << " reports of " << plan.count << " sensors in " << outbox.datagrams << " datagrams, " << outbox.refused << " refused"
         << std::endl;
}

int main(int count, char** arguments) {
  std::vector<std::string_view> words(arguments + 1, arguments + count);
  Plan plan;
  plan.numbered = std::erase(words, "--plain") == 0;
  plan.single = std::erase(words, "--single") != 0;
  bool good = !words.empty() && words.size() <= 4;
  unsigned* const numbers[] = {&plan.count, &plan.hertz, &plan.seconds};
  for (std::size_t i = 1; good && i < words.size(); ++i) {
    const auto [end, code] = std::from_chars(words[i].data(), words[i].data() + words[i].size(), *numbers[i - 1]);
    good = code == std::errc() && *end == '\0' && *numbers[i - 1] > 0 && *numbers[i - 1] <= 100'000;
  }
  if (!good) return std::cerr << "usage: sensors ADDRESS:PORT [COUNT [HERTZ [SECONDS]]] [--plain] [--single]" << std::endl, 2;
  try {
    const Address collector = Address::parse(words[0]).value();
    send(Socket::open(collector.ip.family).value(), collector, plan, std::cout);
  } catch (const std::exception& failure) {
    return std::cerr << "sensors: " << failure.what() << std::endl, 1;
  }
}
