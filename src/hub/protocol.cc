#include "hub/protocol.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace gannet::hub {
namespace {

Error other_side_gone() { return {ECONNRESET, "the other side has closed the connection"}; }

// Requests and replies are smaller than a socket's buffer, which is empty: they go in one piece or not at all.
Result<void> send_bytes(int fd, const void* data, std::size_t size, std::span<const int> fds) {
  iovec piece{const_cast<void*>(data), size};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(max_reply_fds * sizeof(int))> control{};
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(size)) return {};
  return sent < 0 ? Error{errno} : Error{EPIPE};
}

// The descriptors in a message, each owned at once: what was not asked for is closed.
std::size_t take_fds(msghdr& message, std::span<Fd> into) {
  std::size_t count = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < here; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header) + i * sizeof(int), sizeof number);
      Fd fd(number);
      if (count < into.size() && !into[count]) into[count++] = std::move(fd);
    }
  }
  return count;
}

template <class Message>
bool is_ours(const Message& message) {
  return message.magic == protocol_magic && message.version == protocol_version;
}

}  // namespace

Result<void> send(int fd, const Request& request, int carried) {
  return send_bytes(fd, &request, sizeof request, std::span(&carried, carried >= 0 ? 1 : 0));
}

Result<void> send(int fd, const Reply& reply, std::span<const int> fds) { return send_bytes(fd, &reply, sizeof reply, fds); }

Result<bool> receive(int fd, Incoming& incoming, Request& request) {
  while (incoming.taken < sizeof(Request)) {
    iovec piece{incoming.bytes.data() + incoming.taken, sizeof(Request) - incoming.taken};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count > 0) take_fds(message, std::span(&incoming.carried, 1));
    if (count == 0) return other_side_gone();
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (count < 0) return other_side_gone();
    incoming.taken += static_cast<std::size_t>(count);
  }
  std::memcpy(&request, incoming.bytes.data(), sizeof request);
  if (!is_ours(request)) return Error{EPROTO, "this is no request of this version of Gannet"};
  if (request.kind > Request::Kind::list) return Error{EPROTO, "a hub has no such request"};
  return true;
}

Result<ReceivedReply> receive_reply(int fd, std::chrono::milliseconds patience) {
  ReceivedReply received;
  std::size_t taken = 0, fds = 0;
  const auto end = std::chrono::steady_clock::now() + patience;
  while (taken < sizeof(Reply)) {
    iovec piece{reinterpret_cast<std::byte*>(&received.reply) + taken, sizeof(Reply) - taken};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(max_reply_fds * sizeof(int))> control{};
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count > 0) {
      taken += static_cast<std::size_t>(count);
      fds += take_fds(message, received.fds);
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count == 0 || errno != EAGAIN) return Error{ENETDOWN, "the hub is gone"};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Error{ETIMEDOUT, "the hub does not answer"};
    pollfd wait{fd, POLLIN, 0};
    ::poll(&wait, 1, static_cast<int>(left.count()));
  }
  const Reply& reply = received.reply;
  if (!is_ours(reply) || reply.fds > max_reply_fds || reply.fds != fds) return Error{EPROTO, "what answered is no hub of this version of Gannet"};
  return received;
}

}  // namespace gannet::hub
