#include "wire/remedy.h"

#include <gtest/gtest.h>

namespace gannet {
namespace {

TEST(Remedy, EveryReasonHasOne) {
  for (std::size_t i = 0; i < drop_count; ++i) {
    EXPECT_GT(remedy_of(static_cast<Drop>(i)).size(), 20u) << drop_names[i];
    EXPECT_NE(remedy_of(static_cast<Drop>(i)).back(), '.') << drop_names[i];  // as meanings are written
  }
}

}  // namespace
}  // namespace gannet
