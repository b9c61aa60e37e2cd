#include "base/counter.h"

#include <gtest/gtest.h>

#include <thread>

namespace gannet {
namespace {

TEST(Counter, AnyThreadReadsWhatOneWrites) {
  Counter counter;
  std::thread writer([&] {
    for (int i = 0; i < 10'000; ++i) counter.add();
    counter.add(5);
  });
  std::uint64_t last = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto value = counter.value();
    EXPECT_GE(value, last);
    last = value;
  }
  writer.join();
  EXPECT_EQ(counter.value(), 10'005u);
}

}  // namespace
}  // namespace gannet
