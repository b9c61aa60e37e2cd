// Many sensors that report what they measure, in statsd's format: lines of `name:value|g`, as many to a datagram as fit.
//
//   sensors ADDRESS:PORT [COUNT [HERTZ [SECONDS]]] [--plain]
//
// A lost report matters little, the next one is on its way; waiting for it to be sent again would only make the newer ones late. But the receiver
// should know what it does not know, and so each report has a number (`|#seq:7`, a tag as DogStatsD has them); --plain leaves it out, for collectors
// that take none.
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
  bool numbered = true;
};

std::string report(unsigned sensor, std::uint32_t sequence, bool numbered) {
  const double value = 20 + 5 * std::sin(sequence * 0.01 + sensor);
  std::string line = "sensor." + std::to_string(sensor) + ':' + std::to_string(value) + "|g";
  if (numbered) line += "|#seq:" + std::to_string(sequence);
  return line + '\n';
}

void send(Socket socket, const Address& collector, const Plan& plan, std::ostream& output) {
  socket.connect(collector).value();
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t reports = 0, datagrams = 0, refused = 0;
  for (std::uint32_t round = 0; round < plan.hertz * plan.seconds; ++round) {
    std::this_thread::sleep_until(begin + std::chrono::seconds(round) / plan.hertz);
    std::vector<std::string> texts(1);
    for (unsigned sensor = 0; sensor < plan.count; ++sensor, ++reports) {
      const std::string line = report(sensor, round, plan.numbered);
      if (texts.back().size() + line.size() > largest) texts.emplace_back();
      texts.back() += line;
    }
    std::vector<gannet::Outgoing> batch;
    for (const std::string& text : texts) batch.push_back({.data = gannet::bytes_of(text)});
    for (std::span<const gannet::Outgoing> rest(batch); !rest.empty(); ++datagrams) {
      const auto sent = socket.send_batch(rest);
      if (!sent && sent.error().code != ECONNREFUSED) sent.value();
      if (!sent) ++refused;  // an earlier datagram was, since nobody listens just now: the sensors do not stop for that
      if (sent) datagrams += *sent - 1;
      if (sent) rest = rest.subspan(*sent);
    }
  }
  output << reports << " reports of " << plan.count << " sensors in " << datagrams - refused << " datagrams, " << refused << " refused" << std::endl;
}

int main(int count, char** arguments) {
  std::vector<std::string_view> words(arguments + 1, arguments + count);
  Plan plan;
  plan.numbered = std::erase(words, "--plain") == 0;
  bool good = !words.empty() && words.size() <= 4;
  unsigned* const numbers[] = {&plan.count, &plan.hertz, &plan.seconds};
  for (std::size_t i = 1; good && i < words.size(); ++i) {
    const auto [end, code] = std::from_chars(words[i].data(), words[i].data() + words[i].size(), *numbers[i - 1]);
    good = code == std::errc() && *end == '\0' && *numbers[i - 1] > 0 && *numbers[i - 1] <= 100'000;
  }
  if (!good) return std::cerr << "usage: sensors ADDRESS:PORT [COUNT [HERTZ [SECONDS]]] [--plain]" << std::endl, 2;
  try {
    const Address collector = Address::parse(words[0]).value();
    send(Socket::open(collector.ip.family).value(), collector, plan, std::cout);
  } catch (const std::exception& failure) {
    return std::cerr << "sensors: " << failure.what() << std::endl, 1;
  }
}
