// What a process may do that its hub, which runs as somebody else, may: a hub of root's opens ports for programs that have dropped their privileges.
//
// Thread: any.  Allocates: to read.  Sources: Linux's capabilities(7), ip(7) (ip_unprivileged_port_start), proc(5).
#pragma once
#include <cstdint>
#include <string_view>

namespace gannet::hub {

// Whether a process whose /proc/PID/status reads so has CAP_NET_BIND_SERVICE in effect.
[[nodiscard]] bool has_bind_capability(std::string_view process_status);

// Whether `process` may bind a socket to `port` of the kernel's. A process that is gone may not.
[[nodiscard]] bool may_bind(std::int32_t process, std::uint16_t port);

}  // namespace gannet::hub
