// PosixSocket's groups: IP_ADD_MEMBERSHIP and its like, which name an interface by an address of it, and MCAST_JOIN_GROUP and its like, by its index.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "socket/posix.h"

namespace gannet::socket {
namespace {

struct Change {
  Membership kind{};
  IpAddress group{}, source{};
  std::uint32_t interface = 0;
};

std::optional<IpAddress> ipv4_in(const sockaddr_storage& address) {
  if (address.ss_family != AF_INET) return std::nullopt;
  sockaddr_in ipv4;
  std::memcpy(&ipv4, &address, sizeof ipv4);
  return parse_ip(ipv4.sin_addr);
}

std::optional<Membership> kind_of(int name) {
  switch (name) {
    case IP_ADD_MEMBERSHIP:
    case MCAST_JOIN_GROUP:
      return Membership::join;
    case IP_DROP_MEMBERSHIP:
    case MCAST_LEAVE_GROUP:
      return Membership::leave;
    case IP_ADD_SOURCE_MEMBERSHIP:
    case MCAST_JOIN_SOURCE_GROUP:
      return Membership::join_source;
    case IP_DROP_SOURCE_MEMBERSHIP:
    case MCAST_LEAVE_SOURCE_GROUP:
      return Membership::leave_source;
    case IP_BLOCK_SOURCE:
    case MCAST_BLOCK_SOURCE:
      return Membership::block_source;
    case IP_UNBLOCK_SOURCE:
    case MCAST_UNBLOCK_SOURCE:
      return Membership::unblock_source;
    default:
      return std::nullopt;
  }
}

// 0: any, or as the index says. An address that is nobody's is `error`.
Result<std::uint32_t> interface_of(const StackSocket& stack, const in_addr& own, int error) {
  if (own.s_addr == 0) return 0u;
  const std::uint32_t found = stack.host().interface_of(parse_ip(own));
  if (found == 0) return Error{error};
  return found;
}

// An ip_mreqn, or an ip_mreq, which is its beginning.
std::optional<ip_mreqn> mreqn_in(std::span<const std::byte> value) {
  if (value.size() < sizeof(ip_mreq)) return std::nullopt;
  ip_mreqn request{};
  std::memcpy(&request, value.data(), std::min(value.size(), sizeof request));
  return request;
}

Result<std::uint32_t> interface_of(const StackSocket& stack, const ip_mreqn& request, int error) {
  if (request.imr_ifindex != 0) return static_cast<std::uint32_t>(request.imr_ifindex);
  return interface_of(stack, request.imr_address, error);
}

Result<Change> parse_by_address(const StackSocket& stack, Membership kind, std::span<const std::byte> value) {
  if (kind == Membership::join || kind == Membership::leave) {
    const auto request = mreqn_in(value);
    if (!request) return Error{EINVAL};
    const auto interface = interface_of(stack, *request, ENODEV);
    if (!interface) return interface.error();
    return Change{kind, parse_ip(request->imr_multiaddr), {}, *interface};
  }
  const auto request = read_as<ip_mreq_source>(value);
  if (!request) return Error{EINVAL};
  const auto interface = interface_of(stack, request->imr_interface, ENODEV);
  if (!interface) return interface.error();
  return Change{kind, parse_ip(request->imr_multiaddr), parse_ip(request->imr_sourceaddr), *interface};
}

Result<Change> parse_by_index(Membership kind, std::span<const std::byte> value) {
  if (kind == Membership::join || kind == Membership::leave) {
    const auto request = read_as<group_req>(value);
    if (!request) return Error{EINVAL};
    const auto group = ipv4_in(request->gr_group);
    if (!group) return Error{EINVAL};
    return Change{kind, *group, {}, request->gr_interface};
  }
  const auto request = read_as<group_source_req>(value);
  if (!request) return Error{EINVAL};
  const auto group = ipv4_in(request->gsr_group);
  const auto source = ipv4_in(request->gsr_source);
  if (!group || !source) return Error{EADDRNOTAVAIL};
  return Change{kind, *group, *source, request->gsr_interface};
}

}  // namespace

Result<void> PosixSocket::set_group_option(int fd, int name, std::span<const std::byte> value) {
  const auto kind = kind_of(name);
  if (!kind && name != IP_MULTICAST_IF) return Error{ENOPROTOOPT};
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  if (!kind) return set_multicast_interface(**stack, value);
  const bool by_index = name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP;
  const auto change = by_index ? parse_by_index(*kind, value) : parse_by_address(**stack, *kind, value);
  if (!change) return change.error();
  return (*stack)->change_membership(change->kind, change->group, change->source, change->interface);
}

// An ip_mreqn, an ip_mreq, or an address alone.
Result<void> PosixSocket::set_multicast_interface(StackSocket& stack, std::span<const std::byte> value) {
  auto request = mreqn_in(value);
  if (!request) {
    const auto address = read_as<in_addr>(value);
    if (!address) return Error{EINVAL};
    request = ip_mreqn{.imr_multiaddr = {}, .imr_address = *address, .imr_ifindex = 0};
  }
  const auto interface = interface_of(stack, *request, EADDRNOTAVAIL);
  if (!interface) return interface.error();
  const auto done = stack.set_multicast_interface(*interface);
  if (done) write_note(multicast_address_note, request->imr_address.s_addr);
  return done;
}

}  // namespace gannet::socket
