// What a beacon says.
#include <algorithm>

#include "beacon/node.h"

namespace gannet::beacon {
namespace {

constexpr std::size_t most_jobs = 8192;
constexpr std::size_t amplification = 3;  // RFC 8085 6 asks for a bound; this one is QUIC's (RFC 9000 8.1)

}  // namespace

void Node::push(Job job) {
  if (queue_.size() >= most_jobs) return drops_.add(Drop::send_queue_full);
  queue_.push_back(std::move(job));
}

void Node::push_first(Job job) {
  if (first_.size() >= most_jobs) return drops_.add(Drop::send_queue_full);
  first_.push_back(std::move(job));
}

std::optional<Departure> Node::output(Time now) {
  std::deque<Job>& queue = first_.empty() ? queue_ : first_;
  if (queue.empty() || !pace_.take(now)) return std::nullopt;
  const Job job = std::move(queue.front());
  queue.pop_front();
  Body body{realm_body_, options_.realm.size(), 0};
  if (job.header.type == Type::announcement) body = {body_, options_.realm.size(), options_.name.size()};
  if (job.header.type == Type::hints) body.bytes = job.hints;
  return Departure{emit_message(job.header, body, options_.authenticator, tag_size_, job.least, buffer_), job.route, job.path};
}

void Node::sent(const Departure& departure, int error) {
  if (error != 0) drops_.add(Drop::send_failed);
  if (departure.path == nullptr) return;
  if (error == 0) ++departure.path->sent;
  // That it went out is no proof that a seed is reached, of which the network may have told otherwise.
  if (error != 0 || departure.path->kind == PathKind::multicast) departure.path->error = error;
}

void Node::failed(const Address& peer, int error) {
  if (Seed* seed = seed_at(peer)) seed->path.error = error;
}

// To the groups, and by unicast to peers that were not heard by multicast, where they have to know at once.
void Node::announce(Time now) {
  const bool asks = asks_left_ > 0, tells = changes_left_ > 0;
  if (asks) --asks_left_;
  if (tells) --changes_left_;
  announce_at_ = now + around(is_busy() ? options_.interval / 6 : options_.interval);
  last_announced_ = now;
  if (is_observer() && !asks) return;
  Job job{.header = header(is_observer() ? Type::query : Type::announcement)};
  if (asks) job.header.flags = flag_query;
  for (BeaconPath& path : links_) {
    job.route = {path.address, IpAddress::any(path.address.ip.family), path.interface, Door::own};
    job.path = &path;
    push_first(job);
  }
  if (!tells) return;
  for (const auto& [id, record] : peers_.records()) {
    if (!record.has_multicast(now)) push_first({.header = header(Type::announcement), .route = record.best_source(options_.port).route});
  }
}

void Node::say_farewell(Time now) {
  --leaves_left_;
  leave_at_ = now + Duration(40ms);
  Job job{.header = header(Type::leave)};
  for (BeaconPath& path : links_) {
    job.route = {path.address, IpAddress::any(path.address.ip.family), path.interface, Door::own};
    job.path = &path;
    push_first(job);
  }
  for (const auto& [id, record] : peers_.records()) {
    if (!record.has_multicast(now)) push_first({.header = header(Type::leave), .route = record.best_source(options_.port).route});
  }
}

// Of one who is not known to be at his address, no more bytes than amplification allows, and a question of our own, unless his was an answer already.
void Node::answer(const Message& message, const Arrival& arrival, bool is_known, Time now) {
  const bool is_seed = seed_at(arrival.route.peer) != nullptr;
  if (is_observer()) {
    if (!is_known || !is_seed) return;  // nobody has to know of us; a seed has to know that we are where we seem to be
  } else {
    if (!is_known && announcement_size() > amplification * arrival.data.size()) return drops_.add(Drop::answer_too_large);
  }
  const bool is_peer = is_known && message.header.type == Type::announcement;
  if (!(is_peer ? peer_answers_ : answers_).take(arrival.route.peer.ip, is_near(arrival.route.peer.ip), now)) return drops_.add(Drop::answer_limit);
  Job job{.header = header(is_observer() ? Type::query : Type::announcement), .route = arrival.route};
  if (!arrival.route.peer.ip.is_link_local()) job.route.interface = 0;
  job.header.echo = message.header.nonce;
  job.header.flags = is_seed ? flag_hints : 0;
  const bool wants_more = message.header.type == Type::announcement || (message.header.flags & flag_hints) != 0;
  if (!is_known && message.header.echo == 0 && wants_more) {
    job.header.nonce = cookies_.make(arrival.route.peer, message.header.id, message.header.incarnation, now);
    job.least = (arrival.data.size() + amplification - 1) / amplification;
    // His answer may be lost: then he is asked once more, where that is within bounds.
    if (message.header.type == Type::announcement && 2 * announcement_size() <= amplification * arrival.data.size()) {
      candidates_at(arrival.route.peer.ip)
          .add({.id = message.header.id,
                .incarnation = message.header.incarnation,
                .route = job.route,
                .heard_size = arrival.data.size(),
                .due = now + Candidates::patience});
    }
  }
  push(std::move(job));
}

bool Node::ask(const Candidate& candidate, Time now) {
  const IpAddress& ip = candidate.route.peer.ip;
  if (!questions_.take(ip, is_near(ip), now)) return false;
  // His answer is about as long as what he said. So the question need not be padded, but it must be short, as it may be put again.
  const std::size_t least = (candidate.heard_size + amplification - 1) / amplification;
  const bool is_short = !is_observer() && questions_each * announcement_size() <= amplification * candidate.heard_size;
  const bool is_hinted = candidate.heard_size == 0;
  Job job{.header = header(is_short || (is_hinted && !is_observer()) ? Type::announcement : Type::query), .route = candidate.route, .least = least};
  if (is_hinted) job.least = question_size;
  job.header.nonce = cookies_.make(candidate.route.peer, candidate.id, candidate.incarnation, now);
  push(std::move(job));
  return true;
}

void Node::ask(const Record& record, const Route& route, Time now) {
  Job job{.header = header(is_observer() ? Type::query : Type::announcement), .route = route, .least = question_size};
  job.header.flags = seed_at(route.peer) != nullptr ? flag_hints : 0;
  job.header.nonce = cookies_.make(route.peer, record.id, record.incarnation, now);
  push(std::move(job));
}

void Node::ask(const Seed& seed, Time now, BeaconPath* path) {
  const bool is_local = seed.address.ip.is_link_local();
  Job job{.header = header(is_observer() ? Type::query : Type::announcement),
          .route = {seed.address, IpAddress::any(seed.address.ip.family), is_local ? seed.address.scope : 0, Door::own},
          .least = question_size,
          .path = path};
  job.header.flags = flag_hints;
  job.header.nonce = cookies_.make(seed.address, 0, 0, now);  // whoever is there
  push_first(std::move(job));
}

// Of as many as 32 datagrams hold, or one, going on from where it ended the last time.
void Node::tell_of_others(std::uint64_t& from, bool all, std::uint64_t except, const Route& route) {
  constexpr std::size_t most_datagrams = 32, most_in_one = 33;
  const std::size_t most_hints = std::min(peers_.size(), (all ? most_datagrams : 1) * most_in_one);
  std::vector<Hint> found;
  auto next = peers_.records().upper_bound(from);
  for (std::size_t i = 0; i < peers_.size() && found.size() < most_hints; ++i, ++next) {
    if (next == peers_.records().end()) next = peers_.records().begin();
    from = next->first;
    const Record& record = next->second;
    Address address{};  // the best that means something there
    for (unsigned turn = 0; turn < record.sources.size() && address.port == 0; ++turn) {
      const Address& each = record.best_source(options_.port, turn).route.peer;
      if (!each.ip.is_link_local() && each.ip.is_loopback() == route.peer.ip.is_loopback()) address = each;
    }
    if (record.id == except || address.port == 0) continue;
    found.push_back({record.id, record.incarnation, {address.ip, address.port, 0}});
  }
  for (std::span<const Hint> rest(found); !rest.empty();) {
    std::vector<std::byte> body = realm_body_;
    append_hints(body, rest, most_bytes - header_size - tag_size_);
    push({.header = header(Type::hints), .route = route, .hints = std::move(body)});
  }
}

}  // namespace gannet::beacon
