#include "socket/posix_inet6.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "socket/message.h"
#include "socket/posix.h"

namespace gannet::socket {
namespace {

constexpr socklen_t shortest_sockaddr_in6 = 24;  // RFC 2133's, without the scope

struct Inet6Row {
  int name;
  int min, max;  // -1: as it began
  int initial;
  bool is_flag = false;  // any number but 0 is 1
};

constexpr int any_number = std::numeric_limits<int>::max();
constexpr std::uint64_t inet6_value_is_set = std::uint64_t{1} << 32;  // and the value below it
constexpr std::array<Inet6Row, Inet6Options::count> inet6_rows{{
    {IPV6_UNICAST_HOPS, -1, 255, 64},
    {IPV6_MULTICAST_HOPS, -1, 255, 1},
    {IPV6_MULTICAST_LOOP, 0, 1, 1},
    {IPV6_MULTICAST_IF, 0, any_number, 0},
    {IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_OMIT, IPV6_PMTUDISC_WANT},
    {IPV6_TCLASS, -1, 255, 0},
    {IPV6_RECVERR, 0, 1, 0, true},
    {IPV6_RECVHOPLIMIT, 0, 1, 0, true},
    {IPV6_RECVTCLASS, 0, 1, 0, true},
}};

std::size_t inet6_index_of(int name) { return static_cast<std::size_t>(std::ranges::find(inet6_rows, name, &Inet6Row::name) - inet6_rows.begin()); }

bool is_inet6_group_option(int name) {
  return name == IPV6_JOIN_GROUP || name == IPV6_LEAVE_GROUP || (name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP);
}

// What Linux says where no interface has IPv6.
Error refuse_inet6_group(int name, std::span<const std::byte> value) {
  if (name == IPV6_JOIN_GROUP || name == IPV6_LEAVE_GROUP) {
    const auto request = read_as<ipv6_mreq>(value);
    if (!request || request->ipv6mr_multiaddr.s6_addr[0] != 0xff) return Error{EINVAL};
    return Error{name == IPV6_JOIN_GROUP ? ENODEV : EADDRNOTAVAIL};
  }
  const bool of_source = name != MCAST_JOIN_GROUP && name != MCAST_LEAVE_GROUP;
  if (value.size() < (of_source ? sizeof(group_source_req) : sizeof(group_req))) return Error{EINVAL};
  const auto request = read_as<group_req>(value);  // a group_source_req begins so too
  if (request->gr_group.ss_family != AF_INET6) return Error{EADDRNOTAVAIL};
  return Error{name == MCAST_JOIN_GROUP || name == MCAST_JOIN_SOURCE_GROUP ? ENODEV : EADDRNOTAVAIL};
}

}  // namespace

Result<Address> parse_inet6_address(const sockaddr* raw, socklen_t size) {
  if (raw == nullptr) return Error{EFAULT};
  if (size < shortest_sockaddr_in6) return Error{EINVAL};
  if (raw->sa_family != AF_INET6) return Error{EAFNOSUPPORT};
  RawAddress whole = RawAddress::empty();
  std::memcpy(&whole.ipv6, raw, std::min<std::size_t>(size, sizeof whole.ipv6));
  Address address = whole.address();
  if (address.ip.is_ipv4()) address.scope = 0;
  return address;
}

int Inet6Options::value_at(std::size_t index) const {
  const std::uint64_t word = words_[index].load(std::memory_order_relaxed);
  return word == 0 ? inet6_rows[index].initial : static_cast<int>(static_cast<std::uint32_t>(word));
}

Result<void> Inet6Options::set(int name, std::span<const std::byte> value) {
  if (is_inet6_group_option(name)) return refuse_inet6_group(name, value);
  const std::size_t index = inet6_index_of(name);
  if (index == inet6_rows.size()) return Error{ENOPROTOOPT};
  const Inet6Row& row = inet6_rows[index];
  auto number = read_as<int>(value);
  if (number && row.is_flag) number = *number != 0 ? 1 : 0;
  if (!number || *number < row.min || *number > row.max) return Error{EINVAL};
  const int chosen = *number == -1 ? row.initial : *number;
  words_[index].store(inet6_value_is_set | static_cast<std::uint32_t>(chosen), std::memory_order_relaxed);
  return {};
}

Result<int> Inet6Options::get(int name) const {
  const std::size_t index = inet6_index_of(name);
  if (index == inet6_rows.size()) return Error{ENOPROTOOPT};
  return value_at(index);
}

void Inet6Options::apply_to(int fd) const {
  for (std::size_t i = 0; i < inet6_rows.size(); ++i) {
    const int value = value_at(i);
    if (value != inet6_rows[i].initial) static_cast<void>(::setsockopt(fd, IPPROTO_IPV6, inet6_rows[i].name, &value, sizeof value));
  }
}

// PosixSocket's side of it.

Result<void> PosixSocket::bind_inet6(int fd, const sockaddr* local, socklen_t size) {
  const auto given = parse_inet6_address(local, size);
  if (!given) return given.error();
  const bool everywhere = !given->ip.is_ipv4() && given->ip.is_any();
  if (!given->ip.is_ipv4() && !everywhere) return Error{is_bound() ? EINVAL : EADDRNOTAVAIL};
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  const auto bound = (*stack)->bind(everywhere ? Address{IpAddress::any(Family::ipv4), given->port} : *given);
  if (bound) write_note(mapped_note, everywhere ? 0 : 1);
  return bound;
}

bool PosixSocket::is_bound() const {
  const StackSocket* there = stack();
  const auto local = there != nullptr ? there->local_address() : Result<Address>(Address{});
  return local && local->port != 0;
}

Result<Address> PosixSocket::parse_peer(const sockaddr* raw, socklen_t size) const {
  const bool ipv4 = family_ == Family::ipv4 || (raw != nullptr && size >= sizeof raw->sa_family && raw->sa_family == AF_INET);
  return ipv4 ? parse_address(raw, size) : parse_inet6_address(raw, size);
}

// `::` is this host: by IPv4 where the socket's own address is an IPv4 one.
Result<Address> PosixSocket::reach_by_ipv4(const Address& peer) const {
  if (peer.ip.is_ipv4()) return peer;
  if (peer.ip.is_any()) {
    const StackSocket* there = stack();
    const auto local = there != nullptr ? there->local_address() : Result<Address>(Address{});
    if (local && show(*local).ip.is_ipv4()) return Address{IpAddress::ipv4(127, 0, 0, 1), peer.port};
  }
  return Error{ENETUNREACH, "our host has no IPv6"};
}

Result<Address> PosixSocket::destination_of(const msghdr& message) const {
  const auto* raw = static_cast<const sockaddr*>(message.msg_name);
  if (raw == nullptr || message.msg_namelen == 0) return Address{};
  const bool inet6 = family_ == Family::ipv6;
  if (inet6 && message.msg_namelen >= sizeof raw->sa_family && raw->sa_family == AF_UNSPEC) return Address{};
  const auto to = parse_peer(raw, message.msg_namelen);
  if (!to) return inet6 && to.error().code == EAFNOSUPPORT ? Error{EINVAL} : to.error();
  if (to->port == 0) return Error{EINVAL};
  return reach_by_ipv4(*to);
}

Address PosixSocket::show(const Address& local) const {
  if (family_ == Family::ipv4 || !local.ip.is_any() || read_note(mapped_note) != 0) return local;
  return {IpAddress::any(Family::ipv6), local.port};
}

Result<void> PosixSocket::set_inet6_option(int fd, int name, std::span<const std::byte> value) {
  const auto number = read_as<int>(value);
  if (name == IPV6_RECVPKTINFO) return number ? set_wanted(fd, IPPROTO_IPV6, name, *number != 0) : Error{EINVAL};
  if (name == IPV6_V6ONLY) return number && *number == 0 && !is_bound() ? Result<void>() : Error{EINVAL};
  if (name == IPV6_MULTICAST_IF && number && *number != 0) {
    const auto stack = attached(fd);
    if (!stack) return stack.error();
    if ((*stack)->host().address_of(static_cast<std::uint32_t>(*number)).is_any()) return Error{ENODEV};
  }
  const std::lock_guard guard(mutex_);
  return inet6_options().set(name, value);
}

Result<int> PosixSocket::get_inet6_option(int fd, int name) {
  if (name == IPV6_V6ONLY) return 0;
  if (name == IPV6_MTU) return get_table_option(fd, Option::mtu);
  if (const auto number = wanted_value(IPPROTO_IPV6, name)) return *number;
  return inet6_options().get(name);
}

bool PosixSocket::becomes_ipv6_only(int level, int name, const void* value, socklen_t size) const {
  if (family_ != Family::ipv6 || level != IPPROTO_IPV6 || name != IPV6_V6ONLY || stack() != nullptr) return false;
  return read_as<int>({static_cast<const std::byte*>(value), value != nullptr ? size : 0}).value_or(0) != 0;
}

// An option that the kernel refuses here, it would have refused there.
Result<Fd> PosixSocket::ipv6_only(int fd) {
  Fd kernel(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!kernel) return Error{errno};
  const auto set = [&](int level, int name, const auto& value) { static_cast<void>(::setsockopt(kernel.get(), level, name, &value, sizeof value)); };
  const std::lock_guard guard(mutex_);
  for (std::size_t i = 0; i < early_.size(); ++i) {
    const LinuxOption& option = row_of(static_cast<Option>(i)).ipv4;
    if (early_[i] && option.exists()) set(option.level, option.number, *early_[i]);
  }
  using Pair = std::pair<int, int>;
  for (const auto& [level, name] : {Pair{SOL_SOCKET, SO_TIMESTAMP}, Pair{SOL_SOCKET, SO_TIMESTAMPNS}, Pair{SOL_SOCKET, SO_RXQ_OVFL},
                                    Pair{IPPROTO_UDP, UDP_GRO}, Pair{IPPROTO_IPV6, IPV6_RECVPKTINFO}}) {
    const int wanted = wanted_value(level, name).value_or(0);
    if (wanted != 0) set(level, name, wanted);
  }
  inet6_options().apply_to(kernel.get());
  for (const int name : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    timeval timeout{};
    socklen_t size = sizeof timeout;
    if (::getsockopt(fd, SOL_SOCKET, name, &timeout, &size) == 0) set(SOL_SOCKET, name, timeout);
  }
  static_cast<void>(::fcntl(kernel.get(), F_SETFL, ::fcntl(fd, F_GETFL)));
  const int on = 1;
  if (::setsockopt(kernel.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) return Error{errno};
  return kernel;
}

}  // namespace gannet::socket
