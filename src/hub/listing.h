// All that a hub has, at one moment: for `gannet stat`. It crosses as a sheet (sheet.h): the sizes of its tables, then the tables.
//
// Thread: any; plain values.  Allocates: the tables.  Bounds: what the hub has.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <gannet/address.h>
#include <gannet/result.h>

#include "hub/protocol.h"

namespace gannet::hub {

// A text in a table; what is longer is cut.
struct ListedName {
  std::array<char, 32> text{};
  ListedName() = default;
  explicit ListedName(std::string_view from) { from.copy(text.data(), text.size() - 1); }
  [[nodiscard]] std::string_view view() const;
};

struct ListedSocket {
  std::uint32_t id = 0;
  std::int32_t process = 0;
  ListedName program;
  Address local, remote;  // port 0: not bound, not connected
  std::uint32_t is_interposed = 0;
  std::uint64_t in = 0, out = 0;                      // datagrams
  std::uint64_t receive_used = 0, receive_limit = 0;  // as SO_RCVBUF charges
  std::uint64_t send_used = 0, send_limit = 0;
  std::uint64_t receive_queue_full = 0, send_refused = 0;  // datagrams that died
};

struct ListedInterface {
  std::uint32_t index = 0;
  ListedName name;
  std::uint32_t mtu = 0;
  std::uint32_t is_up = 0;
  std::uint64_t frames_in = 0, bytes_in = 0, frames_out = 0, bytes_out = 0, dropped = 0;  // of its link
};

struct ListedAddress {
  std::uint32_t interface = 0, prefix = 0;
  IpAddress ip;
};

struct ListedGroup {
  std::uint32_t socket = 0, interface = 0;
  IpAddress group;
  std::uint32_t sources = 0;  // that its filter names
};

struct ListedCount {
  ListedName name;
  std::uint64_t value = 0;
};

struct Listing {
  Status status;
  std::vector<ListedSocket> sockets;
  std::vector<ListedInterface> interfaces;
  std::vector<ListedAddress> addresses;
  std::vector<ListedGroup> groups;
  std::vector<ListedCount> counters;
  std::vector<ListedCount> drops;  // those that there were

  [[nodiscard]] std::vector<std::byte> emit() const;
  // EPROTO: the bytes are no listing.
  [[nodiscard]] static Result<Listing> parse(std::span<const std::byte> bytes);
};

}  // namespace gannet::hub
