// The server of a game: where everybody is, 60 times a second, is what it says.
//
//   game_server ADDRESS:PORT
//
// Of a player it believes his inputs, and not where he says he is; and of those one for each tick, or two to catch up.
#include <algorithm>
#include <deque>
#include <iostream>

#include "game_world.h"

constexpr std::size_t few_waiting = 3, most_waiting = 32;
constexpr std::uint32_t ticks_to_leave = 300;

struct Player {
  Address address;
  Point at;
  std::uint32_t acted_on = 0, heard = 0;  // the last input, and the tick in which we heard of him
  std::deque<std::uint8_t> waiting;       // the inputs after that one: one for each tick, so that he moves as evenly as he meant to
};

void hear(Player& player, const Inputs& inputs, std::uint32_t now) {
  player.heard = now;
  const std::uint32_t count = std::min<std::uint32_t>(inputs.count, inputs_repeated);
  for (std::uint32_t i = 0; i < count && player.waiting.size() < most_waiting; ++i) {
    const std::uint32_t number = inputs.last - count + 1 + i, known = player.acted_on + static_cast<std::uint32_t>(player.waiting.size());
    if (static_cast<std::int32_t>(number - known) <= 0) continue;    // repeated
    if (number != known + 1) player.acted_on += number - known - 1;  // those between are lost for good
    player.waiting.push_back(inputs.input[i]);
  }
}

void move(Player& player) {
  for (int steps = player.waiting.size() > few_waiting ? 2 : 1; steps > 0 && !player.waiting.empty(); --steps) {
    player.at = step(player.at, player.waiting.front());
    player.waiting.pop_front();
    ++player.acted_on;
  }
}

// Until `socket` is closed.
void serve(Socket& socket, const Address& local, std::ostream& output) {
  socket.bind(local).value();
  output << "Listening on " << socket.local_address().value().to_string() << std::endl;
  std::array<Player, most_players> players;
  std::array<std::byte, 256> buffer;
  Clock::time_point next = Clock::now();
  for (Snapshot snapshot;; ++snapshot.tick, next += tick) {
    while (Clock::now() < next) {
      const auto heard = socket.receive(buffer, next);
      if (!heard && heard.error().code == EBADF) return;
      Inputs inputs;
      if (!heard || !read(*heard, inputs)) continue;
      auto player = std::ranges::find(players, heard->peer, &Player::address);
      if (player == players.end()) player = std::ranges::find(players, Address(), &Player::address);  // a free place, if there is one
      if (player == players.end()) continue;
      if (player->address != heard->peer)
        *player = {.address = heard->peer, .at = {}, .acted_on = inputs.last - inputs.count, .heard = 0, .waiting = {}};
      hear(*player, inputs, snapshot.tick);
    }
    snapshot.present = 0;
    for (std::size_t i = 0; i < players.size(); ++i) {
      if (snapshot.tick - players[i].heard > ticks_to_leave) players[i] = {};
      move(players[i]);
      snapshot.present |= players[i].address == Address() ? 0 : 1u << i;
      snapshot.at[i] = players[i].at;
    }
    for (snapshot.you = 0; snapshot.you < players.size(); ++snapshot.you) {
      if ((snapshot.present >> snapshot.you & 1) == 0) continue;
      snapshot.acted_on = players[snapshot.you].acted_on;
      static_cast<void>(socket.send_to(std::as_bytes(std::span(&snapshot, 1)), players[snapshot.you].address));  // who is gone will be left out soon
    }
  }
}

int main(int count, char** arguments) {
  if (count != 2) return std::cerr << "usage: game_server ADDRESS:PORT" << std::endl, 2;
  try {
    const Address local = Address::parse(arguments[1]).value();
    Socket socket = Socket::open(local.ip.family).value();
    serve(socket, local, std::cout);
  } catch (const std::exception& failure) {
    return std::cerr << "game_server: " << failure.what() << std::endl, 1;
  }
}
