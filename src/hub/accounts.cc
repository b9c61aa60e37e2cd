#include "hub/accounts.h"

namespace gannet::hub {

Accounts::Account Accounts::find(std::int32_t process) const {
  const auto found = processes_.find(process);
  return found == processes_.end() ? Account{} : found->second;
}

Result<void> Accounts::may_open(std::int32_t process) const {
  if (find(process).sockets >= limits_.sockets) return Error{EMFILE, "this process has as many sockets of the hub as it may have"};
  return {};
}

Result<void> Accounts::may_add(std::int32_t process, const Holding& more) const {
  const Holding held = find(process).held;
  if (held.memory + more.memory > limits_.memory) return Error{ENOBUFS, "the sockets of this process have as large buffers as they may have in all"};
  if (held.memberships + more.memberships > limits_.memberships)
    return Error{ENOBUFS, "the sockets of this process are in as many groups as they may be"};
  return {};
}

void Accounts::settle(std::int32_t process, Holding& was, const Holding& is) {
  Holding& held = processes_[process].held;
  held.memory += is.memory - was.memory;
  held.memberships += is.memberships - was.memberships;
  was = is;
}

void Accounts::close(std::int32_t process, const Holding& was) {
  const auto found = processes_.find(process);
  if (--found->second.sockets == 0) {
    processes_.erase(found);
    return;
  }
  found->second.held.memory -= was.memory;
  found->second.held.memberships -= was.memberships;
}

}  // namespace gannet::hub
