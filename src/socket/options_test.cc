#include "socket/options.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <limits>
#include <set>
#include <string>

namespace gannet::socket {
namespace {

TEST(Options, EachHasANameOfItsOwnAndStartsInRange) {
  std::set<std::string_view> names;
  for (const OptionRow& row : option_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(&row_of(row.option), &row);
    EXPECT_LE(row.min, row.initial) << row.name;
    EXPECT_GE(row.max, row.initial) << row.name;
    EXPECT_EQ(row.ipv4.exists(), row.ipv6.exists()) << row.name;
  }
}

TEST(Options, ChecksRangesAtTheirEdges) {
  for (const OptionRow& row : option_table()) {
    if (!row.settable) {
      EXPECT_EQ(check(row.option, row.initial).error().code, EINVAL) << row.name;
      continue;
    }
    EXPECT_TRUE(check(row.option, row.min)) << row.name;
    EXPECT_TRUE(check(row.option, row.max)) << row.name;
    EXPECT_EQ(check(row.option, row.min - 1).error().code, EINVAL) << row.name;
    if (row.max < std::numeric_limits<int>::max()) {
      EXPECT_EQ(check(row.option, row.max + 1).error().code, EINVAL) << row.name;
    }
  }
  EXPECT_EQ(check(Option::ttl, 0).error().code, EINVAL);
  EXPECT_TRUE(check(Option::multicast_ttl, 0));
}

// The oracle: a fresh kernel socket has our initial values, but for the buffers (the machine's setting) and for the two that we turn on.
TEST(Options, StartAsTheKernelStarts) {
  for (const int family : {AF_INET, AF_INET6}) {
    const int fd = ::socket(family, SOCK_DGRAM, 0);
    if (fd == -1) continue;  // a machine without IPv6
    for (const OptionRow& row : option_table()) {
      const LinuxOption& linux_option = family == AF_INET ? row.ipv4 : row.ipv6;
      const bool ours = row.option == Option::receive_metadata || row.option == Option::receive_errors;
      const bool machine = row.option == Option::receive_buffer || row.option == Option::send_buffer;
      if (!linux_option.exists() || !row.settable || ours || machine) continue;
      int value = -7;
      socklen_t size = sizeof value;
      ASSERT_EQ(::getsockopt(fd, linux_option.level, linux_option.number, &value, &size), 0) << row.name;
      EXPECT_EQ(value, row.initial) << row.name << (family == AF_INET ? " over IPv4" : " over IPv6");
    }
    ::close(fd);
  }
}

}  // namespace
}  // namespace gannet::socket
