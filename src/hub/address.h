// Where a hub is, and as whose program to come there: what GANNET_HUB says to the processes of a program.
//
//   UID:KEY:NAME    "1000:00000000000000000000000000000000:gannet-hub-1000-none"    or a NAME alone: a hub of one's own, as nobody's program
//
// A process that knows it finds the hub after chroot(2), as another user, and in its children.
// Thread: any; plain values.
#pragma once
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "hub/protocol.h"

namespace gannet::hub {

// Names are of Linux's abstract namespace, which is that of the network namespace, and which no chroot hides.
struct HubAddress {
  std::string name;
  std::optional<uid_t> user{};  // whose hub it must be; nothing: our own
  ProgramKey program{};

  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] static HubAddress parse(std::string_view text);
};

}  // namespace gannet::hub
