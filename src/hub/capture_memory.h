// The memory that a hub and a `gannet run` share for a capture: the hub fills it with pcapng blocks, `gannet run` writes them to its file.
//
//   | ByteRing::Positions | ring |
//
// In a sealed file that the hub makes. Thread: any; one fills it, one empties it.  Allocates: a mapping; pages never written cost nothing.
#pragma once
#include <cstddef>
#include <new>

#include <gannet/result.h>

#include "link/byte_ring.h"
#include "stack/endpoint_memory.h"

namespace gannet::hub {

class CaptureMemory {
 public:
  static Result<CaptureMemory> create() {
    auto memory = stack::SharedMemory::create(size, stack::Sharing::processes);
    if (!memory) return memory.error();
    ::new (memory->bytes().data()) link::ByteRing::Positions;
    return CaptureMemory(std::move(*memory));
  }
  static Result<CaptureMemory> attach(Fd fd) {
    auto memory = stack::SharedMemory::attach(std::move(fd), size, stack::SharedMemory::Access::read_write);
    if (!memory) return memory.error();
    return CaptureMemory(std::move(*memory));
  }

  [[nodiscard]] link::ByteRing::Positions& positions() const {
    return *std::launder(reinterpret_cast<link::ByteRing::Positions*>(memory_.bytes().data()));
  }
  [[nodiscard]] std::span<std::byte> ring() const { return memory_.bytes().subspan(control_size); }
  [[nodiscard]] stack::SharedMemory& memory() { return memory_; }

 private:
  explicit CaptureMemory(stack::SharedMemory memory) : memory_(std::move(memory)) {}

  static constexpr std::size_t control_size = 4096;
  static constexpr std::size_t ring_size = std::size_t{16} << 20;
  static constexpr std::size_t size = control_size + ring_size;
  static_assert(sizeof(link::ByteRing::Positions) <= control_size);
  stack::SharedMemory memory_;
};

}  // namespace gannet::hub
