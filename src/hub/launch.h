// The hub of a user: found where one runs, started where none does.
//
//   join() -> the lock -> connect: it runs  |  refused: fork, and the hub runs in the child
//
// The lock is a file in XDG_RUNTIME_DIR/gannet, or where that is unset in a directory of the user's own, which nobody else may enter. It is held
// while a hub is started, so that two who find none start one. Thread: the caller's, who must have no other yet: it forks.
#pragma once
#include <memory>
#include <string>

#include <gannet/result.h>

#include "hub/client.h"

namespace gannet::hub {

struct LaunchPlace {
  std::string folder;  // made where it is not there, 0700
  std::string name;    // of the hub; longer-lived than any process, so it tells whose it is and what it carries
};

// A place in a hub: as long as it is held, the hub does not go.
struct Membership {
  HubAddress address;
  std::unique_ptr<socket::StackSocket> seat;
};

// EACCES: the folder is another user's, or open to others.
Result<Membership> join(const LaunchPlace& place);

}  // namespace gannet::hub
