// Frames and the pools they come from.
//
// A Frame is a handle to one chunk of a pool: move-only, one owner, contiguous. It starts with headroom, so that each layer on the way out
// can put its header in front of what stands there, and gives the chunk back when it dies. There are no chains and no reference counts.
//
//   chunk: | headroom ......... | begin -> bytes <- end | tailroom ... |
//
// Owner: the engine whose pools these are; a Frame never leaves the engine's thread (endpoints copy).
// Allocates: a pool maps its memory once, at its creation; untouched pages cost nothing. At exhaustion allocate() gives an empty Frame, and the
// caller counts Drop::no_frame.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gannet/result.h>

#include "base/assert.h"

namespace gannet {

inline constexpr std::size_t frame_headroom = 192;  // Ethernet with VLAN tags + IPv6 with extension headers, or IPv4 with options, + UDP
inline constexpr std::size_t small_chunk_size = 2048;
inline constexpr std::size_t large_chunk_size = 65536 + 4096;  // a 65,535-byte packet, a link header, the headroom

class FramePool;

class Frame {
 public:
  Frame() = default;
  Frame(Frame&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), chunk_(other.chunk_), begin_(other.begin_), size_(std::exchange(other.size_, 0u)) {}
  Frame& operator=(Frame&& other) noexcept {
    FramePool* pool = std::exchange(other.pool_, nullptr);
    if (pool_ != nullptr) give_back();  // never to itself: then there is none by now
    pool_ = pool;
    chunk_ = other.chunk_;
    begin_ = other.begin_;
    size_ = std::exchange(other.size_, 0u);
    return *this;
  }
  ~Frame() {
    if (pool_ != nullptr) give_back();
  }

  explicit operator bool() const { return pool_ != nullptr; }
  [[nodiscard]] std::span<std::byte> bytes() { return {chunk_ + begin_, size_}; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return {chunk_ + begin_, size_}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t headroom() const { return begin_; }
  [[nodiscard]] std::size_t tailroom() const;

  // Puts `count` bytes in front (their content is whatever was there) and returns them. The headroom must suffice.
  std::span<std::byte> prepend(std::size_t count) {
    ASSERT(count <= begin_);
    begin_ -= static_cast<std::uint32_t>(count);
    size_ += static_cast<std::uint32_t>(count);
    return {chunk_ + begin_, count};
  }
  // Takes `count` bytes off the front: they become headroom.
  void trim_front(std::size_t count) {
    ASSERT(count <= size_);
    begin_ += static_cast<std::uint32_t>(count);
    size_ -= static_cast<std::uint32_t>(count);
  }
  // Keeps `size` bytes from `offset` on: what stands before them becomes headroom, what stands behind them tailroom.
  void narrow(std::size_t offset, std::size_t size) {
    ASSERT(offset + size <= size_);
    begin_ += static_cast<std::uint32_t>(offset);
    size_ = static_cast<std::uint32_t>(size);
  }
  // Sets the size; growing reveals tailroom, which must suffice.
  void resize(std::size_t size);
  // Back to empty with the given headroom.
  void reset(std::size_t headroom = frame_headroom);
  void release() {
    if (pool_ == nullptr) return;  // mostly it moved on
    give_back();
    size_ = 0;
  }

 private:
  friend class FramePool;
  Frame(FramePool& pool, std::byte* chunk) : pool_(&pool), chunk_(chunk), begin_(frame_headroom) {}
  void give_back();

  FramePool* pool_ = nullptr;
  std::byte* chunk_ = nullptr;
  std::uint32_t begin_ = 0;
  std::uint32_t size_ = 0;
};

class FramePool {
 public:
  // `chunks` chunks of `chunk_size` bytes each, in one anonymous mapping. ENOMEM when the system has none.
  static Result<std::unique_ptr<FramePool>> create(std::size_t chunk_size, std::size_t chunks);
  // The same over memory that a link supplies (an AF_XDP UMEM); it must outlive the pool.
  FramePool(std::span<std::byte> memory, std::size_t chunk_size);
  ~FramePool();
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  // An empty frame with frame_headroom bytes in front, or none when the pool is exhausted.
  Frame allocate();
  [[nodiscard]] std::size_t chunk_size() const { return chunk_size_; }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  [[nodiscard]] std::size_t available() const { return free_count_; }

 private:
  friend class Frame;

  std::span<std::byte> memory_;
  bool owns_memory_ = false;
  std::size_t chunk_size_;
  std::size_t capacity_;
  std::vector<std::byte*> free_;  // a stack, free_count_ high: the chunk freed last is in the cache and goes out first
  std::size_t free_count_;
};

// The two pools of an engine. Sized at start.
struct FramePools {
  std::unique_ptr<FramePool> small;
  std::unique_ptr<FramePool> large;

  static Result<FramePools> create(std::size_t small_count, std::size_t large_count);
  // A frame with room for `size` bytes behind its headroom, from the smaller pool that fits; empty when that one is exhausted
  // or nothing fits.
  Frame allocate(std::size_t size);
  [[nodiscard]] bool full() const { return small->available() == small->capacity() && large->available() == large->capacity(); }
};

inline std::size_t Frame::tailroom() const { return pool_ == nullptr ? 0 : pool_->chunk_size() - begin_ - size_; }

inline void Frame::resize(std::size_t size) {
  ASSERT(size <= size_ || size <= size_ + tailroom());
  size_ = static_cast<std::uint32_t>(size);
}

inline void Frame::reset(std::size_t headroom) {
  ASSERT(pool_ != nullptr && headroom <= pool_->chunk_size());
  begin_ = static_cast<std::uint32_t>(headroom);
  size_ = 0;
}

inline void Frame::give_back() {
  FramePool& pool = *std::exchange(pool_, nullptr);
  pool.free_[pool.free_count_++] = chunk_;
}

inline Frame FramePool::allocate() {
  if (free_count_ == 0) [[unlikely]]
    return {};
  return {*this, free_[--free_count_]};
}

inline Frame FramePools::allocate(std::size_t size) {
  if (size + frame_headroom <= small->chunk_size()) [[likely]]
    return small->allocate();
  if (size + frame_headroom <= large->chunk_size()) return large->allocate();
  return {};
}

}  // namespace gannet
