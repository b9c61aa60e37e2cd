// Which descriptors of this process are UDP sockets of ours.
//
//   fd -> slot -> Entry (one for all duplicates of a descriptor) -> PosixSocket
//
// Reading takes no lock: an entry is never freed, only used again, and counts its slots and its users; whoever found one counts himself in, and looks
// whether it still stands in the slot. What changes the table does so under a lock.
// A descriptor that was closed behind our back (by a system call that nobody sees) leaves a row behind: find_certain() asks the kernel whether it is
// still the same descriptor, so that no call on another one is ever taken for a socket's.
// A child made by vfork(2) shares this memory and not the descriptors: what it closes is not taken out of the table.
// Owner: the process.  Thread: any.  Allocates: when more sockets are open than ever before.
// Bounds: max_descriptors; socket(2) beyond is EMFILE.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "socket/posix.h"

namespace gannet::preload {

inline constexpr int max_descriptors = 1 << 20;

class Table {
 public:
  struct Entry {
    std::optional<socket::PosixSocket> socket;
    std::atomic<std::uint32_t> users = 0;  // slots, and calls under way; 0: free
    Entry* next = nullptr;                 // of the free ones
    int home = -1;                         // the number that the socket was made under
    std::uint64_t inode = 0;               // the descriptor's, which no other has while it is open
  };

  // A socket, for as long as a call works on it.
  class Use {
   public:
    Use() = default;
    Use(Table& table, Entry& entry) : table_(&table), entry_(&entry) {}
    Use(Use&& other) noexcept : table_(other.table_), entry_(std::exchange(other.entry_, nullptr)) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (entry_ != nullptr) table_->release(*entry_);
    }
    explicit operator bool() const { return entry_ != nullptr; }
    socket::PosixSocket* operator->() const { return &*entry_->socket; }

   private:
    friend class Table;
    Table* table_ = nullptr;
    Entry* entry_ = nullptr;
  };

  // Nothing: not ours.
  Use find(int fd);
  // The same, where `fd` may well be another descriptor by now, and time matters less. A socket that another process has used first is attached here.
  Use find_certain(int fd);
  // False: too large a number.
  bool add(int fd, socket::PosixSocket::Attach attach, Family family);
  // `to` is now the same as `from`, whatever it was. Neither needs to be ours.
  void duplicate(int from, int to);
  // `fd`, and each duplicate of it, becomes one of `with`, and is ours no more. False: it cannot be done here.
  bool replace(int fd, int with);
  // Before `fd` is closed.
  void remove(int fd);
  // False: nothing was ever in it, or this is a child of vfork(2).
  [[nodiscard]] bool is_ours() const;
  void remove_range(unsigned first, unsigned last);

  // Whether there are sockets of which this process knows what the hub does not; and makes it known of one. Its descriptor is the caller's, which may
  // be a child of vfork(2), and have closed and duplicated what this table does not tell.
  bool has_unsettled();
  void settle(int fd);

  void before_fork();
  void after_fork_in_parent();
  void after_fork_in_child();

 private:
  void put(int fd, Entry* entry);  // locked
  void forget(int fd, const Entry& entry);
  void release(Entry& entry);
  template <class Action>
  void for_each(Action action);  // socket; locked
  [[nodiscard]] std::atomic_ref<Entry*> at(int fd) { return std::atomic_ref<Entry*>(slots_[fd]); }

  Entry* slots_[max_descriptors] = {};  // read and written through at(); plain, so that a compiler lays out a million of them at once
  std::mutex mutex_;
  Entry* free_ = nullptr;
  std::atomic<int> highest_ = -1;
  std::atomic<int> process_ = 0;  // whose table it is; 0: nothing was ever in it
};

// The process's, which the calls in front of the C library's share.
extern Table table;

}  // namespace gannet::preload

// A function that stands in front of the C library's.
#define GANNET_INTERPOSED __attribute__((visibility("default")))
