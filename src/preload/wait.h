// The calls that wait for descriptors. A socket of ours is a native descriptor there, connected to its hub before it is first waited for; only what
// its doorbell cannot say is put right in the results: a pending error is POLLERR.
// Thread: any.
#pragma once
#include "preload/watches.h"

namespace gannet::preload {

// The process's.
Watches& watches();

}  // namespace gannet::preload
