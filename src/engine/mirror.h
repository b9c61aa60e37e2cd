// A guest host's picture of the kernel's network: the same interfaces, indices, addresses and routes, followed as they change.
//
//   kernel -- something changed --> follow() -> read_kernel() -> reconcile(): stack, links
//
// What the kernel tells unasked is taken as no more than that something changed; then all is asked for anew, so that what was lost on the way
// (ENOBUFS), or never told (the routes that go with an interface), does no harm.
// The kernel's decisions are repeated from its main table alone: rules (ip-rule(8)) are not followed. A new name of an interface is not followed.
// Owner: a guest.  Thread: the engine's.  Allocates: when something changed.
// Bounds: stack::Config's; what exceeds them, or what no host can have, is left out and counted (Mirror::omitted()). Interfaces with addresses come
// first.
// Sources: rtnetlink(7).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "engine/netlink.h"
#include "link/link.h"

namespace gannet::engine {

struct MirrorHooks {
  // The link of an interface of the kernel's; of `lo`, index 1, first.
  std::function<Result<std::unique_ptr<link::Link>>(std::uint32_t interface, const std::string& name, std::size_t mtu)> open_face;
  // All addresses of the kernel's, before the stack learns of them.
  std::function<void(std::span<const IpAddress>)> own_addresses;
};

// What of the kernel's the stack does not have, as of now. Where the kernel has more than is read (kernel_entries_at_most), of what was read.
struct Omitted {
  std::size_t interfaces = 0, addresses = 0, routes = 0;
  friend bool operator==(const Omitted&, const Omitted&) = default;
};

// The network namespace of the caller.
Result<KernelHost> read_kernel();
// Makes the stack what the kernel is, with as few changes as that takes. The stack is a guest's.
Omitted reconcile(const KernelHost& kernel, Engine& engine, const MirrorHooks& hooks);

class Mirror {
 public:
  // Reads the kernel and follows it from then on, as long as the engine lives. In the engine's thread, or before it has one.
  static Result<std::unique_ptr<Mirror>> create(Engine& engine, MirrorHooks hooks);
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  [[nodiscard]] const Omitted& omitted() const { return omitted_; }

 private:
  Mirror(Engine& engine, MirrorHooks hooks, Fd changes) : engine_(engine), hooks_(std::move(hooks)), changes_(std::move(changes)) {}
  void follow();
  Result<void> refresh();

  Engine& engine_;
  const MirrorHooks hooks_;
  const Fd changes_;  // a netlink socket on which the kernel tells of them
  Omitted omitted_;
};

}  // namespace gannet::engine
