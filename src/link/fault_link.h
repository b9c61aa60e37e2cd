// A link with faults: wraps another, and impairs what passes in each direction.
//
//   engine  <- receive() -  held in  <- fault in  <-  wrapped link
//           -  send()    -> fault out -> held out  -> wrapped link
//
// A flow is the same in both directions (see flow.h); what is not IP is a flow of its own, lost, delayed and doubled like the others. What is
// corrupted is one bit of the IP packet. A link's checksum finds what its wire has done to a frame; what escapes it happened inside a router, where
// neither the link's header nor ARP has ever been, and a bit of ARP, which has no checksum, would send all packets astray for a minute. So both are
// left whole. Owner and thread: one engine.  Allocates: at creation only; copies
// of frames come from the engine's pools. Bounds: what is held, in each direction, by Impairment::held_packets; held frames stay in the engine's
// pools, which must have room for them. Every frame ends once: frames let in + duplicates() = passed on + dropped + held(), in each direction
// together.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include <gannet/impairment.h>
#include <gannet/result.h>

#include "link/fault.h"
#include "link/flow.h"
#include "link/held_queue.h"
#include "link/link.h"

namespace gannet::link {

class FaultLink final : public Link {
 public:
  // EINVAL when an impairment is out of its range. `pools` are those that receive() will be called with; they outlive the link.
  static Result<std::unique_ptr<FaultLink>> create(std::unique_ptr<Link> wrapped, const Impairment& in, const Impairment& out, FramePools& pools);

  [[nodiscard]] const Caps& caps() const override { return wrapped_->caps(); }
  // frames_in and frames_out are those that passed the faults; the wrapped link counts those on the wire.
  [[nodiscard]] const Counters& counters() const override { return counters_; }
  std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) override;
  std::size_t send(std::span<Frame> frames, Time now) override;
  [[nodiscard]] int fd() const override { return wrapped_->fd(); }
  [[nodiscard]] Time next_wakeup() const override;
  [[nodiscard]] Result<void> status() const override { return wrapped_->status(); }
  [[nodiscard]] const Link* wrapped() const override { return wrapped_.get(); }

  // Told of each frame that the faults drop: for captures, and for people who watch. Called in the engine's thread.
  using DropWatcher = std::function<void(Direction direction, std::span<const std::byte> frame, Drop reason, Time now)>;
  void watch_drops(DropWatcher watcher) { watcher_ = std::move(watcher); }

  [[nodiscard]] std::size_t held() const { return in_.held.size() + out_.held.size() + ready_count_; }
  [[nodiscard]] std::uint64_t duplicates() const { return duplicates_.value(); }

 private:
  struct Side {
    Side(const Impairment& impairment, Direction side)
        : direction(side), fault(impairment, side), held(impairment.is_none() ? 0 : impairment.held_packets) {}
    Direction direction;
    Fault fault;
    HeldQueue<Frame> held;
  };

  FaultLink(std::unique_ptr<Link> wrapped, const Impairment& in, const Impairment& out, FramePools& pools);
  // Does to the frame what its verdict says. Returns it when it goes on at once, and holds or drops it otherwise.
  Frame impair(Side& side, Frame frame, Time now);
  void hold(Side& side, Frame frame, Time release, Time now);
  void drop(const Side& side, const Frame& frame, Drop reason, Time now);
  Frame copy(const Frame& frame);
  std::size_t take_due(std::span<Frame> into, Time now);
  // Hands to the wrapped link what is ready and what has come due; what it does not take stays ready.
  void pump(Time now);
  void flush(Time now);

  std::unique_ptr<Link> wrapped_;
  FramePools& pools_;
  FlowTable flows_;
  Side in_;
  Side out_;
  std::array<Frame, batch_size> ready_;  // on the way out, past all delays
  std::size_t ready_count_ = 0;
  Time retry_at_{};  // for what the wrapped link did not take
  Counters counters_;
  Counter duplicates_;
  DropWatcher watcher_;
};

}  // namespace gannet::link
