// What the flags that several commands share were set to (flags.h puts them on the command line).
//
// Thread: the command's; read-only once the command line is parsed.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gannet/impairment.h>

#include "cli/values.h"

namespace gannet::cli {

struct Settings {
  // Whose UDP, and what its link does.
  std::string via = "kernel";
  Impairment in, out;
  std::string capture;
  bool print = false;
  std::string needs_our_link;  // the first flag given that only a link of ours can honour; empty: none

  // The socket.
  std::optional<Family> family;  // nothing: as the address has it
  std::vector<Join> joins;
  std::string interface;  // by which groups are sent to
  int tos = -1;
  int ttl = -1;
  bool broadcast = false;
  std::size_t receive_buffer = 0;  // 0: the default

  // How to end, and how to tell.
  std::optional<std::chrono::nanoseconds> timeout;
  std::optional<std::uint64_t> count;
  bool json = false, verbose = false, raw = false;
};

}  // namespace gannet::cli
