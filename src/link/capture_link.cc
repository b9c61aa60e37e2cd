#include "link/capture_link.h"

#include <algorithm>

namespace gannet::link {

std::size_t CaptureLink::receive(std::span<Frame> into, FramePools& pools, Time now) {
  const std::size_t count = wrapped_->receive(into, pools, now);
  for (const Frame& frame : into.first(count)) capture_.take(interface_, frame.bytes(), now, {.direction = Direction::in});
  return count;
}

std::size_t CaptureLink::send(std::span<Frame> frames, Time now) {
  // Frames are gone once they are sent, so the capture comes first; the unsent tail comes again at the front of the next batch, and is not captured
  // twice.
  const std::size_t known = std::min(captured_ahead_, frames.size());
  for (const Frame& frame : frames.subspan(known)) capture_.take(interface_, frame.bytes(), now, {.direction = Direction::out});
  const std::size_t sent = wrapped_->send(frames, now);
  captured_ahead_ = std::max(captured_ahead_, frames.size()) - sent;
  return sent;
}

}  // namespace gannet::link
