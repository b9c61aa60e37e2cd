#include "engine/netlink.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>

namespace gannet::engine {
namespace {

using Bytes = std::span<const std::byte>;

template <class T>
std::optional<T> read(Bytes bytes) {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// The next of a row of things that begin with a header, in which `length_of` finds the length of the whole; nothing at the end or where that is
// wrong.
template <class Header, class LengthOf>
std::optional<Bytes> take(Bytes& rest, LengthOf length_of) {
  const auto header = read<Header>(rest);
  if (!header) return std::nullopt;
  const std::size_t length = length_of(*header);
  if (length < sizeof(Header) || length > rest.size()) return std::nullopt;
  const Bytes taken = rest.first(length);
  rest = rest.subspan(std::min((length + 3) & ~std::size_t{3}, rest.size()));
  return taken;
}

struct Attribute {
  unsigned type;
  Bytes value;
};

std::optional<Attribute> take_attribute(Bytes& rest) {
  const auto whole = take<rtattr>(rest, [](const rtattr& header) { return header.rta_len; });
  if (!whole) return std::nullopt;
  return Attribute{read<rtattr>(*whole)->rta_type & static_cast<unsigned>(NLA_TYPE_MASK), whole->subspan(sizeof(rtattr))};
}

// An address or a number as the kernel gives them; nothing where the attribute is too short.
std::optional<IpAddress> address_in(Bytes value) {
  if (value.size() < 4) return std::nullopt;
  IpAddress ip;
  std::copy_n(value.begin(), 4, ip.bytes.begin());
  return ip;
}

std::optional<std::uint32_t> number_in(Bytes value) { return read<std::uint32_t>(value); }

template <class T>
void set(T& to, const std::optional<T>& value) {
  if (value) to = *value;
}

std::optional<KernelInterface> parse_interface(Bytes body) {
  const auto header = read<ifinfomsg>(body);
  if (!header || header->ifi_index <= 0) return std::nullopt;
  KernelInterface interface{.index = static_cast<std::uint32_t>(header->ifi_index), .name = {}, .mtu = 0, .up = (header->ifi_flags & IFF_UP) != 0};
  for (Bytes rest = body.subspan(sizeof(ifinfomsg)); const auto attribute = take_attribute(rest);) {
    if (attribute->type == IFLA_MTU) set(interface.mtu, number_in(attribute->value));
    if (attribute->type == IFLA_IFNAME) {
      const auto* text = reinterpret_cast<const char*>(attribute->value.data());
      interface.name.assign(text, ::strnlen(text, std::min<std::size_t>(attribute->value.size(), IFNAMSIZ)));
    }
  }
  return interface;
}

std::optional<KernelAddress> parse_address(Bytes body) {
  const auto header = read<ifaddrmsg>(body);
  if (!header || header->ifa_family != AF_INET || header->ifa_index == 0 || header->ifa_prefixlen > 32) return std::nullopt;
  std::optional<IpAddress> local, peer;
  for (Bytes rest = body.subspan(sizeof(ifaddrmsg)); const auto attribute = take_attribute(rest);) {
    if (attribute->type == IFA_LOCAL) local = address_in(attribute->value);
    if (attribute->type == IFA_ADDRESS) peer = address_in(attribute->value);
  }
  if (!local) local = peer;
  if (!local) return std::nullopt;
  // On a point-to-point link the prefix is the peer's.
  const std::uint8_t prefix = peer && *peer != *local ? std::uint8_t{32} : header->ifa_prefixlen;
  return KernelAddress{.interface = header->ifa_index, .ip = *local, .prefix = prefix};
}

void set_next_hop(stack::Route& route, Bytes attributes) {
  while (const auto attribute = take_attribute(attributes)) {
    if (attribute->type == RTA_GATEWAY) set(route.gateway, address_in(attribute->value));
  }
}

void set_first_hop(stack::Route& route, Bytes hops) {
  while (const auto hop = take<rtnexthop>(hops, [](const rtnexthop& header) { return header.rtnh_len; })) {
    const auto header = *read<rtnexthop>(*hop);
    if ((header.rtnh_flags & RTNH_F_DEAD) != 0) continue;
    route.interface = static_cast<std::uint32_t>(header.rtnh_ifindex);
    return set_next_hop(route, hop->subspan(sizeof(rtnexthop)));
  }
}

std::optional<stack::Route> parse_route(Bytes body) {
  const auto header = read<rtmsg>(body);
  if (!header || header->rtm_family != AF_INET || header->rtm_type != RTN_UNICAST || header->rtm_dst_len > 32) return std::nullopt;
  if (header->rtm_tos != 0 || (header->rtm_flags & (RTM_F_CLONED | RTNH_F_DEAD)) != 0) return std::nullopt;
  stack::Route route;
  route.prefix = header->rtm_dst_len;
  std::uint32_t table = header->rtm_table;
  for (Bytes rest = body.subspan(sizeof(rtmsg)); const auto attribute = take_attribute(rest);) {
    if (attribute->type == RTA_DST) set(route.network, address_in(attribute->value));
    if (attribute->type == RTA_GATEWAY) set(route.gateway, address_in(attribute->value));
    if (attribute->type == RTA_PREFSRC) set(route.source, address_in(attribute->value));
    if (attribute->type == RTA_OIF) set(route.interface, number_in(attribute->value));
    if (attribute->type == RTA_PRIORITY) set(route.metric, number_in(attribute->value));
    if (attribute->type == RTA_TABLE) set(table, number_in(attribute->value));
    if (attribute->type == RTA_MULTIPATH) set_first_hop(route, attribute->value);
  }
  if (table != RT_TABLE_MAIN || route.interface == 0) return std::nullopt;
  return route;
}

// False: there are as many as are taken.
template <class T>
bool append(std::vector<T>& to, std::optional<T> value) {
  if (!value) return true;
  if (to.size() == kernel_entries_at_most) return false;
  to.push_back(std::move(*value));
  return true;
}

// Of a dump: no number, or 0; of a refusal: the errno, negative.
int error_in(Bytes body) {
  const std::int32_t code = read<std::int32_t>(body).value_or(0);
  return code == std::numeric_limits<std::int32_t>::min() ? EPROTO : code < 0 ? -code : 0;
}

void parse_message(const nlmsghdr& header, Bytes body, KernelHost& host, NetlinkPart& part) {
  switch (header.nlmsg_type) {
    case NLMSG_DONE:
    case NLMSG_ERROR:
      part.last = true;
      part.error = error_in(body);
      return;
    case RTM_NEWLINK:
      host.overflow |= !append(host.interfaces, parse_interface(body));
      return;
    case RTM_NEWADDR:
      host.overflow |= !append(host.addresses, parse_address(body));
      return;
    case RTM_NEWROUTE:
      host.overflow |= !append(host.routes, parse_route(body));
      return;
    default:
      return;
  }
}

}  // namespace

NetlinkPart parse_netlink(std::span<const std::byte> bytes, std::uint32_t sequence, KernelHost& host) {
  NetlinkPart part;
  while (!bytes.empty() && !part.last) {
    const auto message = take<nlmsghdr>(bytes, [](const nlmsghdr& header) { return header.nlmsg_len; });
    if (!message) return {.last = true, .error = EPROTO};
    const auto header = *read<nlmsghdr>(*message);
    if (header.nlmsg_seq != sequence) continue;
    part.interrupted |= (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    parse_message(header, message->subspan(sizeof(nlmsghdr)), host, part);
  }
  return part;
}

}  // namespace gannet::engine
