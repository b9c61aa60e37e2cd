// The BIO between OpenSSL and the network: each read is one whole datagram, and so is each write.
//
// What OpenSSL would ask a socket for (an MTU, a time to wait) it is told: the MTU is ours, the waiting is ours. A read may leave the datagram where
// it is (peek), as DTLSv1_listen() needs it.
// Owner: an association.  Thread: one at a time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include <gannet/socket.h>

#include "dtls/mail.h"
#include "dtls/openssl.h"

namespace gannet::dtls {

struct Pipe {
  std::span<const std::byte> in{};  // the datagram to be read
  bool has_in = false;
  bool peeks = false;
  Outbox* out = nullptr;
  Outgoing route{};             // where what is written goes
  std::size_t payload = 0;      // the most that one datagram carries
  std::size_t headers = 0;      // of IP and UDP in front of it
  std::uint64_t overflows = 0;  // writes that the outbox had no room for: as if the network had lost them

  // One end of it for an SSL, which owns that; the pipe outlives it. Null: no memory.
  BIO* bio();
};

}  // namespace gannet::dtls
