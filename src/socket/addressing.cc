#include "socket/addressing.h"

#include <sys/random.h>

#include <cerrno>
#include <charconv>

#include "link/tap_link.h"

namespace gannet::socket {
namespace {

std::uint64_t random_number() {
  std::uint64_t number = 0;
  while (::getrandom(&number, sizeof number, 0) != sizeof number) {
  }
  return number;
}

}  // namespace

Result<Addressing> parse_addressing(std::string_view text) {
  Addressing addressing;
  const std::size_t comma = text.find(',');
  const std::string_view network = text.substr(0, comma);
  const std::size_t slash = network.find('/');
  if (slash == std::string_view::npos) {
    return Error{EINVAL, "a host needs an address and the length of its network's prefix: ADDR/LEN, for instance 10.7.0.2/24"};
  }
  const auto ip = IpAddress::parse(network.substr(0, slash));
  if (!ip) return ip.error();
  if (!ip->is_ipv4()) return Error{EAFNOSUPPORT, "a host of ours speaks IPv4: give it an IPv4 address"};
  const std::string_view length = network.substr(slash + 1);
  const auto [end, bad] = std::from_chars(length.data(), length.data() + length.size(), addressing.prefix);
  if (bad != std::errc{} || end != length.data() + length.size() || addressing.prefix < 1 || addressing.prefix > 32) {
    return Error{EINVAL, "the length of an IPv4 prefix is 1 to 32, as in 10.7.0.2/24"};
  }
  addressing.ip = *ip;
  if (comma == std::string_view::npos) return addressing;

  const std::string_view rest = text.substr(comma + 1);
  if (!rest.starts_with("gw=")) return Error{EINVAL, "after the address only ,gw=ADDR may follow: the router to other networks"};
  const auto gateway = IpAddress::parse(rest.substr(3));
  if (!gateway) return gateway.error();
  const std::uint32_t mask = ~std::uint32_t{0} << (32 - addressing.prefix);
  if (!gateway->is_ipv4() || *gateway == *ip || ((gateway->number() ^ ip->number()) & mask) != 0) {
    return Error{EINVAL, "the gateway must be another address of the host's own network"};
  }
  addressing.gateway = *gateway;
  return addressing;
}

Result<TapPlace> parse_tap(std::string_view via) {
  if (!via.starts_with("tap:")) return Error{EINVAL, "a host is on a link: tap:NAME,ADDR/LEN[,gw=ADDR], for instance tap:gannet0,10.7.0.2/24"};
  via.remove_prefix(4);
  const std::size_t comma = via.find(',');
  if (comma == std::string_view::npos)
    return Error{EINVAL, "a TAP host needs a name and an address: tap:NAME,ADDR/LEN, for instance tap:gannet0,10.7.0.2/24"};
  const auto addressing = parse_addressing(via.substr(comma + 1));
  if (!addressing) return addressing.error();
  return TapPlace{via.substr(0, comma), *addressing};
}

Result<std::unique_ptr<link::Link>> open_tap(std::string_view name) {
  auto tap = link::TapLink::open(name, link::local_mac(random_number()));
  if (!tap) return tap.error();
  return std::unique_ptr<link::Link>(std::move(*tap));
}

Result<std::uint32_t> configure(engine::Engine& engine, std::unique_ptr<link::Link> link, const Addressing& addressing) {
  auto interface = engine.add_link(std::move(link));
  if (!interface) return interface;
  stack::Stack& stack = engine.stack();
  if (const auto added = stack.add_address(*interface, addressing.ip, addressing.prefix, engine.now()); !added) return added.error();
  if (!addressing.gateway) return interface;
  const stack::Route route{.network = IpAddress::any(Family::ipv4), .prefix = 0, .gateway = *addressing.gateway, .interface = *interface};
  if (const auto routed = stack.add_route(route); !routed) return routed.error();
  return interface;
}

}  // namespace gannet::socket
