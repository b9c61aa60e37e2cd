// What the flags that several commands share were set to (flags.h puts them on the command line).
//
// Thread: the command's; read-only once the command line is parsed.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gannet/dtls.h>
#include <gannet/impairment.h>

#include "cli/values.h"

namespace gannet::cli {

// What --dtls and its flags say.
struct Sealing {
  bool is_wanted = false;
  std::string first_flag;  // the first given that makes sense with --dtls only; empty: none
  std::string certificate_file, key_file, authorities_file, server_name, key_log;
  std::vector<Fingerprint> fingerprints;
  std::vector<PreSharedKey> keys;
  bool trust_anyone = false;
  std::size_t mtu = 1280;
};

struct Settings {
  // Whose UDP, and what its link does.
  std::string via = "kernel";
  Impairment in, out;
  std::string capture;
  bool print = false;
  std::string needs_our_link;  // the first flag given that only a link of ours can honour; empty: none

  Sealing sealing;

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
