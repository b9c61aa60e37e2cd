#include "cli/tap.h"

#include <fmt/format.h>
#include <net/if.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

std::string user_name() {
  const passwd* user = getpwuid(getuid());
  return user != nullptr ? user->pw_name : fmt::format("{}", getuid());
}

// True when the TAP interface `name` is there and belongs to this user.
bool owns_tap(const std::string& name) {
  std::ifstream file("/sys/class/net/" + name + "/owner");
  long long owner = 0;  // -1: nobody's
  return file >> owner && owner == static_cast<long long>(getuid());
}

// The command that lets this user have the TAP interface `name`: no more than is missing.
std::string grant_of_tap(const std::string& name) {
  std::string grant = access("/dev/net/tun", R_OK | W_OK) == 0 ? "" : "sudo chmod 0666 /dev/net/tun && ";
  if (!owns_tap(name)) {
    if (if_nametoindex(name.c_str()) != 0) grant += fmt::format("sudo ip link del {} && ", name);  // another user's
    grant += fmt::format("sudo ip tuntap add dev {} mode tap user {} && ", name, user_name());
  }
  return grant + fmt::format("sudo ip link set {} up", name);
}

}  // namespace

std::string tap_name(const std::string& via) { return via.substr(4, via.find(',') - 4); }

void cannot_open_tap(const std::string& via, const Error& error) {
  const std::string name = tap_name(via);
  if (error.code == EPERM || error.code == EACCES) {
    throw Failure{Status::permission,
                  fmt::format("this user may not open the TAP device {}; allow it once with: {}  (or take a network namespace of your own, with "
                              "nothing but what you put there: unshare -Urn)",
                              name, grant_of_tap(name))};
  }
  if (error.code == EINVAL) refuse(fmt::format("--via {}: {}", via, error.message()));
  fail(fmt::format("cannot open {}", via), error);
}

}  // namespace gannet::cli
