#include "preload/process.h"

#include <dirent.h>
#include <pthread.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "preload/real.h"
#include "preload/wait.h"

namespace gannet::preload {

constinit Table table;

namespace {

void for_each_open_descriptor(void (*action)(int fd)) {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return;
  while (const dirent* entry = ::readdir(folder)) {
    int fd = -1;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, fd).ptr == end) action(fd);
  }
  ::closedir(folder);
}

// A call that looks at what it was told of epoll calls the table, and never the other way round.
void before_fork() {
  watches().before_fork();
  table.before_fork();
}
void after_fork_in_parent() {
  table.after_fork_in_parent();
  watches().after_fork();
}
void after_fork_in_child() {
  table.after_fork_in_child();
  watches().after_fork();
}

__attribute__((constructor)) void start() {
  real();
  if (hub_address().name.empty()) return;
  ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  for_each_open_descriptor(appeared);  // those that this program was started with
}

template <class Action>
void for_each_descriptor(const msghdr& message, Action action) {
  auto& writable = const_cast<msghdr&>(message);
  for (cmsghdr* header = CMSG_FIRSTHDR(&writable); header != nullptr; header = CMSG_NXTHDR(&writable, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(0)) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      action(fd);
    }
  }
}

}  // namespace

const hub::HubAddress& hub_address() {
  static const hub::HubAddress address = [] {
    const char* text = std::getenv("GANNET_HUB");
    return hub::HubAddress::parse(text != nullptr ? text : "");
  }();
  return address;
}

Result<std::unique_ptr<socket::StackSocket>> attach(int fd) { return hub::open_socket(hub_address(), fd); }

void appeared(int fd) {
  if (fd < 0) return;
  table.remove(fd);
  if (hub_address().name.empty()) return;
  if (const auto family = hub::family_of_doorbell(hub_address(), fd)) table.add(fd, attach, *family);
}

void received(msghdr& message) { for_each_descriptor(message, appeared); }

// Whoever gets it asks the hub for its socket: there must be one.
void about_to_send(const msghdr& message) {
  for_each_descriptor(message, [](int fd) {
    if (auto socket = table.find_certain(fd)) static_cast<void>(socket->share(fd));
  });
}

void about_to_execute() {
  if (table.has_unsettled()) for_each_open_descriptor([](int fd) { table.settle(fd); });
}

void about_to_close(int fd) {
  table.remove(fd);
  if (!watches().is_empty() && table.is_ours()) watches().forget(fd);
}

void about_to_close_range(unsigned first, unsigned last) {
  table.remove_range(first, last);
  if (!watches().is_empty() && table.is_ours()) watches().forget_range(first, last);
}

}  // namespace gannet::preload
