// What a command tells: for people (data on stdout, all else on stderr) or, with --json, one JSON object per line on stdout.
//
// Every object has "event" first; its other keys are those written here, always the same for the same event:
//   listening  via, local                          sent      number, to, bytes
//   received   peer, local, interface, ttl, tos, bytes, length, truncated, text or hex, and number, rtt_us where it answers one sent
//   association  kind, peer, identity, fingerprint, cipher, errno, message      fingerprint  sha256
//   error      errno, message, peer, offender, type, code, mtu
//   captured   number, time, interface, direction, bytes, length, line, comment (what is not known is null)
//   packet     line                                failed    status, message                      reason    name, meaning, remedy
//   omitted    interfaces, addresses, routes
//   hub        process, sockets, programs, datagrams_in, datagrams_out, rounds, sleeps
//   stat       hub {}, omitted {interfaces, addresses, routes}, sockets [], links [], groups [], counters {}, drops {}
//   peer       change (present, joined, changed, left, expired), id, incarnation, name, roles [], addresses [], metadata {}, name_conflict,
//   authenticated,
//              paths [{kind, interface, source, age_ms}], age_ms, lifetime_ms
//   paths      paths [{kind, address, interface, sent, heard, peers, error}], drops {}, advice (null where all is well)
//   program    sent, duplicated, delivered, left, to_groups, on_their_way, received, losses [{way, place, reason, datagrams}], captured, missed
//   summary    datagrams_out, bytes_out, datagrams_in, bytes_in, replies, lost, errors, rtt_us {min p50 p90 p99 max} or null, drops {}, counters {}
// Threads: any; each line is written whole.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/beacon.h>
#include <gannet/dtls.h>
#include <gannet/host.h>
#include <gannet/socket.h>

#include "cli/exchange.h"
#include "cli/failure.h"
#include "cli/latency.h"
#include "hub/listing.h"
#include "hub/protocol.h"
#include "wire/drop.h"

namespace gannet::cli {

// What a command counts; the summary is made of it.
struct Totals {
  std::uint64_t datagrams_out = 0, bytes_out = 0;
  std::uint64_t datagrams_in = 0, bytes_in = 0;
  std::optional<std::uint64_t> replies;  // datagrams that were answered; nothing where no answer was waited for
  std::uint64_t errors = 0;              // that the network reported
  Latency round_trips;
  std::vector<Count> drops, counters;

  [[nodiscard]] std::uint64_t lost() const { return replies && datagrams_out > *replies ? datagrams_out - *replies : 0; }
};

// A packet of a capture file.
struct Captured {
  std::uint64_t number;
  std::chrono::nanoseconds since_1970;
  std::string time_of_day;
  std::string_view interface, direction;  // empty: not known
  std::size_t bytes, length;              // in the file, and of the packet
  std::string_view line, comment;
};

// Why something died, and what to do about it.
struct Reason {
  std::string_view name, meaning, remedy;
};

class Report {
  using Json = nlohmann::ordered_json;

 public:
  // `raw`: data goes out as it is, with no newline added.
  Report(bool json, bool verbose, bool raw) : json_(json), verbose_(verbose), raw_(raw) {}

  void listening(std::string_view via, const Address& local);
  void sent(std::uint64_t number, const Address& to, std::size_t bytes);
  // `pretty` is the line for people; empty: the data itself.
  void received(const Datagram& datagram, const std::optional<Answer>& answer, std::string_view pretty = {});
  // What became of a handshake or of an association; for people only with --verbose.
  void association(const DtlsEvent& event);
  // Of the certificate that we made up.
  void fingerprint(const Fingerprint& fingerprint);
  void error(const SocketError& error, std::string_view sentence);
  void packet(std::string_view line);
  void captured(const Captured& packet);
  void summary(const Totals& totals);
  void failed(const Failure& failure);
  void reason(const Reason& reason);     // in a line
  void explained(const Reason& reason);  // and what to do
  void hub_status(const hub::Status& status);
  // What of the kernel's the hub's host has no room for; nothing where it has all.
  void omitted(const hub::Status& status);
  void listing(const hub::Listing& listing);
  void clear();  // the terminal
  void peers(const std::vector<Peer>& peers, const std::vector<BeaconPath>& paths);
  void peer_event(const PeerEvent& event, const std::vector<BeaconPath>& paths);
  // By what they were heard, what was dropped, and what to do where multicast seems blocked.
  void beacon_paths(const std::vector<BeaconPath>& paths, const std::vector<Count>& drops, std::string_view advice);
  // What a program sent and received, and where each lost datagram died.
  void program(const hub::ProgramReport& report);

  // A line for people, on stderr; nothing with --json.
  void note(std::string_view line);
  [[nodiscard]] bool json() const { return json_; }
  [[nodiscard]] bool verbose() const { return verbose_; }

 private:
  // The line of one object, or with no --json the text, on stdout.
  void line(const Json& object, std::string_view text);
  void write(std::FILE* file, const std::string& text);
  bool json_, verbose_, raw_;
  std::atomic<bool> summed_up_ = false;  // nothing follows the summary, although a host of ours says goodbye to its groups after it
  std::mutex mutex_;
};

// "127.0.0.1:40123 > 10.0.0.1:53, 18 bytes, ttl 64, tos 0x00, interface 2, truncated from 2000".
std::string describe(const Datagram& datagram);
// Data for a terminal: what could move the cursor is written as \xNN. No more than `most` bytes of it are shown.
std::string printable(std::span<const std::byte> data, std::size_t most = SIZE_MAX);
// "0.042 ms", "1.2 s".
std::string human(std::chrono::nanoseconds time);
bool is_utf8(std::string_view text);

}  // namespace gannet::cli
