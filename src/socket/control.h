// What a socket asks of its engine, now and then: to bind, to connect, options, groups. One request, one answer, both plain bytes, so that they go
// through the mailbox of an engine of this process or over the connection to a hub alike.
//
//   StackSocket -> Attachment::control() -> [mailbox, or hub] -> carry_out() -> Udp, Multicast, Endpoint
//
// A request may come from another process: check() it before anything else.
// Thread: carry_out() the engine's; the rest any.  Allocates: what the stack does for the call.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <gannet/address.h>
#include <gannet/option.h>
#include <gannet/result.h>

#include "engine/engine.h"
#include "socket/provider.h"

namespace gannet::socket {

struct ControlRequest {
  enum class Kind : std::uint32_t {
    bind,                // to `address`
    bind_automatically,  // before the first datagram, where nothing bound it yet
    connect,             // to `address`
    disconnect,
    local_address,
    peer_address,
    set,  // `option` to `value`
    get,
    set_ip_options,
    membership,
    multicast_interface,  // to `interface`
    too_large,            // a send to `address` was refused: larger than `value`, the path's MTU
  };
  Kind kind = Kind::local_address;
  Option option{};
  Membership membership{};
  std::uint8_t ip_options_size = 0;
  std::int32_t value = 0;
  std::uint32_t interface = 0;
  Address address{};
  IpAddress group{}, source{};
  std::array<std::byte, 40> ip_options{};
};

struct ControlAnswer {
  std::int32_t value = 0;  // of the option
  Address address{};       // asked for, or the one that the socket has after bind and connect
};

static_assert(std::is_trivially_copyable_v<ControlRequest> && std::is_trivially_copyable_v<ControlAnswer>);

// What its sentences are about.
[[nodiscard]] Call call_of(ControlRequest::Kind kind);
// EINVAL: a number stands in it that means nothing.
[[nodiscard]] Result<void> check(const ControlRequest& request);
// In the engine's thread. What was sent before a change goes out as the socket was then, except for what its pace holds back.
Result<ControlAnswer> carry_out(engine::Engine& engine, stack::Endpoint& endpoint, const ControlRequest& request);

}  // namespace gannet::socket
