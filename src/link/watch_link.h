// A link that tells of each frame as it passes: for people who want to see their packets on the terminal.
//
// Owner and thread: as the link it wraps.  Allocates: whatever the watcher does.
#pragma once
#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "link/flow.h"
#include "link/link.h"

namespace gannet::link {

class WatchLink final : public Link {
 public:
  using Watcher = std::function<void(Direction direction, std::span<const std::byte> frame, Time now)>;

  WatchLink(std::unique_ptr<Link> wrapped, Watcher watcher) : wrapped_(std::move(wrapped)), watcher_(std::move(watcher)) {}

  [[nodiscard]] const Caps& caps() const override { return wrapped_->caps(); }
  [[nodiscard]] const Counters& counters() const override { return wrapped_->counters(); }
  std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) override {
    const std::size_t count = wrapped_->receive(into, pools, now);
    for (const Frame& frame : into.first(count)) watcher_(Direction::in, frame.bytes(), now);
    return count;
  }
  // Frames that the link does not take are offered again, and told of once: the unsent tail comes first in the next batch.
  std::size_t send(std::span<Frame> frames, Time now) override {
    for (const Frame& frame : frames.subspan(std::min(told_, frames.size()))) watcher_(Direction::out, frame.bytes(), now);
    const std::size_t count = wrapped_->send(frames, now);
    told_ = std::max(told_, frames.size()) - count;
    return count;
  }
  [[nodiscard]] int fd() const override { return wrapped_->fd(); }
  [[nodiscard]] Time next_wakeup() const override { return wrapped_->next_wakeup(); }
  [[nodiscard]] Result<void> status() const override { return wrapped_->status(); }
  [[nodiscard]] const Link* wrapped() const override { return wrapped_->wrapped(); }

 private:
  std::unique_ptr<Link> wrapped_;
  Watcher watcher_;
  std::size_t told_ = 0;  // of the next batch, from its front
};

}  // namespace gannet::link
