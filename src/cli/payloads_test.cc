#include "cli/payloads.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <gannet/socket.h>

namespace gannet::cli {
namespace {

using State = Payloads::State;

TEST(Payloads, TextsComeInTurnUntilTheCount) {
  auto payloads = Payloads::texts({"a", "bb"}, 3);
  EXPECT_EQ(text_of(payloads.next()), "a");
  EXPECT_EQ(text_of(payloads.next()), "bb");
  EXPECT_EQ(text_of(payloads.next()), "a");
  EXPECT_EQ(payloads.state(), State::ended);
}

TEST(Payloads, GeneratedOnesAreNumberedAndOfTheSize) {
  auto payloads = Payloads::generated(4, std::nullopt);
  EXPECT_EQ(text_of(payloads.next()), "1 cd");
  EXPECT_EQ(text_of(payloads.next()), "2 cd");
  EXPECT_EQ(payloads.state(), State::ready);
  auto empty = Payloads::generated(0, 1);
  EXPECT_TRUE(empty.next().empty());
  EXPECT_EQ(empty.state(), State::ended);
}

// Standard input is a pipe that the test fills.
class PayloadsInput : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    saved_ = dup(STDIN_FILENO);
    ASSERT_EQ(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    writer_ = ends[1];
  }
  void TearDown() override {
    if (writer_ >= 0) close(writer_);
    dup2(saved_, STDIN_FILENO);
    close(saved_);
  }
  void type(std::string_view text) const { ASSERT_EQ(write(writer_, text.data(), text.size()), static_cast<ssize_t>(text.size())); }
  int saved_ = -1, writer_ = -1;
};

TEST_F(PayloadsInput, LinesAreDatagramsHoweverTheyArrive) {
  auto payloads = Payloads::standard_input(std::nullopt);
  EXPECT_EQ(payloads.state(), State::waiting);
  EXPECT_EQ(payloads.fd(), STDIN_FILENO);
  type("one\ntw");
  payloads.read();
  EXPECT_EQ(text_of(payloads.next()), "one");
  EXPECT_EQ(payloads.state(), State::waiting);
  type("o\n\nlast");
  payloads.read();
  EXPECT_EQ(text_of(payloads.next()), "two");
  EXPECT_EQ(text_of(payloads.next()), "");
  EXPECT_EQ(payloads.state(), State::waiting);
  close(writer_);
  writer_ = -1;
  payloads.read();
  EXPECT_EQ(text_of(payloads.next()), "last");
  EXPECT_EQ(payloads.state(), State::ended);
  EXPECT_EQ(payloads.fd(), -1);
}

TEST_F(PayloadsInput, TheCountEndsItBeforeTheInputDoes) {
  auto payloads = Payloads::standard_input(1);
  type("one\ntwo\n");
  payloads.read();
  (void)payloads.next();
  EXPECT_EQ(payloads.state(), State::ended);
}

}  // namespace
}  // namespace gannet::cli
