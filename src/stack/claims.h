// What a guest host, which shares the kernel's addresses, asks of the kernel: ports, so that the whole machine has one set of them, and groups, so
// that the kernel hears them for us. Plain functions, as Context's upper layers: the stack knows nothing of who carries them out (link::Uplink).
//
// Owner: Context; set once, by Stack::attach_claims().  Thread: the engine's.
#pragma once
#include <cstdint>

#include <gannet/address.h>
#include <gannet/result.h>

#include "stack/source_filter.h"

namespace gannet::stack {

struct Claims {
  void* self = nullptr;  // null: a full host, which owns its addresses
  // Once for each socket that binds there. EADDRINUSE: a program outside has the port. EACCES, EADDRNOTAVAIL, EMFILE: as bind(2).
  Result<void> (*claim)(void* self, const Address& local, bool reuse_address, bool reuse_port) = nullptr;
  void (*release)(void* self, const Address& local) = nullptr;
  // What the sockets of an interface want of a group has become `sum`. As setsockopt(2) with a group.
  Result<void> (*update_group)(void* self, const IpAddress& group, std::uint32_t interface, const SourceFilter& sum) = nullptr;

  explicit operator bool() const { return self != nullptr; }
};

}  // namespace gannet::stack
