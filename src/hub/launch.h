// The hub of a user: found where one runs, started where none does.
//
//   join() -> the lock -> connect: it runs  |  refused: fork, and the hub runs in the child, which says when it is ready
//
// The lock is a file in a folder that nobody else may enter. It is held while a hub is sought and started, so that two who find none start one; and
// by a hub that goes because nobody needs it, so that nobody finds one at its end. Where two have different folders, the hub's name decides: one of
// them gets it, and the other finds that one. What the hub shares with its starter is nothing: no descriptor, no terminal, no folder. Thread: the
// caller's, who must have no other yet: it forks.
#pragma once
#include <memory>
#include <string>

#include <gannet/result.h>

#include "hub/client.h"
#include "hub/hub.h"

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

// `setup` is for a hub that is started. EACCES: the folder is another user's, or open to others. EPERM: another user has the hub's name. What keeps a
// hub from starting is told as it is.
Result<Membership> join(const LaunchPlace& place, const HubSetup& setup = {});

}  // namespace gannet::hub
