// A datagram that several calls put together (MSG_MORE, UDP_CORK).
//
// Owner: PosixSocket.  Thread: any, with the mutex; what is asked without it may change at once.  Allocates: as the datagram grows, at most 65,507
// bytes.  Source: Linux's udp(7).
#pragma once
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

#include <gannet/address.h>
#include <gannet/socket.h>

namespace gannet::socket {

class Cork {
 public:
  static constexpr std::size_t room = 65507;
  std::mutex mutex;

  // Whether the next send has to look here; without the mutex.
  [[nodiscard]] bool is_used() const { return is_corked() || pending_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool is_corked() const { return corked_.load(std::memory_order_relaxed); }
  void set_corked(bool on) { corked_.store(on, std::memory_order_relaxed); }

  [[nodiscard]] bool is_pending() const { return pending_.load(std::memory_order_relaxed); }
  // A datagram as the first call wants it, without its bytes.
  void begin(const Outgoing& first) {
    first_ = first;
    pending_.store(true, std::memory_order_relaxed);
  }
  // False: it would be larger than a datagram can be; nothing is appended.
  [[nodiscard]] bool append(std::span<const iovec> pieces) {
    std::size_t left = room - bytes_.size();
    for (const iovec& piece : pieces) {
      if (piece.iov_len > left) return false;
      left -= piece.iov_len;
    }
    for (const iovec& piece : pieces) {
      const auto* start = static_cast<const std::byte*>(piece.iov_base);
      bytes_.insert(bytes_.end(), start, start + piece.iov_len);
    }
    return true;
  }
  // connect(2) turns what is pending to the new peer, as on Linux.
  void turn_to_peer() { first_.to = {}; }
  [[nodiscard]] Outgoing whole() const {
    Outgoing datagram = first_;
    datagram.data = bytes_;
    return datagram;
  }
  void drop() {
    bytes_ = {};
    pending_.store(false, std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> corked_ = false, pending_ = false;
  Outgoing first_;
  std::vector<std::byte> bytes_;
};

}  // namespace gannet::socket
