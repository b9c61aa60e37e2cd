// Why what came, or was to go, is no news: a named reason each, counted and never logged one by one.
//
// Thread: any; plain values.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gannet::beacon {

// X(name, what it means)
#define GANNET_BEACON_DROPS(X)                                                                             \
  /* datagrams */                                                                                          \
  X(malformed, "not a beacon's datagram, or one that contradicts itself")                                  \
  X(source_invalid, "from an address that nobody can be asked at")                                         \
  X(version_unknown, "of a version that this beacon does not speak")                                       \
  X(other_realm, "of another realm")                                                                       \
  X(tag_missing, "without a tag, where a key is required")                                                 \
  X(tag_wrong, "its tag is not of our key: another key, or forged")                                        \
  X(key_missing, "it has a tag, and this beacon has no key to verify it")                                  \
  X(own_id, "somebody else announces this beacon's own identity")                                          \
  /* announcements */                                                                                      \
  X(duplicate, "a copy of what was heard already, mostly by another path")                                 \
  X(replayed, "older than what is known, or numbered as none of its is: overtaken, sent again, forged")    \
  X(source_unverified, "a peer's words from an address that is not known to be its own")                   \
  X(too_fast, "one peer announced more often than it may")                                                 \
  X(leave_unknown, "the farewell of somebody who was no peer")                                             \
  X(peers_full, "no room for one more peer")                                                               \
  X(peer_displaced, "the table was full, and one of a crowd at one address made room for a newcomer")      \
  X(address_full, "too many peers at one address")                                                         \
  X(admission_limit, "not taken: so many join each second at one address, and no more")                    \
  /* those who were heard of, and are to be asked before they are believed */                              \
  X(asked_already, "heard once more while its answer is awaited")                                          \
  X(candidate_evicted, "its place was taken by somebody who was heard of later")                           \
  X(question_limit, "not asked: so many are asked each second, in all and at each address, and no more")   \
  X(unanswered, "asked at the address that it claims, and there was no answer: forged, unreachable, gone") \
  X(hint_unasked, "addresses of others from somebody who is no seed of ours")                              \
  X(hint_useless, "an address that cannot be asked from here")                                             \
  /* what was to go */                                                                                     \
  X(answer_limit, "not answered: so many are answered each second, in all and at each address")            \
  X(answer_too_large, "not answered: more than three times the bytes of the question")                     \
  X(send_queue_full, "more was to be sent at once than there is room for")                                 \
  X(send_failed, "the network refused it; paths() has the errno")                                          \
  X(event_lost, "nobody took the events: the oldest was lost")

enum class Drop : std::uint8_t {
#define X(name, meaning) name,
  GANNET_BEACON_DROPS(X)
#undef X
};

inline constexpr std::array drop_names = {
#define X(name, meaning) std::string_view(#name),
    GANNET_BEACON_DROPS(X)
#undef X
};

inline constexpr std::array drop_meanings = {
#define X(name, meaning) std::string_view(meaning),
    GANNET_BEACON_DROPS(X)
#undef X
};

class DropCounts {
 public:
  void add(Drop reason, std::uint64_t count = 1) { counts_[static_cast<std::size_t>(reason)] += count; }
  [[nodiscard]] std::uint64_t operator[](Drop reason) const { return counts_[static_cast<std::size_t>(reason)]; }

 private:
  std::array<std::uint64_t, drop_names.size()> counts_{};
};

}  // namespace gannet::beacon
