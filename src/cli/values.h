// What people write after a flag, as values: "80ms", "5%", "10Mbit", "ef", "239.1.2.3@10.0.0.1%eth0".
//
// Each function takes the flag too, to name it in the sentence when the text is not what the flag takes (Failure, Status::usage).
// Thread: any; there is no state.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/address.h>
#include <gannet/dtls.h>

namespace gannet::cli {

// "250us", "80ms", "1.5s", "2m"; a bare number is seconds, as nc has it.
std::chrono::nanoseconds parse_duration(std::string_view flag, std::string_view text);
// "5%" or "0.05".
double parse_probability(std::string_view flag, std::string_view text);
// "1500", "64k", "1M" (of 1024) bytes.
std::size_t parse_bytes(std::string_view flag, std::string_view text);
// "500kbit", "10Mbit", "1Gbit"; a bare number is bits per second.
std::uint64_t parse_rate(std::string_view flag, std::string_view text);
std::uint64_t parse_number(std::string_view flag, std::string_view text, std::uint64_t least, std::uint64_t most);
std::uint16_t parse_port(std::string_view flag, std::string_view text);
// A number 0-255 (0x.. too), or a name: ef, cs0-cs7, af11-af43, lowdelay, throughput, reliability, critical.
std::uint8_t parse_tos(std::string_view flag, std::string_view text);

// HEX, or @FILE that has it: 16 to 64 bytes.
std::vector<std::byte> parse_key(std::string_view flag, std::string_view text);
// NAME:HEX or NAME:@FILE, the key's name and its bytes.
PreSharedKey parse_shared_key(std::string_view flag, std::string_view text);

// GROUP[@SOURCE][%INTERFACE], the interface by name or index.
struct Join {
  IpAddress group;
  std::optional<IpAddress> source;
  std::string interface;
};
Join parse_join(std::string_view flag, std::string_view text);

// The entry of `names` that `text` was probably meant to be, or nothing when none is near.
template <class Names>
std::string nearest(std::string_view text, const Names& names);
std::size_t edit_distance(std::string_view a, std::string_view b);

template <class Names>
std::string nearest(std::string_view text, const Names& names) {
  std::string best;
  std::size_t least = std::max<std::size_t>(3, text.size() / 3 + 1);  // as many changes as this, or more make another word
  for (const std::string_view name : names) {
    if (const std::size_t distance = edit_distance(text, name); distance < least) {
      least = distance;
      best = name;
    }
  }
  return best;
}

}  // namespace gannet::cli
