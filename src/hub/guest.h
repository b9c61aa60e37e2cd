// A guest host: a stack with the kernel's interfaces, addresses, routes and ports, whose datagrams leave and come by kernel sockets.
//
//   stack -- Claims: ports, groups --> Uplink --> kernel sockets
//   stack <-- interfaces, addresses, routes -- Mirror <-- rtnetlink
//
// Owner: a hub, beside its engine, which it must not outlive.  Thread: the engine's, or that which makes the engine.
#pragma once
#include <memory>
#include <string_view>

#include <gannet/result.h>

#include "engine/engine.h"
#include "engine/mirror.h"
#include "link/uplink.h"
#include "stack/config.h"

namespace gannet::hub {

// What the kernel has as its defaults, in the words of its files below /proc/sys/net/ipv4. What makes no sense leaves `config` as it is.
void set_default_ttl(stack::Config& config, std::string_view ip_default_ttl);
void set_port_range(stack::Config& config, std::string_view ip_local_port_range);
// The configuration of a guest of this machine's kernel.
[[nodiscard]] stack::Config guest_config(stack::Config config);

class Guest {
 public:
  // Before the engine runs, and before it has any socket.
  static Result<std::unique_ptr<Guest>> create(engine::Engine& engine);

  [[nodiscard]] const engine::Mirror& mirror() const { return *mirror_; }
  [[nodiscard]] const link::Uplink& uplink() const { return *uplink_; }

 private:
  explicit Guest(std::shared_ptr<link::Uplink> uplink) : uplink_(std::move(uplink)) {}

  std::shared_ptr<link::Uplink> uplink_;  // the engine's links hold it too
  std::unique_ptr<engine::Mirror> mirror_;
};

}  // namespace gannet::hub
