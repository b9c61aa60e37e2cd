#include "hub/privileges.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <span>
#include <string>

#include "base/fd.h"

namespace gannet::hub {
namespace {

std::string_view read_head(const std::string& path, std::span<char> room) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t size = file ? ::read(file.get(), room.data(), room.size()) : -1;
  return {room.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

}  // namespace

bool has_bind_capability(std::string_view process_status) {
  constexpr std::string_view name = "\nCapEff:\t";
  const std::size_t at = process_status.find(name);
  if (at == std::string_view::npos) return false;
  const std::string_view rest = process_status.substr(at + name.size());
  std::uint64_t capabilities = 0;
  const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), capabilities, 16);
  return code == std::errc() && (capabilities >> CAP_NET_BIND_SERVICE & 1) != 0;
}

bool may_bind(std::int32_t process, std::uint16_t port) {
  std::array<char, 4096> room;
  const std::string_view setting = read_head("/proc/sys/net/ipv4/ip_unprivileged_port_start", room);
  unsigned first = 1024;
  std::from_chars(setting.data(), setting.data() + setting.size(), first);
  return port == 0 || port >= first || has_bind_capability(read_head("/proc/" + std::to_string(process) + "/status", room));
}

}  // namespace gannet::hub
