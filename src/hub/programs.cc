#include "hub/programs.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace gannet::hub {
namespace {

constexpr Error no_program{EACCES, "the hub knows no such program: start it by `gannet run`"};

ProgramReport::Drops values_of(const engine::Interposer::Drops& drops) {
  ProgramReport::Drops values{};
  std::ranges::transform(drops, values.begin(), [](const Counter& counter) { return counter.value(); });
  return values;
}

ProgramReport::Way values_of(const engine::Interposer::Counters::Way& way, std::size_t held) {
  return {
      .taken = way.taken.value(), .duplicates = way.duplicates.value(), .passed = way.passed.value(), .held = held, .drops = values_of(way.drops)};
}

}  // namespace

Programs::Recording::Recording(CaptureMemory shared, Duration real_time_offset)
    : memory(std::move(shared)), ring(memory.positions(), memory.ring()), capture(ring, real_time_offset) {
  datagrams = capture.add_interface("datagrams", false);
  lost = capture.add_interface("lost afterwards", false);
}

Result<void> Programs::open(const ProgramKey& key, const ProgramSetup& wanted) {
  sweep();
  if (all_.size() == max_programs) return Error{ENOBUFS, "the hub has as many programs as it can"};
  Program program;
  if (!wanted.is_none()) {
    engine::InterposerSetup setup{.in = wanted.in, .out = wanted.out, .mtu = wanted.mtu};
    for (Impairment* impairment : {&setup.in, &setup.out}) impairment->held_packets = std::min(impairment->held_packets, max_held_packets);
    if (wanted.capture != 0) {
      if (const auto recorded = record(program, setup); !recorded) return recorded;
    }
    const auto interposer = engine_.interposers().add(setup);
    if (!interposer) return interposer.error();
    program.interposer = *interposer;
  }
  all_.emplace(key, std::move(program));
  return {};
}

Result<void> Programs::record(Program& program, engine::InterposerSetup& setup) {
  auto memory = CaptureMemory::create();
  if (!memory) return memory.error();
  const auto real_time = std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch());
  program.recording = std::make_unique<Recording>(std::move(*memory), real_time - engine_.now().time_since_epoch());
  setup.capture = &program.recording->capture;
  setup.capture_interface = program.recording->datagrams;
  setup.capture_lost = program.recording->lost;
  return {};
}

int Programs::capture_fd(const ProgramKey& key) {
  const auto found = all_.find(key);
  return found != all_.end() && found->second.recording ? found->second.recording->memory.memory().fd() : -1;
}

void Programs::forget_capture_fd(const ProgramKey& key) {
  const auto found = all_.find(key);
  if (found != all_.end() && found->second.recording) found->second.recording->memory.memory().forget_fd();
}

Result<void> Programs::attach(const ProgramKey& key, stack::Endpoint& endpoint, const engine::Owner& owner) {
  if (key == ProgramKey{}) return {};
  const auto found = all_.find(key);
  if (found == all_.end()) return no_program;
  Program& program = found->second;
  if (program.interposer != nullptr) {
    if (auto done = engine_.interpose(endpoint, *program.interposer, owner); !done) return done;
  }
  ++program.sockets;
  return {};
}

void Programs::detach(const ProgramKey& key) {
  const auto found = all_.find(key);
  if (found == all_.end()) return;
  --found->second.sockets;
  sweep();
}

void Programs::leave(const ProgramKey& key) {
  const auto found = all_.find(key);
  if (found == all_.end()) return;
  found->second.is_left = true;
  static_cast<void>(end_capture(key));
  sweep();
}

// What is held goes first: so one may stay until the next call comes by.
void Programs::sweep() {
  std::erase_if(all_, [this](const auto& entry) {
    const Program& program = entry.second;
    if (!program.is_left || program.sockets != 0) return false;
    if (program.interposer == nullptr) return true;
    if (program.interposer->has_endpoints() || program.interposer->held() != 0) return false;
    engine_.interposers().remove(*program.interposer);
    return true;
  });
}

std::uint32_t Programs::path_mtu(const ProgramKey& key, const IpAddress& dst) const {
  const auto found = all_.find(key);
  return found != all_.end() && found->second.interposer != nullptr ? found->second.interposer->path_mtu(dst) : 0;
}

Result<ProgramReport> Programs::report(const ProgramKey& key) const {
  const auto found = all_.find(key);
  if (found == all_.end()) return no_program;
  const Program& program = found->second;
  if (program.interposer == nullptr) return Error{EINVAL, "nobody asked for this program's datagrams to be counted"};
  const engine::Interposer::Counters& counters = program.interposer->counters();
  ProgramReport report{.in = values_of(counters.in, program.interposer->held(link::Direction::in)),
                       .out = values_of(counters.out, program.interposer->held(link::Direction::out)),
                       .here = {.passed = counters.here.passed.value(), .lost = values_of(counters.here.lost)},
                       .away = {.passed = counters.away.passed.value(), .lost = values_of(counters.away.lost)},
                       .to_groups = counters.to_groups.value()};
  if (const Recording* recording = program.recording.get()) {
    for (const std::uint32_t interface : {recording->datagrams, recording->lost}) {
      report.captured += recording->capture.seen(interface);
      report.missed += recording->capture.missed(interface);
    }
  }
  return report;
}

Result<void> Programs::end_capture(const ProgramKey& key) {
  const auto found = all_.find(key);
  if (found == all_.end()) return no_program;
  Recording* const recording = found->second.recording.get();
  if (recording == nullptr || !recording->running) return {};
  found->second.interposer->stop_capture();
  if (!recording->capture.finish(engine_.now())) return Error{EAGAIN, "the capture's memory is full: empty it, and ask again"};
  recording->running = false;
  return {};
}

}  // namespace gannet::hub
