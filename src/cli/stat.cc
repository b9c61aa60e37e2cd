// gannet stat: what the hub has: sockets, links, groups, counters.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "cli/commands.h"
#include "cli/hub_place.h"
#include "cli/report.h"
#include "hub/client.h"
#include "hub/sheet.h"

namespace gannet::cli {
namespace {

struct Plan {
  std::string via = "kernel";
  bool watch = false;
};

hub::Listing list(const std::string& via) {
  hub::Request request;
  request.kind = hub::Request::Kind::list;
  Fd connection;
  const auto reply = hub::ask({hub_place(via).name}, request, connection);
  if (!reply && reply.error().code == ECONNREFUSED) throw Failure{Status::failed, "no hub of yours runs here; `gannet run` starts one"};
  if (!reply) fail("the hub does not answer", reply.error());
  const auto bytes = hub::read_sheet(reply->fds[0]);
  if (!bytes) fail("the hub's answer", bytes.error());
  auto listing = hub::Listing::parse(*bytes);
  if (!listing) fail("the hub's answer", listing.error());
  return *std::move(listing);
}

Status show(const Plan& plan, Report& report) {
  report.listing(list(plan.via));
  while (plan.watch) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const hub::Listing next = list(plan.via);
    if (!report.json() && isatty(STDOUT_FILENO) == 1) report.clear();
    report.listing(next);
  }
  return Status::ok;
}

}  // namespace

void add_stat(CommandLine& line) {
  Command command = line.command("stat", "show the sockets, links, groups and counters of the hub that programs share");
  const auto plan = std::make_shared<Plan>();
  command.text("--via", "LINK", "which hub: that of the programs which were started with the same: kernel (default), none or tap:...", plan->via);
  command.flag("--watch", "every second again, until Ctrl-C", plan->watch);
  command.flag("-v,--verbose", "those counters too that are zero", command.settings().verbose);
  command.flag("--json", "one JSON object per line", command.settings().json);
  command.examples(
      R"(IN and OUT are datagrams; LOST those that died at the socket: in its full receive queue, or refused as they were sent. A socket with a star has
faults, a capture or a summary between it and the host.

Examples:
  gannet stat
  gannet stat --watch
  gannet stat --json | jq .counters)");
  command.run([plan](Report& report) { return show(*plan, report); }, [plan] { check_via(plan->via); });
}

}  // namespace gannet::cli
