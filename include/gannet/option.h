// The options of a socket. Each is an integer; where Linux has the option, number, range and effect are Linux's (socket(7), ip(7), udp(7)).
//
// An option that a provider lacks is refused with ENOPROTOOPT, never accepted and ignored; a value out of range with EINVAL.
// Thread: any; these are plain values.
#pragma once
#include <cstdint>

namespace gannet {

enum class Option : std::uint8_t {
  // Sizes and permissions.
  receive_buffer,  // SO_RCVBUF, bytes; Linux doubles what is asked for, and so do we
  send_buffer,     // SO_SNDBUF, bytes; doubled likewise
  broadcast,       // SO_BROADCAST, 0 or 1: without it a send to a broadcast address is EACCES
  reuse_address,   // SO_REUSEADDR, 0 or 1
  reuse_port,      // SO_REUSEPORT, 0 or 1: unicast datagrams are spread over the sockets by a hash of the flow

  // What goes out.
  ttl,             // IP_TTL, 1-255, or -1 for the default (64)
  tos,             // IP_TOS, 0-255: DSCP and ECN
  multicast_ttl,   // IP_MULTICAST_TTL, 0-255, or -1 for the default (1)
  multicast_loop,  // IP_MULTICAST_LOOP, 0 or 1 (default): members on this host hear what it sends
  pmtu_discovery,  // IP_MTU_DISCOVER, see PmtuDiscovery
  no_checksum,     // SO_NO_CHECK, 0 or 1: send IPv4 datagrams with no UDP checksum (RFC 1122 4.1.3.4)
  segment_size,    // UDP_SEGMENT, bytes: every send is cut into datagrams of this size; 0 is off
  // SO_MAX_PACING_RATE, bytes of IP packets a second; -1 (default) and 0: as fast as it goes. On a Host what is too early stays in the send buffer: a
  // sender that is faster waits there, bursts are two packets or a millisecond's worth, and close() still sends the rest, each in its time. A send
  // that is cut into segments goes at once. Not paced: a handler's replies. The kernel paces only on interfaces whose queueing discipline is fq
  // (tc-fq(8)); elsewhere it takes the option and does nothing (RFC 8085 3.1.6).
  max_pacing_rate,

  // What comes in.
  receive_metadata,    // 0 or 1 (default): local address, interface, TTL and TOS of each datagram
  timestamp,           // SO_TIMESTAMPNS, 0 (default) or 1: receive time of each datagram
  receive_errors,      // IP_RECVERR, 0 or 1 (default; Linux's is 0): ICMP errors, of unconnected sends too, are queued for receive_error()
  require_checksum,    // 0 (default) or 1: IPv4 datagrams without a UDP checksum are dropped; ours only (RFC 1122 4.1.3.4 "MAY")
  multicast_all,       // IP_MULTICAST_ALL, 0 or 1 (default): receive what the host hears of groups that other sockets joined
  receive_ip_options,  // IP_RECVOPTS, 0 (default) or 1: the datagram's IP options come with it
  segment_coalescing,  // UDP_GRO, 0 (default) or 1: datagrams of one flow may arrive as one buffer, cut at segment_size

  // To ask only; setting them is EINVAL.
  mtu,               // IP_MTU of a connected socket: bytes of IP packet
  error,             // SO_ERROR: the pending error as an errno, cleared by asking
  overflow_count,    // SO_RXQ_OVFL: datagrams dropped so far because the receive queue was full
  segment_fallbacks  // sends with a segment size that went out one by one, because the path cannot segment
};

enum class PmtuDiscovery : int {
  dont = 0,       // fragment, never set DF
  want = 1,       // Linux's default: DF where it fits the path's MTU, fragment what is larger
  always = 2,     // DF on everything; larger than the path's MTU is EMSGSIZE (RFC 8085 3.2)
  probe = 3,      // DF on everything, and the known path MTU is ignored
  interface = 4,  // never DF, the interface's MTU, PTB ignored
  omit = 5        // as interface, but larger packets are fragmented
};

}  // namespace gannet
