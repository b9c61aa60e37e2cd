// Collects what sensors.cc sends, and knows what it missed: for each sensor how many reports were lost, late and doubled, with the gaps interpolated.
//
//   collector ADDRESS:PORT [SECONDS]      ends SECONDS (2) after the last report, and prints a line for each sensor that missed some, and the sum
//
// What it takes comes from anybody: a line that is none is counted and left out, and of sensors and of the values in a gap there is a most.
#include <array>
#include <charconv>
#include <cmath>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <gannet/socket.h>

using gannet::Address, gannet::Socket;

constexpr std::size_t most_sensors = 65'536, longest_name = 64;
constexpr std::int64_t longest_gap = 1'000;  // reports; what is further away is a sensor that began anew

struct Report {
  std::string_view name;
  double value;
  std::uint32_t sequence;
};

// One line, `name:value|g|#seq:7`; nothing where it is not that.
bool parse(std::string_view line, Report& report) {
  const std::size_t colon = line.find(':'), bar = line.find('|');
  constexpr std::string_view kind = "|g|#seq:";
  if (colon == 0 || colon > longest_name || bar == line.npos || bar < colon || line.substr(bar, kind.size()) != kind) return false;
  const char *value = line.data() + colon + 1, *sequence = line.data() + bar + kind.size(), *end = line.data() + line.size();
  report.name = line.substr(0, colon);
  const auto first = std::from_chars(value, line.data() + bar, report.value);
  const auto second = std::from_chars(sequence, end, report.sequence);
  return first.ec == std::errc() && first.ptr == line.data() + bar && std::isfinite(report.value) && second.ec == std::errc() && second.ptr == end;
}

struct Counts {
  std::uint64_t reports = 0, lost = 0, late = 0, doubled = 0, interpolated = 0, begun_anew = 0;
  Counts& operator+=(const Counts& other) {
    reports += other.reports, lost += other.lost, late += other.late;
    doubled += other.doubled, interpolated += other.interpolated, begun_anew += other.begun_anew;
    return *this;
  }
  friend std::ostream& operator<<(std::ostream& out, const Counts& counts) {
    return out << counts.reports << " reports, " << counts.lost << " lost, " << counts.late << " late, " << counts.doubled << " doubled, "
               << counts.interpolated << " interpolated, begun anew " << counts.begun_anew;
  }
};

// What a program behind the collector is given: each value once, in order, and whether it was measured or put between two that were.
void take(std::string_view /*sensor*/, std::uint32_t /*sequence*/, double /*value*/, bool /*interpolated*/) {}

class Sensor {
 public:
  void report(const Report& report) {
    const std::int64_t distance = static_cast<std::int32_t>(report.sequence - newest_);
    if (counts.reports == 0 || std::abs(distance) > longest_gap) {
      counts.begun_anew += counts.reports == 0 ? 0 : 1;
      begin(report);
    } else if (distance > 0) {
      advance(report, distance);
    } else if (-distance >= 64 || (seen_ >> -distance & 1) != 0) {
      ++counts.doubled;
      return;
    } else {  // its place was filled already: what it says comes too late, but it was not lost
      ++counts.late;
      --counts.lost;
      seen_ |= std::uint64_t{1} << -distance;
    }
    ++counts.reports;
  }
  Counts counts;

 private:
  void begin(const Report& report) {
    newest_ = report.sequence, value_ = report.value;
    seen_ = ~std::uint64_t{0};  // what was before is not missed
    take(report.name, newest_, value_, false);
  }
  void advance(const Report& report, std::int64_t distance) {
    for (std::int64_t step = 1; step < distance; ++step) {
      take(report.name, newest_ + static_cast<std::uint32_t>(step),
           value_ + (report.value - value_) * static_cast<double>(step) / static_cast<double>(distance), true);
    }
    counts.lost += static_cast<std::uint64_t>(distance) - 1;
    counts.interpolated += static_cast<std::uint64_t>(distance) - 1;
    seen_ = (distance < 64 ? seen_ << distance : 0) | 1;
    newest_ = report.sequence, value_ = report.value;
    take(report.name, newest_, value_, false);
  }
  std::uint32_t newest_ = 0;
  std::uint64_t seen_ = 0;  // of the newest and the 63 before it, bit by bit
  double value_ = 0;
};

void collect(Socket socket, const Address& local, std::chrono::seconds patience, std::ostream& output) {
  static_cast<void>(socket.set(gannet::Option::receive_buffer, 4 << 20));  // all sensors report at once: what a burst needs, where it is to be had
  socket.bind(local).value();
  output << "Listening on " << socket.local_address().value().to_string() << std::endl;
  std::map<std::string, Sensor, std::less<>> sensors;
  std::uint64_t unreadable = 0, too_many = 0;
  for (gannet::Deadline deadline = gannet::Deadline::forever();; deadline = patience) {
    const auto datagrams = socket.receive_borrowed(64, deadline);
    if (!datagrams) break;
    for (const gannet::Datagram& datagram : *datagrams) {
      std::string_view text = gannet::text_of(datagram.data);
      while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        Report report;
        if (!parse(line, report)) {
          ++unreadable;
        } else if (auto sensor = sensors.find(report.name); sensor != sensors.end()) {
          sensor->second.report(report);
        } else if (sensors.size() < most_sensors) {
          sensors[std::string(report.name)].report(report);
        } else {
          ++too_many;
        }
      }
    }
  }
  Counts sum;
  for (const auto& [name, sensor] : sensors) {
    if (sensor.counts.lost + sensor.counts.late + sensor.counts.doubled > 0) output << name << ": " << sensor.counts << '\n';
    sum += sensor.counts;
  }
  output << sensors.size() << " sensors: " << sum << "; " << unreadable << " lines unreadable, " << too_many << " of too many sensors" << std::endl;
}

int main(int count, char** arguments) {
  const std::string patience = count == 3 ? arguments[2] : "2";
  const bool good =
      (count == 2 || count == 3) && !patience.empty() && patience.size() < 6 && patience.find_first_not_of("0123456789") == patience.npos;
  if (!good) return std::cerr << "usage: collector ADDRESS:PORT [SECONDS]" << std::endl, 2;
  try {
    const Address local = Address::parse(arguments[1]).value();
    collect(Socket::open(local.ip.family).value(), local, std::chrono::seconds(std::stoi(patience)), std::cout);
  } catch (const std::exception& failure) {
    return std::cerr << "collector: " << failure.what() << std::endl, 1;
  }
}
