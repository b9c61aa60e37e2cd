#include "hub/launch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string_view>

#include "hub/listener.h"

namespace gannet::hub {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds patience{10};  // with others that start a hub, and with hubs that go at the moment they are found
constexpr useconds_t pause = 5'000;

Result<Fd> open_lock(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Error{errno, "the folder for the hub's lock cannot be made"};
  const Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return Error{errno, "the folder for the hub's lock is none, or cannot be opened"};
  struct stat status{};
  if (::fstat(folder.get(), &status) != 0 || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0) {
    return Error{EACCES, "the folder for the hub's lock is another user's, or open to others"};
  }
  Fd file(::openat(folder.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return Error{errno, "the hub's lock cannot be opened"};
  return file;
}

// EAGAIN: somebody else has it.
Result<Fd> try_lock(const std::string& folder) {
  auto file = open_lock(folder);
  if (!file) return file;
  if (::flock(file->get(), LOCK_EX | LOCK_NB) != 0) return Error{errno == EWOULDBLOCK ? EAGAIN : errno, "another program starts a hub"};
  return file;
}

Result<Fd> lock(const std::string& folder, Clock::time_point end) {
  for (;;) {
    auto held = try_lock(folder);
    if (held || held.error().code != EAGAIN) return held;
    if (Clock::now() > end) return Error{ETIMEDOUT, "another program has been about to start a hub for ten seconds"};
    ::usleep(pause);
  }
}

// How the start went; `why` is a sentence of this program, which starter and hub are both images of.
struct Outcome {
  Error error{.code = 0, .why = nullptr};
};

void tell(Fd& starter, const Outcome& outcome) {
  [[maybe_unused]] const ssize_t told = ::write(starter.get(), &outcome, sizeof outcome);
  starter.reset();
}

// As its own process: ps(1) and pkill(1) look at where the starter's command line stands (proc(5), arg_start), and who ends the starter by that is
// not to end the hub.
void take_name() {
  static constexpr char title[] = "gannet-hub";
  constexpr std::string_view name = title;
  ::prctl(PR_SET_NAME, title);
  std::array<char, 2048> stat;
  const Fd file(::open("/proc/self/stat", O_RDONLY | O_CLOEXEC));
  const ssize_t size = file ? ::read(file.get(), stat.data(), stat.size()) : 0;
  std::string_view rest(stat.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  rest.remove_prefix(std::min(rest.rfind(')'), rest.size()));  // behind the name, field 2, which may have blanks
  std::array<std::uintptr_t, 2> ends{};
  for (std::size_t field = 3; field <= 49 && !rest.empty(); ++field) {
    rest.remove_prefix(std::min(rest.find(' '), rest.size() - 1) + 1);
    if (field >= 48) std::from_chars(rest.data(), rest.data() + rest.size(), ends[field - 48]);
  }
  if (ends[0] == 0 || ends[1] < ends[0] + name.size()) return;
  auto* const line = reinterpret_cast<char*>(ends[0]);  // NOLINT(performance-no-int-to-ptr): the kernel tells it as a number
  std::memset(line, 0, ends[1] - ends[0]);
  std::ranges::copy(name, line);
}

// Leaves the starter's terminal, folder, signals and descriptors, but for these two: whoever waits for the end of a pipe would wait for the hub.
void leave_starter(Fd& listener, Fd& starter) {
  ::setsid();
  take_name();
  constexpr int first = 3, behind = 16;
  listener = Fd(::fcntl(listener.get(), F_DUPFD, behind));
  starter = Fd(::fcntl(starter.get(), F_DUPFD, behind));
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) ::dup2(null, fd);
  ::dup3(listener.get(), first, O_CLOEXEC);
  ::dup3(starter.get(), first + 1, O_CLOEXEC);
  ::close_range(first + 2, ~0u, 0);
  static_cast<void>(listener.release());
  static_cast<void>(starter.release());
  listener.reset(first);
  starter.reset(first + 1);
  [[maybe_unused]] const int moved = ::chdir("/");
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  for (const int number : {SIGPIPE, SIGXFSZ}) ::signal(number, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// What its starter had limited for itself; a descriptor for each socket is what a hub needs most.
void raise_limits() {
  for (const auto resource : {RLIMIT_NOFILE, RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_CPU}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0) continue;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(resource, &limit);
  }
}

[[noreturn]] void be_hub(const std::string& folder, HubSetup setup, Fd listener, Fd starter) {
  leave_starter(listener, starter);
  raise_limits();
  setup.on_ready = [&] { tell(starter, {}); };
  setup.close_door = [&] { return try_lock(folder); };
  auto hub = Hub::create(std::move(listener), setup);
  const auto ended = hub ? (*hub)->run() : hub.error();
  if (!ended && starter) tell(starter, {ended.error()});
  ::_exit(ended ? 0 : 1);
}

// A child of a child, so that it is nobody's to wait for.
Result<void> start(const LaunchPlace& place, const HubSetup& setup) {
  auto listener = listen(place.name);
  if (!listener) return listener.error();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Error{errno, "no descriptor left to start the hub"};
  const Fd hub(ends[0]);
  Fd starter(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return Error{errno, "the system has no process left for the hub"};
  if (child == 0) {
    const pid_t second = ::fork();
    if (second < 0) tell(starter, {{errno, "the system has no process left for the hub"}});
    if (second != 0) ::_exit(0);
    be_hub(place.folder, setup, std::move(*listener), std::move(starter));
  }
  starter.reset();
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  Outcome outcome;
  ssize_t count = 0;
  do {
    count = ::read(hub.get(), &outcome, sizeof outcome);
  } while (count < 0 && errno == EINTR);
  if (count != sizeof outcome) return Error{ENETDOWN, "the hub died as it started"};
  return outcome.error.code == 0 ? Result<void>() : outcome.error;
}

// A hub that goes at this moment, or has gone since it was found, is followed by another.
bool is_worth_another_try(int code) { return code == ECONNREFUSED || code == ENETDOWN || code == EADDRINUSE || code == EAGAIN; }

}  // namespace

Result<Membership> join(const LaunchPlace& place, const HubSetup& setup) {
  const auto end = Clock::now() + patience;
  const auto held = lock(place.folder, end);
  if (!held) return held.error();
  Membership membership{.address = {place.name}, .seat = nullptr};
  for (;;) {
    auto seat = open_socket(membership.address);
    if (seat) {
      membership.seat = std::move(*seat);
      return membership;
    }
    Error why = seat.error();
    if (why.code == ECONNREFUSED) {
      const auto started = start(place, setup);
      if (started) continue;
      why = started.error();
      if (why.code != EADDRINUSE) return why;
    }
    if (!is_worth_another_try(why.code) || Clock::now() > end) return why;
    ::usleep(pause);
  }
}

}  // namespace gannet::hub
