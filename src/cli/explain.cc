// gannet explain [REASON...]: what a drop reason means, and what to do about it; or all of them.
#include <fmt/format.h>

#include <algorithm>

#include "cli/commands.h"
#include "cli/report.h"
#include "cli/values.h"
#include "wire/drop.h"

namespace gannet::cli {
namespace {

Status explain(Report& report, const std::vector<std::string>& reasons) {
  if (reasons.empty()) {
    for (std::size_t i = 0; i < drop_count; ++i) report.reason(static_cast<Drop>(i));
  }
  for (const std::string& reason : reasons) {
    const auto found = std::ranges::find(drop_names, std::string_view(reason));
    if (found == drop_names.end()) {
      const std::string meant = nearest(reason, drop_names);
      refuse(fmt::format("there is no drop reason \"{}\"; {}", reason,
                         meant.empty() ? "gannet explain lists them all" : fmt::format("did you mean {}?", meant)));
    }
    report.explained(static_cast<Drop>(found - drop_names.begin()));
  }
  return Status::ok;
}

}  // namespace

void add_explain(CommandLine& line) {
  Command command = line.command("explain", "say what a drop reason means and what to do, or list them all");
  const auto reasons = std::make_shared<std::vector<std::string>>();
  command.arguments("REASON", "as in a summary: udp_no_socket", 0, 100, *reasons);
  command.flag("--json", "one JSON object per line", command.settings().json);
  command.examples(R"(Every datagram that died did so for one of these reasons: in a summary, in `gannet stat`, in a capture.

Examples:
  gannet explain
  gannet explain receive_queue_full
  gannet explain --json udp_no_socket fault_loss)");
  command.run([reasons](Report& report) { return explain(report, *reasons); });
}

}  // namespace gannet::cli
