// The summary of a program: what it sent and received, and where each lost datagram died.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "cli/report.h"
#include "wire/drop.h"

namespace gannet::cli {
namespace {

using Json = nlohmann::ordered_json;
using Drops = hub::ProgramReport::Drops;

// A wrong checksum, too: what the fault unit corrupts is all that a program's datagrams can have of it.
bool is_fault(Drop reason) {
  return reason == Drop::udp_checksum_bad || reason == Drop::fault_loss || reason == Drop::fault_burst_loss ||
         reason == Drop::fault_rate_queue_full || reason == Drop::fault_held_full;
}

// The path that --mtu makes begins in the fault unit.
std::string_view place_of_departure(Drop reason) { return is_fault(reason) || reason == Drop::ip_too_big ? "fault unit" : "own send queue"; }
std::string_view place_of_arrival(Drop reason) { return is_fault(reason) ? "fault unit" : "own receive queue"; }
std::string_view place_on_the_way(Drop reason) {
  if (is_fault(reason)) return "peer's fault unit";
  return reason == Drop::receive_queue_full || reason == Drop::socket_closed ? "peer's receive queue" : "network";
}

struct Loss {
  std::string_view way, place;
  Drop reason;
  std::uint64_t datagrams;
};

void add_losses(std::vector<Loss>& all, std::string_view way, const Drops& drops, std::string_view (*place)(Drop)) {
  for (std::size_t i = 0; i < drop_count; ++i) {
    const auto reason = static_cast<Drop>(i);
    if (drops[i] != 0) all.push_back({way, place(reason), reason, drops[i]});
  }
}

std::uint64_t sum(const Drops& drops) { return std::accumulate(drops.begin(), drops.end(), std::uint64_t{0}); }
// Of a course's datagrams, those that nobody here has seen die.
std::uint64_t arrived(const hub::ProgramReport::Course& course) { return course.passed - std::min(course.passed, sum(course.lost)); }

std::string noted(std::uint64_t count, std::string_view what) { return count == 0 ? "" : fmt::format(", {} {}", count, what); }

}  // namespace

void Report::program(const hub::ProgramReport& report) {
  std::vector<Loss> losses;
  add_losses(losses, "out", report.out.drops, place_of_departure);
  add_losses(losses, "out", report.here.lost, place_on_the_way);
  add_losses(losses, "out", report.away.lost, place_on_the_way);
  add_losses(losses, "in", report.in.drops, place_of_arrival);

  Json object{{"event", "program"},
              {"sent", report.out.taken},
              {"duplicated", report.out.duplicates},
              {"delivered", arrived(report.here)},
              {"left", arrived(report.away)},
              {"to_groups", report.to_groups},
              {"on_their_way", report.out.held + report.in.held},
              {"received", report.in.passed},
              {"losses", Json::array()},
              {"captured", report.captured},
              {"missed", report.missed}};
  std::string text = fmt::format("-- sent {}: {} delivered on this host", report.out.taken, arrived(report.here));
  text += noted(arrived(report.away), "left it") + noted(report.to_groups, "to groups") + noted(report.out.duplicates, "more by duplication");
  text += fmt::format("; received {}", report.in.passed) + noted(report.in.duplicates, "of them by duplication");
  if (const std::uint64_t held = report.out.held + report.in.held; held != 0) text += fmt::format("; {} still on their way", held);
  for (const Loss& loss : losses) {
    object["losses"].push_back({{"way", loss.way}, {"place", loss.place}, {"reason", name_of(loss.reason)}, {"datagrams", loss.datagrams}});
    text += fmt::format("\n-- lost {:>6} {:<3} {:<20}  {}: {}", loss.datagrams, loss.way, loss.place, name_of(loss.reason), meaning_of(loss.reason));
  }
  if (json_) return line(object, {});
  note(text);
}

}  // namespace gannet::cli
