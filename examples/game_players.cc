// Players of a game, who move about at random, and tell how smooth it was for them.
//
//   game_players ADDRESS:PORT [PLAYERS [SECONDS]] [--naive]
//
// --naive: without what game_world.h describes, an input is sent once, and everybody is shown where the last snapshot has him.
#include <algorithm>
#include <charconv>
#include <iostream>
#include <random>
#include <thread>
#include <vector>

#include "game_world.h"

constexpr std::uint32_t ticks_behind = 6;

struct Seen {
  std::vector<double> own,
      others;  // mm: how far from where his inputs led a player was shown to himself, and how far others went from frame to frame
};

class Bot {
 public:
  Bot(Socket socket, bool naive, unsigned seed) : socket_(std::move(socket)), naive_(naive), random_(seed) {}
  void join(const Address& server) { socket_.connect(server).value(); }

  void frame(Seen& seen) {
    if (random_() % 30 == 0) direction_ = random_() & 15;
    inputs_.push_back(direction_);
    truth_ = step(truth_, direction_);
    predicted_ = step(predicted_, direction_);
    Inputs out{.last = static_cast<std::uint32_t>(inputs_.size()),
               .count = static_cast<std::uint32_t>(std::min<std::size_t>(inputs_.size(), naive_ ? 1 : inputs_repeated))};
    std::copy_n(inputs_.end() - out.count, out.count, out.input.begin());
    static_cast<void>(socket_.send(std::as_bytes(std::span(&out, 1))));
    Snapshot snapshot;
    for (std::array<std::byte, 512> buffer; auto heard = socket_.receive(buffer, gannet::Deadline::now());) {
      if (read(*heard, snapshot) && snapshot.you < most_players && snapshot.acted_on <= inputs_.size()) take(snapshot);
    }
    if (snapshots_.empty()) return;
    seen.own.push_back(distance(naive_ ? snapshots_.back().at[snapshots_.back().you] : predicted_, truth_));
    show(seen);
  }

 private:
  // What the server says, and then what it has not acted on yet.
  void take(const Snapshot& snapshot) {
    if (!snapshots_.empty() && snapshot.tick <= snapshots_.back().tick) return;  // overtaken
    if (!std::ranges::all_of(snapshot.at, is_in_world)) return;                  // no server of ours
    if (snapshots_.empty()) shown_tick_ = snapshot.tick - ticks_behind;
    predicted_ = snapshot.at[snapshot.you];
    for (std::size_t i = snapshot.acted_on; i < inputs_.size(); ++i) predicted_ = step(predicted_, inputs_[i]);
    if (snapshots_.empty()) truth_ = predicted_;
    snapshots_.push_back(snapshot);
    if (snapshots_.size() > 32) snapshots_.erase(snapshots_.begin());
  }
  void show(Seen& seen) {
    ++shown_tick_;
    const auto after =
        naive_ ? snapshots_.end() - 1 : std::ranges::find_if(snapshots_, [&](const Snapshot& each) { return each.tick >= shown_tick_; });
    for (std::size_t i = 0; i < most_players && after != snapshots_.end(); ++i) {
      if (i == after->you || (after->present >> i & 1) == 0) continue;
      Point now = after->at[i];
      if (!naive_ && after != snapshots_.begin()) {
        const Snapshot& before = after[-1];
        const double part = static_cast<double>(shown_tick_ - before.tick) / (after->tick - before.tick);
        now = {before.at[i].x + static_cast<std::int32_t>(part * (now.x - before.at[i].x)),
               before.at[i].y + static_cast<std::int32_t>(part * (now.y - before.at[i].y))};
      }
      if (was_shown_ >> i & 1) seen.others.push_back(distance(now, shown_[i]));
      shown_[i] = now;
      was_shown_ |= 1u << i;
    }
  }

  Socket socket_;
  bool naive_;
  std::mt19937 random_;
  std::uint8_t direction_ = 0;
  Point truth_, predicted_;
  std::vector<std::uint8_t> inputs_;
  std::vector<Snapshot> snapshots_;
  std::uint32_t shown_tick_ = 0, was_shown_ = 0;
  std::array<Point, most_players> shown_{};
};

void print(std::ostream& output, std::string_view what, std::vector<double> values) {
  std::ranges::sort(values);
  const auto share = [&](double part) {
    return values.empty() ? 0 : std::lround(values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))]);
  };
  output << what << ": p50 " << share(0.5) << " mm, p99 " << share(0.99) << " mm, most " << share(1) << " mm" << std::endl;
}

using OpenSocket = Socket (*)(gannet::Family);  // over the kernel; or over a host of ours

void play(OpenSocket open, const Address& server, unsigned players, unsigned seconds, bool naive, std::ostream& output) {
  std::vector<Bot> bots;
  for (unsigned i = 0; i < players; ++i) {
    bots.emplace_back(open(server.ip.family), naive, i);
    bots.back().join(server);
  }
  Seen seen;
  Clock::time_point next = Clock::now();
  for (unsigned frame = 0; frame < 60 * seconds; ++frame) {
    std::this_thread::sleep_until(next += tick);
    for (Bot& bot : bots) bot.frame(seen);
  }
  if (seen.own.empty()) throw std::runtime_error("nothing came: there is no server, or it has no place free");
  print(output, "oneself, from where one's inputs led", std::move(seen.own));
  print(output, "the others, from frame to frame", std::move(seen.others));
}

int main(int count, char** arguments) {
  std::vector<std::string_view> words(arguments + 1, arguments + count);
  const bool naive = std::erase(words, "--naive") != 0;
  std::array<unsigned, 3> numbers{0, most_players, 10};
  bool good = !words.empty() && words.size() <= 3;
  for (std::size_t i = 1; good && i < words.size(); ++i) {
    const auto [end, code] = std::from_chars(words[i].data(), words[i].data() + words[i].size(), numbers[i]);
    good = code == std::errc() && *end == '\0' && numbers[i] > 0 && numbers[i] <= (i == 1 ? most_players : 3600);
  }
  if (!good) return std::cerr << "usage: game_players ADDRESS:PORT [PLAYERS [SECONDS]] [--naive]" << std::endl, 2;
  try {
    const OpenSocket open = [](gannet::Family family) { return Socket::open(family).value(); };
    play(open, Address::parse(words[0]).value(), numbers[1], numbers[2], naive, std::cout);
  } catch (const std::exception& failure) {
    return std::cerr << "game_players: " << failure.what() << std::endl, 1;
  }
}
