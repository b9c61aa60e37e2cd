// Presence and discovery: a program says that it is there, and learns who else is.
//
//   auto beacon = gannet::Beacon::open({.name = "camera", .roles = {"sensor"}}).value();
//   while (auto event = beacon.next()) {
//     std::cout << to_string(event->kind) << ' ' << event->peer.name << std::endl;
//   }
//
// A beacon announces itself to a multicast group on every interface, and by unicast to seeds, which are beacons at known addresses and make those who
// know only them known to one another: where multicast is blocked, as between containers and on many a Wi-Fi, seeds are the way. paths() tells which
// of them worked. Whoever is heard of is a peer only when it has answered a question at its own address, so forged, replayed and reordered datagrams
// make none; with an authenticator, neither do those who lack the key. Time is monotonic: setting the clock does nothing. After a pause (a process
// that was stopped, a suspended laptop) peers are asked before any is given up.
//
// Who can be believed. Without a key, whoever has an address, or reads what goes to it and forges it as a source, speaks for every peer that is
// there; from another address a peer is heard, once it was asked there, but changes, restarts and leaves only from its home, where it joined, until
// three questions there go unanswered. Ids are no secret: seeds hand them out. The IPv4 address put for 0.0.0.0 is where an answer came from, for a
// peer that joined over IPv6 whichever came first. With a key, nobody without it says anything; what is played back keeps a dead peer for at most
// four lifetimes (or, of more than 200 peers, as many fifths of a second); but a key authenticates no address: who passes datagrams on can make a
// peer seem to be where he is, where it was not known before. All who share the key can be any of them.
//
// Bounds, with what happens there: peers at one IP address (further ones are not taken) and in all (one of a crowd, four times as many at one IPv4
// address or IPv6 /64 as at the newcomer's, makes room; else the newcomer is not taken); 256 joins at once at one address, then 64 a second;
// questions to the unknown and answers to them, 1024 a second each for those on a directly connected network and for all beyond, 128 for an address,
// and never more than three times the bytes that came; a question of 400 bytes, once, to whom a seed told of, 8 a second at one address; answers to
// peers, 64 a second at one address; to one peer a question a second; datagrams of one peer, 32 a second; events that nobody takes (the oldest is
// lost). drops() has each by its name. A flood of forged sources from all over the world keeps newcomers beyond a router waiting, at 40,000 a second
// for up to about a minute, those nearby hardly; one that forges sources of a connected network does it to those, too; over a host of ours all count
// as beyond.
//
// Threads: any once started. Without start() the beacon lives in next(), in one thread, and must be called at least a few times in each interval.
// Errors: a failed call is a Result. Sources: RFC 8085 3.1 and 6 (rates, amplification), RFC 2365 and RFC 4291 2.7 (the groups), RFC 1982 (sequence
// numbers), RFC 4007 (scopes). The datagrams: src/beacon/message.h.
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gannet/address.h>
#include <gannet/host.h>
#include <gannet/result.h>
#include <gannet/socket.h>

namespace gannet {

// What proves that a datagram is of somebody who has the key: 16 to 32 bytes, always as many.
struct BeaconTag {
  std::array<std::byte, 32> bytes{};
  std::size_t size = 0;
};
// The tag of a message: a keyed hash such as HMAC-SHA-256, the same in all beacons that share a key. Called for each datagram, in the beacon's thread
// and in those that call open(), next(), update(), leave() or the destructor, under the beacon's lock: it must not call the beacon.
using Authenticator = std::function<BeaconTag(std::span<const std::byte> message)>;

// What others are told. Texts are UTF-8 without control characters, values of metadata any UTF-8. All of it has to fit in one datagram of 1200 bytes.
struct Profile {
  std::vector<std::string> roles;                             // up to 16, of up to 32 bytes each
  std::vector<Address> addresses;                             // up to 16, where it can be reached; 0.0.0.0 and :: are where it is heard from
  std::vector<std::pair<std::string, std::string>> metadata;  // up to 32, in this order; keys differ, of 1 to 64 bytes; values of up to 512

  friend bool operator==(const Profile&, const Profile&) = default;
};

inline constexpr std::uint16_t beacon_port = 65437;

struct BeaconOptions {
  std::string name{};                // a label, which need not be unique; up to 63 bytes. Empty: an observer, which announces nothing
  std::vector<std::string> roles{};  // these three: see Profile
  std::vector<Address> addresses{};
  std::vector<std::pair<std::string, std::string>> metadata{};
  std::string realm{};              // whoever has another does not see us, nor we them; up to 63 bytes
  std::vector<IpAddress> groups{};  // up to 4; empty: 239.255.71.66 and ff15::6761:6e6e:6574. Over a Host of ours, which speaks IPv4, the first alone
  std::uint16_t port = beacon_port;          // of the groups, and where seeds are asked
  std::vector<std::string> interfaces{};     // by name, up to 32; empty: all that are up and have an address (the first 32), as they come and go
  bool multicast = true;                     // false: seeds alone
  std::vector<Address> seeds{};              // up to 32; port 0: `port`
  std::chrono::milliseconds interval{3000};  // between announcements, give or take a tenth; 100 ms to 10 minutes
  // How long one is believed; at least two intervals, at most an hour. Of others without a key, three of ours or 30 s, whichever is more; then they
  // are asked.
  std::chrono::milliseconds lifetime{10000};
  int ttl = 1;                    // of multicasts: 1 stays on the link
  std::size_t most_peers = 1024;  // 1 to 65,536
  std::size_t most_peers_at_one_address = 64;
  Authenticator authenticator{};  // empty: no key
  std::uint64_t id = 0;           // 0: chosen at random
  std::uint64_t seed = 0;         // of everything random, for tests: who knows it can forge answers; 0: from the system
};

// By what a peer was heard. `seed`: at the address of one of BeaconOptions::seeds.
enum class PathKind : std::uint8_t { multicast, unicast, seed };
std::string_view to_string(PathKind kind);

struct PeerPath {
  PathKind kind = PathKind::unicast;
  std::uint32_t interface = 0;  // index of ours; 0: not known
  Address source{};             // the peer's
  std::chrono::nanoseconds age{0};

  friend bool operator==(const PeerPath&, const PeerPath&) = default;
};

struct Peer {
  std::uint64_t id = 0;           // the same as long as it is there; who has no key, or has it too, may claim another's
  std::uint32_t incarnation = 0;  // another one with the same id is the same peer, started again
  std::string name{};
  Profile profile{};           // addresses as they are reached from here: with the peer's own where it announced 0.0.0.0 or ::
  bool name_conflict = false;  // another peer, or this beacon, has this name too
  bool is_authenticated = false;
  std::vector<PeerPath> paths{};         // up to 8, those that worked within its lifetime, the last heard first
  std::chrono::nanoseconds age{0};       // since it was last heard
  std::chrono::nanoseconds lifetime{0};  // after so long without a word it expires

  [[nodiscard]] bool has_role(std::string_view role) const;
};

struct PeerEvent {
  enum class Kind : std::uint8_t { joined, changed, left, expired };
  Kind kind = Kind::joined;
  Peer peer{};  // as it is now, or as it was last
};
std::string_view to_string(PeerEvent::Kind kind);

// A way out, and what came of it.
struct BeaconPath {
  PathKind kind = PathKind::multicast;  // multicast or seed
  Address address{};                    // the group or the seed
  std::uint32_t interface = 0;          // of multicast
  std::string interface_name{};
  std::uint64_t sent = 0;   // datagrams
  std::uint64_t heard = 0;  // that came from others of this realm, and were good
  std::size_t peers = 0;    // present, and heard by it within their lifetime
  int error = 0;            // errno of joining or of the last send; 0: it went out
  // "multicast 239.255.71.66 on eth0: sent 12, nothing came back".
  [[nodiscard]] std::string to_string() const;
};

class Beacon {
 public:
  // EINVAL with a sentence for options out of their bounds, ENODEV for an interface that is not there, EMSGSIZE for what is too large to announce,
  // and what binding and joining fail of.
  static Result<Beacon> open(BeaconOptions options);
  // Over our own stack, which has one interface and IPv4. The host must outlive the beacon.
  static Result<Beacon> open(Host& host, BeaconOptions options);

  Beacon(Beacon&&) noexcept;
  Beacon& operator=(Beacon&&) noexcept;
  ~Beacon();  // says goodbye once, if leave() has not

  // Runs it in a thread of its own until leave() or destruction. EALREADY.
  Result<void> start();
  // What happened next to a peer. Without start() this is where the beacon lives. EAGAIN when the deadline passes, ESHUTDOWN after leave().
  Result<PeerEvent> next(Deadline deadline = Deadline::forever());
  // Changes what others are told, who learn it at once; of changes within 50 ms of one another, the last. EINVAL or EMSGSIZE as open(), and then
  // nothing is changed.
  Result<void> update(const Profile& profile);
  // Says goodbye three times, 40 ms apart, or more where there is much to send. Waits for a second at most.
  Result<void> leave();

  // A descriptor that poll(2) finds readable when next() would not wait, once started. Its bytes are not for reading.
  [[nodiscard]] int fd() const;

  [[nodiscard]] std::vector<Peer> peers() const;
  [[nodiscard]] std::vector<BeaconPath> paths() const;
  // What did not become news, by reason; those that are zero are left out. `gannet explain` has the reasons.
  [[nodiscard]] std::vector<Count> drops() const;
  [[nodiscard]] std::uint64_t id() const;

 private:
  struct State;  // src/beacon/session.h
  explicit Beacon(std::unique_ptr<State> state);
  [[nodiscard]] State& state() const;  // one that was moved from has none: to call it is a bug, which ends the process
  std::unique_ptr<State> state_;
};

}  // namespace gannet
