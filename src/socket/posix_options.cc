// PosixSocket's options: setsockopt(2) and getsockopt(2) as Linux reads and writes them.
//
// Most are rows of the table of options. The rest is here: what a program wants to be told (Wanted), what the descriptor itself keeps (time-outs),
// and what only identifies the socket; groups are in posix_groups.cc, IPv6 in posix_inet6.cc.
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "socket/posix.h"

namespace gannet::socket {
namespace {

using Timestamp = Wanted::Timestamp;

// IP options take an int or a single byte, all others an int.
std::optional<int> number_in(int level, std::span<const std::byte> data) {
  if (data.size() >= sizeof(int)) return read_as<int>(data);
  if (level == IPPROTO_IP && !data.empty()) return std::to_integer<int>(data[0]);
  return std::nullopt;
}

const OptionRow* find_row(int level, int name) {
  const auto row = std::ranges::find(option_table(), LinuxOption{level, name}, &OptionRow::ipv4);
  return row != option_table().end() && row->ipv4.exists() ? &*row : nullptr;
}

bool is_kept_by_descriptor(int level, int name) { return level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO); }

std::optional<int> identity(Family family, int level, int name) {
  if (level != SOL_SOCKET) return std::nullopt;
  if (name == SO_TYPE) return SOCK_DGRAM;
  if (name == SO_DOMAIN) return family == Family::ipv4 ? AF_INET : AF_INET6;
  if (name == SO_PROTOCOL) return IPPROTO_UDP;
  if (name == SO_ACCEPTCONN) return 0;
  return std::nullopt;
}

// As much of it as the program has room for.
Result<void> give(std::span<const std::byte> from, void* value, socklen_t* size) {
  if (size == nullptr || (value == nullptr && *size != 0)) return Error{EFAULT};
  *size = std::min(*size, static_cast<socklen_t>(from.size()));
  std::memcpy(value, from.data(), *size);
  return {};
}

template <class T>
Result<void> give(const T& from, void* value, socklen_t* size) {
  return give(std::as_bytes(std::span(&from, 1)), value, size);
}

// Of an IP option that is a byte's worth, who has no room for an int gets that byte.
Result<void> give_number(int level, int number, void* value, socklen_t* size) {
  if (level != IPPROTO_IP || size == nullptr || *size == 0 || *size >= sizeof number || number < 0 || number > 255) return give(number, value, size);
  const auto byte = static_cast<std::uint8_t>(number);
  return give(byte, value, size);
}

// What a program sets as Linux corrects it: any number is true, and a buffer may ask for more than there is.
int corrected(const OptionRow& row, int value) {
  if (row.max == 1 && row.min == 0) return value != 0 ? 1 : 0;
  const bool buffer = row.option == Option::receive_buffer || row.option == Option::send_buffer;
  if (buffer) return value < 0 ? row.max : std::min(value, row.max);
  if (row.option == Option::tos) return value & 0xff;
  return value;
}

}  // namespace

Result<void> PosixSocket::set_option(int fd, int level, int name, const void* value, socklen_t size) {
  const std::span bytes(static_cast<const std::byte*>(value), value != nullptr ? size : 0);
  if (is_kept_by_descriptor(level, name)) return ::setsockopt(fd, level, name, value, size) == 0 ? Result<void>() : Error{errno};
  if (level == IPPROTO_IP && name == IP_OPTIONS) {
    const auto stack = attached(fd);
    return stack ? (*stack)->set_ip_options(bytes) : stack.error();
  }
  if (level == IPPROTO_IPV6 && family_ == Family::ipv6) return set_inet6_option(fd, name, bytes);
  if (level == IPPROTO_UDP && name == UDP_CORK) {
    const auto on = read_as<int>(bytes);
    return on ? set_cork(fd, *on != 0) : Error{EINVAL};
  }
  const OptionRow* row = find_row(level, name);
  if (wanted_value(level, name) || row != nullptr) {
    const auto number = number_in(level, bytes);
    if (!number) return Error{EINVAL};
    if (wanted_value(level, name)) return set_wanted(fd, level, name, *number != 0);
    return set_table_option(fd, row->option, corrected(*row, *number));
  }
  if (level == IPPROTO_IP) return set_group_option(fd, name, bytes);
  return Error{ENOPROTOOPT};
}

Result<void> PosixSocket::get_option(int fd, int level, int name, void* value, socklen_t* size) {
  if (is_kept_by_descriptor(level, name)) return ::getsockopt(fd, level, name, value, size) == 0 ? Result<void>() : Error{errno};
  if (const auto number = identity(family_, level, name)) return give(*number, value, size);
  if (level == IPPROTO_IPV6 && family_ == Family::ipv6) {
    const auto number = get_inet6_option(fd, name);
    return number ? give(*number, value, size) : number.error();
  }
  if (const auto number = wanted_value(level, name)) return give_number(level, *number, value, size);
  if (level == IPPROTO_IP && name == IP_MULTICAST_IF) return give(in_addr{static_cast<in_addr_t>(read_note(multicast_address_note))}, value, size);
  if (level == IPPROTO_UDP && name == UDP_CORK) return give(cork_.is_corked() ? 1 : 0, value, size);
  if (level == SOL_SOCKET && name == SO_MEMINFO) return get_memory(fd, value, size);
  if (level != SOL_SOCKET && level != IPPROTO_IP && level != IPPROTO_UDP) return Error{family_ == Family::ipv4 ? EOPNOTSUPP : ENOPROTOOPT};
  const OptionRow* row = find_row(level, name);
  if (row == nullptr) return Error{ENOPROTOOPT};
  const auto number = get_table_option(fd, row->option);
  if (!number) return number.error();
  return give_number(level, *number, value, size);
}

// What a program wants to be told; these rows of the table mean something else on a Socket.
std::optional<int> PosixSocket::wanted_value(int level, int name) const {
  const Wanted wanted = this->wanted();
  if (level == SOL_SOCKET && name == SO_TIMESTAMP) return wanted.timestamp == Timestamp::micro;
  if (level == SOL_SOCKET && name == SO_TIMESTAMPNS) return wanted.timestamp == Timestamp::nano;
  if (level == SOL_SOCKET && name == SO_RXQ_OVFL) return wanted.overflow;
  if (level == IPPROTO_UDP && name == UDP_GRO) return wanted.segments;
  if (level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO && family_ == Family::ipv6) return wanted.packet_info6;
  if (level != IPPROTO_IP) return std::nullopt;
  if (name == IP_PKTINFO) return wanted.packet_info;
  if (name == IP_RECVTTL) return wanted.ttl;
  if (name == IP_RECVTOS) return wanted.tos;
  if (name == IP_RECVOPTS) return wanted.ip_options;
  return std::nullopt;
}

Result<void> PosixSocket::set_wanted(int fd, int level, int name, bool on) {
  Result<void> done;
  if (level == SOL_SOCKET && name != SO_RXQ_OVFL) done = set_table_option(fd, Option::timestamp, on);
  if (level == IPPROTO_UDP) done = set_table_option(fd, Option::segment_coalescing, on);
  if (level == IPPROTO_IP && name == IP_RECVOPTS) done = set_table_option(fd, Option::receive_ip_options, on);
  if (!done) return done;
  const std::lock_guard guard(mutex_);
  Wanted wanted = this->wanted();
  if (level == SOL_SOCKET && name == SO_RXQ_OVFL) {
    wanted.overflow = on;
  } else if (level == SOL_SOCKET) {
    wanted.timestamp = !on ? Timestamp::none : name == SO_TIMESTAMP ? Timestamp::micro : Timestamp::nano;
  } else if (level == IPPROTO_UDP) {
    wanted.segments = on;
  } else if (level == IPPROTO_IPV6) {
    wanted.packet_info6 = on;
  } else {
    if (name == IP_PKTINFO) wanted.packet_info = on;
    if (name == IP_RECVTTL) wanted.ttl = on;
    if (name == IP_RECVTOS) wanted.tos = on;
    if (name == IP_RECVOPTS) wanted.ip_options = on;
  }
  write_note(wanted_note, std::bit_cast<std::uint64_t>(wanted));
  return {};
}

Result<void> PosixSocket::set_table_option(int fd, Option option, int value) {
  if (!row_of(option).settable) return Error{ENOPROTOOPT};
  if (const auto good = check(option, value); !good) return good;
  {
    const std::lock_guard guard(mutex_);
    if (stack() == nullptr) {
      early_[static_cast<std::size_t>(option)] = value;
      return {};
    }
  }
  const auto stack = attached(fd);
  return stack ? (*stack)->set(option, value) : stack.error();
}

// A socket that is not attached has what Linux starts with; what was set on it, the hub may show otherwise (buffers are doubled): it is asked.
Result<int> PosixSocket::get_table_option(int fd, Option option) {
  {
    const std::lock_guard guard(mutex_);
    if (stack() == nullptr && !early_[static_cast<std::size_t>(option)]) {
      if (option == Option::mtu) return Error{ENOTCONN};
      return option == Option::receive_errors ? 0 : row_of(option).initial;
    }
  }
  const auto stack = attached(fd);
  if (!stack) return stack.error();
  return (*stack)->get(option);
}

// SO_MEMINFO: the limits, and how many datagrams found no room. What is queued is not counted here.
Result<void> PosixSocket::get_memory(int fd, void* value, socklen_t* size) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  for (const auto& [at, option] : {std::pair{SK_MEMINFO_RCVBUF, Option::receive_buffer}, std::pair{SK_MEMINFO_SNDBUF, Option::send_buffer},
                                   std::pair{SK_MEMINFO_DROPS, Option::overflow_count}}) {
    const auto number = get_table_option(fd, option);
    if (!number) return number.error();
    memory[at] = static_cast<std::uint32_t>(*number);
  }
  return give(memory, value, size);
}

}  // namespace gannet::socket
