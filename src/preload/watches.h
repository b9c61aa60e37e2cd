// Which sockets of ours each epoll descriptor watches.
//
// epoll_wait(2) gives back a number of the program's, not the descriptor: so what is watched is remembered, by epoll descriptor and number, and by
// socket, so that a close costs no more than what that descriptor is in.
// Owner: the process.  Thread: any.  Allocates: for a watched socket.  Bound: max_watched; beyond, a pending error shows as EPOLLIN there.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace gannet::preload {

inline constexpr std::size_t max_watched = 1 << 16;

class Watches {
 public:
  // `epoll` watches `socket` as `number` from now on, whatever that stood for and however it did.
  void put(int epoll, int socket, std::uint64_t number);
  // It does no more.
  void remove(int epoll, int socket);
  // `number` stands for a descriptor that is no socket of ours.
  void remove_number(int epoll, std::uint64_t number);
  // Descriptors are closed: epoll descriptors, sockets, or others.
  void forget(int fd);
  void forget_range(unsigned first, unsigned last);

  // -1: no socket of ours.
  [[nodiscard]] int find(int epoll, std::uint64_t number) const;
  [[nodiscard]] bool is_empty() const { return size_.load(std::memory_order_acquire) == 0; }
  [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_acquire); }

  // Around fork(2): the child finds no lock taken by a thread that it has not.
  void before_fork() { mutex_.lock(); }
  void after_fork() { mutex_.unlock(); }

 private:
  struct Place {
    int epoll;
    std::uint64_t number;
  };
  // Locked.
  void remove_locked(int epoll, int socket);
  void drop_number(int epoll, std::uint64_t number);
  void forget_locked(int fd);

  mutable std::mutex mutex_;
  std::unordered_map<int, std::unordered_map<std::uint64_t, int>> by_epoll_;
  std::unordered_map<int, std::vector<Place>> by_socket_;  // one for each epoll descriptor that it is in
  std::atomic<std::size_t> size_ = 0;
};

}  // namespace gannet::preload
