#include "preload/watches.h"

#include <algorithm>

namespace gannet::preload {

void Watches::put(int epoll, int socket, std::uint64_t number) {
  const std::lock_guard guard(mutex_);
  remove_locked(epoll, socket);
  drop_number(epoll, number);
  if (size_ >= max_watched) return;
  by_epoll_[epoll][number] = socket;
  by_socket_[socket].push_back({epoll, number});
  ++size_;
}

void Watches::remove(int epoll, int socket) {
  const std::lock_guard guard(mutex_);
  remove_locked(epoll, socket);
}

void Watches::remove_number(int epoll, std::uint64_t number) {
  if (is_empty()) return;
  const std::lock_guard guard(mutex_);
  drop_number(epoll, number);
}

void Watches::remove_locked(int epoll, int socket) {
  const auto found = by_socket_.find(socket);
  if (found == by_socket_.end()) return;
  const auto place = std::ranges::find(found->second, epoll, &Place::epoll);
  if (place != found->second.end()) drop_number(epoll, place->number);
}

void Watches::drop_number(int epoll, std::uint64_t number) {
  const auto watching = by_epoll_.find(epoll);
  if (watching == by_epoll_.end()) return;
  const auto watched = watching->second.find(number);
  if (watched == watching->second.end()) return;
  const auto socket = by_socket_.find(watched->second);
  std::erase_if(socket->second, [&](const Place& place) { return place.epoll == epoll; });
  if (socket->second.empty()) by_socket_.erase(socket);
  watching->second.erase(watched);
  if (watching->second.empty()) by_epoll_.erase(watching);
  --size_;
}

void Watches::forget(int fd) {
  if (is_empty()) return;
  const std::lock_guard guard(mutex_);
  forget_locked(fd);
}

void Watches::forget_locked(int fd) {
  // Each turn takes one out, and the last one the list.
  for (auto found = by_socket_.find(fd); found != by_socket_.end(); found = by_socket_.find(fd)) {
    const Place place = found->second.back();
    drop_number(place.epoll, place.number);
  }
  for (auto found = by_epoll_.find(fd); found != by_epoll_.end(); found = by_epoll_.find(fd)) drop_number(fd, found->second.begin()->first);
}

void Watches::forget_range(unsigned first, unsigned last) {
  if (is_empty()) return;
  const std::lock_guard guard(mutex_);
  std::vector<int> closed;
  const auto collect = [&](const auto& each) {
    if (const auto fd = static_cast<unsigned>(each.first); first <= fd && fd <= last) closed.push_back(each.first);
  };
  std::ranges::for_each(by_epoll_, collect);
  std::ranges::for_each(by_socket_, collect);
  for (const int fd : closed) forget_locked(fd);
}

int Watches::find(int epoll, std::uint64_t number) const {
  const std::lock_guard guard(mutex_);
  const auto watching = by_epoll_.find(epoll);
  if (watching == by_epoll_.end()) return -1;
  const auto watched = watching->second.find(number);
  return watched != watching->second.end() ? watched->second : -1;
}

}  // namespace gannet::preload
