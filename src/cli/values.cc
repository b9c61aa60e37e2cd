#include "cli/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <numeric>
#include <vector>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

// A decimal number at the front of `text`, which then stands behind it; nothing when there is none.
std::optional<double> take_number(std::string_view& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(value)) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

struct Unit {
  std::string_view name;
  double factor;
};

template <std::size_t N>
std::optional<double> number_with_unit(std::string_view text, const std::array<Unit, N>& units) {
  const auto number = take_number(text);
  if (!number || *number < 0) return std::nullopt;
  const auto unit = std::ranges::find(units, text, &Unit::name);
  if (unit == units.end()) return std::nullopt;
  return *number * unit->factor;
}

}  // namespace

std::chrono::nanoseconds parse_duration(std::string_view flag, std::string_view text) {
  static constexpr std::array<Unit, 6> units{{{"", 1e9}, {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}}};
  const auto value = number_with_unit(text, units);
  if (!value || *value > 1e18) refuse(fmt::format("{} takes a time such as 80ms, 1.5s or 2 (seconds), not \"{}\"", flag, text));
  return std::chrono::nanoseconds(std::llround(*value));
}

double parse_probability(std::string_view flag, std::string_view text) {
  static constexpr std::array<Unit, 2> units{{{"", 1}, {"%", 0.01}}};
  const auto value = number_with_unit(text, units);
  if (!value || *value > 1) refuse(fmt::format("{} takes a share from 0% to 100%, such as 5% or 0.05, not \"{}\"", flag, text));
  return *value;
}

std::size_t parse_bytes(std::string_view flag, std::string_view text) {
  static constexpr std::array<Unit, 5> units{{{"", 1}, {"k", 1024}, {"K", 1024}, {"M", 1048576}, {"G", 1073741824}}};
  const auto value = number_with_unit(text, units);
  if (!value || *value > 1e15) refuse(fmt::format("{} takes a number of bytes such as 1472, 64k or 1M, not \"{}\"", flag, text));
  return static_cast<std::size_t>(*value);
}

std::uint64_t parse_rate(std::string_view flag, std::string_view text) {
  static constexpr std::array<Unit, 10> units{
      {{"", 1}, {"bit", 1}, {"k", 1e3}, {"kbit", 1e3}, {"M", 1e6}, {"Mbit", 1e6}, {"mbit", 1e6}, {"G", 1e9}, {"Gbit", 1e9}, {"gbit", 1e9}}};
  const auto value = number_with_unit(text, units);
  if (!value || *value < 1 || *value > 1e15) {
    refuse(fmt::format("{} takes bits per second such as 500kbit, 10Mbit or 1Gbit, not \"{}\"", flag, text));
  }
  return static_cast<std::uint64_t>(*value);
}

std::uint64_t parse_number(std::string_view flag, std::string_view text, std::uint64_t least, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most) return value;
  if (most == std::numeric_limits<std::uint64_t>::max()) refuse(fmt::format("{} takes a whole number, {} or more, not \"{}\"", flag, least, text));
  refuse(fmt::format("{} takes a whole number from {} to {}, not \"{}\"", flag, least, most, text));
}

std::uint16_t parse_port(std::string_view flag, std::string_view text) { return static_cast<std::uint16_t>(parse_number(flag, text, 1, 65535)); }

std::uint8_t parse_tos(std::string_view flag, std::string_view text) {
  struct Name {
    std::string_view name;
    std::uint8_t value;
  };
  static constexpr std::array<Name, 5> names{{{"ef", 0xb8}, {"lowdelay", 0x10}, {"throughput", 0x08}, {"reliability", 0x04}, {"critical", 0xa0}}};
  if (const auto found = std::ranges::find(names, text, &Name::name); found != names.end()) return found->value;
  const auto digit = [&](std::size_t at, char least, char most) { return text[at] >= least && text[at] <= most; };
  const auto number = [&](std::size_t at) { return static_cast<unsigned>(text[at] - '0'); };
  // Class selector n is DSCP 8n, assured forwarding xy is DSCP 8x + 2y (RFC 2474, 2597); the DSCP stands in the upper six bits.
  if (text.size() == 3 && text.starts_with("cs") && digit(2, '0', '7')) return static_cast<std::uint8_t>(number(2) << 5);
  if (text.size() == 4 && text.starts_with("af") && digit(2, '1', '4') && digit(3, '1', '3')) {
    return static_cast<std::uint8_t>((number(2) << 5) | (number(3) << 3));
  }
  const bool hex = text.starts_with("0x");
  const std::string_view digits = hex ? text.substr(2) : text;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (error == std::errc{} && end == digits.data() + digits.size() && value <= 255) return static_cast<std::uint8_t>(value);
  refuse(fmt::format("{} takes 0 to 255 (0xb8), or a name such as ef, cs1, af11 or lowdelay, not \"{}\"", flag, text));
}

std::vector<std::byte> parse_key(std::string_view flag, std::string_view text) {
  std::string digits(text);
  if (digits.starts_with('@')) {
    std::ifstream file(digits.substr(1));
    if (!file) refuse(fmt::format("{}: {} cannot be read", flag, digits.substr(1)));
    digits.clear();
    file >> digits;
  }
  std::vector<std::byte> key;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    unsigned value = 0;
    const char* const end = digits.data() + std::min(i + 2, digits.size());
    const auto read = std::from_chars(digits.data() + i, end, value, 16);
    if (read.ec != std::errc{} || read.ptr != end || digits.size() % 2 != 0) {
      refuse(fmt::format("{}: a key is written as pairs of hexadecimal digits, or as @FILE, which has them", flag));
    }
    key.push_back(static_cast<std::byte>(value));
  }
  if (key.size() < 16 || key.size() > 64) refuse(fmt::format("{}: a key has 16 to 64 bytes, 32 to 128 digits; openssl rand -hex 32 makes one", flag));
  return key;
}

PreSharedKey parse_shared_key(std::string_view flag, std::string_view text) {
  const auto colon = text.find(':');
  if (colon == text.npos || colon == 0) refuse(fmt::format("{} takes NAME:HEX or NAME:@FILE, the key's name and its bytes, not \"{}\"", flag, text));
  return {std::string(text.substr(0, colon)), parse_key(flag, text.substr(colon + 1))};
}

Join parse_join(std::string_view flag, std::string_view text) {
  Join join;
  std::string_view rest = text;
  if (const auto percent = rest.rfind('%'); percent != rest.npos) {
    join.interface = rest.substr(percent + 1);
    rest = rest.substr(0, percent);
    if (join.interface.empty()) refuse(fmt::format("{} {}: an interface's name or number must follow the %", flag, text));
  }
  if (const auto at = rest.find('@'); at != rest.npos) {
    const auto source = IpAddress::parse(rest.substr(at + 1));
    if (!source) refuse(fmt::format("{} {}: \"{}\" is no IP address of a source", flag, text, rest.substr(at + 1)));
    join.source = *source;
    rest = rest.substr(0, at);
  }
  const auto group = IpAddress::parse(rest);
  if (!group || !group->is_multicast()) {
    refuse(fmt::format("{} takes GROUP[@SOURCE][%INTERFACE], the group from 224.0.0.0 to 239.255.255.255 (or ff00::/8), not \"{}\"", flag, text));
  }
  join.group = *group;
  return join;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace gannet::cli
