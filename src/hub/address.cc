#include "hub/address.h"

#include <unistd.h>

#include <array>
#include <charconv>

namespace gannet::hub {
namespace {

constexpr std::size_t word_digits = 16;

void append_hex(std::string& text, std::uint64_t word) {
  for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 0xf];
}

template <class Number>
bool read(std::string_view text, Number& number, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

std::string HubAddress::to_string() const {
  std::string text = std::to_string(user.value_or(::geteuid())) + ':';
  for (const std::uint64_t word : program.words) append_hex(text, word);
  return text + ':' + name;
}

HubAddress HubAddress::parse(std::string_view text) {
  HubAddress alone{.name = std::string(text)}, address;
  const std::size_t first = text.find(':');
  const std::size_t second = text.find(':', first == text.npos ? first : first + 1);
  if (second == text.npos || second - first - 1 != 2 * word_digits) return alone;
  uid_t user = 0;
  const bool good = read(text.substr(0, first), user, 10) && read(text.substr(first + 1, word_digits), address.program.words[0], 16) &&
                    read(text.substr(first + 1 + word_digits, word_digits), address.program.words[1], 16);
  if (!good) return alone;
  address.user = user;
  address.name = text.substr(second + 1);
  return address;
}

}  // namespace gannet::hub
