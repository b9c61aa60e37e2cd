// gannet hub status|down: the hub that the programs under `gannet run` share.
#include <fmt/format.h>

#include <cerrno>

#include "cli/commands.h"
#include "cli/hub_place.h"
#include "cli/report.h"

namespace gannet::cli {
namespace {

hub::Reply ask(const std::string& via, hub::Request::Kind kind) {
  hub::Request request;
  request.kind = kind;
  const auto reply = hub::ask({hub_place(via).name}, request);
  if (!reply && reply.error().code == ECONNREFUSED) throw Failure{Status::failed, "no hub of yours runs here; `gannet run` starts one"};
  if (!reply) fail("the hub does not answer", reply.error());
  return *reply;
}

Status run_hub(Report& report, const std::string& via, const std::string& what) {
  if (what == "down") {
    ask(via, hub::Request::Kind::shut_down);
    return Status::ok;
  }
  report.hub_status(ask(via, hub::Request::Kind::status).status);
  return Status::ok;
}

}  // namespace

void add_hub(CommandLine& line) {
  Command command = line.command("hub", "look at the hub that programs share, or end it");
  const auto what = std::make_shared<std::string>();
  const auto via = std::make_shared<std::string>("kernel");
  command.argument("WHAT", "status, or down: its programs' sockets fail with ENETDOWN", [what](std::string_view, std::string_view text) {
    if (text != "status" && text != "down") refuse(fmt::format("there is no \"{}\"; it takes status or down", text));
    *what = text;
  });
  command.text("--via", "LINK", "which hub: that of the programs which were started with the same: kernel (default), none or tap:...", *via);
  command.flag("--json", "one JSON object per line", command.settings().json);
  command.examples(R"(Examples:
  gannet hub status
  gannet hub down --via none)");
  command.run([what, via](Report& report) { return run_hub(report, *via, *what); }, [via] { check_via(*via); });
}

}  // namespace gannet::cli
