#include "link/uplink_socket.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::link {
namespace {

constexpr int receive_buffer = 4 << 20;  // as much of it as the system allows

void set(int fd, int level, int name, int value) { static_cast<void>(::setsockopt(fd, level, name, &value, sizeof value)); }

template <class T>
T read_as(const cmsghdr& part) {
  T value;
  std::memcpy(&value, CMSG_DATA(&part), sizeof value);
  return value;
}

// Adds a control message behind those that stand there.
void add(msghdr& message, int level, int type, std::span<const std::byte> value) {
  auto* part = reinterpret_cast<cmsghdr*>(static_cast<std::byte*>(message.msg_control) + message.msg_controllen);
  part->cmsg_level = level;
  part->cmsg_type = type;
  part->cmsg_len = CMSG_LEN(value.size());
  std::memcpy(CMSG_DATA(part), value.data(), value.size());
  message.msg_controllen += CMSG_SPACE(value.size());
}

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

IpAddress kernel_ip(const in_addr& address) { return IpAddress::ipv4(ntohl(address.s_addr)); }

}  // namespace

sockaddr_in to_sockaddr(const Address& address) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(address.port);
  name.sin_addr.s_addr = htonl(address.ip.number());
  return name;
}

Address to_address(const sockaddr_in& name) { return {kernel_ip(name.sin_addr), ntohs(name.sin_port)}; }

UplinkBatch::UplinkBatch()
    : control(std::make_unique_for_overwrite<std::byte[]>(uplink_batch * control_size)),
      spill(std::make_unique_for_overwrite<std::byte[]>(uplink_batch * spill_size)) {}

void UplinkBatch::clear(std::size_t slot) {
  msghdr& message = headers[slot].msg_hdr;
  message = {};
  message.msg_name = &names[slot];
  message.msg_namelen = sizeof names[slot];
  message.msg_control = control.get() + slot * control_size;
}

void UplinkBatch::prepare(std::size_t slot, std::span<std::byte> start) {
  clear(slot);
  pieces[2 * slot] = {start.data(), start.size()};
  pieces[2 * slot + 1] = {spill.get() + slot * spill_size, spill_size};
  msghdr& message = headers[slot].msg_hdr;
  message.msg_iov = &pieces[2 * slot];
  message.msg_iovlen = 2;
  message.msg_controllen = control_size;
}

UplinkDatagram UplinkBatch::describe(std::size_t slot, std::uint16_t port, std::optional<std::uint32_t>& overflow) const {
  UplinkDatagram datagram{.src = to_address(names[slot]), .dst = {IpAddress::any(Family::ipv4), port}};
  auto& message = const_cast<msghdr&>(headers[slot].msg_hdr);
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
      const auto info = read_as<in_pktinfo>(*part);
      datagram.dst.ip = kernel_ip(info.ipi_addr);
      datagram.interface = static_cast<std::uint32_t>(info.ipi_ifindex);
    } else if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_TTL) {
      datagram.ttl = static_cast<std::uint8_t>(read_as<int>(*part));
    } else if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_TOS) {
      datagram.tos = read_as<std::uint8_t>(*part);
    } else if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_RECVOPTS) {
      const auto* const first = reinterpret_cast<const std::byte*>(CMSG_DATA(part));
      datagram.options = std::span(first, std::min<std::size_t>(part->cmsg_len - CMSG_LEN(0), wire::ipv4_options_max));
    } else if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_RXQ_OVFL) {
      overflow = read_as<std::uint32_t>(*part);
    }
  }
  return datagram;
}

void UplinkBatch::append(const UplinkDatagram& datagram, std::span<std::byte> payload, bool joins) {
  pieces[datagrams++] = {payload.data(), payload.size()};
  filled_ += payload.size();
  if (joins && messages != 0 && is_alike(datagram, payload.size())) {
    msghdr& message = headers[messages - 1].msg_hdr;
    ++message.msg_iovlen;
    const auto segment = static_cast<std::uint16_t>(segment_);
    if (++carried[messages - 1] == 2) add(message, IPPROTO_UDP, UDP_SEGMENT, bytes_of(segment));
    return;
  }
  last_ = datagram;
  segment_ = filled_ = payload.size();
  const std::size_t slot = messages++;
  carried[slot] = 1;
  clear(slot);
  names[slot] = to_sockaddr(datagram.dst);
  msghdr& message = headers[slot].msg_hdr;
  message.msg_iov = &pieces[datagrams - 1];
  message.msg_iovlen = 1;
  in_pktinfo info{};
  info.ipi_ifindex = static_cast<int>(datagram.interface);
  info.ipi_spec_dst.s_addr = datagram.any_source ? INADDR_ANY : htonl(datagram.src.ip.number());
  const int ttl = datagram.ttl, tos = datagram.tos;
  add(message, IPPROTO_IP, IP_PKTINFO, bytes_of(info));
  if (ttl != 0) add(message, IPPROTO_IP, IP_TTL, bytes_of(ttl));  // which cannot be 0 there: the socket's is, for groups
  add(message, IPPROTO_IP, IP_TOS, bytes_of(tos));
  if (!datagram.options.empty()) add(message, IPPROTO_IP, IP_RETOPTS, datagram.options);
}

// Whether a datagram of that size, already counted as filled, may follow in the last message. A shorter one before it was the message's last.
bool UplinkBatch::is_alike(const UplinkDatagram& datagram, std::size_t size) const {
  const std::size_t whole = std::size_t{carried[messages - 1]} * segment_;
  return size != 0 && size <= segment_ && filled_ == whole + size &&
         filled_ <= wire::ipv4_packet_max - wire::ipv4_header_size - wire::udp_header_size && datagram.src == last_.src &&
         datagram.any_source == last_.any_source && datagram.dst == last_.dst && datagram.interface == last_.interface && datagram.ttl == last_.ttl &&
         datagram.tos == last_.tos && datagram.options.empty() && last_.options.empty() && !datagram.dst.ip.is_multicast();
}

Result<UplinkSocket> UplinkSocket::open(const Address& local, bool reuse_address, bool reuse_port) {
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error{errno, "no descriptor left for the kernel's side of the port"};
  UplinkSocket socket(std::move(fd), local);
  socket.set_reuse(reuse_address, reuse_port);
  const int number = socket.fd();
  const sockaddr_in name = to_sockaddr(local);
  if (::bind(number, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    if (errno == EADDRINUSE) return Error{EADDRINUSE, "another program of this machine has the port"};
    if (errno == EACCES) return Error{EACCES, "ports below 1024 (net.ipv4.ip_unprivileged_port_start) are for root"};
    return Error{errno, "the kernel does not give the address and port"};
  }
  set(number, SOL_SOCKET, SO_BROADCAST, 1);
  set(number, SOL_SOCKET, SO_RCVBUF, receive_buffer);
  set(number, SOL_SOCKET, SO_RXQ_OVFL, 1);
  set(number, IPPROTO_IP, IP_PKTINFO, 1);
  set(number, IPPROTO_IP, IP_RECVTTL, 1);
  set(number, IPPROTO_IP, IP_RECVTOS, 1);
  set(number, IPPROTO_IP, IP_RECVOPTS, 1);
  set(number, IPPROTO_IP, IP_RECVERR, 1);
  set(number, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT);
  set(number, IPPROTO_IP, IP_MULTICAST_TTL, 0);
  return socket;
}

void UplinkSocket::set_reuse(bool address, bool port) {
  if (address) set(fd(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (port) set(fd(), SOL_SOCKET, SO_REUSEPORT, 1);
}

void UplinkSocket::set_note(unsigned note) {
  if (note == note_) return;
  set(fd(), IPPROTO_IP, IP_MTU_DISCOVER, static_cast<int>(note & wire::guest_note::discovery));
  set(fd(), IPPROTO_IP, IP_MULTICAST_LOOP, (note & wire::guest_note::no_loop) == 0 ? 1 : 0);
  note_ = note;
}

void UplinkSocket::clear_error() {
  int code = 0;
  socklen_t size = sizeof code;
  static_cast<void>(::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &code, &size));
}

std::uint32_t UplinkSocket::overflow_growth(std::uint32_t count) { return count - std::exchange(overflow_, count); }

// Fills in what the kernel tells beside the datagram. False: nothing that the call has not said itself.
bool UplinkSocket::describe(msghdr& message, UplinkError& error) const {
  bool told = false;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != IPPROTO_IP) continue;
    if (part->cmsg_type == IP_PKTINFO) {
      const auto info = read_as<in_pktinfo>(*part);
      error.interface = static_cast<std::uint32_t>(info.ipi_ifindex);
      if (error.src.ip.is_any()) error.src.ip = kernel_ip(info.ipi_addr);
    }
    if (part->cmsg_type != IP_RECVERR || part->cmsg_len < CMSG_LEN(sizeof(sock_extended_err) + sizeof(sockaddr_in))) continue;
    const auto extended = read_as<sock_extended_err>(*part);
    error.mtu = extended.ee_info;
    if (extended.ee_origin == SO_EE_ORIGIN_LOCAL && extended.ee_errno == EMSGSIZE) {
      error.at_once = true;
      told = true;
    } else if (extended.ee_origin == SO_EE_ORIGIN_ICMP) {
      error.type = extended.ee_type;
      error.code = extended.ee_code;
      sockaddr_in offender;
      std::memcpy(&offender, CMSG_DATA(part) + sizeof extended, sizeof offender);
      if (offender.sin_family == AF_INET) error.offender = kernel_ip(offender.sin_addr);
      told = true;
    }
  }
  return told;
}

std::optional<UplinkError> UplinkSocket::next_error() {
  for (;;) {
    UplinkError error;
    sockaddr_in name{};
    std::array<std::byte, 512> control;
    iovec piece{error.quote.data(), error.quote.size()};
    msghdr message{};
    message.msg_name = &name;
    message.msg_namelen = sizeof name;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = ::recvmsg(fd(), &message, MSG_ERRQUEUE | MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return std::nullopt;
    error.size = static_cast<std::uint16_t>(std::min<ssize_t>(size, 65507));
    error.quoted = static_cast<std::uint16_t>(std::min<std::size_t>(static_cast<std::size_t>(size), error.quote.size()));
    error.dst = to_address(name);
    error.src = local_;
    if (describe(message, error)) return error;
  }
}

}  // namespace gannet::link
