#include "base/log.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace gannet {

void Logger::log(LogLevel level, Time now, const char* format, ...) {
  if (!wants(level)) return;
  if (!limit_.take(now)) {
    ++held_back_;
    return;
  }
  std::array<char, line_max> line;
  std::va_list arguments;
  va_start(arguments, format);
  const int wanted = std::vsnprintf(line.data(), line.size(), format, arguments);
  va_end(arguments);
  if (wanted < 0) return;
  auto size = std::min(static_cast<std::size_t>(wanted), line.size() - 1);
  if (held_back_ != 0) {
    const auto more = std::snprintf(line.data() + size, line.size() - size, " (%llu lines before this one were held back)",
                                    static_cast<unsigned long long>(held_back_));
    size = std::min(size + static_cast<std::size_t>(more), line.size() - 1);
    held_back_ = 0;
  }
  sink_(context_, level, {line.data(), size});
}

}  // namespace gannet
