// What the server and the players of a game agree on: the world, and what they tell each other. For game_server.cc and game_players.cc.
//
// Three ideas, without any of which each loss is seen: a packet repeats the last inputs, so that what one lost the next one brings; a player is shown
// at once what his own inputs will do (prediction), and put right when the server says otherwise; and the others are shown where they were 100 ms
// ago, between two snapshots (interpolation), so that one that is lost is not missed.
#pragma once
#include <array>
#include <cmath>
#include <cstring>

#include <gannet/socket.h>

using gannet::Address, gannet::Socket;
using Clock = std::chrono::steady_clock;

constexpr std::size_t most_players = 32, inputs_repeated = 16;
constexpr auto tick = std::chrono::nanoseconds(1'000'000'000 / 60);

struct Point {
  std::int32_t x = 0, y = 0;  // mm
  friend double distance(const Point& a, const Point& b) { return std::hypot(a.x - b.x, a.y - b.y); }
};
// An input is a direction, of 16; a step in it is 83 mm, as one runs.
Point step(Point at, std::uint8_t input) {
  const double angle = (input & 15) * 0.3926990817;
  return {at.x + static_cast<std::int32_t>(std::lround(83 * std::cos(angle))), at.y + static_cast<std::int32_t>(std::lround(83 * std::sin(angle)))};
}

// As on the wire, in the byte order of the machines that play: all the same here.
struct Inputs {
  std::uint32_t last = 0;   // the number of the newest
  std::uint32_t count = 0;  // how many of `input`, oldest first
  std::array<std::uint8_t, inputs_repeated> input{};
};
struct Snapshot {
  std::uint32_t tick = 0, you = 0;  // and which player you are
  std::uint32_t acted_on = 0;       // the last of your inputs that is in it
  std::uint32_t present = 0;        // a bit for each player
  std::array<Point, most_players> at{};
};
// Far enough for any game, and near enough that no sum of such numbers overflows.
bool is_in_world(const Point& at) { return std::abs(std::int64_t{at.x}) < 1 << 28 && std::abs(std::int64_t{at.y}) < 1 << 28; }
template <class T>
bool read(const gannet::Datagram& datagram, T& value) {
  if (datagram.length != sizeof value || datagram.truncated) return false;
  std::memcpy(&value, datagram.data.data(), sizeof value);
  return true;
}
