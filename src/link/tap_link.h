// A TAP interface of Linux as a link: the kernel is at the other end of the wire, and its own programs talk to us through it.
//
// We are one host on a wire of two: the interface's MAC address is the kernel's, ours is another. The kernel's IP address is not our business.
// Owner and thread: one engine.  Allocates: at open() only.
// One system call per frame; offloads (IFF_VNET_HDR) are not used.
// Sources: Linux Documentation/networking/tuntap.rst.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <gannet/result.h>

#include "base/fd.h"
#include "link/link.h"

namespace gannet::link {

// A unicast, locally administered address (IEEE 802) out of random bits.
wire::MacAddress local_mac(std::uint64_t random);

class TapLink final : public Link {
 public:
  // Attaches to the TAP interface `name`, makes it where there is none, and brings it up. EPERM and EACCES say which command grants the right;
  // ENOENT: no /dev/net/tun; EBUSY: another program is attached; EINVAL: not a name, or an interface of another kind.
  static Result<std::unique_ptr<TapLink>> open(std::string_view name, const wire::MacAddress& mac);

  [[nodiscard]] const Caps& caps() const override { return caps_; }
  [[nodiscard]] const Counters& counters() const override { return counters_; }
  std::size_t receive(std::span<Frame> into, FramePools& pools, Time now) override;
  std::size_t send(std::span<Frame> frames, Time now) override;
  [[nodiscard]] int fd() const override { return fd_.get(); }
  // ENODEV once the interface was deleted, or its network namespace.
  [[nodiscard]] Result<void> status() const override;

 private:
  TapLink(Fd fd, Caps caps);
  // The next frame, or an empty one where there is none for us; `more` turns false when nothing is left to read.
  Frame receive_one(FramePools& pools, bool& more);

  Fd fd_;
  Caps caps_;
  Counters counters_;
  bool gone_ = false;
  std::unique_ptr<std::byte[]> spill_;  // where the part of a frame goes that a small one has no room for
};

}  // namespace gannet::link
