// The command `gannet`: parses the command line, runs one command, and says in one sentence what kept it from its work.
#include <cstdio>
#include <exception>

#include "cli/commands.h"
#include "cli/report.h"

namespace gannet::cli {
namespace {

constexpr const char* overview = "UDP in user space: send, receive and look at datagrams, over the kernel's UDP or a host that is entirely ours.";

constexpr const char* examples = R"(Try, in two terminals:
  gannet echo 127.0.0.1 65433
  gannet send --data "Hello, UDP server!" 127.0.0.1 65433

Exit status: 0 done, 1 failed, 2 not understood, 4 not permitted (the message has the command that grants it). That of `gannet run` is its program's;
126: the program cannot run so, 127: there is none.
`gannet COMMAND --help` teaches each command.)";

Status run(int argc, char** argv) {
  CommandLine line(overview, examples, "gannet " GANNET_VERSION);
  add_send(line);
  add_listen(line);
  add_echo(line);
  add_print(line);
  add_explain(line);
  add_run(line);
  add_stat(line);
  add_hub(line);
  add_peers(line);
  const Settings& settings = line.settings();
  try {
    line.parse(argc, argv);
    if (!line.chosen()) return Status::ok;
    Report report(settings.json, settings.verbose, settings.raw);
    return line.chosen()(report);
  } catch (const Failure& failure) {
    Report(settings.json, settings.verbose, settings.raw).failed(failure);
    return failure.status;
  }
}

}  // namespace
}  // namespace gannet::cli

int main(int argc, char** argv) {
  try {
    return static_cast<int>(gannet::cli::run(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gannet: %s\n", error.what());
    return static_cast<int>(gannet::cli::Status::failed);
  }
}
