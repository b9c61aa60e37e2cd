// One interface of a guest host, as the Link that its engine moves packets by.
//
// Owner and thread: the engine's.  Bound: UplinkSetup::waiting packets that came while it was not asked (Drop::link_queue_full).
#pragma once
#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <utility>

#include "link/link.h"
#include "link/uplink.h"

namespace gannet::link {

class UplinkFace final : public Link {
 public:
  UplinkFace(std::shared_ptr<Uplink> uplink, std::uint32_t interface, Caps caps, int fd)
      : uplink_(std::move(uplink)), interface_(interface), caps_(std::move(caps)), fd_(fd) {}
  ~UplinkFace() override { uplink_->close_face(*this); }

  [[nodiscard]] std::uint32_t interface() const { return interface_; }
  [[nodiscard]] const Caps& caps() const override { return caps_; }
  [[nodiscard]] const Counters& counters() const override { return counters_; }
  [[nodiscard]] int fd() const override { return fd_; }

  std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) override {
    if (fd_ >= 0 && waiting_.empty()) uplink_->receive(pools, now);
    const std::size_t count = std::min(into.size(), waiting_.size());
    for (std::size_t i = 0; i < count; ++i) {
      into[i] = std::move(waiting_.front());
      waiting_.pop_front();
    }
    return count;
  }
  std::size_t send(std::span<Frame> frames, Time now) override { return uplink_->send(*this, frames, now); }

  // The uplink's.
  void push(Frame&& packet) {
    if (waiting_.size() >= uplink_->setup_.waiting) return drop(Drop::link_queue_full);
    counters_.frames_in.add();
    counters_.bytes_in.add(packet.size());
    waiting_.push_back(std::move(packet));
  }
  void sent(Frame& packet) {
    counters_.frames_out.add();
    counters_.bytes_out.add(packet.size());
    packet.release();
  }
  void drop(Drop reason, std::size_t count = 1) { counters_.drop(reason, count); }

 private:
  const std::shared_ptr<Uplink> uplink_;
  const std::uint32_t interface_;
  const Caps caps_;
  const int fd_;
  std::deque<Frame> waiting_;
  Counters counters_;
};

}  // namespace gannet::link
