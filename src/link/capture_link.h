// A link whose frames are captured as they pass: every frame that arrives, every frame that is sent.
//
// Put inside a FaultLink it shows the wire: what is lost on the way out never appears as sent, and what is lost on the way in appears as it came.
// A frame that the wrapped link takes and then drops (too long, interface down) appears as sent: the capture is made before the link has seen it.
// Owner and thread: one engine. The capture outlives the link.  Allocates: never.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "link/capture.h"
#include "link/link.h"

namespace gannet::link {

class CaptureLink final : public Link {
 public:
  // Captures onto `interface` of `capture`.
  CaptureLink(std::unique_ptr<Link> wrapped, Capture& capture, std::uint32_t interface)
      : wrapped_(std::move(wrapped)), capture_(capture), interface_(interface) {}

  [[nodiscard]] const Caps& caps() const override { return wrapped_->caps(); }
  [[nodiscard]] const Counters& counters() const override { return wrapped_->counters(); }
  std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) override;
  std::size_t send(std::span<Frame> frames, Time now) override;
  [[nodiscard]] int fd() const override { return wrapped_->fd(); }
  [[nodiscard]] Time next_wakeup() const override { return wrapped_->next_wakeup(); }
  [[nodiscard]] Result<void> status() const override { return wrapped_->status(); }
  [[nodiscard]] const Link* wrapped() const override { return wrapped_->wrapped(); }

 private:
  std::unique_ptr<Link> wrapped_;
  Capture& capture_;
  std::uint32_t interface_;
  std::size_t captured_ahead_ = 0;  // frames of the caller's next batch that were captured when the link did not take them
};

}  // namespace gannet::link
