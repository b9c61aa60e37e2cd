#include "cli/place.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <charconv>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

void set(Socket& socket, Option option, int value, const char* flag) {
  if (const auto done = socket.set(option, value); !done) fail(fmt::format("cannot do {} {}", flag, value), done.error());
}

}  // namespace

Socket Place::socket(Family family) {
  auto socket = Socket::open(family);
  if (!socket) fail("cannot open a socket", socket.error());
  if (settings_.tos >= 0) set(*socket, Option::tos, settings_.tos, "--tos");
  if (settings_.ttl >= 0) {
    set(*socket, Option::ttl, settings_.ttl, "--ttl");
    set(*socket, Option::multicast_ttl, settings_.ttl, "--ttl");
  }
  if (settings_.broadcast) set(*socket, Option::broadcast, 1, "--broadcast");
  if (settings_.receive_buffer != 0) set(*socket, Option::receive_buffer, static_cast<int>(settings_.receive_buffer), "--receive-buffer");
  if (!settings_.interface.empty()) {
    if (const auto done = socket->set_multicast_interface(interface_index(settings_.interface)); !done) {
      fail(fmt::format("cannot send by interface {}", settings_.interface), done.error());
    }
  }
  set(*socket, Option::receive_errors, 1, "receive_errors");
  for (const Join& wanted : settings_.joins) join(*socket, wanted);
  return *std::move(socket);
}

void Place::join(Socket& socket, const Join& join) {
  const std::uint32_t interface = join.interface.empty() ? 0 : interface_index(join.interface);
  const auto done = join.source ? socket.join_source(join.group, *join.source, interface) : socket.join(join.group, interface);
  if (done) return;
  const std::string group = join.group.to_string();
  if (done.error().code == ENODEV && join.interface.empty()) {
    throw Failure{Status::failed, fmt::format("cannot join {}: no route leads to it, so name the interface: --join {}%IFACE", group, group)};
  }
  fail(fmt::format("cannot join {}", group), done.error());
}

void Place::bind(Socket& socket, const Address& local) {
  const auto done = socket.bind(local);
  if (done) return;
  const std::string what = fmt::format("cannot bind {}", local.to_string());
  switch (done.error().code) {
    case EADDRINUSE:
      throw Failure{Status::failed,
                    fmt::format("{}: another socket has this port; choose another, or see who has it: ss -ulnp sport = {}", what, local.port)};
    case EADDRNOTAVAIL:
      throw Failure{Status::failed, fmt::format("{}: {} is no address of this host; `ip address` lists those it has", what, local.ip.to_string())};
    case EACCES:
    case EPERM:
      throw Failure{Status::permission, fmt::format("{}: ports below the system's limit are for root; choose one from 1024 up, or allow it with: "
                                                    "sudo sysctl net.ipv4.ip_unprivileged_port_start={}",
                                                    what, local.port)};
    default:
      fail(what, done.error());
  }
}

Address Place::resolve(const std::string& host, std::uint16_t port) {
  if (const auto number = IpAddress::parse(host)) {
    return {*number, port};
  }
  addrinfo hints{};
  hints.ai_family = !settings_.family ? AF_UNSPEC : settings_.family == Family::ipv4 ? AF_INET : AF_INET6;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0) {
    throw Failure{Status::failed, fmt::format("cannot find the host \"{}\": {}; check the name, or give its IP address", host, gai_strerror(error))};
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Address address;
  address.port = port;
  if (found->ai_family == AF_INET) {
    const auto* raw = reinterpret_cast<const sockaddr_in*>(found->ai_addr);
    address.ip = IpAddress::ipv4(ntohl(raw->sin_addr.s_addr));
  } else {
    const auto* raw = reinterpret_cast<const sockaddr_in6*>(found->ai_addr);
    address.ip.family = Family::ipv6;
    std::memcpy(address.ip.bytes.data(), &raw->sin6_addr, sizeof raw->sin6_addr);
    address.scope = raw->sin6_scope_id;
  }
  return address;
}

std::uint32_t Place::interface_index(const std::string& name) const {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_number = error == std::errc{} && end == name.data() + name.size();
  std::array<char, IF_NAMESIZE> known{};
  if (is_number && if_indextoname(number, known.data()) != nullptr) return number;
  if (const unsigned index = if_nametoindex(name.c_str()); index != 0) return index;
  throw Failure{Status::failed, fmt::format("there is no interface \"{}\"; `ip link` lists those there are", name)};
}

void Place::finish(Totals& totals, const Socket& socket) const {
  const auto overflow = socket.get(Option::overflow_count);
  if (overflow && *overflow > 0) totals.drops.push_back({"receive_queue_full", static_cast<std::uint64_t>(*overflow)});
}

}  // namespace gannet::cli
