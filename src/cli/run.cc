// gannet run -- PROGRAM: a program as it is, on our UDP.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/commands.h"
#include "cli/hub_place.h"
#include "cli/program.h"
#include "cli/report.h"

namespace gannet::cli {
namespace {

struct Plan {
  std::string via = "kernel";
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

std::atomic<pid_t> child = 0;  // for the signal handler

constexpr std::array forwarded{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH, SIGALRM};

// What the terminal sends reaches the program too; what somebody sends to us alone is passed on.
void forward(int number, siginfo_t* info, void*) {
  const int saved = errno;
  if (info->si_code <= 0 && child > 0) ::kill(child, number);
  errno = saved;
}

[[noreturn]] void become(const std::string& path, const std::vector<std::string>& arguments) {
  std::vector<char*> words;
  for (const std::string& each : arguments) words.push_back(const_cast<char*>(each.c_str()));
  words.push_back(nullptr);
  ::execv(path.c_str(), words.data());
  const int code = errno;
  const std::string sentence = fmt::format("gannet: {} does not start: {}\n", path, std::strerror(code));
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, sentence.data(), sentence.size());
  ::_exit(code == ENOENT ? 127 : 126);
}

int start_and_wait(const std::string& path, const std::vector<std::string>& arguments) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  const pid_t process = ::fork();
  if (process < 0) throw Failure{Status::failed, fmt::format("the program cannot be started: {}", std::strerror(errno))};
  if (process == 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    become(path, arguments);
  }
  child = process;
  struct sigaction action{};
  action.sa_sigaction = forward;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  for (const int number : forwarded) ::sigaction(number, &action, nullptr);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Status run_program(const Plan& plan) {
  const std::string path = find_program(plan.program.front());
  check_preloadable(path);
  const std::string preload = find_preload();
  const auto membership = hub::join(hub_place(plan.via), hub_setup(plan.via));
  if (!membership) fail("no hub", membership.error());
  const char* other = std::getenv("LD_PRELOAD");
  const std::string value = other != nullptr && *other != '\0' ? fmt::format("{}:{}", preload, other) : preload;
  ::setenv("LD_PRELOAD", value.c_str(), 1);
  ::setenv("GANNET_HUB", membership->address.name.c_str(), 1);
  return static_cast<Status>(start_and_wait(path, plan.program));
}

}  // namespace

void add_run(CommandLine& line) {
  Command command = line.command("run", "run a program as it is, on our UDP");
  const auto plan = std::make_shared<Plan>();
  command.arguments("PROGRAM", "what to run, and its arguments: write -- before it", 1, 10000, plan->program);
  command.text("--via", "LINK", "what the programs reach: kernel (default), all that the machine does, and it them; none, each other only",
               plan->via);
  command.examples(R"(Examples:
  gannet run -- python3 echo_server.py
  gannet run -- python3 echo_client.py
  gannet run --via none -- ./many_peers)");
  command.run([plan](Report&) { return run_program(*plan); }, [plan] { check_via(plan->via); });
}

}  // namespace gannet::cli
