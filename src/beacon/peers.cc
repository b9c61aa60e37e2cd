#include "beacon/peers.h"

#include <algorithm>
#include <tuple>

namespace gannet::beacon {

// One peer.

Source* Record::source(const Address& address) {
  const auto found = std::ranges::find_if(sources, [&](const Source& each) { return each.route.peer == address; });
  return found == sources.end() ? nullptr : &*found;
}

void Record::add_source(const Route& route, Time now) {
  if (Source* known = source(route.peer)) {
    *known = {route, now};
  } else if (sources.size() < most_sources) {
    sources.push_back({route, now});
  } else {
    *std::ranges::min_element(sources, {}, [&](const Source& each) { return std::tuple(each.route.peer.ip == home, each.heard); }) = {route, now};
  }
}

void Record::note_path(PathKind kind, std::uint32_t interface, const Address& source, Time now) {
  const auto known =
      std::ranges::find_if(paths, [&](const PathNote& path) { return path.kind == kind && path.interface == interface && path.source == source; });
  if (known != paths.end()) {
    known->heard = now;
  } else if (paths.size() < most_paths) {
    paths.push_back({kind, interface, source, now});
  } else {
    *std::ranges::min_element(paths, {}, &PathNote::heard) = {kind, interface, source, now};
  }
}

bool Record::has_multicast(Time now) const {
  return std::ranges::any_of(paths, [&](const PathNote& path) { return path.kind == PathKind::multicast && path.heard + lifetime > now; });
}

namespace {

// The better to reach it alone comes first.
auto rank_of(const Record& record, const Source& source, std::uint16_t shared_port) {
  const Address& address = source.route.peer;
  const bool is_late = source.heard + record.lifetime < record.heard;  // there is another where it is heard
  return std::tuple(is_late || address.ip != record.home, address.port == shared_port, address.ip.is_loopback(), !address.ip.is_ipv4(),
                    -source.heard.time_since_epoch().count());
}

}  // namespace

const Source& Record::best_source(std::uint16_t shared_port, unsigned turn) const {
  std::vector<const Source*> order;
  for (const Source& each : sources) order.push_back(&each);
  std::ranges::sort(order, {}, [&](const Source* each) { return rank_of(*this, *each, shared_port); });
  return *order[turn % order.size()];
}

const Source* Record::best_ipv4(std::uint16_t shared_port) const {
  const Source& best = *std::ranges::min_element(
      sources, {}, [&](const Source& each) { return std::tuple(!each.route.peer.ip.is_ipv4(), rank_of(*this, each, shared_port)); });
  return best.route.peer.ip.is_ipv4() ? &best : nullptr;
}

// All of them.

Record* Peers::find(std::uint64_t id) {
  const auto found = records_.find(id);
  return found == records_.end() ? nullptr : &found->second;
}

Record* Peers::admit(Record record, Time now) {
  const IpAddress home = record.sources.front().route.peer.ip;
  Record* const earlier = find(record.id);
  const auto there = at_address_.find(home);
  const bool makes_room = earlier != nullptr && earlier->home == home;
  if (there != at_address_.end() && there->second >= most_at_one_address_ && !makes_room) return drops_.add(Drop::address_full), nullptr;
  if (earlier == nullptr && records_.size() >= most_ && !make_room(home, now)) return drops_.add(Drop::peers_full), nullptr;
  if (earlier != nullptr) remove(*earlier, PeerEvent::Kind::expired, now);
  add_home(home);
  const std::uint64_t id = record.id;
  record.home = home;
  record.has_news = true;
  due_.emplace(record.due, id);
  names_.emplace(record.name, id);
  Record& here = records_.emplace(id, std::move(record)).first->second;
  add_news({PeerEvent::Kind::joined, id, {}});
  review_name(here.name);
  return &here;
}

// Of those where there are most, at least four times as many as there would be at the newcomer's, the one that was not heard for longest goes.
bool Peers::make_room(const IpAddress& home, Time now) {
  const auto fullest = std::ranges::max_element(at_prefix_, {}, [](const auto& each) { return each.second; });
  const auto here = at_prefix_.find(prefix_of(home));
  const std::size_t few = here == at_prefix_.end() ? 1 : here->second + 1;
  if (fullest->second < 4 * few) return false;
  Record* oldest = nullptr;
  for (auto& [id, each] : records_) {
    if (prefix_of(each.home) == fullest->first && (oldest == nullptr || each.heard < oldest->heard)) oldest = &each;
  }
  remove(*oldest, PeerEvent::Kind::expired, now);
  drops_.add(Drop::peer_displaced);
  return true;
}

void Peers::move(Record& record, const IpAddress& to) {
  if (const auto there = at_address_.find(to); there != at_address_.end() && there->second >= most_at_one_address_) {
    return drops_.add(Drop::address_full);
  }
  remove_home(record.home);
  add_home(to);
  record.home = to;
}

void Peers::add_home(const IpAddress& home) {
  ++at_address_[home];
  ++at_prefix_[prefix_of(home)];
}

void Peers::remove_home(const IpAddress& home) {
  if (const auto there = at_address_.find(home); --there->second == 0) at_address_.erase(there);
  if (const auto there = at_prefix_.find(prefix_of(home)); --there->second == 0) at_prefix_.erase(there);
}

void Peers::remove(Record& record, PeerEvent::Kind how, Time now) {
  departed_.push_back({record.id, record.incarnation, record.sequence, now});
  if (departed_.size() > most_departed) departed_.pop_front();
  remove_home(record.home);
  due_.erase({record.due, record.id});
  const auto [first, last] = names_.equal_range(record.name);
  names_.erase(std::find_if(first, last, [&](const auto& each) { return each.second == record.id; }));
  const Peer as_it_was = describe(record, now);
  for (News& news : news_) {  // what was not told yet, is told of it as it was last
    if (news.id == record.id && news.peer.id == 0) news.peer = as_it_was;
  }
  add_news({how, record.id, as_it_was});
  const std::string name = record.name;
  records_.erase(record.id);
  review_name(name);
}

void Peers::set_profile(Record& record, const Message& message) {
  record.profile = profile_of(message);
  if (record.name == message.name) return;
  const std::string before = record.name;
  const auto [first, last] = names_.equal_range(before);
  names_.erase(std::find_if(first, last, [&](const auto& each) { return each.second == record.id; }));
  record.name = message.name;
  names_.emplace(record.name, record.id);
  review_name(before);
  review_name(record.name);
}

void Peers::changed(Record& record) {
  if (record.has_news) return;
  record.has_news = true;
  add_news({PeerEvent::Kind::changed, record.id, {}});
}

void Peers::review_name(const std::string& name) {
  const auto [first, last] = names_.equal_range(name);
  const bool conflict = (first != last && std::next(first) != last) || (first != last && name == own_name_);
  // Of many with one name only the second to come changes anything for the others, and the last but one to go.
  for (auto each = first; each != last; ++each) {
    Record& record = records_.at(each->second);
    if (record.name_conflict == conflict) continue;
    record.name_conflict = conflict;
    changed(record);
  }
}

void Peers::schedule(Record& record, Time due) {
  due_.erase({record.due, record.id});
  record.due = due;
  due_.emplace(due, record.id);
}

Record* Peers::take_due(Time now) { return next_due() <= now ? find(due_.begin()->second) : nullptr; }

bool Peers::has_departed(const Header& header, Time now) const {
  return std::ranges::any_of(departed_, [&](const Departed& each) {
    return each.id == header.id && each.incarnation == header.incarnation && each.at + Cookies::longest_validity >= now &&
           !is_newer(header.sequence, each.sequence);
  });
}

void Peers::add_news(News news) {
  if (news_.size() >= 2 * most_) {
    if (Record* record = find(news_.front().id); record != nullptr && news_.front().peer.id == 0) record->has_news = false;
    news_.pop_front();
    drops_.add(Drop::event_lost);
  }
  news_.push_back(std::move(news));
}

std::optional<PeerEvent> Peers::take_news(Time now) {
  if (news_.empty()) return std::nullopt;
  News news = std::move(news_.front());
  news_.pop_front();
  if (news.peer.id != 0) return PeerEvent{news.kind, std::move(news.peer)};
  Record& record = records_.at(news.id);
  record.has_news = false;
  return PeerEvent{news.kind, describe(record, now)};
}

Peer Peers::describe(const Record& record, Time now) const {
  Peer peer{.id = record.id,
            .incarnation = record.incarnation,
            .name = record.name,
            .profile = record.profile,
            .name_conflict = record.name_conflict,
            .is_authenticated = record.is_authenticated,
            .age = now - record.heard,
            .lifetime = record.lifetime};
  const Route& route = record.best_source(shared_port_).route;
  const Source* const ipv4 = record.best_ipv4(shared_port_);
  std::erase_if(peer.profile.addresses, [&](const Address& address) { return address.ip == IpAddress::any(Family::ipv4) && ipv4 == nullptr; });
  for (Address& address : peer.profile.addresses) {
    if (address.ip.is_any()) address.ip = address.ip.is_ipv4() ? ipv4->route.peer.ip : route.peer.ip;
    // Heard over IPv4 alone, where the system chooses the interface, it is on the link by which it was heard last.
    if (address.ip.is_link_local() && !address.ip.is_ipv4()) {
      address.scope = route.interface != 0 ? route.interface : record.paths.empty() ? 0 : std::ranges::max(record.paths, {}, &PathNote::heard).interface;
    }
  }
  for (const PathNote& path : record.paths) {
    if (path.heard + record.lifetime > now) peer.paths.push_back({path.kind, path.interface, path.source, now - path.heard});
  }
  std::ranges::sort(peer.paths, {}, &PeerPath::age);
  return peer;
}

}  // namespace gannet::beacon
