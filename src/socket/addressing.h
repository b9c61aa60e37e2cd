// How people write which network a host of ours is on: "ADDR/LEN[,gw=ADDR]", behind "tap:NAME," for one on a TAP device.
//
// Thread: any; configure() in the engine's, or before it has one.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <gannet/address.h>
#include <gannet/result.h>

#include "engine/engine.h"

namespace gannet::socket {

struct Addressing {
  IpAddress ip;
  std::uint8_t prefix = 0;
  std::optional<IpAddress> gateway;
};
// EINVAL, EAFNOSUPPORT: with a sentence.
Result<Addressing> parse_addressing(std::string_view text);

struct TapPlace {
  std::string_view name;  // of what was parsed
  Addressing addressing;
};
Result<TapPlace> parse_tap(std::string_view via);
Result<std::unique_ptr<link::Link>> open_tap(std::string_view name);

// Gives the engine's host this link, the address on it, and the route by the gateway. The interface's index.
Result<std::uint32_t> configure(engine::Engine& engine, std::unique_ptr<link::Link> link, const Addressing& addressing);

}  // namespace gannet::socket
