#include "socket/engine_attachment.h"

#include <cerrno>

#include "socket/stack_socket.h"

namespace gannet::socket {
namespace {

using engine::Moment;

// Whoever waits has run the engine until the deadline at the latest.
bool has_time_left(Deadline deadline) { return !deadline.is_now() && (deadline.is_forever() || std::chrono::steady_clock::now() < deadline.at()); }

}  // namespace

Result<std::unique_ptr<StackSocket>> StackSocket::open(engine::Engine& engine) {
  struct Opened {
    stack::Endpoint* endpoint;
    std::shared_ptr<stack::SendMemory> send;
  };
  const auto opened = engine.call([&]() -> Result<Opened> {
    const auto endpoint = engine.open_endpoint();
    if (!endpoint) return endpoint.error();
    (*endpoint)->options.receive_errors = true;
    auto send = (*endpoint)->add_send_ring();
    if (send) return Opened{*endpoint, std::move(*send)};
    engine.close_endpoint(**endpoint);
    return send.error();
  });
  if (!opened) return opened.error();
  return std::make_unique<StackSocket>(Parts{.attachment = std::make_unique<EngineAttachment>(engine, *opened->endpoint),
                                             .host = engine::HostView(engine.host_page()),
                                             .memory = opened->endpoint->memory(),
                                             .send = opened->send});
}

Result<ControlAnswer> EngineAttachment::control(const ControlRequest& request) {
  return engine_.call([&]() -> Result<ControlAnswer> {
    if (endpoint_ == nullptr) return Error{EBADF};
    return carry_out(engine_, *endpoint_, request);
  });
}

Result<void> EngineAttachment::close() {
  return engine_.call([&]() -> Result<void> {
    if (endpoint_ == nullptr) return failure(Call::other, EBADF);
    engine_.close_endpoint(*std::exchange(endpoint_, nullptr));
    return {};
  });
}

Result<Fd> EngineAttachment::open_bell() {
  return engine_.call([&]() -> Result<Fd> {
    if (endpoint_ == nullptr) return failure(Call::other, EBADF);
    return engine_.open_bell(*endpoint_);
  });
}

void EngineAttachment::run() {
  if (!engine_.has_thread()) engine_.run_once(Moment::min());
}

bool EngineAttachment::wait_readable(const stack::EndpointClient& client, engine::BellClient*, Deadline deadline, engine::Intent intent) {
  if (engine_.has_thread()) return !deadline.is_now() && engine::wait_readable(client, deadline.at(), intent);
  engine_.run_once(deadline.at());
  return client.has_news() || client.is_closed() || has_time_left(deadline);
}

bool EngineAttachment::wait_writable(const stack::EndpointClient& client, engine::BellClient*, Deadline deadline) {
  if (engine_.has_thread()) return engine::wait_writable(client, deadline.at());
  engine_.run_once(deadline.at());
  return client.has_send_space() || has_time_left(deadline);
}

}  // namespace gannet::socket
