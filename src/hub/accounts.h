// What each application process has of a hub, and how much it may have.
//
// A socket counts for the process that opened it, whoever else uses it later. Memory is what its buffers may grow to: SO_RCVBUF, and SO_SNDBUF for
// each process that sends. Owner: Hub.  Thread: the engine's.  Allocates: at the first socket of a process.  Bounds: Limits.
#pragma once
#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include <gannet/result.h>

namespace gannet::hub {

struct Limits {
  std::size_t sockets = 4096;                 // EMFILE
  std::size_t memory = std::size_t{2} << 30;  // ENOBUFS
  std::size_t memberships = 512;              // in groups; ENOBUFS
};

// Of one socket.
struct Holding {
  std::size_t memory = 0, memberships = 0;
};

class Accounts {
 public:
  explicit Accounts(const Limits& limits) : limits_(limits) {}

  [[nodiscard]] Result<void> may_open(std::int32_t process) const;
  [[nodiscard]] Result<void> may_add(std::int32_t process, const Holding& more) const;

  void open(std::int32_t process) { ++processes_[process].sockets; }
  void settle(std::int32_t process, Holding& was, const Holding& is);
  void close(std::int32_t process, const Holding& was);

 private:
  struct Account {
    std::size_t sockets = 0;
    Holding held;
  };
  [[nodiscard]] Account find(std::int32_t process) const;

  const Limits limits_;
  std::unordered_map<std::int32_t, Account> processes_;
};

}  // namespace gannet::hub
