#include "beacon/ports.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace gannet::beacon {
namespace {

constexpr IpAddress ipv4_group = IpAddress::ipv4(239, 255, 71, 66);
constexpr IpAddress ipv6_group{Family::ipv6,
                               {std::byte{0xff},
                                std::byte{0x15},
                                {},
                                {},
                                {},
                                {},
                                {},
                                {},
                                {},
                                {},
                                std::byte{0x67},
                                std::byte{0x61},
                                std::byte{0x6e},
                                std::byte{0x6e},
                                std::byte{0x65},
                                std::byte{0x74}}};
constexpr int receive_buffer = 1 << 20;  // all peers may speak at once; as much of it as is to be had

struct Interface {
  std::uint32_t index = 0;
  std::string name;
  bool has_ipv4 = false, has_ipv6 = false;
  IpAddress source{};  // its first IPv4 address
};

// Those of the kernel that are up and have an address. Whether they say that they can multicast is not asked: those of containers often do not, and
// can.
std::vector<Interface> kernel_interfaces() {
  std::vector<Interface> all;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return all;
  for (const ifaddrs* each = first; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
    const int family = each->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    auto known = std::ranges::find(all, each->ifa_name, &Interface::name);
    if (known == all.end()) {
      const std::uint32_t index = ::if_nametoindex(each->ifa_name);
      if (index == 0) continue;  // it has just gone
      known = all.insert(all.end(), {.index = index, .name = each->ifa_name});
    }
    if (family == AF_INET && !known->has_ipv4)
      known->source = IpAddress::ipv4(ntohl(reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr.s_addr));
    // On the loopback interface IPv4 does for this machine's beacons; there is no route to IPv6 groups there.
    (family == AF_INET ? known->has_ipv4 : known->has_ipv6) |= family == AF_INET || (each->ifa_flags & IFF_LOOPBACK) == 0;
  }
  ::freeifaddrs(first);
  return all;
}

std::span<const std::byte> octets_of(const sockaddr* address) {
  if (address->sa_family == AF_INET) return std::as_bytes(std::span(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 1));
  return std::as_bytes(std::span(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, 1));
}

// An IPv6 group of one link's scope is bound to together with the link: a socket for all links is bound to any address.
bool is_bindable(const IpAddress& group) { return group.is_ipv4() || (std::to_integer<unsigned>(group.bytes[1]) & 0xf) > 2; }

}  // namespace

std::vector<IpAddress> Ports::groups_of(const BeaconOptions& options, const Host* host) {
  if (!options.multicast) return {};
  if (!options.groups.empty()) return options.groups;
  if (host != nullptr) return {ipv4_group};
  return {ipv4_group, ipv6_group};
}

Result<void> Ports::add(Host* host, Family family, Door door, const IpAddress& local, std::uint16_t port, const BeaconOptions& options) {
  auto socket = host != nullptr ? Socket::open(*host, family) : Socket::open(family);
  if (!socket) return socket.error();
  struct Setting {
    Option option;
    int value;
  };
  const bool is_shared = door == Door::shared;
  for (const Setting& setting : {Setting{Option::multicast_all, 0}, Setting{Option::receive_errors, is_shared ? 0 : 1},
                                 Setting{Option::reuse_address, is_shared ? 1 : 0}, Setting{Option::multicast_ttl, options.ttl}}) {
    if (const auto set = socket->set(setting.option, setting.value); !set) return set.error();
  }
  (void)socket->set(Option::receive_buffer, receive_buffer);
  if (const auto bound = socket->bind({local, port}); !bound) return bound.error();
  ports_.push_back({*std::move(socket), family, door, local.is_multicast() ? local : IpAddress{}});
  return {};
}

Result<void> Ports::add_groups(Host* host, const BeaconOptions& options) {
  for (const IpAddress& group : groups_of(options, host)) {
    const IpAddress local = is_bindable(group) ? group : IpAddress::any(group.family);
    auto added = add(host, group.family, Door::shared, local, options.port, options);
    if (added) {
      ports_.back().group = group;
    } else if (!options.groups.empty() || group.is_ipv4()) {
      return added.error();  // a default IPv6 group is left out where there is no IPv6
    }
  }
  return {};
}

Result<Ports> Ports::open(const BeaconOptions& options, Host* host) {
  Ports ports;
  ports.wanted_ = options.interfaces;
  ports.multicast_ = options.multicast;
  if (host != nullptr) {
    ports.host_interface_ = host->interface();
    ports.host_address_ = host->address();
    const auto is_ipv6 = [](const auto& ip) { return !ip.is_ipv4(); };
    if (std::ranges::any_of(options.groups, is_ipv6) || std::ranges::any_of(options.seeds, is_ipv6, &Address::ip)) {
      return Error{EAFNOSUPPORT, "a host of ours speaks IPv4: give the beacon IPv4 groups and seeds"};
    }
    if (!options.interfaces.empty()) return Error{EINVAL, "a host of ours has one interface: name none"};
  }
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    if (host != nullptr && family == Family::ipv6) continue;
    const IpAddress any = IpAddress::any(family);
    auto added = ports.add(host, family, Door::own, any, family == Family::ipv6 ? 0 : ports.own_port_, options);
    if (!added && family == Family::ipv4) return added.error();
    if (!added) continue;  // a machine without IPv6; a seed there is told of when it is sent to
    if (family == Family::ipv4) {
      const auto local = ports.ports_.back().socket.local_address();
      if (!local) return local.error();
      ports.own_port_ = local->port;
    }
    if (options.name.empty()) continue;
    if (added = ports.add(host, family, Door::shared, any, options.port, options); !added && family == Family::ipv4) return added.error();
  }
  if (const auto added = ports.add_groups(host, options); !added) return added.error();
  for (Port& port : ports.ports_) {
    const auto fd = port.socket.fd();
    if (!fd) return fd.error();
    ports.fds_.push_back(*fd);
  }
  return ports;
}

Result<std::vector<Link>> Ports::join() {
  std::vector<Interface> interfaces;
  if (host_interface_ != 0) {
    interfaces.push_back({.index = host_interface_, .name = "host", .has_ipv4 = true, .source = host_address_});
  } else if (multicast_) {
    interfaces = kernel_interfaces();
    for (const std::string& name : wanted_) {
      if (!has_joined_ && ::if_nametoindex(name.c_str()) == 0)
        return Error{ENODEV, "an interface that the beacon is to use is not there; `ip link` lists those that are"};
    }
    if (!wanted_.empty()) std::erase_if(interfaces, [&](const Interface& each) { return std::ranges::find(wanted_, each.name) == wanted_.end(); });
    if (interfaces.size() > most_interfaces) interfaces.resize(most_interfaces);
  }
  has_joined_ = true;
  for (Joined& each : joined_) each.is_current = false;
  for (const Interface& interface : interfaces) {
    for (Port& port : ports_) {
      if (port.group.is_any() || !(port.group.is_ipv4() ? interface.has_ipv4 : interface.has_ipv6)) continue;
      auto known =
          std::ranges::find_if(joined_, [&](const Joined& each) { return each.link.group == port.group && each.link.interface == interface.index; });
      if (known == joined_.end()) known = joined_.insert(known, {{port.group, interface.index, interface.name, EAGAIN}, {}, true});
      known->is_current = true;
      known->source = port.group.is_ipv4() ? interface.source : IpAddress::any(port.family);
      if (known->link.error == 0) continue;
      const auto done = port.socket.join(port.group, interface.index);
      known->link.error = done || done.error().code == EADDRINUSE ? 0 : done.error().code;
    }
  }
  for (const Joined& gone : joined_) {  // an interface that lost its last address, not to be heard by any more
    if (gone.is_current) continue;
    for (Port& port : ports_) {
      if (port.group == gone.link.group) (void)port.socket.leave(port.group, gone.link.interface);
    }
  }
  std::erase_if(joined_, [](const Joined& each) { return !each.is_current; });
  std::vector<Link> links;
  for (const Joined& each : joined_) links.push_back(each.link);
  return links;
}

std::vector<Network> Ports::networks() const {
  constexpr std::size_t most_networks = 256;
  std::vector<Network> all;
  ifaddrs* first = nullptr;
  if (host_interface_ != 0 || ::getifaddrs(&first) != 0) return all;
  for (const ifaddrs* each = first; each != nullptr && all.size() < most_networks; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || each->ifa_netmask == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
    const int family = each->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    Network network{IpAddress::any(family == AF_INET ? Family::ipv4 : Family::ipv6)};
    const auto octets = octets_of(each->ifa_addr);
    std::memcpy(network.ip.bytes.data(), octets.data(), octets.size());
    for (const std::byte octet : octets_of(each->ifa_netmask))
      network.length += static_cast<unsigned>(std::popcount(std::to_integer<unsigned>(octet)));
    if (network.length != 0) all.push_back(network);
  }
  ::freeifaddrs(first);
  return all;
}

void Ports::receive(const std::function<void(const Arrival&)>& take) {
  for (Port& port : ports_) {
    const auto batch = port.socket.receive_borrowed(64, Deadline::now());
    if (!batch) continue;
    for (const Datagram& datagram : *batch) {
      take({.data = datagram.data,
            .route = {datagram.peer, datagram.local.ip, datagram.interface, port.door},
            .to_group = datagram.local.ip.is_multicast()});
    }
  }
}

void Ports::receive_errors(const std::function<void(const Address& peer, int code)>& take) {
  for (Port& port : ports_) {
    if (port.door == Door::shared) continue;
    while (const auto error = port.socket.receive_error()) take(error->peer, error->code);
  }
}

int Ports::send(const Departure& departure) {
  const Route& route = departure.route;
  for (Port& port : ports_) {
    if (port.family != route.peer.ip.family || port.door != route.door || !port.group.is_any()) continue;
    Outgoing out{.data = departure.data, .to = route.peer, .source = {route.local}, .interface = route.interface};
    if (route.peer.ip.is_multicast()) {
      // The kernel would choose an address of another interface for what leaves by lo, or none.
      const auto link = std::ranges::find_if(
          joined_, [&](const Joined& each) { return each.link.group == route.peer.ip && each.link.interface == route.interface; });
      if (link != joined_.end()) out.source.ip = link->source;
    }
    const auto sent = port.socket.send(out, Deadline::now());
    return sent ? 0 : sent.error().code;
  }
  return EAFNOSUPPORT;
}

}  // namespace gannet::beacon
