#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace gannet {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

Fd open_null() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

TEST(Fd, ClosesWhenItDiesAndKeepsErrno) {
  int number = -1;
  {
    const Fd fd = open_null();
    ASSERT_TRUE(fd);
    number = fd.get();
    EXPECT_TRUE(is_open(number));
    errno = ENETUNREACH;
  }
  EXPECT_EQ(errno, ENETUNREACH);
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, MovesItsDescriptor) {
  Fd a = open_null();
  const int number = a.get();
  Fd b = std::move(a);
  EXPECT_EQ(b.get(), number);

  Fd c = open_null();
  const int replaced = c.get();
  c = std::move(b);
  EXPECT_EQ(c.get(), number);
  EXPECT_FALSE(is_open(replaced));

  const int released = c.release();
  EXPECT_FALSE(c);
  EXPECT_TRUE(is_open(released));
  c.reset(released);
  c.reset();
  EXPECT_FALSE(is_open(released));
}

}  // namespace
}  // namespace gannet
