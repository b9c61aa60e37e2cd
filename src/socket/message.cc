#include "socket/message.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "base/assert.h"

namespace gannet::socket {
namespace {

constexpr std::array<std::byte, 12> mapped_prefix = {{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, std::byte{0xff}, std::byte{0xff}}};

IpAddress ip_of(const in_addr& raw) {
  IpAddress ip;
  std::memcpy(ip.bytes.data(), &raw, sizeof raw);
  return ip;
}

IpAddress ip_of(const in6_addr& raw) {
  IpAddress ip{.family = Family::ipv6};
  std::memcpy(ip.bytes.data(), &raw, sizeof raw);
  if (!std::equal(mapped_prefix.begin(), mapped_prefix.end(), ip.bytes.begin())) return ip;
  IpAddress mapped;
  std::copy_n(ip.bytes.begin() + mapped_prefix.size(), 4, mapped.bytes.begin());
  return mapped;
}

in_addr raw_ipv4(const IpAddress& ip) {
  in_addr raw{};
  std::memcpy(&raw, ip.bytes.data(), sizeof raw);
  return raw;
}

in6_addr raw_ipv6(const IpAddress& ip) {
  in6_addr raw{};
  std::memcpy(&raw, ip.bytes.data(), sizeof raw);
  return raw;
}

in6_addr raw_mapped(const IpAddress& ip) {
  in6_addr raw{};
  std::memcpy(&raw, mapped_prefix.data(), mapped_prefix.size());
  std::memcpy(reinterpret_cast<std::byte*>(&raw) + mapped_prefix.size(), ip.bytes.data(), 4);
  return raw;
}

template <class T>
std::optional<T> read(std::span<const std::byte> data) {
  if (data.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, data.data(), sizeof value);
  return value;
}

// TTL and TOS come as an int or as a single byte, by family and age of the kernel.
std::optional<int> read_number(std::span<const std::byte> data) {
  if (data.size() >= sizeof(int)) return read<int>(data);
  if (data.size() == 1) return std::to_integer<int>(data[0]);
  return std::nullopt;
}

template <class Visit>
void for_each_control(std::span<const std::byte> control, Visit visit) {
  while (control.size() >= sizeof(cmsghdr)) {
    cmsghdr header;
    std::memcpy(&header, control.data(), sizeof header);
    if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > control.size()) return;
    visit(header.cmsg_level, header.cmsg_type, control.subspan(CMSG_LEN(0), header.cmsg_len - CMSG_LEN(0)));
    control = control.subspan(std::min(control.size(), CMSG_ALIGN(header.cmsg_len)));
  }
}

void parse_pktinfo(std::span<const std::byte> data, Datagram& datagram) {
  if (const auto info = read<in_pktinfo>(data)) {
    datagram.local.ip = ip_of(info->ipi_addr);
    datagram.interface = static_cast<std::uint32_t>(info->ipi_ifindex);
  }
}

void parse_pktinfo6(std::span<const std::byte> data, Datagram& datagram) {
  if (const auto info = read<in6_pktinfo>(data)) {
    datagram.local.ip = ip_of(info->ipi6_addr);
    datagram.interface = info->ipi6_ifindex;
    if (datagram.local.ip.is_link_local() && !datagram.local.ip.is_ipv4()) datagram.local.scope = info->ipi6_ifindex;
  }
}

void parse_timestamp(std::span<const std::byte> data, Datagram& datagram) {
  using std::chrono::nanoseconds, std::chrono::seconds;
  const auto time = read<timespec>(data);
  constexpr std::int64_t most_seconds = std::chrono::duration_cast<seconds>(nanoseconds::max()).count() - 1;
  if (!time || time->tv_sec < 0 || time->tv_sec > most_seconds || time->tv_nsec < 0 || time->tv_nsec > 999'999'999) return;
  const nanoseconds since_epoch = seconds(time->tv_sec) + nanoseconds(time->tv_nsec);
  datagram.timestamp = std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(since_epoch));
}

void parse_ip_options(std::span<const std::byte> data, Datagram& datagram) {
  IpOptions& options = datagram.ip_options;
  options.size = static_cast<std::uint8_t>(std::min(data.size(), options.bytes.size()));
  std::copy_n(data.begin(), options.size, options.bytes.begin());
}

// The control messages of one datagram, put one behind the other.
class ControlWriter {
 public:
  explicit ControlWriter(std::span<std::byte> control) : control_(control) {}

  template <class T>
  void put(int level, int type, const T& value) {
    ASSERT(size_ + CMSG_SPACE(sizeof value) <= control_.size());
    const cmsghdr header{.cmsg_len = CMSG_LEN(sizeof value), .cmsg_level = level, .cmsg_type = type};
    const auto at = control_.subspan(size_, CMSG_SPACE(sizeof value));
    std::fill(at.begin(), at.end(), std::byte{0});
    std::memcpy(at.data(), &header, sizeof header);
    std::memcpy(at.data() + CMSG_LEN(0), &value, sizeof value);
    size_ += at.size();
  }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  std::span<std::byte> control_;
  std::size_t size_ = 0;
};

}  // namespace

RawAddress RawAddress::empty() {
  RawAddress raw;
  raw.ipv6 = {};
  raw.size = sizeof raw.ipv6;
  return raw;
}

RawAddress RawAddress::from(const Address& address, Family family) {
  RawAddress raw;
  if (family == Family::ipv4) {
    ASSERT(address.ip.is_ipv4());
    raw.ipv4 = {.sin_family = AF_INET, .sin_port = htons(address.port), .sin_addr = raw_ipv4(address.ip), .sin_zero = {}};
    raw.size = sizeof raw.ipv4;
  } else {
    raw.ipv6 = {.sin6_family = AF_INET6,
                .sin6_port = htons(address.port),
                .sin6_flowinfo = 0,
                .sin6_addr = address.ip.is_ipv4() ? raw_mapped(address.ip) : raw_ipv6(address.ip),
                .sin6_scope_id = address.scope};
    raw.size = sizeof raw.ipv6;
  }
  return raw;
}

Address RawAddress::address() const {
  if (size >= sizeof ipv4 && any.sa_family == AF_INET) return {ip_of(ipv4.sin_addr), ntohs(ipv4.sin_port)};
  if (size >= sizeof ipv6 && any.sa_family == AF_INET6) return {ip_of(ipv6.sin6_addr), ntohs(ipv6.sin6_port), ipv6.sin6_scope_id};
  return {};
}

void parse_control(std::span<const std::byte> control, Datagram& datagram) {
  for_each_control(control, [&](int level, int type, std::span<const std::byte> data) {
    if (level == IPPROTO_IP) {
      if (type == IP_PKTINFO) parse_pktinfo(data, datagram);
      if (type == IP_TTL) datagram.ttl = read_number(data).value_or(-1);
      if (type == IP_TOS) datagram.tos = static_cast<std::uint8_t>(read_number(data).value_or(0));
      if (type == IP_RECVOPTS) parse_ip_options(data, datagram);
    } else if (level == IPPROTO_IPV6) {
      if (type == IPV6_PKTINFO) parse_pktinfo6(data, datagram);
      if (type == IPV6_HOPLIMIT) datagram.ttl = read_number(data).value_or(-1);
      if (type == IPV6_TCLASS) datagram.tos = static_cast<std::uint8_t>(read_number(data).value_or(0));
    } else if (level == SOL_SOCKET) {
      if (type == SO_TIMESTAMPNS) parse_timestamp(data, datagram);
    } else if (level == IPPROTO_UDP) {
      if (type == UDP_GRO) datagram.segment_size = static_cast<std::uint16_t>(read_number(data).value_or(0));
    }
  });
}

std::optional<SocketError> parse_error(std::span<const std::byte> control, const Address& peer) {
  std::optional<SocketError> error;
  for_each_control(control, [&](int level, int type, std::span<const std::byte> data) {
    if (!(level == IPPROTO_IP && type == IP_RECVERR) && !(level == IPPROTO_IPV6 && type == IPV6_RECVERR)) return;
    const auto raw = read<sock_extended_err>(data);
    if (!raw || raw->ee_errno == 0) return;
    if (raw->ee_origin != SO_EE_ORIGIN_LOCAL && raw->ee_origin != SO_EE_ORIGIN_ICMP && raw->ee_origin != SO_EE_ORIGIN_ICMP6) return;
    error = SocketError{.code = static_cast<int>(raw->ee_errno), .peer = peer};
    if (raw->ee_errno == EMSGSIZE) error->mtu = raw->ee_info;
    if (raw->ee_origin == SO_EE_ORIGIN_LOCAL) return;

    error->origin = raw->ee_origin == SO_EE_ORIGIN_ICMP ? SocketError::Origin::icmp : SocketError::Origin::icmpv6;
    error->type = raw->ee_type;
    error->icmp_code = raw->ee_code;
    // The offender's socket address stands right behind.
    RawAddress offender = RawAddress::empty();
    const auto at = data.subspan(sizeof *raw);
    offender.size = static_cast<socklen_t>(std::min<std::size_t>(at.size(), sizeof offender.ipv6));
    std::memcpy(&offender.ipv6, at.data(), offender.size);
    error->offender = offender.address().ip;
  });
  return error;
}

std::size_t build_control(const Outgoing& datagram, Family family, std::uint16_t segment_size, std::span<std::byte, send_control_size> control) {
  ControlWriter writer(control);
  const bool ipv4 = family == Family::ipv4;
  if (!datagram.source.ip.is_any() || datagram.interface != 0) {
    if (ipv4) {
      writer.put(IPPROTO_IP, IP_PKTINFO,
                 in_pktinfo{.ipi_ifindex = static_cast<int>(datagram.interface), .ipi_spec_dst = raw_ipv4(datagram.source.ip), .ipi_addr = {}});
    } else {
      const in6_addr source = datagram.source.ip.is_any() ? in6_addr{} : raw_ipv6(datagram.source.ip);
      writer.put(IPPROTO_IPV6, IPV6_PKTINFO, in6_pktinfo{.ipi6_addr = source, .ipi6_ifindex = datagram.interface});
    }
  }
  if (datagram.ttl != -1) writer.put(ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_TTL : IPV6_HOPLIMIT, datagram.ttl);
  if (datagram.tos != -1) writer.put(ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_TOS : IPV6_TCLASS, datagram.tos);
  if (segment_size != 0) writer.put(IPPROTO_UDP, UDP_SEGMENT, segment_size);
  return writer.size();
}

}  // namespace gannet::socket
