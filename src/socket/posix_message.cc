#include "socket/posix_message.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "socket/message.h"

namespace gannet::socket {
namespace {

in_addr raw_of(const IpAddress& ip) {
  in_addr raw{};
  std::memcpy(&raw, ip.bytes.data(), sizeof raw);
  return raw;
}

in6_addr mapped_of(const IpAddress& ip) { return RawAddress::from({ip, 0}, Family::ipv6).ipv6.sin6_addr; }

// Linux's put_cmsg(): what does not fit is cut off, and said to be.
class ControlPen {
 public:
  explicit ControlPen(msghdr& message) : message_(message), left_(message.msg_control != nullptr ? message.msg_controllen : 0) {}
  ~ControlPen() { message_.msg_controllen = used_; }
  ControlPen(const ControlPen&) = delete;
  ControlPen& operator=(const ControlPen&) = delete;

  template <class T>
  void put(int level, int type, const T& value) {
    put(level, type, std::as_bytes(std::span(&value, 1)));
  }
  void put(int level, int type, std::span<const std::byte> value) {
    if (left_ < sizeof(cmsghdr)) {
      message_.msg_flags |= MSG_CTRUNC;
      return;
    }
    std::size_t size = CMSG_LEN(value.size());
    if (left_ < size) {
      message_.msg_flags |= MSG_CTRUNC;
      size = left_;
    }
    const cmsghdr header{.cmsg_len = size, .cmsg_level = level, .cmsg_type = type};
    std::byte* at = static_cast<std::byte*>(message_.msg_control) + used_;
    std::memcpy(at, &header, sizeof header);
    std::memcpy(at + sizeof header, value.data(), size - sizeof header);
    const std::size_t step = std::min<std::size_t>(left_, CMSG_SPACE(value.size()));
    used_ += step;
    left_ -= step;
  }

 private:
  msghdr& message_;
  std::size_t left_, used_ = 0;
};

void put_time(Wanted::Timestamp wanted, std::chrono::nanoseconds time, ControlPen& pen) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = (time - seconds).count();
  if (wanted == Wanted::Timestamp::micro) pen.put(SOL_SOCKET, SO_TIMESTAMP, timeval{.tv_sec = seconds.count(), .tv_usec = rest / 1000});
  if (wanted == Wanted::Timestamp::nano) pen.put(SOL_SOCKET, SO_TIMESTAMPNS, timespec{.tv_sec = seconds.count(), .tv_nsec = rest});
}

// A number as a program writes it: an int, or a single byte.
int number_in(std::span<const std::byte> data) {
  int value = -1;
  if (data.size() == sizeof value) std::memcpy(&value, data.data(), sizeof value);
  if (data.size() == 1) value = std::to_integer<int>(data[0]);
  return value;
}

Result<void> take_ip(int type, std::span<const std::byte> data, Outgoing& datagram) {
  if (type == IP_PKTINFO) {
    in_pktinfo info;
    if (data.size() != sizeof info) return Error{EINVAL};
    std::memcpy(&info, data.data(), sizeof info);
    if (info.ipi_ifindex != 0) datagram.interface = static_cast<std::uint32_t>(info.ipi_ifindex);
    datagram.source.ip = parse_ip(info.ipi_spec_dst);
    return {};
  }
  const int value = number_in(data);
  if (type == IP_TTL && data.size() == sizeof(int) && value >= 1 && value <= 255) {
    datagram.ttl = value;
  } else if (type == IP_TOS && value >= 0 && value <= 255) {
    datagram.tos = value;
  } else {
    return Error{EINVAL};
  }
  return {};
}

// Linux wants a v4-mapped source here, not `::`, when the datagram goes out by IPv4.
Result<void> take_packet_info6(std::span<const std::byte> data, Outgoing& datagram) {
  const auto info = read_as<in6_pktinfo>(data);
  if (!info || !IN6_IS_ADDR_V4MAPPED(&info->ipi6_addr)) return Error{EINVAL};
  if (info->ipi6_ifindex != 0) datagram.interface = info->ipi6_ifindex;
  in_addr source;
  std::memcpy(&source, &info->ipi6_addr.s6_addr[12], sizeof source);
  datagram.source.ip = parse_ip(source);
  return {};
}

}  // namespace

IpAddress parse_ip(const in_addr& raw) { return IpAddress::ipv4(ntohl(raw.s_addr)); }

Result<Address> parse_address(const sockaddr* raw, socklen_t size) {
  if (raw == nullptr) return Error{EFAULT};
  if (size < sizeof(sockaddr_in)) return Error{EINVAL};
  if (raw->sa_family != AF_INET && raw->sa_family != AF_UNSPEC) return Error{EAFNOSUPPORT};
  RawAddress address = RawAddress::empty();
  std::memcpy(&address.ipv4, raw, sizeof address.ipv4);
  address.ipv4.sin_family = AF_INET;
  return address.address();
}

void build_address(const Address& address, Family family, sockaddr* raw, socklen_t* size) {
  if (raw == nullptr || size == nullptr) return;
  const RawAddress whole = RawAddress::from(address, family);
  std::memcpy(raw, &whole.any, std::min(*size, whole.size));
  *size = whole.size;
}

void put_control(const Datagram& datagram, const Wanted& wanted, const IpAddress& own, msghdr& message) {
  ControlPen pen(message);
  if (wanted.timestamp != Wanted::Timestamp::none) put_time(wanted.timestamp, datagram.timestamp.time_since_epoch(), pen);
  if (wanted.overflow && datagram.overflow != 0) pen.put(SOL_SOCKET, SO_RXQ_OVFL, datagram.overflow);
  if (wanted.segments && datagram.segment_size != 0) pen.put(IPPROTO_UDP, UDP_GRO, static_cast<int>(datagram.segment_size));
  if (wanted.packet_info6) {
    pen.put(IPPROTO_IPV6, IPV6_PKTINFO, in6_pktinfo{.ipi6_addr = mapped_of(datagram.local.ip), .ipi6_ifindex = datagram.interface});
  }
  if (wanted.packet_info) {
    pen.put(IPPROTO_IP, IP_PKTINFO,
            in_pktinfo{.ipi_ifindex = static_cast<int>(datagram.interface), .ipi_spec_dst = raw_of(own), .ipi_addr = raw_of(datagram.local.ip)});
  }
  if (wanted.ttl) pen.put(IPPROTO_IP, IP_TTL, datagram.ttl);
  if (wanted.tos) pen.put(IPPROTO_IP, IP_TOS, datagram.tos);
  if (wanted.ip_options && datagram.ip_options.size != 0) pen.put(IPPROTO_IP, IP_RECVOPTS, datagram.ip_options.view());
}

void put_error(const SocketError& error, Family family, msghdr& message) {
  struct {
    sock_extended_err error;
    sockaddr_in6 offender;  // or a sockaddr_in
  } entry{};
  entry.error.ee_errno = static_cast<std::uint32_t>(error.code);
  entry.error.ee_origin = error.origin == SocketError::Origin::local ? SO_EE_ORIGIN_LOCAL : SO_EE_ORIGIN_ICMP;
  entry.error.ee_type = error.type;
  entry.error.ee_code = error.icmp_code;
  entry.error.ee_info = error.mtu;
  const RawAddress offender = RawAddress::from({error.offender, 0}, family);
  if (error.origin != SocketError::Origin::local) std::memcpy(&entry.offender, &offender.any, offender.size);
  ControlPen pen(message);
  const bool ipv4 = family == Family::ipv4;
  pen.put(ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_RECVERR : IPV6_RECVERR,
          std::as_bytes(std::span(&entry, 1)).first(sizeof entry.error + offender.size));
}

Result<void> take_control(const msghdr& message, Family family, Outgoing& datagram) {
  std::span<const std::byte> control(static_cast<const std::byte*>(message.msg_control), message.msg_control != nullptr ? message.msg_controllen : 0);
  while (control.size() >= sizeof(cmsghdr)) {
    cmsghdr header;
    std::memcpy(&header, control.data(), sizeof header);
    if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > control.size()) return Error{EINVAL};
    const auto data = control.subspan(CMSG_LEN(0), header.cmsg_len - CMSG_LEN(0));
    if (header.cmsg_level == IPPROTO_IP) {
      if (const auto taken = take_ip(header.cmsg_type, data, datagram); !taken) return taken;
    } else if (header.cmsg_level == IPPROTO_IPV6 && header.cmsg_type == IPV6_PKTINFO && family == Family::ipv6) {
      if (const auto taken = take_packet_info6(data, datagram); !taken) return taken;
    } else if (header.cmsg_level == IPPROTO_UDP) {
      if (header.cmsg_type != UDP_SEGMENT || data.size() != sizeof datagram.segment_size) return Error{EINVAL};
      std::memcpy(&datagram.segment_size, data.data(), sizeof datagram.segment_size);
    } else if (header.cmsg_level == SOL_SOCKET) {
      return Error{EINVAL};  // SO_TXTIME, SO_MARK, SO_TIMESTAMPING: not ours
    }
    control = control.subspan(std::min(control.size(), CMSG_ALIGN(header.cmsg_len)));
  }
  return {};
}

}  // namespace gannet::socket
