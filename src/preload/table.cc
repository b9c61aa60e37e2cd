#include "preload/table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "preload/real.h"

namespace gannet::preload {
namespace {

// 0: no socket.
std::uint64_t socket_inode(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

}  // namespace

Table::Use Table::find_certain(int fd) {
  Use use = find(fd);
  if (!use) return use;
  if (socket_inode(fd) != use.entry_->inode) {
    forget(fd, *use.entry_);
    return {};
  }
  if (!use->is_attached()) use->follow(fd);
  return use;
}

Table::Use Table::find(int fd) {
  if (fd < 0 || fd >= max_descriptors) return {};
  const std::atomic_ref<Entry*> slot = at(fd);
  while (Entry* entry = slot.load(std::memory_order_acquire)) {
    std::uint32_t users = entry->users.load(std::memory_order_relaxed);
    while (users != 0 && !entry->users.compare_exchange_weak(users, users + 1, std::memory_order_acq_rel)) {
    }
    if (users == 0) continue;  // it was taken out in between
    if (slot.load(std::memory_order_acquire) == entry) return {*this, *entry};
    release(*entry);
  }
  return {};
}

bool Table::is_ours() const { return process_.load(std::memory_order_relaxed) == ::getpid(); }

bool Table::add(int fd, socket::PosixSocket::Attach attach, Family family) {
  if (fd >= max_descriptors) return false;
  const std::lock_guard guard(mutex_);
  process_ = ::getpid();
  Entry* entry = free_;
  if (entry != nullptr) {
    free_ = entry->next;
  } else {
    entry = new (std::nothrow) Entry;
    if (entry == nullptr) return false;
  }
  entry->socket.emplace(attach, family);
  entry->home = fd;
  entry->inode = socket_inode(fd);
  entry->users.store(1, std::memory_order_release);
  put(fd, entry);
  return true;
}

// The slot's count comes with `entry`.
void Table::put(int fd, Entry* entry) {
  Entry* before = at(fd).exchange(entry, std::memory_order_acq_rel);
  if (entry != nullptr) highest_ = std::max(highest_.load(), fd);
  if (before == nullptr) return;
  // The socket lives on under another number, if it has one.
  if (before->home == fd && before->users.load(std::memory_order_acquire) > 1) {
    for (int other = 0; other <= highest_; ++other) {
      if (at(other).load(std::memory_order_relaxed) != before) continue;
      before->home = other;
      before->socket->move_to(other);
      break;
    }
  }
  if (before->users.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  before->socket.reset();
  before->next = std::exchange(free_, before);
}

void Table::release(Entry& entry) {
  if (entry.users.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const std::lock_guard guard(mutex_);
  entry.socket.reset();
  entry.next = std::exchange(free_, &entry);
}

void Table::duplicate(int from, int to) {
  if (from == to || from < 0 || to < 0 || to >= max_descriptors) return;
  const bool known = from < max_descriptors && at(from).load(std::memory_order_acquire) != nullptr;
  if ((!known && at(to).load(std::memory_order_acquire) == nullptr) || !is_ours()) return;
  const std::lock_guard guard(mutex_);
  Entry* entry = known ? at(from).load(std::memory_order_relaxed) : nullptr;
  if (entry != nullptr) entry->users.fetch_add(1, std::memory_order_acq_rel);
  put(to, entry);
}

bool Table::replace(int fd, int with) {
  if (!is_ours()) return false;
  const std::lock_guard guard(mutex_);
  Entry* entry = at(fd).load(std::memory_order_relaxed);
  for (int each = 0; entry != nullptr && each <= highest_; ++each) {
    if (at(each).load(std::memory_order_relaxed) != entry) continue;
    const int flags = (::fcntl(each, F_GETFD) & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0;
    if (real().dup3(with, each, flags) < 0) return false;
    put(each, nullptr);
  }
  return true;
}

void Table::remove(int fd) {
  if (fd < 0 || fd >= max_descriptors || at(fd).load(std::memory_order_acquire) == nullptr || !is_ours()) return;
  const std::lock_guard guard(mutex_);
  put(fd, nullptr);
}

void Table::forget(int fd, const Entry& entry) {
  if (!is_ours()) return;
  const std::lock_guard guard(mutex_);
  if (at(fd).load(std::memory_order_relaxed) == &entry) put(fd, nullptr);
}

void Table::remove_range(unsigned first, unsigned last) {
  const int highest = highest_.load();
  for (unsigned fd = first; highest >= 0 && fd <= std::min(last, static_cast<unsigned>(highest)); ++fd) remove(static_cast<int>(fd));
}

bool Table::has_unsettled() {
  for (int fd = 0; fd <= highest_; ++fd) {
    if (Use use = find(fd); use && use->is_unsettled()) return true;
  }
  return false;
}

void Table::settle(int fd) {
  const std::uint64_t inode = socket_inode(fd);
  for (int each = 0; inode != 0 && each <= highest_; ++each) {
    Use use = find(each);
    if (!use || use.entry_->inode != inode) continue;
    static_cast<void>(use->settle(fd));
    return;
  }
}

template <class Action>
void Table::for_each(Action action) {
  for (int fd = 0; fd <= highest_; ++fd) {
    Entry* entry = at(fd).load(std::memory_order_relaxed);
    if (entry != nullptr && entry->home == fd) action(*entry->socket);
  }
}

// All locks are held across the fork, so that the child's table and sockets are whole.
void Table::before_fork() {
  mutex_.lock();
  for_each([](socket::PosixSocket& socket) { socket.before_fork(); });
}

void Table::after_fork_in_parent() {
  for_each([](socket::PosixSocket& socket) { socket.after_fork_in_parent(); });
  mutex_.unlock();
}

void Table::after_fork_in_child() {
  if (process_ != 0) process_ = ::getpid();
  for_each([](socket::PosixSocket& socket) { socket.after_fork_in_child(); });
  mutex_.unlock();
}

}  // namespace gannet::preload
