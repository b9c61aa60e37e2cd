// gannet run -- PROGRAM: a program as it is, on our UDP.
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "cli/child.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hub_place.h"
#include "cli/program.h"
#include "cli/report.h"
#include "cli/tap.h"
#include "cli/values.h"
#include "hub/program.h"

namespace gannet::cli {
namespace {

constexpr std::chrono::seconds last_datagrams{2};

struct Plan {
  std::string via = "kernel";
  std::uint32_t mtu = 0;
  bool summary = false;
  std::vector<std::string> program;
};

// Beside the command, where it was built, or where it is installed.
std::string find_preload() {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const auto& place : {folder / "libgannet-preload.so", folder.parent_path() / "lib" / "libgannet-preload.so"}) {
    if (std::filesystem::exists(place)) return place.string();
  }
  throw Failure{Status::failed, fmt::format("libgannet-preload.so is not in {}: build the target gannet_preload", folder.string())};
}

// In the environment that the program gets. A `gannet run` within a program has its own hub and program, and the library once.
void set_environment(const std::string& preload, const hub::HubAddress& hub) {
  const char* other = std::getenv("LD_PRELOAD");
  std::string libraries = other != nullptr ? other : "";
  if (libraries.empty()) {
    libraries = preload;
  } else if (!libraries.starts_with(preload)) {
    libraries = fmt::format("{}:{}", preload, libraries);
  }
  ::setenv("LD_PRELOAD", libraries.c_str(), 1);
  ::setenv("GANNET_HUB", hub.to_string().c_str(), 1);
}

hub::Program open_program(const Plan& plan, const Settings& settings) {
  const hub::LaunchPlace place = hub_place(plan.via);
  const auto membership = hub::join(place, hub_setup(plan.via));
  if (!membership) {
    if (plan.via.starts_with("tap:")) cannot_open_tap(plan.via, membership.error());
    fail(fmt::format("no hub (its lock is in {})", place.folder), membership.error());
  }
  hub::ProgramSetup setup{.in = settings.in, .out = settings.out, .mtu = plan.mtu};
  setup.capture = settings.capture.empty() ? 0 : 1;
  setup.report = plan.summary ? 1 : 0;
  auto program = hub::Program::open(membership->address, setup);
  if (!program) fail("the hub does not take the program", program.error());
  return *std::move(program);
}

Fd open_capture(const std::string& path) {
  Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) fail(fmt::format("cannot write {}", path), {errno, nullptr});
  return file;
}

// What the program sent may be delayed beyond its end.
void await_last_datagrams(const hub::Program& program) {
  const auto end = std::chrono::steady_clock::now() + last_datagrams;
  for (auto report = program.report(); report && std::chrono::steady_clock::now() < end; report = program.report()) {
    if (report->out.held == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Status run_program(const Plan& plan, const Settings& settings, Report& report) {
  const std::string path = find_program(plan.program.front());
  check_preloadable(path);
  const std::string preload = find_preload();
  const bool captures = !settings.capture.empty();
  Fd file = captures ? open_capture(settings.capture) : Fd();
  hub::Program program = open_program(plan, settings);
  report.omitted(program.hub());
  set_environment(preload, program.address());
  Child child(path, plan.program);
  // Only now, as it has a thread, and one that forks should have none.
  if (captures) {
    if (const auto begun = program.capture_to(std::move(file)); !begun) fail("cannot capture", begun.error());
  }
  const int status = child.wait();
  if (plan.summary || captures) await_last_datagrams(program);
  const auto captured = captures ? program.end_capture() : Result<void>();
  if (!captured) report.note(fmt::format("-- {} is not whole: {}", settings.capture, captured.error().message()));
  if (plan.summary || captures) {
    const auto summary = program.report();
    if (!summary) {
      report.note(fmt::format("-- no summary: {}", summary.error().message()));
    } else if (plan.summary) {
      report.program(*summary);
    } else if (summary->missed != 0) {
      report.note(fmt::format("-- {} of {} packets came too fast for {}", summary->missed, summary->captured, settings.capture));
    }
  }
  return static_cast<Status>(status);
}

void check(const Plan& plan, const Settings& settings) {
  check_via(plan.via);
  if (settings.capture == "-") refuse("--capture -: standard output is the program's; give a file, or the name of a pipe (mkfifo)");
  for (const auto& [impairment, direction] : {std::pair{&settings.in, "comes in"}, std::pair{&settings.out, "goes out"}}) {
    if (const auto good = impairment->check(); !good) refuse(fmt::format("the faults of what {}: {}", direction, good.error().message()));
  }
}

}  // namespace

void add_run(CommandLine& line) {
  Command command = line.command("run", "run a program as it is, on our UDP");
  const auto plan = std::make_shared<Plan>();
  Settings& settings = command.settings();
  command.arguments("PROGRAM", "what to run, and its arguments: write -- before it", 1, 10000, plan->program);
  command.heading("Where");
  command.text("--via", "LINK", "what its datagrams reach: kernel (default), none, or tap:NAME,ADDR/LEN[,gw=ADDR]; see below", plan->via);
  add_fault_flags(command, "Faults of this program's datagrams, both ways (or one: --loss-in, --delay-out, ...)");
  command.heading("Options");
  command.value(
      "--mtu", "BYTES", "send by a path of this MTU: larger packets that may not be fragmented are lost, and it is told: 1280",
      [plan](std::string_view flag, std::string_view text) { plan->mtu = static_cast<std::uint32_t>(parse_number(flag, text, 68, 65535)); });
  command.text("--capture", "FILE", "write its datagrams to this pcapng file: process, socket, direction, why each died", settings.capture);
  command.flag("--summary", "tell at its end what it sent and received, and where each lost datagram died", plan->summary);
  command.flag("--json", "the summary, and what goes wrong, as JSON objects, a line each", settings.json);
  command.examples(R"(Any program that uses the C library's sockets, in whatever language; no root. Programs with the same --via see one another.
  --via kernel  all that the machine reaches, which reaches them too
  --via none    nothing else
  --via tap:... what is behind a TAP device: there they are a host of ours, with an address of its own

--mtu is of what the program sends. What may not be fragmented dies in front of it, and the sender has EMSGSIZE, as from a router; what may be passes
whole. By default Linux's programs learn the MTU by the first one lost, and fragment from then on.

Examples:
  gannet run -- python3 echo_server.py
  gannet run --loss 20% --delay 80ms --summary -- python3 echo_client.py
  gannet run --capture dns.pcapng -- dig @127.0.0.1 -p 5353 example.org
  gannet run --via none -- ./many_peers
  gannet run --via tap:gannet0,10.7.0.2/24 -- python3 echo_server.py)");
  command.run([plan, &settings](Report& report) { return run_program(*plan, settings, report); }, [plan, &settings] { check(*plan, settings); });
}

}  // namespace gannet::cli
