// gannet explain [REASON...]: what a drop reason means, and what to do about it; or all of them.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "beacon/drop.h"
#include "cli/commands.h"
#include "cli/report.h"
#include "cli/values.h"
#include "wire/drop.h"
#include "wire/remedy.h"

namespace gannet::cli {
namespace {

constexpr std::string_view harmless = "nothing, if it is rare: networks double, reorder and damage datagrams";
constexpr std::string_view flooded = "nothing: it keeps a flood from hurting; who is honest comes again in a few seconds";
constexpr std::string_view crowded = "let it take more: BeaconOptions::most_peers, most_peers_at_one_address";

// What to do about each of a beacon's reasons, in their order.
constexpr std::array<std::string_view, beacon::drop_names.size()> beacon_remedies{
    "see who else sends to this port and group; choose another --port or --group",                // malformed
    harmless,                                                                                     // source_invalid
    "bring both sides to one version",                                                            // version_unknown
    "nothing, unless they are to see each other: then give both the same --realm",                // other_realm
    "give the others the key, too, or this one none",                                             // tag_missing
    "give both sides the same key; where they have, somebody forges",                             // tag_wrong
    "give this one the key: --key",                                                               // key_missing
    "choose another id, where it was chosen; else somebody plays back what this one said",        // own_id
    "nothing: it comes by several paths on purpose",                                              // duplicate
    harmless,                                                                                     // replayed
    "nothing: it is asked there, and believed where its own address does not answer any more",    // source_unverified
    "announce less often: BeaconOptions::interval, update()",                                     // too_fast
    harmless,                                                                                     // leave_unknown
    crowded,                                                                                      // peers_full
    "nothing: a crowd at one address makes room for the few",                                     // peer_displaced
    crowded,                                                                                      // address_full
    flooded,                                                                                      // admission_limit
    "nothing: its answer is awaited",                                                             // asked_already
    flooded,                                                                                      // candidate_evicted
    flooded,                                                                                      // question_limit
    "let UDP through to that address, and back; many from addresses where nobody is are forged",  // unanswered
    "name its sender as a seed, if it is one: --seed",                                            // hint_unasked
    "nothing: the seed reaches it by a network that this one is not on",                          // hint_useless
    flooded,                                                                                      // answer_limit
    "nothing: it protects whoever is at the address that was claimed",                            // answer_too_large
    "announce to fewer interfaces, groups or seeds, or less often",                               // send_queue_full
    "see the error of that path: gannet peers",                                                   // send_failed
    "call next() more often",                                                                     // event_lost
};

// A reason of either kind, by where it stands: the host's and the sockets' first, then the beacon's.
constexpr std::size_t reason_count = drop_count + beacon::drop_names.size();

Reason reason_at(std::size_t at) {
  if (at < drop_count) return {drop_names[at], drop_meanings[at], remedy_of(static_cast<Drop>(at))};
  at -= drop_count;
  return {beacon::drop_names[at], beacon::drop_meanings[at], beacon_remedies[at]};
}

Status explain(Report& report, const std::vector<std::string>& reasons) {
  if (reasons.empty()) {
    for (std::size_t i = 0; i < reason_count; ++i) report.reason(reason_at(i));
  }
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < reason_count; ++i) names.push_back(reason_at(i).name);
  for (const std::string& reason : reasons) {
    const auto found = std::ranges::find(names, std::string_view(reason));
    if (found == names.end()) {
      const std::string meant = nearest(reason, names);
      refuse(fmt::format("there is no drop reason \"{}\"; {}", reason,
                         meant.empty() ? "gannet explain lists them all" : fmt::format("did you mean {}?", meant)));
    }
    report.explained(reason_at(static_cast<std::size_t>(found - names.begin())));
  }
  return Status::ok;
}

}  // namespace

void add_explain(CommandLine& line) {
  Command command = line.command("explain", "say what a drop reason means and what to do, or list them all");
  const auto reasons = std::make_shared<std::vector<std::string>>();
  command.arguments("REASON", "as in a summary: udp_no_socket", 0, 100, *reasons);
  command.flag("--json", "one JSON object per line", command.settings().json);
  command.examples(
      R"(Every datagram that died did so for one of these reasons: in a summary, in `gannet stat`, in a capture, in `gannet peers --verbose`.

Examples:
  gannet explain
  gannet explain receive_queue_full
  gannet explain --json udp_no_socket fault_loss)");
  command.run([reasons](Report& report) { return explain(report, *reasons); });
}

}  // namespace gannet::cli
