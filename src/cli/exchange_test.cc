#include "cli/exchange.h"

#include <gtest/gtest.h>

namespace gannet::cli {
namespace {

using namespace std::chrono_literals;

Exchange::Time at(std::chrono::nanoseconds time) { return Exchange::Time(time); }

std::chrono::nanoseconds round_trip(Exchange& exchange, std::string_view reply, std::chrono::nanoseconds when) {
  const auto answer = exchange.received(reply, at(when));
  return answer ? answer->round_trip : -1ns;
}

TEST(Exchange, AnEchoAnswersItsOwnDatagramInAnyOrder) {
  Exchange exchange(false);
  exchange.sent("one", at(0ms));
  exchange.sent("two", at(10ms));
  const auto answer = exchange.received("two", at(15ms));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->number, 2u);
  EXPECT_EQ(answer->round_trip, 5ms);
  EXPECT_EQ(round_trip(exchange, "one", 15ms), 15ms);
  EXPECT_EQ(exchange.answered(), 2u);
}

TEST(Exchange, AnotherReplyAnswersTheOldestThatWaits) {
  Exchange exchange(false);
  exchange.sent("what time is it", at(0ms));
  exchange.sent("and now", at(10ms));
  EXPECT_EQ(round_trip(exchange, "noon", 3ms), 3ms);
  EXPECT_EQ(round_trip(exchange, "one", 14ms), 4ms);
  EXPECT_FALSE(exchange.received("two", at(20ms)).has_value());
  EXPECT_EQ(exchange.answered(), 2u);
}

TEST(Exchange, ADuplicateEchoIsNoSecondAnswer) {
  Exchange exchange(false);
  exchange.sent("one", at(0ms));
  EXPECT_TRUE(exchange.received("one", at(1ms)).has_value());
  EXPECT_FALSE(exchange.received("one", at(2ms)).has_value());
  EXPECT_EQ(exchange.answered(), 1u);
}

TEST(Exchange, ManyMayAnswerWhatWentToAGroup) {
  Exchange exchange(true);
  exchange.sent("who is there", at(0ms));
  EXPECT_EQ(round_trip(exchange, "who is there", 1ms), 1ms);
  EXPECT_EQ(round_trip(exchange, "who is there", 2ms), 2ms);
  EXPECT_FALSE(exchange.received("me", at(3ms)).has_value());
  EXPECT_EQ(exchange.answered(), 1u);
}

TEST(Exchange, TheOldestIsGivenUpAtTheBound) {
  Exchange exchange(false);
  exchange.sent("first", at(0ms));
  for (std::size_t i = 0; i < Exchange::most; ++i) exchange.sent("next", at(1ms));
  EXPECT_EQ(round_trip(exchange, "first", 9ms), 8ms);  // answers the oldest that is left, as any other reply
}

}  // namespace
}  // namespace gannet::cli
