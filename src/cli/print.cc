// gannet print FILE: the packets of a capture file, a line for each.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdio>
#include <ctime>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/report.h"
#include "wire/capture_reader.h"
#include "wire/print.h"

namespace gannet::cli {
namespace {

constexpr const char* examples = R"(A file that is damaged or cut off is read up to there; the exit status is 1, and the place is named.

Examples:
  gannet print demo.pcapng
  gannet print -n 10 --json demo.pcapng
  tcpdump -w - udp | gannet print -             as it comes, from standard input)";

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File open(const std::string& path) {
  if (path == "-") return {stdin, [](std::FILE*) { return 0; }};
  File file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) fail(fmt::format("cannot read {}", path), {errno, nullptr});
  return file;
}

// "14:03:59.123456789", as the clock on the wall had it.
std::string time_of_day(std::chrono::nanoseconds since_1970) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_1970);
  const std::time_t clock = seconds.count();
  std::tm broken_down{};
  localtime_r(&clock, &broken_down);
  return fmt::format("{:%H:%M:%S}.{:09}", broken_down, (since_1970 - seconds).count());
}

std::string_view direction_of(wire::Direction direction) {
  switch (direction) {
    case wire::Direction::inbound:
      return "in";
    case wire::Direction::outbound:
      return "out";
    case wire::Direction::unknown:
      return "";
  }
  return "";
}

Status print(Report& report, const std::string& path, std::optional<std::uint64_t> most) {
  const File file = open(path);
  wire::CaptureReader reader([&](std::span<std::byte> into) -> Result<std::size_t> {
    const std::size_t got = std::fread(into.data(), 1, into.size(), file.get());
    if (std::ferror(file.get()) != 0) return Error{errno, nullptr};
    return got;
  });
  std::uint64_t count = 0;
  std::string line;
  while (!most || count < *most) {
    const auto packet = reader.next();
    if (!packet) {
      if (packet.error().code != EBADMSG) fail(fmt::format("cannot read {}", path), packet.error());
      throw Failure{Status::failed, fmt::format("{} is damaged at byte {}: {}; {} before it", path, reader.offset(), packet.error().message(),
                                                count == 0   ? "there is no packet"
                                                : count == 1 ? "there is 1 packet"
                                                             : fmt::format("there are {} packets", count))};
    }
    if (!*packet) break;
    const wire::CaptureReader::Packet& found = **packet;
    line.clear();
    wire::print_captured(found.link_type, found.bytes, line);
    report.captured({.number = ++count,
                     .since_1970 = found.time,
                     .time_of_day = time_of_day(found.time),
                     .interface = found.interface_name,
                     .direction = direction_of(found.direction),
                     .bytes = found.bytes.size(),
                     .length = found.original_size != 0 ? found.original_size : found.bytes.size(),
                     .line = line,
                     .comment = found.comment});
  }
  return Status::ok;
}

}  // namespace

void add_print(CommandLine& line) {
  Command command = line.command("print", "print the packets of a pcapng or pcap file");
  command.examples(examples);
  const auto path = std::make_shared<std::string>();
  command.argument("FILE", "what tcpdump, Wireshark or --capture wrote; -: standard input",
                   [path](std::string_view, std::string_view text) { *path = text; });
  add_count_flag(command, "print so many and no more");
  command.flag("--json", "one JSON object per line", command.settings().json);
  const Settings& settings = command.settings();
  command.run([&settings, path](Report& report) { return print(report, *path, settings.count); });
}

}  // namespace gannet::cli
