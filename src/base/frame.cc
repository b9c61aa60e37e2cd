#include "base/frame.h"

#include <sys/mman.h>

namespace gannet {

Result<std::unique_ptr<FramePool>> FramePool::create(std::size_t chunk_size, std::size_t chunks) {
  const std::size_t size = chunk_size * chunks;
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return Error{ENOMEM, "no memory for the frame pools: ask for fewer frames, or raise the limit on address space"};
  auto pool = std::make_unique<FramePool>(std::span(static_cast<std::byte*>(memory), size), chunk_size);
  pool->owns_memory_ = true;
  return pool;
}

FramePool::FramePool(std::span<std::byte> memory, std::size_t chunk_size)
    : memory_(memory), chunk_size_(chunk_size), capacity_(memory.size() / chunk_size), free_(capacity_), free_count_(capacity_) {
  ASSERT(chunk_size > frame_headroom);
  for (std::size_t i = 0; i < capacity_; ++i) free_[i] = memory.data() + (capacity_ - 1 - i) * chunk_size;  // the lowest goes out first
}

FramePool::~FramePool() {
  ASSERT(free_count_ == capacity_);  // a frame that outlives its pool would write into memory that is gone
  if (owns_memory_) ::munmap(memory_.data(), memory_.size());
}

Result<FramePools> FramePools::create(std::size_t small_count, std::size_t large_count) {
  auto small = FramePool::create(small_chunk_size, small_count);
  if (!small) return small.error();
  auto large = FramePool::create(large_chunk_size, large_count);
  if (!large) return large.error();
  return FramePools{std::move(*small), std::move(*large)};
}

}  // namespace gannet
