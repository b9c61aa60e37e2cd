// A program at the hub, from the side of the `gannet run` that started it.
//
//   open() -> address(), which the program's processes are given -> capture_to() -> ... -> end_capture(), report()
//
// As long as it is held, the hub does not go. Thread: the caller's; a capture has one more, which writes the file. Allocates: at open().
#pragma once
#include <memory>

#include <gannet/result.h>

#include "base/fd.h"
#include "hub/address.h"
#include "hub/capture_memory.h"
#include "hub/protocol.h"
#include "link/spool.h"

namespace gannet::hub {

class Program {
 public:
  // EINVAL, ENOBUFS: the hub refuses it.
  static Result<Program> open(const HubAddress& hub, const ProgramSetup& setup);

  [[nodiscard]] const HubAddress& address() const { return address_; }
  // The hub, as it was at open().
  [[nodiscard]] const Status& hub() const { return hub_; }
  // Where what is captured goes; with ProgramSetup::capture. From here on there is a thread.
  Result<void> capture_to(Fd file);
  // The last of it. What could not be written, or has been missed, is told by the error or the report.
  Result<void> end_capture();
  // With ProgramSetup::report, or anything else that has the hub look at the program's datagrams.
  [[nodiscard]] Result<ProgramReport> report() const;

 private:
  // Where the ring can stay, however often a Program is moved.
  struct Recording {
    explicit Recording(CaptureMemory shared) : memory(std::move(shared)), ring(memory.positions(), memory.ring()) {}
    CaptureMemory memory;
    link::ByteRing ring;
    std::unique_ptr<link::Spool> spool;
  };

  HubAddress address_;
  Status hub_;
  Fd seat_;
  std::unique_ptr<Recording> recording_;
};

}  // namespace gannet::hub
