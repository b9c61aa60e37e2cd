#include "stack/igmp.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>

#include "wire/ipv4.h"

namespace gannet::stack {
namespace {

constexpr Duration unsolicited_interval = std::chrono::seconds(1);       // RFC 9776 8.11
constexpr Duration old_unsolicited_interval = std::chrono::seconds(10);  // RFC 2236 8.10
constexpr std::size_t largest_report = 552 - 24;                         // fits every link; larger ones would be fragmented on a few

// 224.0.0.1 is not told to anybody; 232/8 not to routers that know no sources.
bool is_told_to_old(const IpAddress& group) { return !is_source_specific(group); }

}  // namespace

// A version 3 report under way: it is sent whenever it is full, and at its end.
class Igmp::Report {
 public:
  Report(Igmp& igmp, std::uint32_t interface, Time now) : igmp_(igmp), interface_(interface), now_(now), writer_(buffer_) {}

  void add(wire::IgmpRecordType type, const IpAddress& group, std::span<const IpAddress> sources) {
    do {
      auto room = writer_.room();
      if (!writer_.empty() && (!room || *room < sources.size())) {
        send();
        room = writer_.room();
      }
      const std::size_t fit = std::min(sources.size(), room.value());
      writer_.add(type, group, sources.first(fit));
      // RFC 9776 4.2.16: a list of excluded sources is cut short where it does not fit, any other goes on in the next report.
      const bool excludes = type == wire::IgmpRecordType::is_exclude || type == wire::IgmpRecordType::to_exclude;
      sources = sources.subspan(excludes ? sources.size() : fit);
    } while (!sources.empty());
  }
  void send() {
    if (writer_.empty()) return;
    igmp_.output_.send(igmp_.output_.context, interface_, wire::igmp_v3_routers, writer_.finish(), now_);
    writer_ = wire::IgmpReportWriter(buffer_);
  }

 private:
  Igmp& igmp_;
  std::uint32_t interface_;
  Time now_;
  std::array<std::byte, largest_report> buffer_{};
  wire::IgmpReportWriter writer_;
};

void Igmp::set(std::uint32_t interface, const IpAddress& group, const SourceFilter& filter, Time now) {
  if (group == wire::igmp_all_hosts) return;
  Port& port = port_of(interface);
  update_version(port, now);
  Group* known = find(port, group);
  if (known == nullptr) {
    if (filter.is_nothing()) return;
    known = &port.groups.emplace_back(Group{.address = group});
  }
  if (known->filter == filter) return;
  plan_change(port, *known, filter, now);
  std::erase_if(port.groups, [](const Group& g) { return g.is_over(); });
  find_next();
}

void Igmp::announce(std::uint32_t interface, Time now) {
  const auto port = std::ranges::find(ports_, interface, &Port::interface);
  if (port == ports_.end()) return;
  update_version(*port, now);
  for (Group& group : port->groups) {
    if (group.filter.is_nothing()) continue;
    const SourceFilter wanted = std::exchange(group.filter, {});
    group.mode_left = 0;
    group.changes.clear();
    plan_change(*port, group, wanted, now);
  }
  find_next();
}

// The group's filter becomes another, and what is to be told of it is planned.
void Igmp::plan_change(Port& port, Group& group, const SourceFilter& filter, Time now) {
  if (port.version < 3) {
    set_old(port, group, filter, now);
  } else {
    note_changes(group, filter, port.robustness);
    port.change_due = now;
  }
  group.filter = filter;
}

// RFC 9776 5.1: what the next reports have to tell of the step from the group's filter to another.
void Igmp::note_changes(Group& group, const SourceFilter& filter, unsigned robustness) {
  const SourceFilter& before = group.filter;
  if (before.mode != filter.mode) {
    group.mode_left = robustness;
    group.changes.clear();
    return;
  }
  const bool include = filter.mode == FilterMode::include;
  const auto note = [&](const std::vector<IpAddress>& more, const std::vector<IpAddress>& less, bool allow) {
    for (const IpAddress& source : more) {
      if (std::ranges::binary_search(less, source)) continue;
      std::erase_if(group.changes, [&](const Change& change) { return change.source == source; });
      group.changes.push_back({source, allow, robustness});
    }
  };
  note(filter.sources, before.sources, include);
  note(before.sources, filter.sources, !include);
}

// Versions 1 and 2 know of no sources: a group is wanted or not.
void Igmp::set_old(Port& port, Group& group, const SourceFilter& filter, Time now) {
  if (!is_told_to_old(group.address)) return;
  if (filter.is_nothing()) {
    if (port.version == 2 && group.reported_last) send_old(port, wire::IgmpType::leave, wire::igmp_all_routers, group.address, now);
    group.response_due = never;
  } else if (group.filter.is_nothing()) {
    group.response_due = now;
    group.reports_left = port.robustness;
  }
}

std::expected<void, Drop> Igmp::input(const wire::IpInfo& ip, std::span<const std::byte> message, Time now) {
  const auto igmp = wire::parse_igmp(message);
  if (!igmp) return std::unexpected(igmp.error());
  Port& port = port_of(ip.interface);
  update_version(port, now);
  switch (igmp->type) {
    case wire::IgmpType::query:
      return input_query(port, ip, *igmp, now);
    case wire::IgmpType::v1_report:
    case wire::IgmpType::v2_report:
      // Another member has told the routers: ours is not needed (RFC 2236 section 3).
      if (Group* group = find(port, igmp->group); group != nullptr && port.version < 3) {
        group->response_due = never;
        group->reports_left = 0;
        group->reported_last = false;
        find_next();
      }
      return {};
    case wire::IgmpType::leave:
    case wire::IgmpType::v3_report:
      return {};
  }
  return {};  // a type of the future: ignored
}

std::expected<void, Drop> Igmp::input_query(Port& port, const wire::IpInfo& ip, const wire::Igmp& query, Time now) {
  // RFC 9776 9.1: a query from beyond the link, or one that routers on the way could not have seen, is forged.
  const bool is_general = query.group.is_any();
  const bool has_alert = wire::has_option(ip.options, wire::ipv4_option::router_alert);
  if (ip.hop_limit != 1 || (query.version > 1 && !has_alert) || (is_general && ip.dst != wire::igmp_all_hosts)) {
    return std::unexpected(Drop::igmp_malformed);
  }
  if (!is_general && !query.group.is_multicast()) return std::unexpected(Drop::igmp_malformed);

  if (query.version == 3) {
    port.robustness = query.robustness != 0 ? query.robustness : config_.igmp_robustness;
    if (query.query_interval != Duration::zero()) port.query_interval = query.query_interval;
  } else {
    // RFC 9776 8.13: so long does an older querier count as present.
    const Time until = now + port.robustness * port.query_interval + query.max_response;
    (query.version == 1 ? port.v1_until : port.v2_until) = until;
    update_version(port, now);
  }
  if (port.version < 3) {
    plan_old_response(port, query, now);
  } else {
    plan_response(port, query, now);
  }
  find_next();
  return {};
}

// RFC 9776 5.2, the five rules.
void Igmp::plan_response(Port& port, const wire::Igmp& query, Time now) {
  const Time due = random_time(now, query.max_response);
  if (port.general_due <= due) return;
  if (query.group.is_any()) {
    port.general_due = due;
    return;
  }
  Group* group = find(port, query.group);
  if (group == nullptr || group->filter.is_nothing()) return;
  const bool about_all = query.sources.size() == 0 || query.sources.size() > config_.igmp_sources;
  if (group->response_due == never) {
    group->asked.clear();
  } else if (about_all || group->asked.empty()) {
    group->asked.clear();
    group->response_due = std::min(group->response_due, due);
    return;
  }
  group->response_due = std::min(group->response_due, due);
  if (about_all) return;
  for (std::size_t i = 0; i < query.sources.size(); ++i) {
    const auto at = std::ranges::lower_bound(group->asked, query.sources[i]);
    if (at == group->asked.end() || *at != query.sources[i]) group->asked.insert(at, query.sources[i]);
  }
  if (group->asked.size() > config_.igmp_sources) group->asked.clear();
}

void Igmp::plan_old_response(Port& port, const wire::Igmp& query, Time now) {
  for (Group& group : port.groups) {
    if (!is_told_to_old(group.address) || (!query.group.is_any() && group.address != query.group)) continue;
    // A report that is due sooner than this query asks for answers it too.
    group.response_due = std::min(group.response_due, random_time(now, query.max_response));
  }
}

void Igmp::advance(Time now) {
  if (now < next_) return;
  for (Port& port : ports_) {
    update_version(port, now);
    if (port.version < 3) {
      respond_old(port, now);
    } else {
      respond(port, now);
      if (port.change_due <= now) send_changes(port, now);
    }
  }
  find_next();
}

void Igmp::respond(Port& port, Time now) {
  using Type = wire::IgmpRecordType;
  const bool is_general = port.general_due <= now;
  if (is_general) port.general_due = never;
  Report report(*this, port.interface, now);
  for (Group& group : port.groups) {
    const bool is_asked = group.response_due <= now;
    if (is_asked) group.response_due = never;
    if ((!is_general && !is_asked) || group.filter.is_nothing()) continue;
    const bool include = group.filter.mode == FilterMode::include;
    if (is_general || group.asked.empty()) {
      report.add(include ? Type::is_include : Type::is_exclude, group.address, group.filter.sources);
      continue;
    }
    // Of the sources that the query named, those that are wanted.
    std::vector<IpAddress> wanted;
    std::ranges::copy_if(group.asked, std::back_inserter(wanted), [&](const IpAddress& source) { return group.filter.allows(source); });
    if (!wanted.empty()) report.add(Type::is_include, group.address, wanted);
  }
  report.send();
}

void Igmp::respond_old(Port& port, Time now) {
  for (Group& group : port.groups) {
    if (group.response_due > now || group.filter.is_nothing()) continue;
    send_old(port, port.version == 1 ? wire::IgmpType::v1_report : wire::IgmpType::v2_report, group.address, group.address, now);
    group.reported_last = true;
    if (group.reports_left != 0) --group.reports_left;
    group.response_due = group.reports_left == 0 ? never : random_time(now, old_unsolicited_interval);
  }
}

void Igmp::send_changes(Port& port, Time now) {
  using Type = wire::IgmpRecordType;
  Report report(*this, port.interface, now);
  bool more = false;
  for (Group& group : port.groups) {
    if (group.mode_left != 0) {
      --group.mode_left;
      report.add(group.filter.mode == FilterMode::include ? Type::to_include : Type::to_exclude, group.address, group.filter.sources);
    } else {
      for (const bool allow : {true, false}) {
        std::vector<IpAddress> sources;
        for (const Change& change : group.changes) {
          if (change.allow == allow) sources.push_back(change.source);
        }
        if (!sources.empty()) report.add(allow ? Type::allow_new_sources : Type::block_old_sources, group.address, sources);
      }
    }
    // A record of the whole filter tells of its sources too.
    std::erase_if(group.changes, [](Change& change) { return --change.left == 0; });
    more = more || group.has_changes();
  }
  report.send();
  port.change_due = more ? random_time(now, unsolicited_interval) : never;
  std::erase_if(port.groups, [](const Group& group) { return group.is_over(); });
}

void Igmp::send_old(const Port& port, wire::IgmpType type, const IpAddress& dst, const IpAddress& group, Time now) {
  std::array<std::byte, wire::igmp_size> message;
  wire::emit_igmp(type, group, message);
  output_.send(output_.context, port.interface, dst, message, now);
}

Igmp::Port& Igmp::port_of(std::uint32_t interface) {
  const auto at = std::ranges::find(ports_, interface, &Port::interface);
  if (at != ports_.end()) return *at;
  return ports_.emplace_back(Port{.interface = interface, .robustness = config_.igmp_robustness});
}

Igmp::Group* Igmp::find(Port& port, const IpAddress& group) {
  const auto at = std::ranges::find(port.groups, group, &Group::address);
  return at == port.groups.end() ? nullptr : &*at;
}

std::uint8_t Igmp::version(std::uint32_t interface) const {
  const auto at = std::ranges::find(ports_, interface, &Port::interface);
  return at == ports_.end() ? std::uint8_t{3} : at->version;
}

// RFC 9776 7.2.1: with the version, all that was planned is off.
void Igmp::update_version(Port& port, Time now) {
  const std::uint8_t version = now < port.v1_until ? 1 : now < port.v2_until ? 2 : 3;
  if (version == port.version) return;
  port.version = version;
  port.general_due = port.change_due = never;
  for (Group& group : port.groups) {
    group.mode_left = group.reports_left = 0;
    group.changes.clear();
    group.asked.clear();
    group.response_due = never;
  }
  std::erase_if(port.groups, [](const Group& group) { return group.is_over(); });
}

// Uniform over the time from now until `most` later; never now, since hosts that all heard one query would then all answer at once.
Time Igmp::random_time(Time now, Duration most) {
  return now + Duration(1 + static_cast<Duration::rep>(rng_.unit() * static_cast<double>(most.count())));
}

void Igmp::find_next() {
  next_ = never;
  for (const Port& port : ports_) {
    next_ = std::min({next_, port.general_due, port.change_due});
    if (port.version == 1) next_ = std::min(next_, port.v1_until);
    if (port.version == 2) next_ = std::min(next_, port.v2_until);
    for (const Group& group : port.groups) next_ = std::min(next_, group.response_due);
  }
}

}  // namespace gannet::stack
