// Where the engine of a socket runs, and how the socket speaks to it: in this process (EngineAttachment), or in a hub (src/hub/client.h).
//
// The third virtual interface of the core, beside Link and Provider. What a datagram takes is the same on either side, the rings; what differs is
// called now and then: to change the socket, and to sleep.
// Thread: any, at once.
#pragma once
#include <cerrno>
#include <cstdint>
#include <memory>

#include <gannet/result.h>
#include <gannet/socket.h>

#include "base/fd.h"
#include "engine/doorbell.h"
#include "socket/control.h"
#include "stack/endpoint_client.h"

namespace gannet::socket {

class Attachment {
 public:
  virtual ~Attachment() = default;

  // EBADF once the socket is closed; ENETDOWN once the engine is gone.
  virtual Result<ControlAnswer> control(const ControlRequest& request) = 0;
  virtual Result<void> close() = 0;
  // The socket's descriptor, once.
  virtual Result<Fd> open_bell() = 0;
  // A send ring for one more process, which has the socket since it was forked. None where that process has no engine.
  virtual Result<std::shared_ptr<stack::SendMemory>> open_send_ring() { return Error{EOPNOTSUPP}; }
  // The send ring has something, and the engine does not look there. `bell` is null before open_bell(). Signal handlers may call it.
  virtual void wake_engine(engine::BellClient* bell) = 0;
  // Where nobody else runs the engine: one round of it.
  virtual void run() {}
  // False: the deadline has passed. True says no more than that it is worth looking.
  virtual bool wait_readable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline, engine::Intent intent) = 0;
  virtual bool wait_writable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline) = 0;
};

}  // namespace gannet::socket
