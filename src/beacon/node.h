// One beacon without sockets, clock or threads: datagrams in, datagrams out, news, and when it wants to be called again.
//
//   Node node(options, secret, port, now);
//   node.set_links(links, now);                       // groups by interfaces
//   node.input({bytes, route, to_group}, now);        // what came
//   node.advance(now);                                // what is due
//   while (auto out = node.output(now)) ...           // what is to go; then node.sent(*out, errno)
//   while (auto event = node.take_news(now)) ...
//   ... until node.next_wakeup()
//
// Who is heard of becomes a peer by a round trip: it is asked at the address that it claims, with a nonce (Cookies), and its answer, an announcement,
// repeats the nonce. The answer may ask back, so that three datagrams make two beacons known to each other; an answer to an answer asks nothing. A
// question that nobody solicited is padded, so that an answer is never three times as large. The same round trip renews a peer that was not heard for
// half its lifetime, and with a key each every two or three lifetimes, as what was heard of it may be copies. Without a key only what comes from a
// peer's home, or is an answer from elsewhere when there is none from there, says anything of it. Bounds: candidates.h, peers.h; what is to go waits
// in two queues of 8192, first what this beacon says of its own accord, then questions and answers (what is too much is not sent, and counted), 4000
// a second of it go. Owner: the session.  Thread: its.  Allocates: for peers and changes.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gannet/beacon.h>

#include "base/rng.h"
#include "base/time.h"
#include "base/token_bucket.h"
#include "beacon/candidates.h"
#include "beacon/message.h"
#include "beacon/peers.h"

namespace gannet::beacon {

// Which socket: the one of this beacon alone, or the one at the groups' port, which it may share with others of its machine.
enum class Door : std::uint8_t { own, shared };

struct Arrival {
  std::span<const std::byte> data;
  Route route;
  bool to_group = false;
};

struct Departure {
  std::span<const std::byte> data;  // until the next call of output()
  Route route;
  BeaconPath* path;  // null: to a peer
};

inline constexpr std::uint8_t questions_each = 3;  // to somebody unknown, as long as there is no answer

// The addresses that begin with the first `length` bits of this one.
struct Network {
  IpAddress ip;
  unsigned length = 0;
  [[nodiscard]] bool contains(const IpAddress& other) const;
};

// A group on an interface.
struct Link {
  IpAddress group;
  std::uint32_t interface = 0;
  std::string name;
  int error = 0;  // errno of joining
};

class Node {
 public:
  // Good options (check_options). `own_port` is where this beacon alone is reached. All that is random comes from the secret.
  Node(BeaconOptions options, const HashKey& secret, std::uint16_t own_port, Time now);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // What is new among them is announced to at once; the rest keeps its counts.
  void set_links(std::span<const Link> links, Time now);
  // Those that are directly connected: their hosts have limits of their own.
  void set_networks(std::vector<Network> networks) { networks_ = std::move(networks); }
  void input(const Arrival& arrival, Time now);
  void advance(Time now);
  std::optional<Departure> output(Time now);
  void sent(const Departure& departure, int error);
  // The network told, by ICMP, that what was sent to this address does not arrive.
  void failed(const Address& peer, int error);
  [[nodiscard]] Time next_wakeup(Time now) const;

  Result<void> update(const Profile& profile, Time now);
  void leave(Time now);
  [[nodiscard]] bool has_left() const { return leaves_left_ == 0 && first_.empty() && queue_.empty(); }

  [[nodiscard]] bool has_news() const { return peers_.has_news(); }
  std::optional<PeerEvent> take_news(Time now) { return peers_.take_news(now); }
  [[nodiscard]] std::vector<Peer> peers(Time now) const;
  [[nodiscard]] std::vector<BeaconPath> paths(Time now) const;
  [[nodiscard]] const DropCounts& drops() const { return drops_; }
  [[nodiscard]] const BeaconOptions& options() const { return options_; }
  [[nodiscard]] std::uint64_t id() const { return id_; }

 private:
  static constexpr unsigned quick_times = 3;

  struct Seed {
    Address address;
    BeaconPath path;
    Time due;
  };
  struct Job {
    Header header{};
    Route route{};
    std::size_t least = 0;  // bytes
    BeaconPath* path = nullptr;
    std::vector<std::byte> hints{};  // the body of Type::hints
  };

  [[nodiscard]] bool is_observer() const { return options_.name.empty(); }
  [[nodiscard]] bool is_leaving() const { return leaves_left_ >= 0; }
  [[nodiscard]] Header header(Type type);
  [[nodiscard]] std::size_t announcement_size() const { return header_size + body_.size() + tag_size_; }
  [[nodiscard]] Duration around(Duration time);  // a tenth less to a tenth more
  [[nodiscard]] Duration spread();               // at random: the longer, the more peers there are
  [[nodiscard]] Seed* seed_at(const Address& address);
  [[nodiscard]] BeaconPath* link_of(const Arrival& arrival);

  // In.
  std::optional<Drop> refuses(const Message& message);
  void announced(const Message& message, const Arrival& arrival, Time now);
  [[nodiscard]] bool is_answer(const Message& message, const Arrival& arrival, Time now) const;
  [[nodiscard]] Duration lifetime_of(const Header& header) const;
  [[nodiscard]] bool is_near(const IpAddress& ip) const;
  Candidates& candidates_at(const IpAddress& ip) { return is_near(ip) ? near_candidates_ : far_candidates_; }
  // Whether it is one that may speak for the peer, from where it does.
  [[nodiscard]] bool speaks_for(const Record& record, const IpAddress& ip) const { return record.is_authenticated || ip == record.home; }
  bool heard_again(Record& record, const Message& message, const Arrival& arrival, bool is_answer, Time now);
  std::optional<Drop> is_no_news(const Record& record, const Header& header, bool is_answer) const;
  Record* admit(const Message& message, const Arrival& arrival, Time now);
  void left(const Message& message, const Arrival& arrival, Time now);
  void asked(const Message& message, const Arrival& arrival, Time now);
  void asked_by_all(Time now);
  void hinted(const Message& message, const Arrival& arrival, Time now);
  void verified(Record& record, const Arrival& arrival, Time now);
  void renew(Record& record, const Message& message, const Arrival& arrival, bool is_answer, Time now);
  void note_where(Record& record, const Arrival& arrival, Time now);
  Time proof_due(const Record& record, Time now);
  void consider(const Message& message, const Arrival& arrival, Time now);

  // Out.
  static constexpr unsigned most_asked = 10, most_asked_at_home = 3;  // of a peer's questions

  void push(Job job);
  void push_first(Job job);
  void announce(Time now);
  void answer(const Message& message, const Arrival& arrival, bool is_known, Time now);
  bool ask(const Candidate& candidate, Time now);
  void ask(const Record& record, const Route& route, Time now);
  void ask(const Seed& seed, Time now, BeaconPath* path);
  void tell_of_others(std::uint64_t& from, bool all, std::uint64_t except, const Route& route);
  void say_farewell(Time now);
  void look_at(Record& record, Time now);
  [[nodiscard]] bool is_busy() const { return asks_left_ > 0 || changes_left_ > 0; }  // announcements follow one another quickly
  Time note_time(Time now);

  BeaconOptions options_;
  Rng rng_;
  DropCounts drops_;
  Peers peers_;
  Candidates near_candidates_, far_candidates_;
  Cookies cookies_;
  Limits answers_, questions_;            // to the unknown
  Limits peer_answers_, peer_questions_;  // to peers
  Limits admissions_, hinted_;            // newcomers; questions to those whom a seed told of
  HashKey hash_key_;
  TokenBucket pace_{4000, 512};

  std::uint64_t id_;
  std::uint32_t incarnation_, sequence_;
  std::uint16_t own_port_;
  std::size_t tag_size_ = 0;
  std::vector<std::byte> body_, realm_body_;

  std::list<BeaconPath> links_;  // whose elements do not move, since jobs point at them
  std::list<Seed> seeds_;        // likewise
  Time announce_at_, last_now_;
  unsigned asks_left_ = quick_times;  // announcements that ask all to announce themselves: at the start, by a new link, after a pause
  unsigned changes_left_ = 0;         // ... that tell of a change
  Time last_announced_{};
  int leaves_left_ = -1;
  Time leave_at_ = never;

  std::vector<Network> networks_;
  std::deque<Job> first_, queue_;
  std::array<std::byte, most_bytes> buffer_{};
};

// EINVAL with a sentence for options out of their bounds.
Result<void> check_options(const BeaconOptions& options);

}  // namespace gannet::beacon
