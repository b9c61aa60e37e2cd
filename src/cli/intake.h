// What the commands that wait for datagrams share: a bound socket, and what comes to it, until Ctrl-C, silence (--timeout), enough (--count), or the
// loss of the link.
//
//   intake.open(host, port);
//   while (intake.wait()) {
//     while (const auto datagram = intake.next()) ...
//   }
//   return intake.finish();
//
// Thread: the command's.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <gannet/socket.h>

#include "cli/place.h"
#include "cli/port.h"
#include "cli/report.h"
#include "cli/settings.h"
#include "cli/waiter.h"

namespace gannet::cli {

class Intake {
 public:
  // The settings and the report must outlive it.
  Intake(const Settings& settings, Report& report) : settings_(settings), report_(report), place_(settings, report) {}

  [[nodiscard]] bool is_memory() const { return place_.is_memory(); }
  // Binds the socket; an empty host: every address.
  void open(const std::string& host, std::uint16_t port);
  // From now on only from this peer; a sealed socket is between two anyway.
  void connect(const Address& peer);
  [[nodiscard]] Socket& socket() { return **port_; }

  // Sleeps until something came, or can be read from `other` (negative: nothing else), and takes the errors that the network reported. False: it is
  // time to end.
  bool wait(int other = -1);
  [[nodiscard]] bool is_readable(int other) const { return waiter_.is_readable(other); }
  // What came, valid until the next call; nothing where there is no more, or where enough was taken for once, so that no flood drowns Ctrl-C.
  std::optional<Datagram> next();
  // Counts a datagram that next() gave: one that was meant for us.
  void count(const Datagram& datagram);
  Totals& totals() { return totals_; }

  // The summary, and a failure where the link was lost.
  Status finish();

 private:
  [[nodiscard]] bool has_enough() const { return settings_.count && totals_.datagrams_in >= *settings_.count; }
  [[nodiscard]] Waiter::Moment end_of_quiet() const;

  const Settings& settings_;
  Report& report_;
  Waiter waiter_;  // before the place, whose threads inherit the blocked signals
  Place place_;
  std::optional<Port> port_;
  int fd_ = -1;
  bool is_connected_ = false;
  Waiter::Moment until_{};
  int left_ = 0;  // of this turn
  Totals totals_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(65536);
};

}  // namespace gannet::cli
