// A capture on its way to a file: the engine fills a bounded buffer, and a thread of its own writes it out, so that no disk ever holds up a packet.
//
//   engine: Capture::take() -> ByteRing -> writer thread -> write(2)
//
// Owner: whoever asked for the capture; it outlives the engine's use of capture().  Thread: open() and close() by the owner; capture() by one engine.
// Allocates: at open().  Bound: the buffer; what does not fit is counted, and told in the file (see capture.h).
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include <gannet/result.h>

#include "base/time.h"
#include "link/byte_ring.h"
#include "link/capture.h"
#include "link/spool.h"

namespace gannet::link {

class CaptureFile {
 public:
  static constexpr std::size_t default_buffer = std::size_t{8} << 20;

  // Makes the file, or empties it. `real_time_offset` is what to add to the engine's Time for nanoseconds since 1970. The errno of open(2) otherwise.
  static Result<std::unique_ptr<CaptureFile>> open(const std::string& path, Duration real_time_offset, std::size_t buffer = default_buffer);
  CaptureFile(const CaptureFile&) = delete;
  CaptureFile& operator=(const CaptureFile&) = delete;

  [[nodiscard]] Capture& capture() { return capture_; }

  // Once the engine has stopped taking packets: writes the rest and the statistics as of `now`, and ends the thread. Says what went wrong on the way:
  // ENOSPC, EIO, ...; the file then ends where it went wrong, and the statistics are missing.
  Result<void> close(Time now);

 private:
  CaptureFile(Duration real_time_offset, std::size_t buffer) : ring_(buffer), capture_(ring_, real_time_offset) {}

  ByteRing ring_;
  Capture capture_;
  std::unique_ptr<Spool> spool_;
};

}  // namespace gannet::link
