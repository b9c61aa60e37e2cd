// What a host has counted, by name: RFC 4113's for UDP, RFC 4293's for IP and ICMP, written udp_in_datagrams for udpInDatagrams; its frames; its
// drops.
//
// Thread: any.  Allocates: the answer.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace gannet::stack {

class Stack;

struct NamedCount {
  std::string_view name;
  std::uint64_t value;
};

[[nodiscard]] std::vector<NamedCount> counts_of(Stack& stack);

}  // namespace gannet::stack
