// What a beacon hears.
#include <algorithm>

#include "beacon/node.h"

namespace gannet::beacon {
namespace {

// Where an answer to it goes. A link-local address means something on its own link alone.
Route back(const Arrival& arrival) {
  const Route& route = arrival.route;
  return {route.peer, arrival.to_group ? IpAddress::any(route.peer.ip.family) : route.local, route.peer.ip.is_link_local() ? route.interface : 0,
          arrival.to_group ? Door::own : route.door};
}

// How far ahead a sequence number may be where no key proves it: a peer says less than this while it is believed without a word.
constexpr std::int32_t most_ahead = 1 << 16;
constexpr std::int32_t most_overtaken = 1024;

}  // namespace

void Node::input(const Arrival& arrival, Time now) {
  now = note_time(now);
  const Address& source = arrival.route.peer;
  if (source.port == 0 || source.ip.is_any() || source.ip.is_multicast() || source.ip.is_limited_broadcast()) return drops_.add(Drop::source_invalid);
  const auto message = parse_message(arrival.data);
  if (!message) return drops_.add(message.error());
  if (const auto reason = refuses(*message)) return drops_.add(*reason);
  const Header& header = message->header;
  if (header.id == id_) {
    if (header.incarnation != incarnation_) drops_.add(Drop::own_id);
    return;  // else it is what we said ourselves
  }
  if (is_leaving()) return;
  if (BeaconPath* link = link_of(arrival)) ++link->heard;
  if (Seed* seed = seed_at(source)) {
    ++seed->path.heard;
    seed->path.error = 0;
  }
  switch (header.type) {
    case Type::announcement:
      return announced(*message, arrival, now);
    case Type::leave:
      return left(*message, arrival, now);
    case Type::query:
      return asked(*message, arrival, now);
    case Type::hints:
      return hinted(*message, arrival, now);
  }
}

std::optional<Drop> Node::refuses(const Message& message) {
  if (message.realm != options_.realm) return Drop::other_realm;
  if (!options_.authenticator) return message.tag.empty() ? std::nullopt : std::optional(Drop::key_missing);
  if (message.tag.empty()) return Drop::tag_missing;
  return is_proven(message, options_.authenticator) ? std::nullopt : std::optional(Drop::tag_wrong);
}

// Without a key anybody may say an hour; who is to stay so long is asked now and then.
Duration Node::lifetime_of(const Header& header) const {
  const Duration most = options_.authenticator ? 1h : std::min<Duration>(1h, std::max<Duration>(30s, 3 * Duration(options_.lifetime)));
  return std::clamp<Duration>(std::chrono::milliseconds(header.lifetime), 200ms, most);
}

bool Node::is_answer(const Message& message, const Arrival& arrival, Time now) const {
  const Header& header = message.header;
  const Address& source = arrival.route.peer;
  if (arrival.to_group || header.echo == 0) return false;
  if (cookies_.is_good(header.echo, source, header.id, header.incarnation, now)) return true;
  return std::ranges::find(seeds_, source, &Seed::address) != seeds_.end() && cookies_.is_good(header.echo, source, 0, 0, now);
}

void Node::announced(const Message& message, const Arrival& arrival, Time now) {
  const Header& header = message.header;
  const bool answers = is_answer(message, arrival, now);
  Record* record = peers_.find(header.id);
  bool is_known = answers;
  if (record != nullptr && record->incarnation == header.incarnation) {
    if (!heard_again(*record, message, arrival, answers, now)) return;
    is_known = record->source(arrival.route.peer) != nullptr;
  } else if (answers) {
    record = admit(message, arrival, now);
  } else {
    record = nullptr;
    consider(message, arrival, now);
  }
  if (arrival.to_group) {
    if ((header.flags & flag_query) != 0) asked_by_all(now);
    return;
  }
  if (header.nonce != 0) answer(message, arrival, is_known, now);
  if ((header.flags & flag_hints) != 0 && is_known && record != nullptr) {
    tell_of_others(record->hints_from, !std::exchange(record->has_hints, true), record->id, back(arrival));
  }
}

// Copies and older ones. Without a key a forged number could put the peer's own behind it for long; its answer says where it really is.
std::optional<Drop> Node::is_no_news(const Record& record, const Header& header, bool is_answer) const {
  const auto ahead = static_cast<std::int32_t>(header.sequence - record.sequence);
  if (ahead == 0) return Drop::duplicate;
  if (record.is_authenticated) return ahead < 0 ? std::optional(Drop::replayed) : std::nullopt;
  if (is_answer && (ahead < -most_overtaken || ahead > most_ahead)) return std::nullopt;
  return ahead < 0 || ahead > most_ahead ? std::optional(Drop::replayed) : std::nullopt;
}

// False: nothing more comes of it.
bool Node::heard_again(Record& record, const Message& message, const Arrival& arrival, bool is_answer, Time now) {
  const Address& source = arrival.route.peer;
  if (const auto reason = is_no_news(record, message.header, is_answer)) {
    drops_.add(*reason);
    if (*reason != Drop::duplicate) return false;
    if (record.source(source) == nullptr) {
      consider(message, arrival, now);  // by another interface of it, perhaps
    } else if (arrival.to_group) {
      record.note_path(PathKind::multicast, arrival.route.interface, source, now);
    }
    return false;
  }
  if (is_answer) {
    verified(record, arrival, now);
    if (source.ip != record.home && record.asked > most_asked_at_home) peers_.move(record, source.ip);
  } else if (record.source(source) == nullptr) {
    consider(message, arrival, now);
  }
  // A tag proves who said it, wherever it comes from. Without one, the address alone tells.
  if (!speaks_for(record, source.ip)) {
    drops_.add(Drop::source_unverified);
    note_where(record, arrival, now);
    return true;
  }
  if (!record.pace.take(now)) return drops_.add(Drop::too_fast), false;
  renew(record, message, arrival, is_answer, now);
  return true;
}

Record* Node::admit(const Message& message, const Arrival& arrival, Time now) {
  const Header& header = message.header;
  const Address& source = arrival.route.peer;
  if (peers_.has_departed(header, now)) return drops_.add(Drop::replayed), nullptr;
  // Started again elsewhere? Not while it answers where it was.
  const Record* const earlier = peers_.find(header.id);
  if (earlier != nullptr && !speaks_for(*earlier, source.ip) && earlier->asked <= most_asked_at_home) {
    return drops_.add(Drop::source_unverified), nullptr;
  }
  if (!admissions_.take(source.ip, is_near(source.ip), now)) return drops_.add(Drop::admission_limit), nullptr;
  Record record;
  record.id = header.id;
  record.incarnation = header.incarnation;
  record.sequence = header.sequence - 1;
  record.name = message.name;
  record.profile = profile_of(message);
  record.body_hash = siphash(hash_key_, message.body);
  record.is_authenticated = !message.tag.empty();
  record.add_source(back(arrival), now);
  record.due = now + lifetime_of(header) / 2;
  Record* const here = peers_.admit(std::move(record), now);
  if (here == nullptr) return nullptr;
  verified(*here, arrival, now);
  renew(*here, message, arrival, true, now);
  if (source.port == options_.port && header.port != 0 && header.port != source.port) {
    // It answered at a port that it may share with others of its machine: it is better asked at its own, where that can be reached.
    Route own = back(arrival);
    own.peer.port = header.port;
    own.door = Door::own;
    candidates_at(own.peer.ip).add({.id = header.id, .incarnation = header.incarnation, .route = own, .due = now, .left = questions_each});
  }
  return here;
}

// It has answered at this address.
void Node::verified(Record& record, const Arrival& arrival, Time now) {
  const bool had_ipv4 = record.best_ipv4(options_.port) != nullptr;
  record.add_source(back(arrival), now);
  // What it announced as 0.0.0.0 has a meaning now.
  if (!had_ipv4 && arrival.route.peer.ip.is_ipv4() && std::ranges::any_of(record.profile.addresses, &IpAddress::is_any, &Address::ip))
    peers_.changed(record);
  const auto candidate = candidates_at(arrival.route.peer.ip).take(record.id, arrival.route.peer);
  if (candidate && candidate->group_interface != 0) {
    record.note_path(PathKind::multicast, candidate->group_interface, arrival.route.peer, now);
  }
}

void Node::note_where(Record& record, const Arrival& arrival, Time now) {
  Source* const source = record.source(arrival.route.peer);
  if (source == nullptr) return;
  source->heard = now;
  const PathKind kind = arrival.to_group ? PathKind::multicast : seed_at(arrival.route.peer) != nullptr ? PathKind::seed : PathKind::unicast;
  record.note_path(kind, arrival.route.interface, arrival.route.peer, now);
}

// With a key, what was not asked for may be a copy that somebody kept, of one who is long gone. Without one, whoever can say it from that address can
// make it up, too. Of many, no more than some ten are asked each second.
Time Node::proof_due(const Record& record, Time now) {
  if (!record.is_authenticated) return never;
  const Duration least = std::max<Duration>(record.lifetime, std::chrono::milliseconds(50 * peers_.size()));
  return now + 2 * least + Duration(static_cast<Duration::rep>(rng_.unit() * static_cast<double>(least.count())));
}

void Node::renew(Record& record, const Message& message, const Arrival& arrival, bool is_answer, Time now) {
  const Header& header = message.header;
  record.sequence = header.sequence;
  record.heard = now;
  if (header.type == Type::announcement) record.lifetime = lifetime_of(header);
  if (is_answer) record.proof_due = proof_due(record, now);
  if (now < record.proof_due) {
    record.expires = now + record.lifetime;
    record.asked = 0;
  }
  if (record.due > record.expires) peers_.schedule(record, now + record.lifetime / 2);
  note_where(record, arrival, now);
  if (header.type != Type::announcement) return;
  const std::uint64_t hash = siphash(hash_key_, message.body);
  if (std::exchange(record.body_hash, hash) == hash) return;
  peers_.set_profile(record, message);
  peers_.changed(record);
}

// Somebody unknown, or at an address that is not known to be his: he is to be asked there.
void Node::consider(const Message& message, const Arrival& arrival, Time now) {
  if (!arrival.to_group && message.header.nonce != 0 && !is_observer()) return;  // the answer that he gets asks him
  candidates_at(arrival.route.peer.ip)
      .add({.id = message.header.id,
            .incarnation = message.header.incarnation,
            .route = back(arrival),
            .group_interface = arrival.to_group ? arrival.route.interface : 0,
            .heard_size = arrival.data.size(),
            .due = arrival.to_group ? now + spread() : now,
            .left = questions_each});
}

void Node::left(const Message& message, const Arrival& arrival, Time now) {
  const Header& header = message.header;
  Record* const record = peers_.find(header.id);
  if (record == nullptr || record->incarnation != header.incarnation) {
    return drops_.add(peers_.has_departed(header, now) ? Drop::duplicate : Drop::leave_unknown);
  }
  if (!speaks_for(*record, arrival.route.peer.ip)) return drops_.add(Drop::source_unverified);
  if (const auto reason = is_no_news(*record, header, false)) return drops_.add(*reason);
  record->sequence = header.sequence + 2;  // its repetitions are no news either
  peers_.remove(*record, PeerEvent::Kind::left, now);
}

// An observer's question.
void Node::asked(const Message& message, const Arrival& arrival, Time now) {
  const Header& header = message.header;
  if (arrival.to_group) return asked_by_all(now);
  const bool answers = is_answer(message, arrival, now);
  if (header.nonce != 0) answer(message, arrival, answers, now);
  if (!answers || (header.flags & flag_hints) == 0) return;
  if (!answers_.take(arrival.route.peer.ip, is_near(arrival.route.peer.ip), now, 32)) return drops_.add(Drop::answer_limit);
  std::uint64_t from = 0;
  tell_of_others(from, true, 0, back(arrival));
}

// By multicast, so it is answered by multicast, which is no more for whoever forged it: soon, but not by all at once, and not often.
void Node::asked_by_all(Time now) {
  if (is_observer() || now < last_announced_ + options_.interval / 3) return;
  announce_at_ = std::min(announce_at_, now + spread());
}

void Node::hinted(const Message& message, const Arrival& arrival, Time now) {
  Record* const record = peers_.find(message.header.id);
  const bool is_peer = record != nullptr && record->incarnation == message.header.incarnation && record->source(arrival.route.peer) != nullptr &&
                       speaks_for(*record, arrival.route.peer.ip);
  if (!is_peer || arrival.to_group || seed_at(arrival.route.peer) == nullptr) return drops_.add(Drop::hint_unasked);
  if (const auto reason = is_no_news(*record, message.header, false)) return drops_.add(*reason);
  renew(*record, message, arrival, false, now);
  const Route route = back(arrival);
  std::vector<Address> told;
  Hints hints(message);
  while (const auto hint = hints.next()) {
    const Record* const known = peers_.find(hint->id);
    if (hint->id == id_ || (known != nullptr && known->incarnation == hint->incarnation)) continue;
    const IpAddress& ip = hint->address.ip;
    if (hint->id == 0 || hint->address.port == 0 || ip.is_any() || ip.is_multicast() || ip.is_limited_broadcast() || ip.is_link_local() ||
        ip.is_loopback() != route.peer.ip.is_loopback()) {
      drops_.add(Drop::hint_useless);
      continue;
    }
    // Nobody there has said that he is: once, and not often. Who is missed so is hinted at again.
    if (std::ranges::find(told, hint->address) != told.end() || !hinted_.take(ip, is_near(ip), now)) {
      drops_.add(Drop::question_limit);
      continue;
    }
    told.push_back(hint->address);
    candidates_at(ip).add(
        {.id = hint->id, .incarnation = hint->incarnation, .route = {hint->address, IpAddress::any(ip.family), 0, Door::own}, .due = now + spread()});
  }
}

}  // namespace gannet::beacon
