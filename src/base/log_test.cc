#include "base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gannet {
namespace {

using Lines = std::vector<std::string>;

void append(void* context, LogLevel, std::string_view line) { static_cast<Lines*>(context)->emplace_back(line); }

TEST(Logger, WritesWhatIsWanted) {
  Lines lines;
  Logger log(append, &lines, LogLevel::info);
  log.log(LogLevel::info, Time{1s}, "link %s is down after %d frames", "gannet0", 17);
  log.log(LogLevel::debug, Time{1s}, "nobody asked");
  EXPECT_EQ(lines, Lines{"link gannet0 is down after 17 frames"});
  Logger().log(LogLevel::error, Time{1s}, "into the void");
}

// X16: a flood is held back, counted, and the count is told.
TEST(Logger, HoldsBackAFlood) {
  Lines lines;
  Logger log(append, &lines, LogLevel::warning, TokenBucket(1, 5));
  for (int i = 0; i < 1000; ++i) log.log(LogLevel::warning, Time{1s}, "again");
  EXPECT_EQ(lines.size(), 5u);
  EXPECT_EQ(log.held_back(), 995u);
  log.log(LogLevel::warning, Time{2s}, "later");
  EXPECT_EQ(lines.back(), "later (995 lines before this one were held back)");
  EXPECT_EQ(log.held_back(), 0u);
}

TEST(Logger, CutsLongLines) {
  Lines lines;
  Logger log(append, &lines, LogLevel::error);
  log.log(LogLevel::error, Time{1s}, "%s", std::string(2000, 'x').c_str());
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].size(), Logger::line_max - 1);
}

}  // namespace
}  // namespace gannet
