// What the library knows of the process that it is in: its sockets, and its hub.
//
// A socket that another process opened comes here by exec(2), by fork and exec, or in a message (SCM_RIGHTS): its doorbell is recognised, and the
// first call on it asks the hub for its rings. Options that were set before its first use are told to the hub before another program begins.
// Thread: any.
#pragma once
#include <sys/socket.h>

#include "hub/client.h"
#include "preload/table.h"

namespace gannet::preload {

// Empty where GANNET_HUB is not set. Read once: a program may change its environment later, and so may not change its network.
const hub::HubAddress& hub_address();

// A socket of the hub, at its first use.
Result<std::unique_ptr<socket::StackSocket>> attach(int fd);

// `fd` is new in this process, whoever made it: what stood in the table under its number is no more.
void appeared(int fd);
// The descriptors in a message that came, and in one that is about to be sent.
void received(msghdr& message);
void about_to_send(const msghdr& message);
// Another program is about to run, here or in a child.
void about_to_execute();
// What a child of vfork(2) closes, its parent keeps.
void about_to_close(int fd);
void about_to_close_range(unsigned first, unsigned last);

}  // namespace gannet::preload
