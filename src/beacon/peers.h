// The peers that are present, what is known of each, and the news of them.
//
// Bounds: peers at one IP address (a further one is not taken) and in all (a further one takes the place of one at an IPv4 address or IPv6 /64 that
// has at least four times as many, or is not taken), addresses and paths of one peer (the one heard longest ago makes room), news (the oldest is
// lost), the recently departed (the one that departed first is forgotten; it is remembered so that no copy of its last words brings it back). Owner:
// Node.  Thread: its.  Allocates: for each peer, and for its changes.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gannet/beacon.h>

#include "base/time.h"
#include "base/token_bucket.h"
#include "beacon/candidates.h"
#include "beacon/message.h"

namespace gannet::beacon {

// An address at which a peer has answered.
struct Source {
  Route route;
  Time heard;
};

struct PathNote {
  PathKind kind;
  std::uint32_t interface;
  Address source;
  Time heard;
};

struct Record {
  std::uint64_t id = 0;
  std::uint32_t incarnation = 0, sequence = 0;
  Duration lifetime{};
  Time heard{}, expires{};
  Time due{};          // when it is looked at next: to be asked, or to be given up
  Time proof_due{};    // from then on its answers alone keep it, not what might be a copy
  Time asked_at{};     // last
  unsigned asked = 0;  // times since it was last heard, or did last answer
  IpAddress home{};    // where it joined, or moved to when there was no answer there any more: it counts among those there
  std::string name;
  Profile profile;
  std::uint64_t body_hash = 0;
  std::uint64_t hints_from = 0;  // which of the others it is told of next
  bool has_hints = false;        // it was told of all of them once
  bool is_authenticated = false, name_conflict = false, has_news = false;
  TokenBucket pace{32, 64};  // of all that it sends
  std::vector<Source> sources;
  std::vector<PathNote> paths;

  static constexpr std::size_t most_sources = 4, most_paths = 8;

  [[nodiscard]] Source* source(const Address& address);
  void add_source(const Route& route, Time now);
  void note_path(PathKind kind, std::uint32_t interface, const Address& source, Time now);
  // Heard by multicast within its lifetime: then it likely hears ours, too.
  [[nodiscard]] bool has_multicast(Time now) const;
  // Where to reach it alone: at home, unless it was heard elsewhere a lifetime later; not at the port that it may share with others of its machine,
  // where there is another; `turn` goes through them.
  [[nodiscard]] const Source& best_source(std::uint16_t shared_port, unsigned turn = 0) const;
  // The same with an IPv4 address; null where there is none.
  [[nodiscard]] const Source* best_ipv4(std::uint16_t shared_port) const;
};

class Peers {
 public:
  Peers(const BeaconOptions& options, DropCounts& drops)
      : most_(options.most_peers),
        most_at_one_address_(options.most_peers_at_one_address),
        own_name_(options.name),
        shared_port_(options.port),
        drops_(drops) {}

  [[nodiscard]] Record* find(std::uint64_t id);
  [[nodiscard]] std::size_t size() const { return records_.size(); }
  // Takes it, unless there is no room, which is counted. `record.sources` has its one address. An earlier one of its id makes room, and is gone then.
  Record* admit(Record record, Time now);
  // It answers here, and at home no more. Where there is no room for it here, it stays.
  void move(Record& record, const IpAddress& to);
  void remove(Record& record, PeerEvent::Kind how, Time now);
  void set_profile(Record& record, const Message& message);
  void changed(Record& record);
  // It is to be looked at then.
  void schedule(Record& record, Time due);
  [[nodiscard]] Time next_due() const { return due_.empty() ? never : due_.begin()->first; }
  [[nodiscard]] Record* take_due(Time now);

  // Whether this was said by one that has since departed.
  [[nodiscard]] bool has_departed(const Header& header, Time now) const;

  [[nodiscard]] bool has_news() const { return !news_.empty(); }
  std::optional<PeerEvent> take_news(Time now);
  [[nodiscard]] Peer describe(const Record& record, Time now) const;
  [[nodiscard]] std::map<std::uint64_t, Record>& records() { return records_; }
  [[nodiscard]] const std::map<std::uint64_t, Record>& records() const { return records_; }

 private:
  struct News {
    PeerEvent::Kind kind;
    std::uint64_t id;
    Peer peer;  // where it is not present any more; else it is described when the news is taken
  };
  struct Departed {
    std::uint64_t id = 0;
    std::uint32_t incarnation = 0, sequence = 0;
    Time at{};
  };
  static constexpr std::size_t most_departed = 1024;

  void add_news(News news);
  [[nodiscard]] bool make_room(const IpAddress& home, Time now);
  void add_home(const IpAddress& home);
  void remove_home(const IpAddress& home);
  // Says of those with this name whether they share it.
  void review_name(const std::string& name);

  std::size_t most_, most_at_one_address_;
  std::string own_name_;
  std::uint16_t shared_port_;
  DropCounts& drops_;
  std::map<std::uint64_t, Record> records_;
  std::map<IpAddress, std::size_t> at_address_, at_prefix_;
  std::multimap<std::string, std::uint64_t> names_;
  std::set<std::pair<Time, std::uint64_t>> due_;
  std::deque<News> news_;
  std::deque<Departed> departed_;
};

}  // namespace gannet::beacon
