#include "link/memory_link.h"

#include <sys/eventfd.h>

#include <bit>

#include "base/fd.h"
#include "link/frame_ring.h"
#include "link/port_bell.h"

namespace gannet::link {
namespace {

constexpr std::size_t largest_header = wire::ethernet_header_size + wire::vlan_tag_size;

std::uint64_t number_of(std::span<const std::byte, 6> mac) {
  std::uint64_t number = 0;
  for (const std::byte byte : mac) number = number << 8 | std::to_integer<std::uint64_t>(byte);
  return number;
}

}  // namespace

// What waits for one link, and the bell that wakes its engine.
struct MemoryPort {
  MemoryPort(std::size_t slots, std::size_t slot_size, Fd eventfd) : ring(slots, slot_size), bell(std::move(eventfd)) {}

  // By the receiver, when it found the ring empty.
  void arm() {
    if (bell.arm() && ring.has_frame()) bell.ring();
  }
  // By the receiver: the descriptor, from now on rung.
  int watch() {
    if (bell.watch() && ring.has_frame()) bell.ring();
    return bell.fd();
  }

  FrameRing ring;
  PortBell bell;
};

Result<std::shared_ptr<MemorySegment>> MemorySegment::create(std::size_t mtu, std::size_t slots) {
  if (mtu < 68 || mtu > 65535) return Error{EINVAL, "the MTU of a memory segment is out of range: give 68 to 65535 bytes"};
  if (!std::has_single_bit(slots) || slots > 65536)
    return Error{EINVAL, "the slots of a memory segment's port must be a power of two, at most 65536"};
  return std::shared_ptr<MemorySegment>(new MemorySegment(mtu, slots));
}

MemorySegment::~MemorySegment() {
  for (Place& place : places_) delete place.port.load(std::memory_order_relaxed);
}

Result<std::unique_ptr<MemoryLink>> MemorySegment::attach(std::optional<wire::MacAddress> mac) {
  if (mac && (mac->is_multicast() || mac->is_zero())) return Error{EINVAL, "the MAC address of a port must be a unicast one"};
  std::size_t index = 0;
  while (index < max_ports && places_[index].taken.exchange(true, std::memory_order_acq_rel)) ++index;
  if (index == max_ports) return Error{ENOSPC, "all ports of the memory segment are taken: detach a host, or use a second segment"};

  Place& place = places_[index];
  if (place.port.load(std::memory_order_relaxed) == nullptr) {
    Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!fd) {
      place.taken.store(false, std::memory_order_release);
      return Error{errno, "no descriptor for a port of the memory segment: close some, or raise the limit (ulimit -n)"};
    }
    place.port.store(new MemoryPort(slots_, mtu_ + largest_header, std::move(fd)), std::memory_order_release);
  }
  std::size_t used = used_.load(std::memory_order_relaxed);
  while (used <= index && !used_.compare_exchange_weak(used, index + 1, std::memory_order_acq_rel)) {
  }
  if (!mac) {
    const std::size_t number = index + 1;
    mac = wire::MacAddress{{std::byte{2}, {}, {}, {}, static_cast<std::byte>(number >> 8), static_cast<std::byte>(number & 0xff)}};
  }
  place.mac.store(number_of(mac->bytes), std::memory_order_release);
  return std::unique_ptr<MemoryLink>(new MemoryLink(shared_from_this(), index, *place.port.load(std::memory_order_relaxed), *mac));
}

std::size_t MemorySegment::in_flight() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < used_.load(std::memory_order_acquire); ++i) {
    if (const MemoryPort* port = places_[i].port.load(std::memory_order_acquire)) count += port->ring.size();
  }
  return count;
}

bool MemorySegment::knows(std::uint64_t mac, std::size_t sender) const {
  for (std::size_t i = 0; i < used_.load(std::memory_order_acquire); ++i) {
    if (i != sender && places_[i].mac.load(std::memory_order_acquire) == mac) return true;
  }
  return false;
}

MemoryLink::MemoryLink(std::shared_ptr<MemorySegment> segment, std::size_t index, MemoryPort& port, const wire::MacAddress& mac)
    : segment_(std::move(segment)), index_(index), port_(port), caps_{.name = "memory", .mtu = segment_->mtu_, .mac = mac, .ethernet = true} {}

MemoryLink::~MemoryLink() {
  MemorySegment::Place& place = segment_->places_[index_];
  place.mac.store(0, std::memory_order_release);
  for (; port_.ring.has_frame(); port_.ring.pop()) segment_->lost_.fetch_add(1, std::memory_order_relaxed);
  place.taken.store(false, std::memory_order_release);
}

std::size_t MemoryLink::receive(std::span<Frame> into, FramePools& pools, Time /*now*/) {
  std::size_t count = 0;
  for (std::size_t looked = 0; looked < into.size(); ++looked) {
    if (!port_.ring.has_frame()) {
      port_.arm();
      break;
    }
    const std::span<const std::byte> bytes = port_.ring.front();
    Frame frame = pools.allocate(bytes.size());
    if (frame) {
      frame.resize(bytes.size());
      std::memcpy(frame.bytes().data(), bytes.data(), bytes.size());
      counters_.frames_in.add();
      counters_.bytes_in.add(bytes.size());
      into[count++] = std::move(frame);
    } else {
      counters_.drop(Drop::no_frame);
    }
    port_.ring.pop();
  }
  return count;
}

std::size_t MemoryLink::send(std::span<Frame> frames, Time /*now*/) {
  for (Frame& frame : frames) {
    send_one(frame.bytes());
    frame.release();
  }
  return frames.size();
}

void MemoryLink::send_one(std::span<const std::byte> frame) {
  if (!caps_.fits(frame)) return counters_.drop(Drop::frame_too_long);
  counters_.frames_out.add();
  counters_.bytes_out.add(frame.size());

  // A frame too short to have a destination goes to everybody, as on a real wire: that it is malformed is for the receiver to say.
  const std::uint64_t dst = frame.size() >= wire::ethernet_header_size ? number_of(frame.first<6>()) : 0;
  const bool to_one = dst != 0 && segment_->knows(dst, index_);
  for (std::size_t i = 0; i < segment_->used_.load(std::memory_order_acquire); ++i) {
    MemorySegment::Place& place = segment_->places_[i];
    const std::uint64_t mac = place.mac.load(std::memory_order_acquire);
    if (i == index_ || mac == 0 || (to_one && mac != dst)) continue;
    MemoryPort& port = *place.port.load(std::memory_order_acquire);
    if (port.ring.push(frame)) {
      copies_.add();
      port.bell.ring();
    } else {
      counters_.drop(Drop::link_queue_full);
    }
  }
}

int MemoryLink::fd() const { return port_.watch(); }

}  // namespace gannet::link
