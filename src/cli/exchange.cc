#include "cli/exchange.h"

#include <functional>

namespace gannet::cli {

void Exchange::sent(std::string_view data, Time now) {
  if (waiting_.size() >= most) forget_oldest();
  const std::size_t hash = std::hash<std::string_view>{}(data);
  numbers_[hash].push_back(first_ + waiting_.size());
  waiting_.push_back({hash, now, false});
}

std::optional<Answer> Exchange::received(std::string_view data, Time now) {
  auto echoed = numbers_.find(std::hash<std::string_view>{}(data));
  if (echoed == numbers_.end()) {
    if (many_answer_ || waiting_.empty()) return std::nullopt;
    echoed = numbers_.find(waiting_.front().hash);  // no echo: it answers the oldest, which is always unanswered
  }
  const std::uint64_t number = echoed->second.front();
  Waiting& answered = waiting_[number - first_];
  const Answer answer{number, now - answered.sent};
  if (!answered.answered) ++answered_;
  answered.answered = true;
  if (!many_answer_) {
    echoed->second.pop_front();
    if (echoed->second.empty()) numbers_.erase(echoed);
    while (!waiting_.empty() && waiting_.front().answered) {
      waiting_.pop_front();
      ++first_;
    }
  }
  return answer;
}

void Exchange::forget_oldest() {
  const auto numbers = numbers_.find(waiting_.front().hash);
  numbers->second.pop_front();
  if (numbers->second.empty()) numbers_.erase(numbers);
  do {
    waiting_.pop_front();
    ++first_;
  } while (!many_answer_ && !waiting_.empty() && waiting_.front().answered);
}

}  // namespace gannet::cli
