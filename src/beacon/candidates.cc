#include "beacon/candidates.h"

#include <algorithm>
#include <utility>

namespace gannet::beacon {

Candidate* Candidates::bucket_of(std::uint64_t id, const Address& source) {
  return &places_[siphash(key_, source.ip, id ^ source.port) % bucket_count * ways];
}

void Candidates::add(const Candidate& candidate) {
  Candidate* const bucket = bucket_of(candidate.id, candidate.route.peer);
  Candidate* free = nullptr;
  for (Candidate* place = bucket; place != bucket + ways; ++place) {
    if (place->id == candidate.id && place->route.peer == candidate.route.peer) return drops_.add(Drop::asked_already);
    if (place->id == 0) free = place;
  }
  if (free == nullptr) {
    free = bucket + rng_.below(ways);
    drops_.add(Drop::candidate_evicted);
  }
  *free = candidate;
  next_due_ = std::min(next_due_, candidate.due);
}

std::optional<Candidate> Candidates::take(std::uint64_t id, const Address& source) {
  Candidate* const bucket = bucket_of(id, source);
  for (Candidate* place = bucket; place != bucket + ways; ++place) {
    if (place->id == id && place->route.peer == source) return std::exchange(*place, {});
  }
  return std::nullopt;
}

void Candidates::advance(Time now, const std::function<bool(const Candidate&)>& ask) {
  if (now < next_due_) return;
  next_due_ = never;
  for (Candidate& place : places_) {
    if (place.id == 0) continue;
    if (place.due <= now) {
      if (place.left == 0) {
        drops_.add(Drop::unanswered);
        place = {};
        continue;
      }
      if (!ask(place)) {
        drops_.add(Drop::question_limit);
        place = {};
        continue;
      }
      --place.left;
      place.due = now + patience;
    }
    next_due_ = std::min(next_due_, place.due);
  }
}

}  // namespace gannet::beacon
