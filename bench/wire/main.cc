// A wire between two network namespaces, with faults: every frame of the kernel's on one side comes out at the other, or does not, as is asked. So
// the kernel's TCP, its UDP and any program pass the very same impairment, on a kernel without netem, too.
//
//   wire PID PID [--loss 1%] [--delay 10ms] [--rate 100mbit] [--queue BYTES] [--seed N]
//
//   namespace of PID  <-> tap wire0 <-> read, write <-> faults <-> tap wire0 <-> namespace of the other PID
//
// The faults are those of src/link/fault.h, the same in each direction. It says "ready" when both interfaces are up, answers every line of its
// standard input with what passed so far, one JSON object a line, and ends with its input. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <gannet/impairment.h>

#include "base/fd.h"
#include "base/frame.h"
#include "base/time.h"
#include "link/fault_link.h"
#include "link/tap_link.h"

namespace {

using namespace gannet;

constexpr std::size_t small_frames = 32'768, large_frames = 64;  // what is delayed waits in them, of both directions
constexpr const char* interface = "wire0";

Time now() { return Time(std::chrono::steady_clock::now().time_since_epoch()); }

// One end. What is sent to it passes the faults of its direction.
struct End {
  std::unique_ptr<link::FaultLink> link;
  std::array<Frame, link::batch_size> waiting;  // come from the other end, and not taken yet
  std::size_t count = 0;
};

std::unique_ptr<link::FaultLink> open_in(const std::string& pid, const Impairment& impairment, FramePools& pools) {
  const Fd place(::open(("/proc/" + pid + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (!place || ::setns(place.get(), CLONE_NEWNET) != 0) throw std::runtime_error("the network namespace of process " + pid + " cannot be entered");
  auto tap = link::TapLink::open(interface, {}).value();
  return link::FaultLink::create(std::move(tap), {}, impairment, pools).value();
}

void pass(End& from, End& to, FramePools& pools) {
  if (to.count == 0) to.count = from.link->receive(to.waiting, pools, now());
  const std::size_t taken = to.link->send(std::span(to.waiting).first(to.count), now());
  std::move(to.waiting.begin() + static_cast<std::ptrdiff_t>(taken), to.waiting.begin() + static_cast<std::ptrdiff_t>(to.count), to.waiting.begin());
  to.count -= taken;
}

void print_drops(const link::Counters& counters, const char* before) {
  for (std::size_t i = 0; i < drop_count; ++i) {
    const std::string_view reason = name_of(static_cast<Drop>(i));
    if (counters.drops[i].value() == 0) continue;
    std::printf("%s\"%.*s\": %" PRIu64, std::exchange(before, ", "), static_cast<int>(reason.size()), reason.data(), counters.drops[i].value());
  }
}

// What came in at one end and went out at the other, and what became of the rest.
void print_direction(const char* name, const End& from, const End& to) {
  std::printf("\"%s\": {\"frames\": %" PRIu64 ", \"passed\": %" PRIu64 ", \"held\": %zu", name, from.link->counters().frames_in.value(),
              to.link->counters().frames_out.value(), to.link->held() + to.count);
  print_drops(to.link->counters(), ", ");
  std::printf("}, \"interface of %s\": {", name);  // what no fault did
  print_drops(to.link->wrapped()->counters(), "");
  std::printf("}");
}

void run(End& a, End& b, FramePools& pools) {
  std::puts("ready");
  std::fflush(stdout);
  ::prctl(PR_SET_TIMERSLACK, 1);  // a delay is to be what it says, not 50 us more
  std::array<pollfd, 3> waits{{{a.link->fd(), POLLIN, 0}, {b.link->fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}}};
  for (std::array<char, 256> line{};;) {
    const Time wake = std::min(a.link->next_wakeup(), b.link->next_wakeup());
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(std::clamp<Duration>(wake - now(), Duration::zero(), 1s));
    const timespec timeout{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    ::ppoll(waits.data(), waits.size(), wake == never ? nullptr : &timeout, nullptr);
    pass(a, b, pools);
    pass(b, a, pools);
    if (waits[2].revents == 0) continue;
    if (::read(STDIN_FILENO, line.data(), line.size()) <= 0) return;
    std::printf("{");
    print_direction("there", a, b);
    std::printf(", ");
    print_direction("back", b, a);
    std::printf("}\n");
    std::fflush(stdout);
  }
}

std::uint64_t number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) throw std::runtime_error(std::string(text) + " is no number");
  return number;
}

Impairment impairment_of(int count, char** words) {
  Impairment impairment;
  for (int i = 3; i + 1 < count; i += 2) {
    const std::string_view flag = words[i], value = words[i + 1];
    if (flag == "--loss") {
      impairment.loss = parse_probability(value).value();
    } else if (flag == "--delay") {
      impairment.delay = parse_duration(value).value();
    } else if (flag == "--rate") {
      impairment.rate = parse_rate(value).value();
    } else if (flag == "--queue") {
      impairment.queue_bytes = number_of(value);
    } else if (flag == "--seed") {
      impairment.seed = number_of(value);
    } else {
      throw std::runtime_error(std::string(flag) + " is no option of the wire");
    }
  }
  return impairment;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3 || count % 2 == 0) {
    std::fputs("usage: wire PID PID [--loss P] [--delay TIME] [--rate RATE] [--queue BYTES] [--seed N]\n", stderr);
    return 2;
  }
  try {
    Impairment there = impairment_of(count, words), back = there;
    back.seed = there.seed + 1'000'003;  // else what is lost there would be lost back as well
    auto pools = FramePools::create(small_frames, large_frames).value();
    End a{open_in(words[1], back, pools), {}, 0}, b{open_in(words[2], there, pools), {}, 0};
    run(a, b, pools);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "wire: %s\n", failure.what());
    return 1;
  }
}
