// Makes the sockets of a command, and names what keeps it from having one.
// Thread: the command's.
#pragma once
#include <string>

#include <gannet/socket.h>

#include "cli/report.h"
#include "cli/settings.h"

namespace gannet::cli {

class Place {
 public:
  // The settings must outlive it.
  explicit Place(const Settings& settings) : settings_(settings) {}

  // A socket with what the settings say of it: TOS, TTL, broadcast, buffer, groups.
  Socket socket(Family family);
  // With the sentence that the errno deserves; a missing privilege is Status::permission.
  void bind(Socket& socket, const Address& local);
  // The address of a host given by name or number. Names are the kernel's business (getaddrinfo).
  Address resolve(const std::string& host, std::uint16_t port);

  // What died and what was counted: the overflow of this socket.
  void finish(Totals& totals, const Socket& socket) const;

 private:
  void join(Socket& socket, const Join& join);
  std::uint32_t interface_index(const std::string& name) const;

  const Settings& settings_;
};

}  // namespace gannet::cli
