// Sockets of an engine of this process: calls go through its mailbox, and waiters sleep on the endpoint's futex.
//
// While no thread runs the engine (Host::run_once() in the caller's loop), whoever has to wait runs it.
// Thread: any.  Allocates: never.
#pragma once
#include "engine/engine.h"
#include "socket/attachment.h"

namespace gannet::socket {

class EngineAttachment final : public Attachment {
 public:
  EngineAttachment(engine::Engine& engine, stack::Endpoint& endpoint) : engine_(engine), endpoint_(&endpoint), slot_(endpoint.slot) {}

  Result<ControlAnswer> control(const ControlRequest& request) override;
  Result<void> close() override;
  Result<Fd> open_bell() override;
  void wake_engine(engine::BellClient*) override { engine_.notify_sends(slot_); }
  void run() override;
  bool wait_readable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline, engine::Intent intent) override;
  bool wait_writable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline) override;

 private:
  engine::Engine& engine_;
  stack::Endpoint* endpoint_;  // the engine thread's; null once closed
  const std::uint32_t slot_;
};

}  // namespace gannet::socket
