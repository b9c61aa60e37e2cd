// The options of a socket as one table: what each is called, what Linux calls it, which values it takes and which it starts with.
//
// Read by every provider: the kernel's finds level and number here, ours range and initial value. The initial value is Gannet's; where Linux's
// differs (receive_metadata, receive_errors), the kernel provider sets ours when it opens a socket. Thread: any; the table is constant.  Allocates:
// never. Sources: Linux's socket(7), ip(7), ipv6(7), udp(7).
#pragma once
#include <cstddef>
#include <span>
#include <string_view>

#include <gannet/option.h>
#include <gannet/result.h>

namespace gannet::socket {

// Where Linux has the option for one family; level -1: nowhere, as one setsockopt() at least.
struct LinuxOption {
  int level = -1;
  int number = 0;

  [[nodiscard]] constexpr bool exists() const { return level != -1; }
  friend constexpr bool operator==(const LinuxOption&, const LinuxOption&) = default;
};

struct OptionRow {
  Option option;
  std::string_view name;
  LinuxOption ipv4;
  LinuxOption ipv6;  // the same as ipv4 where one setting serves both families
  int min;
  int max;
  int initial;
  bool settable = true;
};

inline constexpr std::size_t option_count = static_cast<std::size_t>(Option::segment_fallbacks) + 1;

[[nodiscard]] std::span<const OptionRow, option_count> option_table();
[[nodiscard]] const OptionRow& row_of(Option option);
// EINVAL with a sentence for what is only to be asked and for a value out of range.
[[nodiscard]] Result<void> check(Option option, int value);

}  // namespace gannet::socket
