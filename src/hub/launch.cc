#include "hub/launch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "hub/hub.h"
#include "hub/listener.h"

namespace gannet::hub {
namespace {

constexpr int attempts = 20;  // against hubs that go at the moment they are found

Result<Fd> lock(const LaunchPlace& place) {
  if (::mkdir(place.folder.c_str(), 0700) != 0 && errno != EEXIST) return Error{errno, "the folder for the hub's lock cannot be made"};
  const Fd folder(::open(place.folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return Error{errno, "the folder for the hub's lock cannot be opened"};
  struct stat status{};
  if (::fstat(folder.get(), &status) != 0 || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0) {
    return Error{EACCES, "the folder for the hub's lock is another user's, or open to others"};
  }
  Fd file(::openat(folder.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return Error{errno, "the hub's lock cannot be opened"};
  while (::flock(file.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return Error{errno, "the hub's lock cannot be taken"};
  }
  return file;
}

// The hub has nothing of its starter's: whoever waits for the end of a pipe would wait for the hub.
[[noreturn]] void be_hub(Fd listener) {
  ::setsid();
  ::prctl(PR_SET_NAME, "gannet-hub");
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) ::dup2(null, fd);
  constexpr int first_other = 3;
  ::dup2(listener.release(), first_other);
  ::close_range(first_other + 1, ~0u, 0);
  ::fcntl(first_other, F_SETFD, FD_CLOEXEC);
  [[maybe_unused]] const int moved = ::chdir("/");
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  HubSetup setup;
  setup.engine.spin = std::chrono::microseconds(50);
  auto hub = Hub::create(Fd(first_other), setup);
  if (hub) (*hub)->run();
  ::_exit(hub ? 0 : 1);
}

// A child of a child, so that it is nobody's to wait for.
Result<void> start(const HubAddress& address) {
  auto listener = listen(address.name);
  if (!listener) return listener.error();
  const pid_t child = ::fork();
  if (child < 0) return Error{errno, "the system has no process left for the hub"};
  if (child == 0) {
    if (::fork() != 0) ::_exit(0);
    be_hub(std::move(*listener));
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return {};
}

}  // namespace

Result<Membership> join(const LaunchPlace& place) {
  const auto held = lock(place);
  if (!held) return held.error();
  Membership membership{.address = {place.name}, .seat = nullptr};
  Error last{};
  for (int i = 0; i < attempts; ++i) {
    auto seat = open_socket(membership.address);
    if (seat) {
      membership.seat = std::move(*seat);
      return membership;
    }
    last = seat.error();
    if (last.code == ECONNREFUSED) {
      const auto started = start(membership.address);
      if (!started && started.error().code != EADDRINUSE) return started.error();
    } else if (last.code != ENETDOWN) {
      break;
    }
    if (i > 0) ::usleep(10'000);  // an old one is still going
  }
  return last;
}

}  // namespace gannet::hub
