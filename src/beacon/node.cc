#include "beacon/node.h"

#include <algorithm>
#include <cerrno>

namespace gannet::beacon {
namespace {

constexpr Duration least_gap = 50ms;  // between announcements, however often there are changes: peers take no more than 32 a second

Profile profile_of(const BeaconOptions& options) { return {options.roles, options.addresses, options.metadata}; }

// What is derived from the secret tells nothing of it, nor of one another: some of it is shown to everybody.
enum class Use : std::uint64_t { jitter, candidates, cookies, limits, bodies, id, incarnation, sequence };

constexpr Rate to_all{1024, 2048}, to_peers{4000, 8192};

std::uint64_t number_of(const HashKey& secret, Use use, std::uint64_t part = 0) {
  SipHash hash(secret);
  hash.add(static_cast<std::uint64_t>(use));
  hash.add(part);
  return hash.finish();
}

HashKey key_of(const HashKey& secret, Use use) { return {number_of(secret, use), number_of(secret, use, 1)}; }

std::size_t size_of_tag(const BeaconOptions& options) { return options.authenticator ? options.authenticator(bytes_of("size")).size : 0; }

}  // namespace

Result<void> check_options(const BeaconOptions& options) {
  using std::chrono::milliseconds;
  if (options.groups.size() > 4) return Error{EINVAL, "a beacon speaks to at most 4 groups"};
  if (!std::ranges::all_of(options.groups, &IpAddress::is_multicast)) {
    return Error{EINVAL, "a beacon's groups are multicast addresses, 224.0.0.0 to 239.255.255.255 or ff00::/8"};
  }
  for (std::size_t i = 0; i < options.groups.size(); ++i) {
    if (std::ranges::count(options.groups, options.groups[i]) > 1) return Error{EINVAL, "a beacon's groups differ"};
  }
  if (!options.multicast && (!options.groups.empty() || !options.interfaces.empty())) {
    return Error{EINVAL, "groups and interfaces are for multicast, which is off"};
  }
  if (options.port == 0) return Error{EINVAL, "the groups' port is 1 to 65535, the same for all beacons that are to meet"};
  if (options.interfaces.size() > 32) return Error{EINVAL, "a beacon names at most 32 interfaces"};
  if (options.seeds.size() > 32) return Error{EINVAL, "a beacon has at most 32 seeds"};
  for (const Address& seed : options.seeds) {
    if (seed.ip.is_any() || seed.ip.is_multicast() || seed.ip.is_limited_broadcast()) return Error{EINVAL, "a seed has the address of one host"};
  }
  if (!options.multicast && options.seeds.empty() && options.name.empty()) {
    return Error{EINVAL, "without multicast and seeds an observer has nobody to ask"};
  }
  if (options.interval < milliseconds(100) || options.interval > milliseconds(600'000)) {
    return Error{EINVAL, "the interval is 100 ms to 10 minutes"};
  }
  if (options.lifetime < 2 * options.interval || options.lifetime > milliseconds(3'600'000)) {
    return Error{EINVAL, "the lifetime is at least two intervals, and at most an hour"};
  }
  if (options.ttl < 0 || options.ttl > 255) return Error{EINVAL, "the TTL of multicasts is 0 to 255"};
  if (options.most_peers < 1 || options.most_peers > 65'536 || options.most_peers_at_one_address < 1) {
    return Error{EINVAL, "there is room for 1 to 65,536 peers"};
  }
  const std::size_t tag = size_of_tag(options);
  if (options.authenticator && (tag < least_tag || tag > most_tag)) return Error{EINVAL, "an authenticator's tags have 16 to 32 bytes"};
  const auto body = body_of(options.realm, options.name, profile_of(options));
  return body ? Result<void>() : body.error();
}

Node::Node(BeaconOptions options, const HashKey& secret, std::uint16_t own_port, Time now)
    : options_(std::move(options)),
      rng_(number_of(secret, Use::jitter)),
      peers_(options_, drops_),
      near_candidates_(key_of(secret, Use::candidates), rng_, drops_),
      far_candidates_(key_of(secret, Use::candidates), rng_, drops_),
      cookies_(key_of(secret, Use::cookies)),
      answers_(key_of(secret, Use::limits), to_all, {128, 256}),
      questions_(key_of(secret, Use::limits), to_all, {128, 256}),
      peer_answers_(key_of(secret, Use::limits), to_peers, {64, 256}),
      peer_questions_(key_of(secret, Use::limits), to_peers, {128, 256}),
      admissions_(key_of(secret, Use::limits), to_all, {64, 256}),
      hinted_(key_of(secret, Use::limits), to_all, {8, 8}),
      hash_key_(key_of(secret, Use::bodies)),
      id_(options_.id != 0 ? options_.id : number_of(secret, Use::id) | 1),
      incarnation_(static_cast<std::uint32_t>(number_of(secret, Use::incarnation))),
      sequence_(static_cast<std::uint32_t>(number_of(secret, Use::sequence))),
      own_port_(own_port),
      tag_size_(size_of_tag(options_)),
      body_(body_of(options_.realm, options_.name, profile_of(options_)).value()),
      realm_body_(bytes_of(options_.realm).begin(), bytes_of(options_.realm).end()),
      announce_at_(now + Duration(static_cast<Duration::rep>(rng_.unit() * static_cast<double>(Duration(options_.interval).count()) / 30))),
      last_now_(now) {
  for (Address address : options_.seeds) {
    if (address.port == 0) address.port = options_.port;
    seeds_.push_back({address, {.kind = PathKind::seed, .address = address}, now});
  }
}

void Node::set_links(std::span<const Link> links, Time now) {
  const auto is_among = [&](const BeaconPath& path) {
    return std::ranges::any_of(links, [&](const Link& link) { return link.group == path.address.ip && link.interface == path.interface; });
  };
  std::erase_if(first_, [&](const Job& job) { return job.path != nullptr && job.path->kind == PathKind::multicast && !is_among(*job.path); });
  std::erase_if(links_, [&](const BeaconPath& path) { return !is_among(path); });
  for (const Link& link : links) {
    const auto known =
        std::ranges::find_if(links_, [&](const BeaconPath& path) { return path.address.ip == link.group && path.interface == link.interface; });
    if (known != links_.end()) continue;
    links_.push_back({.kind = PathKind::multicast,
                      .address = {link.group, options_.port, 0},
                      .interface = link.interface,
                      .interface_name = link.name,
                      .error = link.error});
    if (last_announced_ == Time{}) continue;  // it has yet to begin
    asks_left_ = quick_times;
    announce_at_ = now;
  }
}

Header Node::header(Type type) {
  return {.type = type,
          .flags = 0,
          .id = id_,
          .incarnation = incarnation_,
          .sequence = ++sequence_,
          .lifetime = static_cast<std::uint32_t>(options_.lifetime.count()),
          .port = own_port_};
}

Duration Node::around(Duration time) {
  return time + Duration(static_cast<Duration::rep>((rng_.unit() - 0.5) * 0.2 * static_cast<double>(time.count())));
}

Duration Node::spread() {
  const Duration most = std::clamp<Duration>(std::chrono::milliseconds(peers_.size()), 20ms, 2s);
  return Duration(static_cast<Duration::rep>(rng_.unit() * static_cast<double>(most.count())));
}

bool Network::contains(const IpAddress& other) const {
  if (ip.family != other.family) return false;
  for (unsigned bit = 0; bit < length; bit += 8) {
    const unsigned differs = std::to_integer<unsigned>(ip.bytes[bit / 8] ^ other.bytes[bit / 8]);
    if (differs >> (length - bit < 8 ? 8 - (length - bit) : 0) != 0) return false;
  }
  return true;
}

bool Node::is_near(const IpAddress& ip) const {
  return ip.is_link_local() || std::ranges::any_of(networks_, [&](const Network& network) { return network.contains(ip); });
}

Node::Seed* Node::seed_at(const Address& address) {
  const auto found = std::ranges::find(seeds_, address, &Seed::address);
  return found == seeds_.end() ? nullptr : &*found;
}

BeaconPath* Node::link_of(const Arrival& arrival) {
  if (!arrival.to_group) return nullptr;
  const auto found = std::ranges::find_if(
      links_, [&](const BeaconPath& path) { return path.address.ip == arrival.route.local && path.interface == arrival.route.interface; });
  return found == links_.end() ? nullptr : &*found;
}

// What is due.

// A process that was stopped, or a machine that slept, heard nobody: nobody is given up for that before he was asked.
Time Node::note_time(Time now) {
  now = std::max(now, last_now_);
  const Duration gap = now - std::exchange(last_now_, now);
  if (gap < options_.interval + options_.interval / 2 + Duration(500ms)) return now;
  for (auto& [id, record] : peers_.records()) {
    const Duration grace = std::max<Duration>(1s, record.lifetime / 2);
    record.expires = std::max(record.expires, now + grace);
    record.asked = 0;
    peers_.schedule(record, now + Duration(static_cast<Duration::rep>(rng_.unit() * static_cast<double>(grace.count()) / 4)));
  }
  for (Seed& seed : seeds_) seed.due = now;
  asks_left_ = quick_times;
  announce_at_ = now;
  return now;
}

void Node::advance(Time now) {
  now = note_time(now);
  if (is_leaving()) {
    if (leaves_left_ > 0 && leave_at_ <= now) say_farewell(now);
    return;
  }
  if (announce_at_ <= now) announce(now);
  for (Seed& seed : seeds_) {
    if (seed.due > now) continue;
    seed.due = now + around(is_busy() ? options_.interval / 6 : options_.interval);
    ask(seed, now, &seed.path);
  }
  for (Candidates* candidates : {&near_candidates_, &far_candidates_}) {
    candidates->advance(now, [&](const Candidate& candidate) { return ask(candidate, now); });
  }
  while (Record* record = peers_.take_due(now)) look_at(*record, now);
}

// Not heard for half its lifetime, or without an answer for long, it is asked: at home, then elsewhere, and never more often than once a second (or
// ten times in this beacon's own lifetime, where that is short).
void Node::look_at(Record& record, Time now) {
  if (now >= record.expires) return peers_.remove(record, PeerEvent::Kind::expired, now);
  const Time wanted = std::min(record.heard + record.lifetime / 2, record.proof_due);
  if (record.asked == 0 && now < wanted) return peers_.schedule(record, wanted + Duration(rng_.below(50'000'000)));
  if (record.asked >= most_asked) return peers_.schedule(record, record.expires);
  const Duration gap = std::min<Duration>(1s, Duration(options_.lifetime) / 10);
  Duration wait = gap;
  if (now < record.asked_at + gap) {
    wait = record.asked_at + gap - now;
  } else {
    const Route& route = record.best_source(options_.port, record.asked < most_asked_at_home ? 0 : record.asked - most_asked_at_home + 1).route;
    if (peer_questions_.take(route.peer.ip, is_near(route.peer.ip), now)) {
      record.asked_at = now;
      ++record.asked;
      ask(record, route, now);
      wait = std::max(gap, (record.expires - now) / (most_asked + 1 - record.asked));
    } else {
      drops_.add(Drop::question_limit);
    }
  }
  peers_.schedule(record, std::min(now + wait, record.expires));
}

Time Node::next_wakeup(Time now) const {
  Time next = never;
  if (!first_.empty() || !queue_.empty()) next = pace_.ready_at(now);
  if (is_leaving()) return leaves_left_ > 0 ? std::min(next, leave_at_) : next;
  next = std::min({next, announce_at_, near_candidates_.next_due(), far_candidates_.next_due(), peers_.next_due()});
  for (const Seed& seed : seeds_) next = std::min(next, seed.due);
  return next;
}

// What the owner asks.

Result<void> Node::update(const Profile& profile, Time now) {
  auto body = body_of(options_.realm, options_.name, profile);
  if (!body) return body.error();
  if (*body == body_) return {};
  body_ = *std::move(body);
  changes_left_ = quick_times;
  announce_at_ = std::max(now, last_announced_ + least_gap);
  return {};
}

void Node::leave(Time now) {
  if (is_leaving()) return;
  first_.clear();
  queue_.clear();
  leaves_left_ = is_observer() ? 0 : 3;
  leave_at_ = now;
}

std::vector<Peer> Node::peers(Time now) const {
  std::vector<Peer> all;
  for (const auto& [id, record] : peers_.records()) all.push_back(peers_.describe(record, now));
  return all;
}

std::vector<BeaconPath> Node::paths(Time now) const {
  std::vector<BeaconPath> all(links_.begin(), links_.end());
  for (const Seed& seed : seeds_) all.push_back(seed.path);
  for (const auto& [id, record] : peers_.records()) {
    for (BeaconPath& path : all) {
      const bool is_heard = std::ranges::any_of(record.paths, [&](const PathNote& note) {
        if (note.kind != path.kind || note.heard + record.lifetime <= now) return false;
        return note.kind == PathKind::seed ? note.source == path.address
                                           : note.interface == path.interface && note.source.ip.family == path.address.ip.family;
      });
      path.peers += is_heard ? 1 : 0;
    }
  }
  return all;
}

}  // namespace gannet::beacon
