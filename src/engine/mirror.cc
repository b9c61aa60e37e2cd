#include "engine/mirror.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

namespace gannet::engine {
namespace {

constexpr std::size_t part_size = 32768;  // what the kernel puts into one part of a dump, at most
constexpr int attempts = 4;               // at a picture of a kernel that does not change meanwhile

Result<Fd> open_netlink(std::uint32_t groups) {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return Error{errno, "the kernel's network cannot be read: no netlink socket"};
  sockaddr_nl local{};
  local.nl_family = AF_NETLINK;
  local.nl_groups = groups;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) {
    return Error{errno, "the kernel's network cannot be read: the netlink socket has no name"};
  }
  return fd;
}

// The interfaces with what belongs to one address family only left out: much else is said of each.
struct LinkRequest {
  nlmsghdr header{};
  ifinfomsg body{};
  rtattr filter{};
  std::uint32_t mask = 0;
};
struct AddressRequest {
  nlmsghdr header{};
  ifaddrmsg body{};
};
struct RouteRequest {
  nlmsghdr header{};
  rtmsg body{};
};

template <class Request>
Result<void> ask(int fd, Request request, std::uint16_t type) {
  request.header = {.nlmsg_len = sizeof request, .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = type, .nlmsg_pid = 0};
  if (::send(fd, &request, sizeof request, 0) == sizeof request) return {};
  return Error{errno, "the kernel's network cannot be read"};
}

// The kernel makes the parts of a dump as they are taken, so there is always one.
Result<NetlinkPart> take_dump(int fd, std::uint16_t type, KernelHost& host) {
  std::vector<std::byte> buffer(part_size);
  NetlinkPart whole;
  while (!whole.last) {
    sockaddr_nl from{};
    iovec place{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &place;
    message.msg_iovlen = 1;
    const ssize_t size = ::recvmsg(fd, &message, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return Error{errno, "the kernel's network cannot be read"};
    if (from.nl_pid != 0) continue;  // not the kernel
    if ((message.msg_flags & MSG_TRUNC) != 0) return Error{EPROTO, "the kernel says more of its network at once than there is room for"};
    const NetlinkPart part = parse_netlink(std::span(buffer).first(static_cast<std::size_t>(size)), type, host);
    if (part.error != 0) return Error{part.error, "the kernel does not tell of its network"};
    whole.last = part.last || host.overflow;
    whole.interrupted |= part.interrupted;
  }
  return whole;
}

template <class Request>
Result<void> dump(const Request& request, std::uint16_t type, KernelHost& host, NetlinkPart& all) {
  // One socket for each: what is not read to its end goes with it.
  const auto fd = open_netlink(0);
  if (!fd) return fd.error();
  if (auto asked = ask(fd->get(), request, type); !asked) return asked;
  const auto part = take_dump(fd->get(), type, host);
  if (!part) return part.error();
  all.interrupted |= part->interrupted;
  return {};
}

Result<NetlinkPart> dump_all(KernelHost& host) {
  NetlinkPart all;
  LinkRequest links;
  links.body.ifi_family = AF_UNSPEC;
  links.filter = {.rta_len = RTA_LENGTH(sizeof links.mask), .rta_type = IFLA_EXT_MASK};
  links.mask = RTEXT_FILTER_SKIP_STATS;
  AddressRequest addresses;
  addresses.body.ifa_family = AF_INET;
  RouteRequest routes;
  routes.body.rtm_family = AF_INET;
  if (const auto done = dump(links, RTM_GETLINK, host, all); !done) return done.error();
  if (const auto done = dump(addresses, RTM_GETADDR, host, all); !done) return done.error();
  if (const auto done = dump(routes, RTM_GETROUTE, host, all); !done) return done.error();
  return all;
}

// What the stack is to have: the kernel's, as far as it can.
struct Wanted {
  std::vector<KernelInterface> interfaces;
  std::vector<KernelAddress> addresses;
  std::vector<stack::Route> routes;

  [[nodiscard]] const KernelInterface* find(std::uint32_t index) const {
    const auto found = std::ranges::find(interfaces, index, &KernelInterface::index);
    return found == interfaces.end() ? nullptr : &*found;
  }
};

// The stack's `lo` is its own, and as large as packets can be.
constexpr std::uint32_t mtu_of(const KernelInterface& interface) {
  return interface.index == stack::loopback_index ? stack::loopback_mtu : std::min(interface.mtu, stack::loopback_mtu);
}

Wanted wanted_of(const KernelHost& kernel, const stack::Config& config) {
  Wanted wanted;
  const auto is_used = [&](const KernelInterface& interface) {
    const auto address = std::ranges::find(kernel.addresses, interface.index, &KernelAddress::interface);
    return interface.index == stack::loopback_index || address != kernel.addresses.end();
  };
  wanted.interfaces = kernel.interfaces;
  std::ranges::sort(wanted.interfaces, {}, [&](const KernelInterface& interface) { return std::pair(!is_used(interface), interface.index); });
  if (wanted.interfaces.size() > config.interfaces) wanted.interfaces.resize(config.interfaces);
  for (const KernelAddress& address : kernel.addresses) {
    // The kernel can have an address twice, in networks of different sizes; it is one all the same.
    if (wanted.find(address.interface) == nullptr || std::ranges::find(wanted.addresses, address.ip, &KernelAddress::ip) != wanted.addresses.end())
      continue;
    wanted.addresses.push_back(address);
  }
  for (const stack::Route& route : kernel.routes) {
    if (wanted.routes.size() < config.routes && wanted.find(route.interface) != nullptr) wanted.routes.push_back(route);
  }
  return wanted;
}

class Reconciliation {
 public:
  Reconciliation(const Wanted& wanted, Engine& engine, const MirrorHooks& hooks)
      : wanted_(wanted), engine_(engine), stack_(engine.stack()), hooks_(hooks) {}

  // What goes, goes first: it makes room, and an address may have moved.
  void run() {
    remove_routes();
    remove_addresses();
    remove_interfaces();
    for (const KernelInterface& interface : wanted_.interfaces) set_interface(interface);
    for (const KernelAddress& address : wanted_.addresses) add_address(address);
    for (const stack::Route& route : wanted_.routes) static_cast<void>(stack_.add_route(route));
  }

 private:
  void remove_routes();
  void remove_addresses();
  void remove_interfaces();
  void set_interface(const KernelInterface& interface);
  void add_address(const KernelAddress& address);

  const Wanted& wanted_;
  Engine& engine_;
  stack::Stack& stack_;
  const MirrorHooks& hooks_;
};

void Reconciliation::remove_routes() {
  const std::vector<stack::Route> present(stack_.routes().all().begin(), stack_.routes().all().end());
  for (const stack::Route& route : present) {
    if (std::ranges::find(wanted_.routes, route) == wanted_.routes.end()) static_cast<void>(stack_.remove_route(route));
  }
}

void Reconciliation::remove_addresses() {
  std::vector<KernelAddress> present;
  for (const auto& interface : stack_.interfaces().all()) {
    for (const stack::InterfaceAddress& address : interface->addresses()) present.push_back({interface->index(), address.ip, address.prefix});
  }
  for (const KernelAddress& address : present) {
    const bool ours = address.interface == stack::loopback_index && address.ip == IpAddress::ipv4(127, 0, 0, 1);
    if (ours || std::ranges::find(wanted_.addresses, address) != wanted_.addresses.end()) continue;
    static_cast<void>(stack_.remove_address(address.interface, address.ip, engine_.now()));
  }
}

void Reconciliation::remove_interfaces() {
  std::vector<std::uint32_t> gone;
  for (const auto& interface : stack_.interfaces().all()) {
    if (!interface->is_loopback() && wanted_.find(interface->index()) == nullptr) gone.push_back(interface->index());
  }
  for (const std::uint32_t index : gone) {
    engine_.remove_link(index);
    static_cast<void>(stack_.remove_interface(index));
  }
}

void Reconciliation::set_interface(const KernelInterface& interface) {
  const std::uint32_t mtu = mtu_of(interface);
  if (stack_.interfaces().find(interface.index) == nullptr) {
    const stack::InterfaceSetup setup{.name = interface.name, .mtu = mtu, .ethernet = false, .index = interface.index, .guest = true};
    if (!stack_.add_interface(setup)) return;
  }
  if (engine_.link(interface.index) == nullptr) {
    auto face = hooks_.open_face(interface.index, interface.name, mtu);
    // Without a way out it would be a hole: it is not there, and omitted (Omitted).
    if (!face || !engine_.add_link(std::move(*face), interface.index)) {
      if (interface.index != stack::loopback_index) static_cast<void>(stack_.remove_interface(interface.index));
      return;
    }
  }
  const stack::Interface& present = *stack_.interfaces().find(interface.index);
  if (present.is_loopback()) return;
  if (present.mtu() != mtu) static_cast<void>(stack_.set_mtu(interface.index, mtu));
  if (present.is_up() != interface.up) static_cast<void>(stack_.set_up(interface.index, interface.up, engine_.now()));
}

void Reconciliation::add_address(const KernelAddress& address) {
  const stack::Interface* interface = stack_.interfaces().find(address.interface);
  if (interface == nullptr || interface->find(address.ip) != nullptr) return;
  static_cast<void>(stack_.add_address(address.interface, address.ip, address.prefix, engine_.now()));
}

constexpr std::size_t beyond(std::size_t all, std::size_t present) { return all > present ? all - present : 0; }

Omitted count_omitted(const KernelHost& kernel, stack::Stack& stack) {
  const auto interfaces = stack.interfaces().all();
  const auto is_omitted = [&](const KernelAddress& address) {
    return std::ranges::none_of(interfaces, [&](const auto& interface) { return interface->find(address.ip) != nullptr; });
  };
  return {.interfaces = beyond(kernel.interfaces.size(), interfaces.size()),
          .addresses = static_cast<std::size_t>(std::ranges::count_if(kernel.addresses, is_omitted)),
          .routes = beyond(kernel.routes.size(), stack.routes().all().size())};
}

}  // namespace

Result<KernelHost> read_kernel() {
  KernelHost host;
  for (int i = 0; i < attempts; ++i) {
    host = {};
    const auto all = dump_all(host);
    if (!all) return all.error();
    if (!all->interrupted) break;  // what changed while we read is told of, too
  }
  return host;
}

Omitted reconcile(const KernelHost& kernel, Engine& engine, const MirrorHooks& hooks) {
  std::vector<IpAddress> own;
  for (const KernelAddress& address : kernel.addresses) own.push_back(address.ip);
  hooks.own_addresses(own);
  const Wanted wanted = wanted_of(kernel, engine.stack().config());
  Reconciliation(wanted, engine, hooks).run();
  return count_omitted(kernel, engine.stack());
}

Result<std::unique_ptr<Mirror>> Mirror::create(Engine& engine, MirrorHooks hooks) {
  // It listens before it reads, so that no change falls in between.
  auto changes = open_netlink(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE);
  if (!changes) return changes.error();
  std::unique_ptr<Mirror> mirror(new Mirror(engine, std::move(hooks), std::move(*changes)));
  if (const auto read = mirror->refresh(); !read) return read.error();
  const auto watched = engine.watch_readable(mirror->changes_.get(), [self = mirror.get()] { self->follow(); });
  if (!watched) return watched.error();
  return mirror;
}

// All that was told since is one change.
void Mirror::follow() {
  std::array<std::byte, 4096> unread;  // the rest of a message that is longer is lost, and not missed
  for (;;) {
    if (::recv(changes_.get(), unread.data(), unread.size(), 0) >= 0 || errno == ENOBUFS || errno == EINTR) continue;
    break;
  }
  static_cast<void>(refresh());  // where the kernel cannot be read now, the stack stays as it is until the next change
}

Result<void> Mirror::refresh() {
  const auto kernel = read_kernel();
  if (!kernel) return kernel.error();
  omitted_ = reconcile(*kernel, engine_, hooks_);
  return {};
}

}  // namespace gannet::engine
