// An application's side of the hub: sockets whose engine runs there.
//
//   open_socket(): connect, Request::open -> the rings, the host page, and the connection, which is the socket's descriptor from then on
//   control():     a connection of its own for each request, so that no reply ever stands among the doorbell's tokens
//
// Thread: any.  Allocates: when a socket is opened.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <gannet/result.h>

#include "base/fd.h"
#include "hub/address.h"
#include "hub/protocol.h"
#include "socket/attachment.h"
#include "socket/stack_socket.h"

namespace gannet::hub {

// ECONNREFUSED: no hub is there. EPERM: it is another user's.
Result<Fd> connect(const HubAddress& hub);
// One request, and its reply.
Result<Reply> ask(const HubAddress& hub, const Request& request);
// The same, with what the reply brings; `connection` stays open.
Result<ReceivedReply> ask(const HubAddress& hub, const Request& request, Fd& connection);
// A socket of the hub's host.
Result<std::unique_ptr<socket::StackSocket>> open_socket(const HubAddress& hub);
// One whose descriptor is the caller's, and which lives as long as anybody holds that. `fd` is from make_doorbell(), here or in another process; if
// nobody connected it yet, a socket is opened on it, otherwise it is the one that somebody opened. A call that failed leaves it in an unknown state.
Result<std::unique_ptr<socket::StackSocket>> open_socket(const HubAddress& hub, int fd);
// An AF_UNIX stream socket, connected to nothing; `flags` as socket(2) takes them in its type. Its like is known wherever it turns up.
Fd make_doorbell(int flags, Family family);
// The family that it was made for. Nothing: it is another descriptor.
std::optional<Family> family_of_doorbell(const HubAddress& hub, int fd);

class HubAttachment final : public socket::Attachment {
 public:
  HubAttachment(HubAddress hub, const SocketKey& key, Fd doorbell)
      : hub_(std::move(hub)), key_(key), doorbell_(std::move(doorbell)), fd_(doorbell_.get()) {}
  // The descriptor is somebody else's, who closes the socket with it.
  HubAttachment(HubAddress hub, const SocketKey& key) : hub_(std::move(hub)), key_(key), fd_(-1) {}

  Result<socket::ControlAnswer> control(const socket::ControlRequest& request) override;
  Result<void> close() override;
  Result<Fd> open_bell() override;
  Result<std::shared_ptr<stack::SendMemory>> open_send_ring() override;
  void wake_engine(engine::BellClient* bell) override;
  bool wait_readable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline, engine::Intent intent) override;
  bool wait_writable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline) override;

 private:
  const HubAddress hub_;
  const SocketKey key_;
  Fd doorbell_;  // until open_bell()
  const int fd_;
  std::atomic<bool> closed_ = false;
};

}  // namespace gannet::hub
