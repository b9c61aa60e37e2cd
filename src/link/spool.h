// A thread that writes what a ByteRing has to a file, so that no disk ever holds up who fills it.
//
//   engine, here or in another process -> ByteRing -> thread -> write(2)
//
// Owner: whoever asked for the file.  Thread: the owner's.  Allocates: a thread. Bound: the ring; what does not fit there its writer counts.
#pragma once
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>

#include <gannet/result.h>

#include "base/fd.h"
#include "link/byte_ring.h"

namespace gannet::link {

class Spool {
 public:
  // EMFILE. The ring outlives it.
  static Result<std::unique_ptr<Spool>> open(Fd file, ByteRing& ring);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // Ends the thread; flush() is the owner's from then on. What is in the ring is written.
  void stop();
  // After stop(): what came since. ENOSPC, EIO, ...: what went wrong on the way, where the file then ends.
  Result<void> flush();
  [[nodiscard]] bool is_running() const { return writer_.joinable(); }

 private:
  Spool(Fd file, Fd stop, ByteRing& ring) : ring_(ring), file_(std::move(file)), stop_(std::move(stop)), writer_([this] { run(); }) {}
  void run();
  // Returns how much it wrote. After an error nothing is written or taken any more, so that the ring fills.
  std::size_t drain();

  ByteRing& ring_;
  Fd file_;
  Fd stop_;        // an eventfd
  int error_ = 0;  // of the first write that failed; the thread's until it is joined
  std::thread writer_;
};

}  // namespace gannet::link
