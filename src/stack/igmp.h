// The host's side of IGMP: tells the routers on each link which groups, from which sources, this host wants.
//
//   Multicast::set() -> a report at once, and again robustness - 1 times after random delays
//   a router's query -> a report after a random delay, of all that waits by then
//
// Where an older router asks, this host speaks its version, interface by interface, until that router has not been heard for minutes.
// It knows no socket, no frame and no clock: messages come in by input() and go out by IgmpOutput.
// Owner: Multicast.  Thread: the engine's.  Allocates: where groups and sources change, or are asked about.
// Bounds: interfaces and groups are what Multicast lets in; sources that a query asks about by Config::igmp_sources.
// Sources: RFC 9776 sections 5 and 7; RFC 2236; RFC 1112 appendix I; RFC 4604 (nothing of 232/8 is told to older routers).
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include <gannet/address.h>

#include "base/rng.h"
#include "base/time.h"
#include "stack/config.h"
#include "stack/source_filter.h"
#include "wire/drop.h"
#include "wire/igmp.h"
#include "wire/ip.h"

namespace gannet::stack {

// Where messages go: to `dst` by the interface, with TTL 1 and the router alert option.
struct IgmpOutput {
  void (*send)(void* context, std::uint32_t interface, const IpAddress& dst, std::span<const std::byte> message, Time now) = nullptr;
  void* context = nullptr;
};

// 232/8, where a receiver names its sources (RFC 4607).
[[nodiscard]] constexpr bool is_source_specific(const IpAddress& group) { return group.is_ipv4() && group.number() >> 24 == 232; }

class Igmp {
 public:
  Igmp(const Config& config, Rng& rng, IgmpOutput output) : config_(config), rng_(rng), output_(output) {}

  // From now on the interface receives the group so. Routers are told where that changes anything; of 224.0.0.1 never.
  void set(std::uint32_t interface, const IpAddress& group, const SourceFilter& filter, Time now);
  // The interface can send from now on: tells of all its groups as if they had just been joined, since what was told before reached nobody.
  void announce(std::uint32_t interface, Time now);
  // A message that came in.
  std::expected<void, Drop> input(const wire::IpInfo& ip, std::span<const std::byte> message, Time now);

  [[nodiscard]] Time next_wakeup() const { return next_; }
  void advance(Time now);

  // The version that is spoken on an interface.
  [[nodiscard]] std::uint8_t version(std::uint32_t interface) const;

 private:
  // A source that was added or taken away, and is to be told of `left` more times.
  struct Change {
    IpAddress source;
    bool allow;
    unsigned left;
  };
  struct Group {
    IpAddress address;
    SourceFilter filter{};
    unsigned mode_left = 0;  // how many more times the filter as a whole is to be told, since its mode changed
    std::vector<Change> changes{};
    Time response_due = never;       // an answer to a query about this group, or the next report to an older router
    std::vector<IpAddress> asked{};  // by the query; none: about all sources
    unsigned reports_left = 0;       // versions 1 and 2: unasked reports still to come
    bool reported_last = false;      // version 2: no other member has reported since we did, so that the leave is ours to tell

    [[nodiscard]] bool has_changes() const { return mode_left != 0 || !changes.empty(); }
    [[nodiscard]] bool is_over() const { return filter.is_nothing() && !has_changes(); }
  };
  // What is known of one interface.
  struct Port {
    std::uint32_t interface;
    std::uint8_t version = 3;
    unsigned robustness;
    Duration query_interval = std::chrono::seconds(125);
    Time v1_until = Time::min(), v2_until = Time::min();  // older queriers are there until then
    Time general_due = never;                             // version 3: the answer to a general query
    Time change_due = never;                              // version 3: the next report of changes
    std::vector<Group> groups{};
  };
  class Report;

  Port& port_of(std::uint32_t interface);
  static Group* find(Port& port, const IpAddress& group);
  void update_version(Port& port, Time now);
  std::expected<void, Drop> input_query(Port& port, const wire::IpInfo& ip, const wire::Igmp& query, Time now);
  void plan_response(Port& port, const wire::Igmp& query, Time now);
  void plan_old_response(Port& port, const wire::Igmp& query, Time now);
  void plan_change(Port& port, Group& group, const SourceFilter& filter, Time now);
  void set_old(Port& port, Group& group, const SourceFilter& filter, Time now);
  static void note_changes(Group& group, const SourceFilter& filter, unsigned robustness);
  void respond(Port& port, Time now);
  void respond_old(Port& port, Time now);
  void send_changes(Port& port, Time now);
  void send_old(const Port& port, wire::IgmpType type, const IpAddress& dst, const IpAddress& group, Time now);
  Time random_time(Time now, Duration most);
  void find_next();

  const Config& config_;
  Rng& rng_;
  IgmpOutput output_;
  std::vector<Port> ports_;
  Time next_ = never;
};

}  // namespace gannet::stack
