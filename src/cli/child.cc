#include "cli/child.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

std::atomic<pid_t> child = 0;  // for the signal handler

constexpr std::array forwarded{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH, SIGALRM};
std::array<struct sigaction, forwarded.size()> our_own;  // what these did before there was a program

// What the terminal sends reaches the program too; what somebody sends to us alone is passed on. None of it stops or ends us: that the program does.
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

}  // namespace

Child::Child(const std::string& path, const std::vector<std::string>& arguments) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  process_ = ::fork();
  if (process_ < 0) throw Failure{Status::failed, fmt::format("the program cannot be started: {}", std::strerror(errno))};
  if (process_ == 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    become(path, arguments);
  }
  child = process_;
  struct sigaction action{};
  action.sa_sigaction = forward;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  for (std::size_t i = 0; i < forwarded.size(); ++i) ::sigaction(forwarded[i], &action, &our_own[i]);
  // A capture that nobody reads any more, or that may not grow, costs neither the program its parent nor that one the exit status.
  for (const int number : {SIGPIPE, SIGXFSZ}) ::signal(number, SIG_IGN);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

int Child::wait() {
  for (;;) {
    int status = 0;
    if (::waitpid(process_, &status, WUNTRACED) < 0) {
      if (errno == EINTR) continue;
      return static_cast<int>(Status::failed);
    }
    if (!WIFSTOPPED(status)) {
      child = 0;
      // There is nobody left to pass them on to: they end what is still to be done here.
      for (std::size_t i = 0; i < forwarded.size(); ++i) ::sigaction(forwarded[i], &our_own[i], nullptr);
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    // The shell that waits for us is to see it; when it has us go on, so does the program.
    ::raise(SIGSTOP);
    ::kill(process_, SIGCONT);
  }
}

}  // namespace gannet::cli
