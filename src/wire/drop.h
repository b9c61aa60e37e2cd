// Every reason for which a packet may die, in one place, so that none dies unnamed.
//
// A row: the name, and what it means in one sentence. Names are stable: they stand in captures, counters and JSON.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gannet {

#define GANNET_DROPS(X)                                                                                        \
  /* resources */                                                                                              \
  X(no_frame, "the pool of frames was exhausted")                                                              \
  X(link_queue_full, "the link's or interface's transmit queue was full")                                      \
  X(loopback_queue_full, "the queue of the loopback interface was full")                                       \
  X(interface_down, "the interface is down or gone")                                                           \
  X(frame_too_long, "the frame is longer than the link's MTU allows")                                          \
  /* the kernel's side of a host that shares its addresses */                                                  \
  X(uplink_no_claim, "sent from a port that the host has not taken of the kernel")                             \
  X(uplink_held_port, "for a port of this host that no socket of it wants so: the kernel would bring it back") \
  X(uplink_refused, "the kernel refused to send it")                                                           \
  X(uplink_own_copy, "a copy, looped by the kernel, of what was delivered here already")                       \
  X(uplink_overflow, "the kernel's receive queue was full before the host took it")                            \
  /* link layer */                                                                                             \
  X(ethernet_truncated, "fewer bytes than an Ethernet header")                                                 \
  X(ethernet_not_for_us, "the destination MAC address is another host's")                                      \
  X(ethernet_length_invalid, "an IEEE 802.3 length beyond the end of the frame")                               \
  X(ethernet_vlan_unknown, "a VLAN that this host is not part of")                                             \
  X(ethernet_type_unknown, "an EtherType that this host does not speak")                                       \
  X(ethernet_own_frame, "the source MAC address is our own: a loop in the network")                            \
  X(arp_malformed, "an ARP packet that is truncated, not for Ethernet and IPv4, or neither request nor reply") \
  X(arp_not_for_us, "an ARP packet about other hosts")                                                         \
  X(neighbor_unreachable, "the next hop did not answer ARP or neighbour discovery")                            \
  X(neighbor_queue_full, "too many packets were waiting for the next hop's link address")                      \
  X(neighbor_table_full, "no room to resolve one more next hop")                                               \
  /* IPv4 */                                                                                                   \
  X(ip_header_truncated, "fewer bytes than the IP header says")                                                \
  X(ip_version_wrong, "the version field does not agree with the EtherType")                                   \
  X(ip_length_invalid, "the IP header or total length contradicts the packet")                                 \
  X(ip_checksum_bad, "the IPv4 header checksum is wrong")                                                      \
  X(ip_options_malformed, "the IP options contradict themselves")                                              \
  X(ip_source_route, "a source-routed packet, which this host does not forward")                               \
  X(ip_source_invalid, "a source address that no packet may have")                                             \
  X(ip_destination_invalid, "a destination address that no packet on a wire may have")                         \
  X(ip_source_is_ours, "the source is our own address, yet it came from a link")                               \
  X(ip_not_for_us, "the destination address is another host's")                                                \
  X(ip_unicast_in_broadcast_frame, "a unicast packet in a link-layer broadcast")                               \
  X(ip_protocol_unknown, "no upper protocol here for this number")                                             \
  X(ip_no_route, "no route to the destination")                                                                \
  X(ip_too_big, "larger than the path's MTU, and not to be fragmented")                                        \
  X(ip_guest_protocol, "not UDP: a host that shares the kernel's addresses sends nothing else")                \
  X(ip_ttl_zero, "the TTL would be zero on the wire")                                                          \
  X(group_not_joined, "a group that no socket on this interface has joined")                                   \
  X(source_filtered, "every member's source filter excludes the sender")                                       \
  /* fragments */                                                                                              \
  X(fragment_malformed, "a fragment whose offset or length is impossible")                                     \
  X(fragment_overlap, "fragments of one datagram overlap")                                                     \
  X(fragment_duplicate, "a copy of a fragment that is already held")                                           \
  X(fragment_ecn_inconsistent, "fragments with CE and Not-ECT mixed")                                          \
  X(fragment_table_full, "reassembly memory, count or this source's share was used up")                        \
  X(fragment_timeout, "the missing fragments did not come in time")                                            \
  /* ICMP, IGMP */                                                                                             \
  X(icmp_truncated, "fewer bytes than the ICMP message needs")                                                 \
  X(icmp_quote_malformed, "an ICMP error that quotes no IP packet")                                            \
  X(icmp_checksum_bad, "the ICMP checksum is wrong")                                                           \
  X(icmp_type_unknown, "an ICMP type that hosts discard silently")                                             \
  X(icmp_no_socket, "an ICMP error about a datagram that no live socket sent")                                 \
  X(icmp_echo_broadcast, "an echo request to a broadcast or multicast address")                                \
  X(igmp_truncated, "fewer bytes than the IGMP message needs, or a length that no version has")                \
  X(igmp_checksum_bad, "the IGMP checksum is wrong")                                                           \
  X(igmp_malformed, "an IGMP message with a wrong TTL, destination, option or source count")                   \
  /* UDP */                                                                                                    \
  X(udp_header_truncated, "fewer than 8 bytes after the IP header")                                            \
  X(udp_length_invalid, "Length below 8, or beyond the IP payload")                                            \
  X(udp_checksum_bad, "the UDP checksum is wrong")                                                             \
  X(udp_checksum_missing, "no UDP checksum where the socket or IPv6 requires one")                             \
  X(udp_no_socket, "no socket is bound to the destination port and address")                                   \
  X(udp_wrong_peer, "the only socket there is connected to another peer")                                      \
  /* endpoints */                                                                                              \
  X(receive_queue_full, "the socket's receive queue was full: the application reads too slowly")               \
  X(socket_closed, "the socket was closed while the datagram was on its way")                                  \
  X(send_record_invalid, "a record in a send ring contradicts itself")                                         \
  X(send_refused, "the stack refused what the application sent; the call or socket says why")                  \
  /* DTLS */                                                                                                   \
  X(dtls_record_malformed, "not a DTLS record, or one whose length lies")                                      \
  X(dtls_hello_malformed, "a ClientHello that contradicts itself")                                             \
  X(dtls_hello_fragment, "a later piece of a ClientHello, without the first, which has the cookie")            \
  X(dtls_cookie_wrong, "a cookie that was not made for this address, or too long ago")                         \
  X(dtls_not_accepting, "a ClientHello to a socket that only connects, or whose own is the one that counts")   \
  X(dtls_handshakes_full, "too many handshakes were under way, in all or with this address")                   \
  X(dtls_peers_full, "as many peers as the socket takes")                                                      \
  X(dtls_no_association, "a record of an association that does not exist, or no more")                         \
  X(dtls_record_rejected, "a record that is not authentic, or that came before")                               \
  X(dtls_send_queue_full, "what the handshakes had to send was more than waits to be sent")                    \
  /* the fault unit */                                                                                         \
  X(fault_loss, "the fault unit lost it, as asked (--loss)")                                                   \
  X(fault_burst_loss, "the fault unit lost it in a burst, as asked")                                           \
  X(fault_rate_queue_full, "the fault unit's rate-limited queue was full (--rate)")                            \
  X(fault_held_full, "more packets were being delayed than the fault unit holds")

enum class Drop : std::uint8_t {
#define X(name, meaning) name,
  GANNET_DROPS(X)
#undef X
};

inline constexpr std::array drop_names = {
#define X(name, meaning) std::string_view(#name),
    GANNET_DROPS(X)
#undef X
};

inline constexpr std::array drop_meanings = {
#define X(name, meaning) std::string_view(meaning),
    GANNET_DROPS(X)
#undef X
};

inline constexpr std::size_t drop_count = drop_names.size();
constexpr std::string_view name_of(Drop drop) { return drop_names[static_cast<std::size_t>(drop)]; }
constexpr std::string_view meaning_of(Drop drop) { return drop_meanings[static_cast<std::size_t>(drop)]; }

}  // namespace gannet
