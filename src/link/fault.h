// The fault unit: decides what becomes of each packet of one direction. It decides and times; who owns the packet drops, copies, flips and holds it.
//
//   packet -> lost? -> burst? -> rate (a queue counted in bytes) -> delay +- jitter, or ahead of what waits -> copy? flipped bit?
//
// Decision n of a flow is a function of (seed, kind and ordinal of the flow, direction, n) alone: a counter-based generator, no stream that flows
// share. Each question has a number of its own, so that turning one impairment on does not change what another decides. Times and the rate's drops
// depend on when packets come: the same in virtual time, not in real time. Owner: a fault link, or an engine for one of its programs.  Thread: one.
// Allocates: never. Sources: Gilbert 1960 and Elliott 1963 (bursts); tc-netem(8) for the meaning of the words.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

#include <gannet/impairment.h>

#include "base/time.h"
#include "link/flow.h"
#include "wire/drop.h"

namespace gannet::link {

struct Verdict {
  std::optional<Drop> drop;                  // nothing else is meant when it is set
  Time release{};                            // when it goes on; `now` or before: at once
  bool duplicate = false;                    // a copy follows right behind
  std::optional<std::uint64_t> corrupt_bit;  // flip this bit, modulo the number of bits
};

class Fault {
 public:
  // `impairment` has passed its check().
  Fault(const Impairment& impairment, Direction direction) : impairment_(impairment), direction_(direction), none_(impairment.is_none()) {}

  // The next packet of `flow`, `size` bytes on the wire. Called in the order in which the flow's packets come; `now` never goes back.
  Verdict decide(Flow& flow, std::size_t size, Time now);

  [[nodiscard]] bool is_none() const { return none_; }
  [[nodiscard]] const Impairment& impairment() const { return impairment_; }

 private:
  class Draws;
  std::optional<Drop> decide_loss(const Draws& draws, FlowState& state) const;
  // When the last bit of a packet has left a line of the given rate, or none when its queue is full.
  std::optional<Time> leave_line(std::size_t size, Time now);

  Impairment impairment_;
  Direction direction_;
  bool none_;
  Time line_free_ = Time::min();  // when all that was let in has left
  std::uint64_t remainder_ = 0;   // of the division by the rate, carried on so that no bit is gained or lost
};

}  // namespace gannet::link
