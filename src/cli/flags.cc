#include "cli/flags.h"

#include <fmt/format.h>

#include <limits>

#include "cli/failure.h"

namespace gannet::cli {
void add_send_flags(Command& command) {
  Settings& settings = command.settings();
  command.flag("-b,--broadcast", "allow broadcast addresses", settings.broadcast);
  command.value("-T,--tos", "TOS", "type of service: 0-255, or ef, cs1, af11, lowdelay ...",
                [&settings](std::string_view flag, std::string_view text) { settings.tos = parse_tos(flag, text); });
  command.value("-M,--ttl", "TTL", "time to live, 1-255 (64; to groups 1)",
                [&settings](std::string_view flag, std::string_view text) { settings.ttl = static_cast<int>(parse_number(flag, text, 1, 255)); });
  command.text("-i,--interface", "IFACE", "the interface by which to send to a group: name or number", settings.interface);
}

void add_receive_flags(Command& command) {
  Settings& settings = command.settings();
  command.value(
      "--join", "GROUP[@SOURCE][%IFACE]", "join this multicast group, of all senders or of one; may be given again",
      [&settings](std::string_view flag, std::string_view text) { settings.joins.push_back(parse_join(flag, text)); }, true);
  command.value("-I,--receive-buffer", "BYTES", "of what waits to be read (SO_RCVBUF)", [&settings](std::string_view flag, std::string_view text) {
    settings.receive_buffer = parse_bytes(flag, text);
    if (settings.receive_buffer == 0 || settings.receive_buffer > std::numeric_limits<int>::max()) {
      refuse(fmt::format("{} takes from 1 byte to 2G, not \"{}\"", flag, text));
    }
  });
}

void add_report_flags(Command& command) {
  Settings& settings = command.settings();
  command.flag("-v,--verbose", "tell more: of each datagram its addresses, TTL, TOS, interface; at the end all counters", settings.verbose);
  command.flag("--json", "one JSON object per line, for every event and the summary", settings.json);
  command.flag("-4", "IPv4 only", [&settings] { settings.family = Family::ipv4; });
  command.flag("-6", "IPv6 only", [&settings] { settings.family = Family::ipv6; });
  command.flag("-u,--udp", "for those used to nc: UDP is all there is", [] {});
}

void add_timeout_flag(Command& command, const std::string& help) {
  command.value("-w,--timeout", "TIME", help,
                [&settings = command.settings()](std::string_view flag, std::string_view text) { settings.timeout = parse_duration(flag, text); });
}

void add_count_flag(Command& command, const std::string& help) {
  command.value("-n,--count", "N", help, [&settings = command.settings()](std::string_view flag, std::string_view text) {
    settings.count = parse_number(flag, text, 1, std::numeric_limits<std::uint64_t>::max());
  });
}

}  // namespace gannet::cli
