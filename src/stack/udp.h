// UDP: between IP, which brings and takes packets, and the endpoints of applications.
//
//   in:   IpLayer -> input() -> PortTable -> Endpoint::deliver() -> handler or receive ring
//   out:  flush() <- send rings, send(), or reply() from a handler -> IpLayer::output()
//   ICMP: icmp_error() -> the socket that sent what it is about
//
// What calls check and how they fail is Linux's, except that nothing is sent to port 0.
// Owner: Stack.  Thread: the engine's.  Allocates: for a socket at open(), and in the calls that bind and connect; never per datagram.
// Bounds: Config::sockets (ENFILE).
// Sources: RFC 768; RFC 1122 4.1; RFC 6056 (ports); RFC 6864; RFC 8085 sections 3.2 and 5; RFC 9868 section 10 (length).
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/counter.h"
#include "base/frame.h"
#include "base/time.h"
#include "stack/context.h"
#include "stack/endpoint.h"
#include "stack/interface.h"
#include "stack/ip_layer.h"
#include "stack/multicast.h"
#include "stack/port_table.h"
#include "stack/recent_flows.h"

namespace gannet::stack {

// RFC 4113.
struct UdpCounters {
  Counter in_datagrams;   // delivered, to however many sockets
  Counter no_ports;       // for which there was no socket
  Counter in_errors;      // not delivered for another reason
  Counter out_datagrams;  // sent
};

class Udp {
 public:
  Udp(Context& context, IpLayer& ip, Interfaces& interfaces, Multicast& multicast);
  ~Udp();
  Udp(const Udp&) = delete;
  Udp& operator=(const Udp&) = delete;

  // A socket, good until close(). Its options are the caller's to write, before bind() as far as they are about reuse; its rings the caller's to
  // open.
  Result<Endpoint*> open(EndpointGroup& group);
  void close(Endpoint& endpoint, Time now);
  // Before close(), where something is left in the send rings that is to go out in its time: gives port and groups up, and hears no more.
  void retire(Endpoint& endpoint, Time now);

  // Port 0 takes a free one. EADDRNOTAVAIL: not an address of this host, nor a group, nor a broadcast address. EADDRINUSE. EINVAL: bound already.
  Result<void> bind(Endpoint& endpoint, const Address& local);
  // options.reuse_address has changed: whether others may bind to the port from now on.
  void update_reuse(Endpoint& endpoint);
  // Fixes the peer and with it the local address; binds where that is still to do. May be called again for another peer. ENETUNREACH, EACCES
  // (broadcast), EAGAIN (no port left). Port 0 fixes the local address alone.
  Result<void> connect(Endpoint& endpoint, const Address& peer);
  // Forgets the peer, and of the local address what connect() or a send chose.
  void disconnect(Endpoint& endpoint);
  // For Multicast::join() and the like.
  [[nodiscard]] SocketGroups& groups(Endpoint& endpoint) const;
  // IP_MTU of a connected socket. ENOTCONN.
  [[nodiscard]] Result<std::uint32_t> path_mtu(Endpoint& endpoint);

  // A datagram from IP.
  void input(const wire::IpInfo& ip, Frame&& datagram, Time now);
  // An ICMP error from IP. False: it is not about anything that a live socket sent lately.
  bool icmp_error(const IcmpError& error, Time now);

  // Sends what waits in the endpoint's send rings, at most `budget` records; returns how many it took. What is refused is reported to the endpoint.
  // Where the endpoint is paced it takes no more than may go by now: come again at Endpoint::held_until().
  std::size_t flush(Endpoint& endpoint, Time now, std::size_t budget);
  // What waits there, as much as a ring holds, is lost (Drop::socket_closed).
  void discard(Endpoint& endpoint, Time now);
  // One of them; for who takes them from the rings itself, and sends them later. Where it went, or why it died.
  std::expected<PathKind, Drop> submit(Endpoint& endpoint, const SendRequest& request, Time now);
  // What IP would write for one of them: addresses, TTL, TOS. Nothing where it would be refused.
  [[nodiscard]] std::optional<wire::IpInfo> preview(Endpoint& endpoint, const SendRequest& request);
  // Sends one, without a ring between. EDESTADDRREQ, EINVAL (port 0, too many segments), EMSGSIZE, EACCES, ENETUNREACH, ENOBUFS, ...
  Result<void> send(Endpoint& endpoint, const SendRequest& request, Time now);
  // For a handler: answers with the first `size` bytes at delivery.payload, in the same frame, from the address that the datagram was sent to (RFC
  // 8085 section 5.1). Afterwards the payload is gone. Up to the frame's tail the answer may be longer than what came. EINVAL: answered already, or
  // the peer's port is 0; EMSGSIZE: the frame ends before. What is refused is a counted Drop too.
  Result<void> reply(Endpoint& endpoint, Delivery& delivery, std::size_t size);

  [[nodiscard]] const UdpCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t socket_count() const { return sockets_.size(); }

 private:
  class Socket;

  void deliver_to_group(Delivery& delivery);
  // The two of them and find_path() stand on the path of every datagram, and are part of their callers.
  [[nodiscard]] std::expected<void, Drop> deliver(Socket& socket, Delivery& delivery);
  [[nodiscard]] std::expected<void, Drop> deliver_copy(Socket& socket, const Delivery& delivery);
  void refuse(Delivery& delivery);
  void hand_over(Delivery& delivery);
  void settle(const Delivery& delivery, std::expected<void, Drop> fate);

  Result<void> bind_automatically(Socket& socket);
  // A port in the table and, of a guest, in the kernel.
  Result<void> take_port(Socket& socket, const Address& local);
  void release_claim(Socket& socket);
  Result<void> find_path(Socket& socket, const IpAddress& dst, const IpAddress& src, std::uint32_t interface);
  Result<void> look_up_path(Socket& socket, const IpAddress& dst, const IpAddress& src, std::uint32_t interface);
  Result<void> send_segments(Socket& socket, std::uint16_t port, std::span<const std::byte> payload, std::uint16_t segment_size, Time now);
  Result<void> send_datagram(Socket& socket, std::uint16_t port, std::span<const std::byte> payload, Time now);
  Result<void> answer(Socket& socket, Delivery& delivery, std::size_t size);
  void remember_flow(Socket& socket, std::uint16_t port, Time now);
  Result<std::uint16_t> aim(Socket& socket, const SendRequest& request);
  Drop report_refusal(Socket& socket, const SendRequest& request, const Error& error);
  [[nodiscard]] Drop count_loss(const Error& error);

  Context& context_;
  IpLayer& ip_;
  Interfaces& interfaces_;
  Multicast& multicast_;
  PortTable ports_;
  RecentFlows recent_flows_;
  UdpCounters counters_;
  std::vector<std::unique_ptr<Socket>> sockets_;
  std::uint32_t next_id_ = 1;
};

}  // namespace gannet::stack
