// Where hubs listen: names of AF_UNIX sockets in Linux's abstract namespace, one for each user and network namespace.
//
// Thread: any.
#pragma once
#include <sys/socket.h>
#include <sys/un.h>

#include <string_view>

#include <gannet/result.h>

#include "base/fd.h"

namespace gannet::hub {

struct UnixName {
  union {
    sockaddr any;
    sockaddr_un local;
  };
  socklen_t size;

  // EINVAL: longer than such a name can be.
  static Result<UnixName> abstract(std::string_view name);
};

// A socket that listens there, non-blocking. EADDRINUSE: somebody does already.
Result<Fd> listen(std::string_view name);

}  // namespace gannet::hub
