#include "wire/remedy.h"

#include <array>

namespace gannet {
namespace {

constexpr std::string_view too_fast = "send slower: pace the sender (SO_MAX_PACING_RATE, gannet send --pace)";
constexpr std::string_view malformed = "look at who sent it: a capture shows the packet (--capture FILE); one that means no harm does not send such";
constexpr std::string_view others_business = "nothing: such pass on every network, and are others' business";
constexpr std::string_view not_alone = "find the loop, or the other host with this address: ip neigh, arping -D ADDRESS";
constexpr std::string_view too_many_neighbors = "wait for a first answer before sending much, to fewer new addresses at once";
constexpr std::string_view damaged =
    "look for what damages packets: --corrupt does, and so do bad cables; a capture that shows this of all has caught them before offload";
constexpr std::string_view forged = "look at who sent it: such packets are forged, or their sender is misconfigured";
constexpr std::string_view fragments = "send what fits the path's MTU: one lost fragment loses the whole datagram";
constexpr std::string_view asked_for = "nothing, it was asked for; another --seed loses others";

struct Row {
  Drop drop;
  std::string_view remedy;
};
constexpr Row rows[] = {
    {Drop::no_frame, "read faster, or hold less: more datagrams were under way at once than there is memory for; a long --delay holds many"},
    {Drop::link_queue_full, too_fast},
    {Drop::loopback_queue_full, too_fast},
    {Drop::interface_down, "see what became of it: ip link; sudo ip link set NAME up"},
    {Drop::frame_too_long, "give both ends of the link the same MTU: ip link set NAME mtu N"},
    {Drop::uplink_no_claim, "report it: this is a fault of Gannet's, unless the socket was closed at that moment"},
    {Drop::uplink_held_port, "bind the receiver to the address that is sent to, or to 0.0.0.0; its port is here, but it wants other datagrams"},
    {Drop::uplink_refused, "ask the kernel: ip route get ADDRESS, and the firewall (nft list ruleset); its errno is the socket's error"},
    {Drop::uplink_own_copy, "nothing: the datagram itself was delivered"},
    {Drop::uplink_overflow, "send slower, or let the kernel hold more: sudo sysctl net.core.rmem_max=8388608, then gannet hub down"},
    {Drop::ethernet_truncated, malformed},
    {Drop::ethernet_not_for_us, others_business},
    {Drop::ethernet_length_invalid, malformed},
    {Drop::ethernet_vlan_unknown, "take the tag off before this host: attach it to the VLAN's own interface"},
    {Drop::ethernet_type_unknown, others_business},
    {Drop::ethernet_own_frame, not_alone},
    {Drop::arp_malformed, malformed},
    {Drop::arp_not_for_us, others_business},
    {Drop::neighbor_unreachable, "see whether the address is right, and its host up: ping ADDRESS; ip neigh"},
    {Drop::neighbor_queue_full, too_many_neighbors},
    {Drop::neighbor_table_full, too_many_neighbors},
    {Drop::ip_header_truncated, malformed},
    {Drop::ip_version_wrong, malformed},
    {Drop::ip_length_invalid, malformed},
    {Drop::ip_checksum_bad, damaged},
    {Drop::ip_options_malformed, malformed},
    {Drop::ip_source_route, forged},
    {Drop::ip_source_invalid, forged},
    {Drop::ip_destination_invalid, forged},
    {Drop::ip_source_is_ours, not_alone},
    {Drop::ip_not_for_us, others_business},
    {Drop::ip_unicast_in_broadcast_frame, forged},
    {Drop::ip_protocol_unknown, others_business},
    {Drop::ip_no_route, "add a route, or a gateway: ip route; of a host of ours ,gw=ADDR"},
    {Drop::ip_too_big,
     "send less than the path's MTU, less 28 bytes of headers (IP_MTU tells it), or let IP fragment (IP_MTU_DISCOVER off); --mtu sets it"},
    {Drop::ip_guest_protocol, "nothing: the kernel says what its addresses have to say besides UDP"},
    {Drop::ip_ttl_zero, "send with a larger TTL (IP_TTL; to groups IP_MULTICAST_TTL), unless it is to stay here"},
    {Drop::group_not_joined, "join the group on this interface: IP_ADD_MEMBERSHIP, gannet listen --join GROUP%IFACE"},
    {Drop::source_filtered, "let the sender in: IP_ADD_SOURCE_MEMBERSHIP or IP_UNBLOCK_SOURCE"},
    {Drop::fragment_malformed, malformed},
    {Drop::fragment_overlap, malformed},
    {Drop::fragment_duplicate, others_business},
    {Drop::fragment_ecn_inconsistent, malformed},
    {Drop::fragment_table_full, fragments},
    {Drop::fragment_timeout, fragments},
    {Drop::icmp_truncated, malformed},
    {Drop::icmp_quote_malformed, malformed},
    {Drop::icmp_checksum_bad, damaged},
    {Drop::icmp_type_unknown, others_business},
    {Drop::icmp_no_socket, "nothing: who sent that has closed its socket, or never was here"},
    {Drop::icmp_echo_broadcast, others_business},
    {Drop::igmp_truncated, malformed},
    {Drop::igmp_checksum_bad, damaged},
    {Drop::igmp_malformed, malformed},
    {Drop::udp_header_truncated, malformed},
    {Drop::udp_length_invalid, malformed},
    {Drop::udp_checksum_bad, damaged},
    {Drop::udp_checksum_missing, "have the sender compute the checksum (SO_NO_CHECK off), or the receiver not require it"},
    {Drop::udp_no_socket, "start the receiver first, and see where it is bound: gannet stat, ss -uln; mind the address as well as the port"},
    {Drop::udp_wrong_peer, "have the receiver connect to this sender, or to nobody"},
    {Drop::receive_queue_full, "read faster, send slower, or give it more room (SO_RCVBUF): that buys time, not speed"},
    {Drop::socket_closed, "keep the socket open until the last answer has come"},
    {Drop::send_record_invalid, "report it: this is a fault of Gannet's, or the program writes where it should not"},
    {Drop::send_refused, "look at what the call returned, the socket's error (SO_ERROR) or its error queue (IP_RECVERR)"},
    {Drop::dtls_record_malformed, "have both sides speak DTLS: what came is something else, or damaged"},
    {Drop::dtls_hello_malformed, malformed},
    {Drop::dtls_hello_fragment, "nothing, if it is rare: the client sends it again; else raise the client's MTU"},
    {Drop::dtls_cookie_wrong, "nothing: the client gets a new one; many of them are an attack"},
    {Drop::dtls_not_accepting, "set DtlsOptions::accept, if others are to begin"},
    {Drop::dtls_handshakes_full, "nothing: who is honest asks again; raise DtlsOptions::most_handshakes for large fleets that start at once"},
    {Drop::dtls_peers_full, "raise DtlsOptions::most_peers, or set an idle_timeout that lets go of the silent ones"},
    {Drop::dtls_no_association, "nothing: its sender will notice, and connect again"},
    {Drop::dtls_record_rejected, "nothing, if it is rare: the network doubles datagrams; many are an attack, or a peer that forgot us"},
    {Drop::dtls_send_queue_full, "nothing: handshakes repeat what was lost"},
    {Drop::fault_loss, asked_for},
    {Drop::fault_burst_loss, asked_for},
    {Drop::fault_rate_queue_full, "send slower than --rate, or let more wait: --queue"},
    {Drop::fault_held_full, "delay less, or send slower: no more than 16,384 are held each way"},
};

constexpr auto remedies = [] {
  std::array<std::string_view, drop_count> all;
  for (const Row& row : rows) all[static_cast<std::size_t>(row.drop)] = row.remedy;
  return all;
}();

consteval bool is_whole() {
  for (const std::string_view remedy : remedies) {
    if (remedy.empty()) return false;
  }
  return std::size(rows) == drop_count;
}
static_assert(is_whole(), "each reason has one remedy");

}  // namespace

std::string_view remedy_of(Drop drop) { return remedies[static_cast<std::size_t>(drop)]; }

}  // namespace gannet
