// The calls that wait for descriptors. A socket of ours is a native descriptor there, connected to its hub before it is first waited for; only what
// its doorbell cannot say is put right in the results: a pending error is POLLERR.
//
// epoll_wait(2) gives back a number of the program's, not the descriptor: so what was watched is remembered, by epoll descriptor and number.
// Thread: any.  Allocates: for a watched socket.  Bound: max_watched; beyond, a pending error shows as EPOLLIN there.
#pragma once
#include <cstddef>

namespace gannet::preload {

inline constexpr std::size_t max_watched = 1 << 16;

// Before an epoll descriptor is closed; any other will do too.
void forget_epoll(int fd);

}  // namespace gannet::preload
