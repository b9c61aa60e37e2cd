// One interface of a guest host, as the Link that its engine moves packets by.
//
// Owner and thread: the engine's.  Bound: UplinkSetup::waiting packets that came while it was not asked; datagrams wait with the kernel then, errors
// do not (Drop::link_queue_full).
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "link/link.h"
#include "link/uplink.h"

namespace gannet::link {

class UplinkFace final : public Link {
 public:
  UplinkFace(std::shared_ptr<Uplink> uplink, std::uint32_t interface, Caps caps, int fd)
      : uplink_(std::move(uplink)),
        interface_(interface),
        caps_(std::move(caps)),
        fd_(fd),
        waiting_(std::bit_ceil(std::max(uplink_->setup_.waiting, uplink_batch))) {}
  ~UplinkFace() override { uplink_->close_face(*this); }

  [[nodiscard]] std::uint32_t interface() const { return interface_; }
  [[nodiscard]] const Caps& caps() const override { return caps_; }
  [[nodiscard]] const Counters& counters() const override { return counters_; }
  [[nodiscard]] int fd() const override { return fd_; }

  std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) override {
    if (fd_ >= 0 && count_ == 0) uplink_->receive(pools, now);
    const std::size_t count = std::min(into.size(), count_);
    for (std::size_t i = 0; i < count; ++i) into[i] = std::move(waiting_[first_++ & (waiting_.size() - 1)]);
    count_ -= count;
    return count;
  }
  std::size_t send(std::span<Frame> frames, Time now) override { return uplink_->send(*this, frames, now); }

  // The uplink's.
  [[nodiscard]] std::size_t room() const { return waiting_.size() - count_; }
  void push(Frame&& packet) {
    if (room() == 0) return drop(Drop::link_queue_full);
    counters_.frames_in.add();
    counters_.bytes_in.add(packet.size());
    waiting_[(first_ + count_++) & (waiting_.size() - 1)] = std::move(packet);
  }
  void sent(Frame& packet) {
    counters_.frames_out.add();
    counters_.bytes_out.add(packet.size());
    packet.release();
  }
  // Whether the kernel may be given a packet together with others, to cut them apart.
  [[nodiscard]] bool may_join(const Frame& packet) const { return joins_ && packet.size() <= caps_.mtu; }
  void join_no_more() { joins_ = false; }
  void drop(Drop reason, std::size_t count = 1) { counters_.drop(reason, count); }

 private:
  const std::shared_ptr<Uplink> uplink_;
  const std::uint32_t interface_;
  const Caps caps_;
  const int fd_;
  std::vector<Frame> waiting_;  // a ring
  std::size_t first_ = 0, count_ = 0;
  bool joins_ = true;
  Counters counters_;
};

}  // namespace gannet::link
