#include "link/tap_link.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace gannet::link {
namespace {

constexpr std::size_t largest_frame = 65535 + wire::ethernet_header_size + wire::vlan_tag_size;

Error cannot_open_device(int code) {
  switch (code) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return {
          ENOENT,
          "/dev/net/tun is missing, and with it TAP interfaces: load the module (sudo modprobe tun), or in a container pass --device /dev/net/tun"};
    case EPERM:
    case EACCES:
      return {code, "no right to open /dev/net/tun: run as root, or grant it once with `sudo chmod 0666 /dev/net/tun`"};
    default:
      return {code, nullptr};
  }
}

Error cannot_attach(int code) {
  switch (code) {
    case EPERM:
    case EACCES:
      return {
          code,
          "no right to make or to use this TAP interface: grant it once with `sudo ip tuntap add dev NAME mode tap user $USER && sudo ip link set "
          "NAME up`, NAME being the interface's (first `sudo ip link del NAME` if another user owns it), or run as root"};
    case EBUSY:
      return {EBUSY, "another program is attached to this TAP interface: end it, or choose another interface's name"};
    case EINVAL:
      return {EINVAL, "an interface of this name exists and is no TAP interface of one queue: choose another name"};
    default:
      return {code, nullptr};
  }
}

Error cannot_raise(int code) {
  if (code == EPERM || code == EACCES) {
    return {code, "the TAP interface is down, and bringing it up takes a privilege: run `sudo ip link set NAME up`, NAME being the interface's"};
  }
  return {code, nullptr};
}

// Brings the interface up and returns its MTU.
Result<std::size_t> raise_interface(ifreq request) {
  const Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return Error{errno, nullptr};
  if (::ioctl(control.get(), SIOCGIFFLAGS, &request) < 0) return Error{errno, nullptr};
  if ((request.ifr_flags & IFF_UP) == 0) {
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (::ioctl(control.get(), SIOCSIFFLAGS, &request) < 0) return cannot_raise(errno);
  }
  if (::ioctl(control.get(), SIOCGIFMTU, &request) < 0) return Error{errno, nullptr};
  return static_cast<std::size_t>(request.ifr_mtu);
}

// Why the kernel did not take a frame that it will never take.
Drop reason_of(int code) {
  switch (code) {
    case EINVAL:
      return Drop::ethernet_truncated;
    case ENOMEM:
    case ENOBUFS:
      return Drop::link_queue_full;
    default:
      return Drop::interface_down;  // EIO when it is down, EBADFD when it is gone
  }
}

}  // namespace

wire::MacAddress local_mac(std::uint64_t random) {
  wire::MacAddress mac;
  for (std::byte& byte : mac.bytes) {
    byte = static_cast<std::byte>(random & 0xff);
    random >>= 8;
  }
  mac.bytes[0] = (mac.bytes[0] & std::byte{0xfc}) | std::byte{0x02};
  return mac;
}

Result<std::unique_ptr<TapLink>> TapLink::open(std::string_view name, const wire::MacAddress& mac) {
  // The kernel takes "%d" for a pattern, and '/' for a bad name; we have one name that means one interface.
  if (name.empty() || name.size() >= IFNAMSIZ || name.find_first_of("/% \t\n:") != std::string_view::npos) {
    return Error{EINVAL, "not a name of an interface: give 1 to 15 characters without '/', '%', ':' or spaces, such as gannet0"};
  }
  ifreq request{};
  std::ranges::copy(name, request.ifr_name);

  Fd device(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!device) return cannot_open_device(errno);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(device.get(), TUNSETIFF, &request) < 0) return cannot_attach(errno);
  const auto mtu = raise_interface(request);
  if (!mtu) return mtu.error();
  Caps caps{.name = "tap " + std::string(name), .mtu = *mtu, .mac = mac, .ethernet = true};
  return std::unique_ptr<TapLink>(new TapLink(std::move(device), std::move(caps)));
}

TapLink::TapLink(Fd fd, Caps caps) : fd_(std::move(fd)), caps_(std::move(caps)), spill_(std::make_unique_for_overwrite<std::byte[]>(largest_frame)) {}

std::size_t TapLink::receive(std::span<Frame> into, FramePools& pools, Time /*now*/) {
  std::size_t count = 0;
  bool more = !gone_;
  for (std::size_t looked = 0; looked < into.size() && more; ++looked) {
    if (Frame frame = receive_one(pools, more)) into[count++] = std::move(frame);
  }
  return count;
}

Frame TapLink::receive_one(FramePools& pools, bool& more) {
  // A small frame holds almost everything. The rest of a larger one lands beside it, and both parts go into a large frame.
  Frame frame = pools.small->allocate();
  const std::size_t room = frame.tailroom();
  const std::array<iovec, 2> parts{{{frame.bytes().data(), room}, {spill_.get(), largest_frame}}};
  const std::size_t first_part = room == 0 ? 1 : 0;  // without a frame, all of it goes where it is forgotten
  ssize_t result = 0;
  do {
    result = ::readv(fd_.get(), &parts[first_part], static_cast<int>(parts.size() - first_part));
  } while (result < 0 && errno == EINTR);
  if (result <= 0) {
    more = false;
    gone_ = result < 0 && errno == EBADFD;  // what a descriptor says whose interface was deleted; it is readable for ever
    return {};
  }
  const auto size = static_cast<std::size_t>(result);
  if (frame && size > room) {
    Frame large = pools.allocate(size);
    if (large) {
      large.resize(size);
      std::memcpy(large.bytes().data(), frame.bytes().data(), room);
      std::memcpy(large.bytes().data() + room, spill_.get(), size - room);
    }
    frame = std::move(large);
  } else if (frame) {
    frame.resize(size);
  }
  if (!frame) {
    counters_.drop(Drop::no_frame);
    return {};
  }
  counters_.frames_in.add();
  counters_.bytes_in.add(size);
  return frame;
}

Result<void> TapLink::status() const {
  if (gone_) return Error{ENODEV, "the TAP interface was deleted while the host was on it: make it again, and open another host on it"};
  return {};
}

std::size_t TapLink::send(std::span<Frame> frames, Time /*now*/) {
  std::size_t taken = 0;
  while (taken < frames.size()) {
    Frame& frame = frames[taken];
    const std::size_t size = frame.size();
    if (!caps_.fits(frame.bytes())) {
      counters_.drop(Drop::frame_too_long);
    } else if (::write(fd_.get(), frame.bytes().data(), size) >= 0) {
      counters_.frames_out.add();
      counters_.bytes_out.add(size);
    } else if (errno == EINTR) {
      continue;
    } else if (errno == EAGAIN) {
      break;
    } else {
      counters_.drop(reason_of(errno));
    }
    frame.release();
    ++taken;
  }
  return taken;
}

}  // namespace gannet::link
