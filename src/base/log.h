// A log for people: few lines, each worth reading. Never one line per packet: those have counters and captures.
//
// The sink is injected (standard error, a test, nothing). A flood is held back by a token bucket, and the next line that passes says how many were.
// Owner: whoever owns the engine or command.  Thread: one.  Allocates: never.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <string_view>

#include "base/time.h"
#include "base/token_bucket.h"

namespace gannet {

enum class LogLevel : std::uint8_t { error, warning, info, debug };

// Takes one line, without its end. `context` is what the logger was made with.
using LogSink = void (*)(void* context, LogLevel level, std::string_view line);

class Logger {
 public:
  static constexpr std::size_t line_max = 512;  // longer lines are cut

  Logger() = default;  // says nothing
  Logger(LogSink sink, void* context, LogLevel level, TokenBucket limit = TokenBucket(10, 50))
      : sink_(sink), context_(context), level_(level), limit_(limit) {}

  [[nodiscard]] bool wants(LogLevel level) const { return sink_ != nullptr && level <= level_; }
  // As printf. Errors, too, are subject to the limit: whoever can cause one can cause a flood.
  [[gnu::format(printf, 4, 5)]] void log(LogLevel level, Time now, const char* format, ...);
  [[nodiscard]] std::uint64_t held_back() const { return held_back_; }

 private:
  LogSink sink_ = nullptr;
  void* context_ = nullptr;
  LogLevel level_ = LogLevel::error;
  TokenBucket limit_{1, 1};
  std::uint64_t held_back_ = 0;  // since the last line that passed
};

}  // namespace gannet
