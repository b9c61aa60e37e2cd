// The socket of a command: as it is, or with --dtls sealed.
//
// Thread: the command's.
#pragma once
#include <fstream>
#include <memory>
#include <optional>
#include <vector>

#include <gannet/dtls.h>
#include <gannet/socket.h>

#include "cli/place.h"
#include "cli/report.h"
#include "cli/settings.h"
#include "cli/waiter.h"

namespace gannet::cli {

class Port {
 public:
  // `accepts`: others begin, as with echo and listen. Settings, report and place must outlive it.
  Port(const Settings& settings, Report& report, Place& place, Family family, bool accepts);

  Socket& operator*() { return sealed_ ? *sealed_ : *plain_; }
  Socket* operator->() { return &**this; }
  [[nodiscard]] bool is_sealed() const { return sealed_.has_value(); }

  // When to receive at the latest, although nothing has come: sealed sockets have timers.
  [[nodiscard]] Waiter::Moment wakeup() const { return sealed_ ? sealed_->next_wakeup().at() : Waiter::Moment::max(); }
  // With --dtls: shakes hands, or fails with the reason.
  void shake_hands(const Address& peer);
  // The most that a sealed datagram to a peer carries.
  [[nodiscard]] std::optional<std::size_t> max_payload(const Address& peer) const;
  // What died here, of a sealed socket.
  void add_drops(Totals& totals) const;

 private:
  void seal(Socket under, bool accepts);
  DtlsOptions options(bool accepts);
  DtlsIdentity identity(bool accepts);
  void tell_secret(std::string_view line);

  const Settings& settings_;
  Report& report_;
  Place& place_;
  std::ofstream key_log_;
  std::optional<Socket> plain_;
  std::optional<DtlsSocket> sealed_;
};

}  // namespace gannet::cli
