#include "hub/listener.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace gannet::hub {

Result<UnixName> UnixName::abstract(std::string_view name) {
  UnixName address{};
  if (name.size() + 1 > sizeof address.local.sun_path) return Error{EINVAL, "the hub's name is too long"};
  address.local.sun_family = AF_UNIX;
  std::ranges::copy(name, address.local.sun_path + 1);
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

Result<Fd> listen(std::string_view name) {
  const auto address = UnixName::abstract(name);
  if (!address) return address.error();
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error{errno, "no descriptor left for the hub"};
  if (::bind(fd.get(), &address->any, address->size) != 0) {
    return Error{errno, errno == EADDRINUSE ? "a hub listens there already" : "the hub's name cannot be taken"};
  }
  if (::listen(fd.get(), 128) != 0) return Error{errno, "the hub cannot listen"};
  return fd;
}

}  // namespace gannet::hub
