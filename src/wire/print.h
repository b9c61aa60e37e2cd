// One line for a frame or packet, as tcpdump would write it: for the command line, the demo, and the comments in captures.
//
//   IP 10.7.0.1.40000 > 10.7.0.2.65433: UDP, length 18
//   ARP, Request who-has 10.7.0.2 tell 10.7.0.1
//   IP 10.7.0.2 > 10.7.0.1: ICMP 10.7.0.2 udp port 9 unreachable
//   IP 10.7.0.1 > 10.7.0.2: udp (frag 77:1480@1480+)
//
// What is wrong with it stands behind it in brackets, under the name of the drop reason: "... UDP, length 18 [udp_checksum_bad]".
// Any bytes at all may be given. Thread: any; there is no state.  Allocates: in the caller's string.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace gannet::wire {

// Appends the line, without its end, to `line`. A frame begins with an Ethernet header, a packet with an IP header.
void print_frame(std::span<const std::byte> frame, std::string& line);
void print_packet(std::span<const std::byte> packet, std::string& line);
// What a capture file holds: `link_type` says what the bytes begin with. Of types that are not known here, only the number and the length are told.
void print_captured(std::uint16_t link_type, std::span<const std::byte> bytes, std::string& line);

}  // namespace gannet::wire
