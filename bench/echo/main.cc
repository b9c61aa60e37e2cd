// Echoes in memory, side by side.
//
//   echo                          nanoseconds per datagram, by Google Benchmark
//   echo --count NAME SIZE TIMES  echoes TIMES datagrams and nothing else: two runs under callgrind differ by exactly the work of the difference
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "contender.h"

namespace gannet::bench {
namespace {

constexpr std::size_t sizes[] = {64, 1400};

void run(benchmark::State& state, const std::string& name, std::size_t size) {
  const auto contender = make_contender(name);
  const auto request = request_frame(size);
  if (!is_answer(request, contender->echo(request))) {
    state.SkipWithError("the answer is wrong");
    return;
  }
  for (int i = 0; i < 64; ++i) contender->echo(request);
  std::size_t lost = 0;
  for (auto _ : state) lost += contender->echo(request).empty() ? 1 : 0;
  state.counters["lost"] = static_cast<double>(lost);
}

int count(const std::string& name, std::size_t size, long times) {
  const auto contender = make_contender(name);
  if (contender == nullptr) return std::fprintf(stderr, "echo: no contender is named '%s'\n", name.c_str()), 2;
  const auto request = request_frame(size);
  if (!is_answer(request, contender->echo(request))) return std::fprintf(stderr, "echo: %s answers wrongly\n", name.c_str()), 1;
  for (long i = 0; i < times; ++i) {
    if (contender->echo(request).empty()) return std::fprintf(stderr, "echo: %s lost a datagram\n", name.c_str()), 1;
  }
  return 0;
}

}  // namespace
}  // namespace gannet::bench

int main(int argc, char** argv) {
  using namespace gannet::bench;
  if (argc == 5 && std::string(argv[1]) == "--count") return count(argv[2], std::strtoul(argv[3], nullptr, 10), std::strtol(argv[4], nullptr, 10));
  for (const auto& name : contenders()) {
    for (const auto size : sizes) {
      benchmark::RegisterBenchmark((name + "/" + std::to_string(size)).c_str(), [name, size](benchmark::State& state) { run(state, name, size); });
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
