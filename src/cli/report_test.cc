#include "cli/report.h"

#include <gtest/gtest.h>

namespace gannet::cli {
namespace {

std::string shown(std::string_view text) { return printable(bytes_of(text)); }

// What others send is shown, and moves no cursor, nor turns what follows around.
TEST(Printable, ShowsTextAndNoControls) {
  EXPECT_EQ(shown("plain\n\ttext"), "plain\n\ttext");
  EXPECT_EQ(shown("\u00e9\u20ac\U0001d11e"), "\u00e9\u20ac\U0001d11e");
  EXPECT_EQ(shown("\x1b[2J\x7f"), "\\x1b[2J\\x7f");
  EXPECT_EQ(shown("a\u009b2Jb"), "a\\xc2\\x9b2Jb") << "CSI in one character";
  EXPECT_EQ(shown("a\u202eb\u2066c"), "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6c");
  EXPECT_EQ(shown("\xff\xc3"), "\\xff\\xc3");
}

}  // namespace
}  // namespace gannet::cli
