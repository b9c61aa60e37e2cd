// Every bound and default of the stack, in one place. What happens at each bound is said where it is kept.
//
// Set before the stack is made, and constant from then on.
// Thread: any; plain values.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace gannet::stack {

struct Config {
  std::uint8_t ttl = 64;  // of unicast packets that do not ask for another (RFC 1122 3.2.1.7)

  // Interfaces and routes. A call that would exceed one of these fails with ENOBUFS.
  std::size_t interfaces = 64;
  std::size_t addresses_per_interface = 64;
  std::size_t routes = 1024;

  // Queues, in frames; a frame that finds its queue full is dropped.
  std::size_t output_queue = 1024;    // of each interface: Drop::link_queue_full
  std::size_t loopback_queue = 1024;  // Drop::loopback_queue_full

  // Neighbours (RFC 1122 2.3.2.1).
  std::size_t neighbors = 1024;
  std::size_t neighbors_unresolved = 256;  // of them, those that have not answered yet
  std::size_t neighbor_queue = 64;         // packets that wait for one neighbour
  std::size_t neighbor_queue_total = 512;  // ... and for all of them
  Duration neighbor_confirmed = 60s;       // how long an answer is good, before the neighbour is asked again
  Duration neighbor_retry = 1s;            // between requests: never more than one a second to a destination
  unsigned neighbor_tries = 3;
  bool arp_probe = false;  // RFC 5227: probe an address before using it; otherwise announce only

  // Reassembly (RFC 1122 3.3.2).
  std::size_t reassembly_bytes = 2 << 20;   // of frames held, counted with their whole chunks
  std::size_t reassembly_datagrams = 256;   // incomplete ones
  std::size_t reassembly_fragments = 2048;  // of all datagrams
  std::size_t reassembly_source_share = 4;  // one source may hold 1/4 of each of these
  Duration reassembly_timeout = 60s;

  // Path MTU (RFC 1191).
  std::size_t path_mtus = 256;
  Duration path_mtu_age = std::chrono::minutes(10);
  std::uint32_t path_mtu_floor = 552;  // no router makes us send smaller packets than this; never below 68

  // ICMP errors of ours (RFC 4443 2.4f, RFC 1812 4.3.2.8). A rate of 0 is unlimited.
  std::uint32_t icmp_rate = 1000;  // per second, all of them
  std::uint32_t icmp_burst = 50;
  std::uint32_t icmp_destination_rate = 1;  // per second, to one destination
  std::uint32_t icmp_destination_burst = 6;

  // UDP.
  std::size_t sockets = 65536;         // ENFILE
  std::uint16_t ephemeral_low = 1024;  // RFC 6056 3.2; never a port of a well-known service
  std::uint16_t ephemeral_high = 65535;

  // Groups. A call that would exceed one of these fails with ENOBUFS.
  std::size_t memberships_per_socket = 256;
  std::size_t sources_per_filter = 128;
  std::size_t groups = 1024;      // of all interfaces
  std::size_t igmp_sources = 64;  // that queries may ask about at once, per group; beyond, the answer is about all of them
  unsigned igmp_robustness = 2;   // how often a change is told (RFC 9776 8.1), until a querier says otherwise
};

}  // namespace gannet::stack
