// The application's side of recvmsg(2) and sendmsg(2): what src/socket/message.h does towards the kernel, done towards a program.
//
// Control messages that a program sends are read as Linux reads them; those that it gets are written as Linux writes them: the same ones, in the same
// order, and cut off with MSG_CTRUNC where its room ends. On an AF_INET6 socket addresses are v4-mapped.
// Thread: any; there is no state.  Allocates: never.  Sources: Linux's ip(7), ipv6(7), udp(7), socket(7), cmsg(3).
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include <gannet/address.h>
#include <gannet/result.h>
#include <gannet/socket.h>

namespace gannet::socket {

// The structure that an option's bytes are, where there are enough of them.
template <class T>
std::optional<T> read_as(std::span<const std::byte> data) {
  if (data.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, data.data(), sizeof value);
  return value;
}

IpAddress parse_ip(const in_addr& raw);
// A sockaddr_in of the program's. EINVAL: too short; EAFNOSUPPORT: of another family. AF_UNSPEC passes for AF_INET where Linux lets it.
Result<Address> parse_address(const sockaddr* raw, socklen_t size);
// As a socket of `family` shows it, as much of it as there is room for; `size` becomes what the whole takes, as getsockname(2) says.
void build_address(const Address& address, Family family, sockaddr* raw, socklen_t* size);

// What the program wants to be told about each datagram.
struct alignas(8) Wanted {  // one word, which an atomic holds
  enum class Timestamp : std::uint8_t { none, micro, nano };
  Timestamp timestamp = Timestamp::none;  // SO_TIMESTAMP, SO_TIMESTAMPNS
  bool overflow = false;                  // SO_RXQ_OVFL
  bool segments = false;                  // UDP_GRO
  bool packet_info = false;               // IP_PKTINFO
  bool ttl = false;                       // IP_RECVTTL
  bool tos = false;                       // IP_RECVTOS
  bool ip_options = false;                // IP_RECVOPTS
  bool packet_info6 = false;              // IPV6_RECVPKTINFO
};

// Writes into message.msg_control what came with the datagram; `own` is an address of the interface that it came by.
void put_control(const Datagram& datagram, const Wanted& wanted, const IpAddress& own, msghdr& message);
// An entry of the error queue, as MSG_ERRQUEUE shows it on a socket of `family`.
void put_error(const SocketError& error, Family family, msghdr& message);

// What a program's control messages choose for a datagram of a socket of `family`. EINVAL: one that Linux or we do not know.
Result<void> take_control(const msghdr& message, Family family, Outgoing& datagram);

}  // namespace gannet::socket
