#include "hub/program.h"

#include <cerrno>
#include <cstring>

#include "hub/client.h"
#include "hub/sheet.h"

namespace gannet::hub {

Result<Program> Program::open(const HubAddress& hub, const ProgramSetup& setup) {
  Program program;
  Request request;
  request.kind = Request::Kind::open_program;
  request.setup = setup;
  auto received = ask(hub, request, program.seat_);
  if (!received) return received.error();
  program.address_ = hub;
  program.address_.program = received->reply.key;
  program.hub_ = received->reply.status;
  if (setup.capture != 0) {
    if (received->reply.fds != 1) return Error{EPROTO, "what answered is no hub of this version of Gannet"};
    auto memory = CaptureMemory::attach(std::move(received->fds[0]));
    if (!memory) return memory.error();
    program.recording_ = std::make_unique<Recording>(std::move(*memory));
  }
  return program;
}

Result<void> Program::capture_to(Fd file) {
  auto spool = link::Spool::open(std::move(file), recording_->ring);
  if (!spool) return spool.error();
  recording_->spool = std::move(*spool);
  return {};
}

// The thread empties the memory first: so there is room for the last blocks.
Result<void> Program::end_capture() {
  recording_->spool->stop();
  Request request;
  request.kind = Request::Kind::end_capture;
  request.program = address_.program;
  auto ended = ask(address_, request);
  if (!ended && ended.error().code == EAGAIN) {  // more came meanwhile
    static_cast<void>(recording_->spool->flush());
    ended = ask(address_, request);
  }
  const auto flushed = recording_->spool->flush();
  if (!flushed) return flushed;
  return ended ? Result<void>() : ended.error();
}

Result<ProgramReport> Program::report() const {
  Request request;
  request.kind = Request::Kind::report_program;
  request.program = address_.program;
  Fd connection;
  const auto received = ask(address_, request, connection);
  if (!received) return received.error();
  ProgramReport report;
  const auto bytes = read_sheet(received->fds[0]);
  if (!bytes) return bytes.error();
  if (bytes->size() != sizeof report) return Error{EPROTO, "what answered is no hub of this version of Gannet"};
  std::memcpy(&report, bytes->data(), sizeof report);
  return report;
}

}  // namespace gannet::hub
