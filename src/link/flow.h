// Which flow a packet belongs to, for the fault unit: its decisions are made per flow, so that how flows interleave changes none of them.
//
// A flow is named by its kind (IP protocol), its two addresses and ports, seen from here: local and remote, so that both directions are one flow. The
// name only tells flows apart; what counts is the flow's ordinal, its place in the order in which flows of its kind first appeared. An ephemeral
// port therefore never matters, nor does an ARP request or an IGMP report between two flows.
// Owner: a fault link, or an engine for one of its programs.  Thread: one.  Allocates: a table, once, at its construction.
// Bound: FlowTable's capacity. What comes when it is full shares one more flow; its statistics stay right, but its decisions follow the interleaving.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <gannet/address.h>

#include "base/time.h"

namespace gannet::link {

enum class Direction : std::uint8_t { in, out };

struct FlowKey {
  // An IP protocol; fragments, which show no ports, are of a kind of their own per protocol; so is all that is not IP.
  static constexpr std::uint16_t fragment = 256;
  static constexpr std::uint16_t not_ip = 512;
  static constexpr std::uint16_t kinds = 513;

  std::uint16_t kind = not_ip;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;
  IpAddress local;
  IpAddress remote;

  friend bool operator==(const FlowKey&, const FlowKey&) = default;
};

// Reads as much of a packet or frame as a flow's name needs. What is malformed counts as not_ip: saying what is wrong with it is the stack's
// business.
FlowKey flow_of_packet(std::span<const std::byte> packet, Direction direction);
// The IP packet in a frame without the link's padding; empty when there is none.
std::span<const std::byte> packet_of_frame(std::span<const std::byte> frame, bool ethernet);

// What the fault unit remembers of a flow in one direction.
struct FlowState {
  std::uint64_t count = 0;          // packets decided so far: the n of decision n
  bool in_burst = false;            // Gilbert-Elliott's bad state
  Time last_release = Time::min();  // nothing of the flow that keeps the order goes before it
};

struct Flow {
  FlowKey key;
  std::uint32_t ordinal = 0;
  std::array<FlowState, 2> states;  // by Direction
};

class FlowTable {
 public:
  explicit FlowTable(std::size_t capacity = 4096);

  // The flow of this name, new where it is not known. Valid as long as the table.
  Flow& find(const FlowKey& key);
  [[nodiscard]] std::size_t size() const { return flows_.size(); }

 private:
  std::size_t capacity_;
  std::vector<Flow> flows_;            // in order of appearance; never grows beyond what it reserved
  std::vector<std::uint32_t> places_;  // open addressing: index into flows_ + 1, or 0; at most half full
  std::array<std::uint32_t, FlowKey::kinds> next_ordinal_{};
  Flow overflow_;
};

}  // namespace gannet::link
