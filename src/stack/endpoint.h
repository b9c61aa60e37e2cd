// Where applications and a host meet: the state of one UDP socket, and its rings of datagram records in memory that may be shared.
//
//   engine: deliver(), report() -> receive ring, error ring -> application
//   application -> send ring (one for each process) -> engine: next_send()
//
// This header is the engine's side. Owner and thread: the engine. The application's side is EndpointClient (endpoint_client.h).
// Bounds: the receive ring by SO_RCVBUF, charged as Linux charges (a datagram dropped there is Drop::receive_queue_full); a send ring by SO_SNDBUF
// (send waits, or EAGAIN); the error ring by 64 records (the oldest stay, the newest are counted and lost).
#pragma once
#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/time.h"
#include "stack/path.h"
#include "stack/record.h"
#include "wire/drop.h"
#include "wire/ip.h"

namespace gannet::stack {

class Endpoint;

// A datagram on its way to an endpoint or handler. All views end with the call.
struct Delivery {
  const wire::IpInfo& ip;
  Address peer, local;
  std::span<std::byte> payload;  // in its frame; a handler may change it
  std::uint16_t segment_size = 0;
  bool has_checksum = true;
  Time now;
};

// The faster door: called in the engine's thread with the datagram in its frame, in place of the receive ring. `reply` sends from the same frame.
struct DatagramHandler {
  void (*handle)(void* context, Endpoint& endpoint, Delivery& delivery) = nullptr;
  void* context = nullptr;
};

// What setsockopt(2) sets, as Linux names it. Written in the engine's thread.
struct EndpointOptions {
  int ttl = -1;
  std::uint8_t tos = 0;
  std::uint8_t multicast_ttl = 1;
  bool multicast_loop = true;
  bool multicast_all = true;
  std::uint32_t multicast_interface = 0;
  bool broadcast = false;
  bool reuse_address = false;
  bool reuse_port = false;
  Fragmentation fragmentation = Fragmentation::want;
  bool no_checksum = false;
  bool require_checksum = false;
  bool receive_errors = false;
  bool timestamp = false;
  bool receive_ip_options = false;
  std::uint16_t segment_size = 0;
  std::array<std::byte, 40> ip_options{};
  std::uint8_t ip_options_size = 0;
};

}  // namespace gannet::stack
