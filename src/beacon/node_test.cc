#include "beacon/node.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>

#include "base/hash.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace gannet::beacon {
namespace {

constexpr Time start = Time(1h);
const Address home = Address::parse("10.0.0.1:40000").value();
const IpAddress group = IpAddress::ipv4(239, 255, 71, 66);

Authenticator with_key(std::uint64_t key) {
  return [key](std::span<const std::byte> message) {
    BeaconTag tag{.bytes = {}, .size = 16};
    for (std::size_t i = 0; i < 16; ++i) tag.bytes[i] = static_cast<std::byte>(siphash({key, i}, message) & 0xff);
    return tag;
  };
}

// Of the whole process.
std::size_t allocated() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return __sanitizer_get_current_allocated_bytes();
#else
  return mallinfo2().uordblks;
#endif
}

BeaconOptions options_of(std::string name) { return {.name = std::move(name), .id = 1}; }

struct Sent {
  Header header;
  Route route;
  std::vector<std::byte> bytes;
  bool to_group;
};

// A beacon, and the network as far as the test plays it.
struct Bench {
  explicit Bench(BeaconOptions options = options_of("self"), bool with_link = true) : node(std::move(options), {1, 2}, 40'000, start) {
    const Link link{.group = group, .interface = 2, .name = "eth0"};
    if (with_link) node.set_links({&link, 1}, now);
  }

  void run_for(Duration time) { run_to(now + time); }
  void run_to(Time end) {
    for (Time next = node.next_wakeup(now); next <= end; next = node.next_wakeup(now)) {
      now = std::max(now, next);
      settle();
    }
    now = end;
    settle();
  }
  void settle() {
    node.advance(now);
    while (const auto out = node.output(now)) {
      const auto message = parse_message(out->data);
      ASSERT_TRUE(message) << "a beacon understands itself";
      sent.push_back({message->header, out->route, {out->data.begin(), out->data.end()}, out->path != nullptr && out->route.peer.ip.is_multicast()});
      node.sent(*out, 0);
    }
    while (auto event = node.take_news(now)) events.push_back(std::move(*event));
  }
  // What went to this address since it was asked the last time.
  std::vector<Sent> take(const Address& to) {
    std::vector<Sent> taken;
    std::erase_if(sent, [&](const Sent& each) {
      if (each.route.peer != to) return false;
      taken.push_back(each);
      return true;
    });
    return taken;
  }
  std::string take_events() {
    std::string text;
    for (const PeerEvent& event : events) text += std::string(text.empty() ? "" : ", ") + kind(event.kind) + " " + event.peer.name;
    events.clear();
    return text;
  }
  static std::string kind(PeerEvent::Kind kind) { return std::array{"joined", "changed", "left", "expired"}[static_cast<std::size_t>(kind)]; }
  std::uint64_t dropped(Drop reason) const { return node.drops()[reason]; }

  Time now = start;
  Node node;
  std::vector<Sent> sent;
  std::vector<PeerEvent> events;
};

// Another beacon, played by hand.
struct Other {
  Bench& bench;
  std::string name;
  Address at = Address::parse("10.0.0.7:41000").value();
  std::uint64_t id = 7;
  std::uint32_t incarnation = 70, sequence = 0xfffffff0;  // it wraps soon
  std::uint32_t lifetime = 10'000;
  Profile profile{};
  Authenticator authenticator{};
  std::string realm{};

  std::vector<std::byte> make(Header header, std::size_t least = 0) {
    header.id = id, header.incarnation = incarnation, header.lifetime = lifetime;
    header.sequence = ++sequence;
    const bool is_announcement = header.type == Type::announcement;
    const auto body = body_of(realm, is_announcement ? name : "", is_announcement ? profile : Profile{}).value();
    std::array<std::byte, most_bytes> room;
    const auto bytes =
        emit_message(header, {body, realm.size(), is_announcement ? name.size() : 0}, authenticator, authenticator ? 16 : 0, least, room);
    return {bytes.begin(), bytes.end()};
  }
  void send(const std::vector<std::byte>& bytes, bool to_group, std::optional<Address> from = {}) {
    Arrival arrival{
        .data = bytes, .route = {from.value_or(at), to_group ? group : home.ip, 2, to_group ? Door::shared : Door::own}, .to_group = to_group};
    bench.node.input(arrival, bench.now);
    bench.settle();
  }
  void announce(bool to_group = true) { send(make({.type = Type::announcement}), to_group); }
  void leave() { send(make({.type = Type::leave}), true); }
  // Answers the questions that came; how many.
  std::size_t answer() {
    std::size_t answered = 0;
    for (const Sent& question : bench.take(at)) {
      if (question.header.nonce == 0) continue;
      send(make({.type = Type::announcement, .echo = question.header.nonce}), false);
      ++answered;
    }
    return answered;
  }
  void join() {
    announce();
    bench.run_for(30ms);
    ASSERT_EQ(answer(), 1U);
  }
};

TEST(BeaconNode, AnnouncesItselfQuicklyThenEachInterval) {
  Bench bench;
  bench.run_for(2s);
  const Address to{group, beacon_port};
  const auto first = bench.take(to);
  ASSERT_EQ(first.size(), 3U);
  for (const Sent& each : first) {
    EXPECT_TRUE(each.to_group && each.header.type == Type::announcement && (each.header.flags & flag_query) != 0);
    EXPECT_EQ(each.route.interface, 2U);
  }
  bench.run_for(30s);
  const auto rest = bench.take(to);
  EXPECT_TRUE(rest.size() >= 9 && rest.size() <= 11) << rest.size();
  EXPECT_EQ(rest.front().header.flags, 0);
}

TEST(BeaconNode, WhoAnswersAtHisAddressIsAPeer) {
  Bench bench;
  Other other{
      .bench = bench, .name = "other", .profile = {.roles = {"sensor"}, .addresses = {Address::parse("0.0.0.0:7000").value()}, .metadata = {}}};
  other.announce();
  EXPECT_TRUE(bench.node.peers(bench.now).empty()) << "heard of only";
  bench.run_for(30ms);
  EXPECT_EQ(other.answer(), 1U);
  EXPECT_EQ(bench.take_events(), "joined other");
  const auto peers = bench.node.peers(bench.now);
  ASSERT_EQ(peers.size(), 1U);
  EXPECT_EQ(peers[0].profile.addresses, std::vector{Address::parse("10.0.0.7:7000").value()});
  ASSERT_EQ(peers[0].paths.size(), 2U);
  EXPECT_FALSE(peers[0].name_conflict || peers[0].is_authenticated);
  const auto paths = bench.node.paths(bench.now);
  EXPECT_EQ(paths.at(0).peers, 1U) << "by multicast";
  EXPECT_EQ(paths.at(0).heard, 1U);
}

// A nonce is of one address and one time; whoever did not see it there and then has none.
TEST(BeaconNode, ForgedForeignAndStaleEchoes) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.announce();
  bench.run_for(30ms);
  const std::uint64_t nonce = bench.take(other.at).at(0).header.nonce;
  const auto answer = [&](std::uint64_t echo, const Address& from, bool to_group) {
    other.send(other.make({.type = Type::announcement, .echo = echo}), to_group, from);
  };
  answer(0, other.at, false);
  answer(nonce ^ 1, other.at, false);
  answer(nonce, Address::parse("10.0.0.7:41001").value(), false);
  answer(nonce, Address::parse("10.0.0.8:41000").value(), false);
  answer(nonce, other.at, true);
  bench.run_for(17s);
  answer(nonce, other.at, false);
  EXPECT_EQ(bench.take_events(), "");
  bench.run_for(30ms);
  EXPECT_GE(other.answer(), 1U);
  EXPECT_EQ(bench.take_events(), "joined other");
}

TEST(BeaconNode, ExpiresAfterItsLifetimeAndIsAskedBefore) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  bench.take_events();
  bench.run_for(9900ms);
  EXPECT_EQ(bench.take_events(), "");
  EXPECT_EQ(bench.take(other.at).size(), 5U);
  bench.run_for(200ms);
  EXPECT_EQ(bench.take_events(), "expired other");
  EXPECT_EQ(bench.node.next_wakeup(bench.now) > bench.now, true);
}

TEST(BeaconNode, LivesOnByItsAnswersAlone) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  for (int second = 0; second < 60; ++second) {
    bench.run_for(1s);
    other.answer();
  }
  EXPECT_EQ(bench.take_events(), "joined other");
  EXPECT_EQ(bench.node.paths(bench.now).at(0).peers, 0U) << "multicast does not work, and that is seen";
}

TEST(BeaconNode, SequenceNumbersWrap) {
  Bench bench;
  Other other{.bench = bench, .name = "other", .sequence = 0xfffffff8};
  other.join();
  for (int i = 0; i < 20; ++i) {
    bench.run_for(3s);
    other.answer();
    other.profile.metadata = {{"count", std::to_string(i)}};
    other.announce();
  }
  EXPECT_LT(other.sequence, 100U);
  EXPECT_EQ(bench.node.peers(bench.now).at(0).profile.metadata.at(0).second, "19");
  EXPECT_EQ(bench.dropped(Drop::replayed), 0U);
}

TEST(BeaconNode, ReplayedAndReorderedIsNoNews) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  other.profile.metadata = {{"state", "old"}};
  const auto old = other.make({.type = Type::announcement});
  other.profile.metadata = {{"state", "new"}};
  other.announce();
  bench.take_events();
  other.send(old, true);
  EXPECT_EQ(bench.dropped(Drop::replayed), 1U);
  EXPECT_EQ(bench.take_events(), "");
  EXPECT_EQ(bench.node.peers(bench.now).at(0).profile.metadata.at(0).second, "new");
}

// What was said before it left does not bring it back: it is asked, and nobody answers.
TEST(BeaconNode, TheDepartedStayDeparted) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.announce();
  bench.run_for(30ms);
  const auto question = bench.take(other.at).at(0);
  const auto answer = other.make({.type = Type::announcement, .echo = question.header.nonce});
  other.send(answer, false);
  const auto later = other.make({.type = Type::announcement});
  other.leave();
  other.leave();
  EXPECT_EQ(bench.take_events(), "joined other, left other");
  EXPECT_EQ(bench.dropped(Drop::duplicate), 1U) << "its second farewell";
  other.send(answer, false);  // its nonce is still good
  EXPECT_EQ(bench.dropped(Drop::replayed), 1U);
  other.send(later, true);
  bench.run_for(30s);
  other.send(answer, false);
  bench.run_for(5s);
  EXPECT_EQ(bench.take_events(), "");
  EXPECT_EQ(bench.dropped(Drop::unanswered), 2U);
}

TEST(BeaconNode, AnotherIncarnationIsThePeerStartedAgain) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  other.incarnation = 71;
  other.sequence = 5;
  other.announce();
  bench.run_for(30ms);
  EXPECT_EQ(bench.take_events(), "joined other");
  EXPECT_EQ(other.answer(), 1U);
  EXPECT_EQ(bench.take_events(), "expired other, joined other");
  EXPECT_EQ(bench.node.peers(bench.now).at(0).incarnation, 71U);
}

TEST(BeaconNode, FromAnotherAddressItIsAskedThereFirst) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  bench.take_events();
  const Address elsewhere = Address::parse("10.0.0.66:666").value();
  other.profile.metadata = {{"state", "forged"}};
  other.send(other.make({.type = Type::announcement}), true, elsewhere);
  other.send(other.make({.type = Type::leave}), true, elsewhere);
  bench.run_for(30ms);
  EXPECT_EQ(bench.dropped(Drop::source_unverified), 2U);
  EXPECT_EQ(bench.take_events(), "");
  const auto questions = bench.take(elsewhere);
  ASSERT_EQ(questions.size(), 1U);
  EXPECT_LE(questions[0].bytes.size(), 3 * other.make({.type = Type::announcement}).size());
  other.send(other.make({.type = Type::announcement, .echo = questions[0].header.nonce}), false, elsewhere);
  EXPECT_EQ(bench.take_events(), "") << "a second interface of it, perhaps; or somebody who knows its id";
  EXPECT_EQ(bench.node.peers(bench.now).at(0).paths.at(0).source, elsewhere);
}

// Without a key, who answers elsewhere for a peer that answers at home says nothing of it, does not number for it and does not end it; when there is
// no answer at home any more, it has moved.
TEST(BeaconNode, APeerMovesWhenItsHomeIsSilent) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  Other moved{.bench = bench, .name = "moved", .at = Address::parse("10.0.0.66:666").value(), .sequence = other.sequence + 1000};
  bench.take_events();
  for (int second = 0; second < 60; ++second) {
    if (second % 3 == 0) moved.announce();
    bench.run_for(1s);
    other.answer();
    moved.answer();
  }
  moved.leave();
  EXPECT_EQ(bench.take_events(), "");
  EXPECT_EQ(bench.node.peers(bench.now).at(0).name, "other");
  for (int second = 0; second < 12; ++second) {
    if (second % 3 == 0) moved.announce();
    bench.run_for(1s);
    moved.answer();
  }
  EXPECT_EQ(bench.take_events(), "changed moved") << "and did not expire";
  moved.leave();
  EXPECT_EQ(bench.take_events(), "left moved");
}

// The same of one who says that the peer was started again, and was given the ids of the living by a seed.
TEST(BeaconNode, AnotherIncarnationElsewhereWaitsUntilTheFirstIsSilent) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  Other again{.bench = bench, .name = "again", .at = Address::parse("10.0.0.66:666").value(), .incarnation = 71};
  const auto go_on = [&](int seconds, bool lives) {
    for (int second = 0; second < seconds; ++second) {
      if (second % 3 == 0) again.announce();
      bench.run_for(1s);
      if (lives) other.answer();
      again.answer();
    }
  };
  go_on(60, true);
  EXPECT_EQ(bench.take_events(), "joined other");
  go_on(14, false);
  EXPECT_EQ(bench.take_events(), "expired other, joined again");
}

// A forged number does not put the peer's own behind it for good.
TEST(BeaconNode, FarSequenceNumbersNeedAnAnswer) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  Other forger = other;
  forger.sequence += 0x7ffffff0;
  forger.announce();
  EXPECT_EQ(bench.dropped(Drop::replayed), 1U);
  forger.sequence = other.sequence + 60'000;
  forger.announce();  // within bounds; so far its address alone tells
  for (int second = 0; second < 30; ++second) {
    bench.run_for(1s);
    other.answer();
  }
  EXPECT_EQ(bench.take_events(), "joined other");
}

// With a key all that was ever said can be said again, by anybody: that alone keeps nobody alive.
TEST(BeaconNode, ReplayDoesNotKeepTheDeadAlive) {
  BeaconOptions options = options_of("self");
  options.authenticator = with_key(1);
  Bench bench(options);
  Other other{.bench = bench, .name = "other", .authenticator = with_key(1)};
  other.join();
  std::vector<std::vector<std::byte>> captured;
  for (int i = 0; i < 20; ++i) captured.push_back(other.make({.type = Type::announcement, .echo = 55}));
  for (const auto& bytes : captured) {
    bench.run_for(3s);
    other.send(bytes, false, Address::parse("10.66.6.6:5").value());
  }
  EXPECT_EQ(bench.take_events(), "joined other, expired other");
}

// And who passes on what a peer with a key says is not where the peer is.
TEST(BeaconNode, ARelayDoesNotMoveAPeer) {
  BeaconOptions options = options_of("self");
  options.authenticator = with_key(1);
  Bench bench(options);
  Other other{
      .bench = bench, .name = "other", .profile = {.roles = {}, .addresses = {Address{{}, 99}}, .metadata = {}}, .authenticator = with_key(1)};
  other.join();
  const Address relay = Address::parse("10.66.6.6:5").value();
  other.send(other.make({.type = Type::announcement}), false, relay);
  bench.run_for(30ms);
  const auto questions = bench.take(relay);
  ASSERT_EQ(questions.size(), 1U);
  other.send(other.make({.type = Type::announcement, .echo = questions[0].header.nonce}), false, relay);
  EXPECT_EQ(bench.node.peers(bench.now).at(0).profile.addresses.at(0).to_string(), "10.0.0.7:99");
}

// Copies of one datagram, with the source that it had, use up nothing of the peer's pace, and are not answered.
TEST(BeaconNode, CopiesDoNotSilenceAPeer) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  const auto old = other.make({.type = Type::announcement, .nonce = 5}, 400);
  for (int step = 0; step < 30'000; ++step) {
    bench.run_for(1ms);
    other.send(old, false);
    if (step % 3000 == 0) other.announce();
    other.answer();
    if (step == 0) bench.sent.clear();
  }
  EXPECT_EQ(bench.take_events(), "joined other");
  EXPECT_EQ(bench.dropped(Drop::too_fast), 0U);
  EXPECT_EQ(std::ranges::count(bench.sent, 5U, [](const Sent& each) { return each.header.echo; }), 0);
}

// A nonce is of one identity, too: who has an address does not answer for others there whom nobody asked.
TEST(BeaconNode, EachIdentityIsAsked) {
  Bench bench;
  Other first{.bench = bench, .name = "first"};
  first.announce();
  bench.run_for(30ms);
  const std::uint64_t nonce = bench.take(first.at).at(0).header.nonce;
  Other second{.bench = bench, .name = "second", .id = 8}, third{.bench = bench, .name = "third", .incarnation = 71};
  second.send(second.make({.type = Type::announcement, .echo = nonce}), false);
  third.send(third.make({.type = Type::announcement, .echo = nonce}), false);
  EXPECT_EQ(bench.take_events(), "");
  first.send(first.make({.type = Type::announcement, .echo = nonce}), false);
  EXPECT_EQ(bench.take_events(), "joined first");
}

TEST(BeaconNode, TwoOfOneName) {
  Bench bench;
  Other one{.bench = bench, .name = "twin"}, two{.bench = bench, .name = "twin", .at = Address::parse("10.0.0.8:41000").value(), .id = 8},
      three{.bench = bench, .name = "self", .at = Address::parse("10.0.0.9:41000").value(), .id = 9};
  one.join();
  EXPECT_EQ(bench.take_events(), "joined twin");
  two.join();
  EXPECT_EQ(bench.take_events(), "joined twin, changed twin");
  for (const Peer& peer : bench.node.peers(bench.now)) EXPECT_TRUE(peer.name_conflict);
  two.leave();
  EXPECT_EQ(bench.take_events(), "left twin, changed twin");
  EXPECT_FALSE(bench.node.peers(bench.now).at(0).name_conflict);
  three.join();
  EXPECT_EQ(bench.take_events(), "joined self");
  EXPECT_TRUE(bench.node.peers(bench.now).at(1).name_conflict) << "with this beacon itself";
}

TEST(BeaconNode, ALongPauseAsksBeforeItGivesUp) {
  Bench bench;
  std::vector<Other> others;
  for (std::uint64_t i = 0; i < 20; ++i) {
    others.push_back({.bench = bench,
                      .name = "other" + std::to_string(i),
                      .at = Address{IpAddress::ipv4(10, 0, 1, static_cast<std::uint8_t>(i)), 41'000},
                      .id = 100 + i});
    others.back().join();
  }
  bench.take_events();
  bench.sent.clear();
  bench.now += 1h;  // a suspended laptop
  bench.settle();
  EXPECT_EQ(bench.take_events(), "") << "nobody is given up at once";
  for (int i = 0; i < 10; ++i) {
    bench.run_for(200ms);
    for (std::size_t j = 0; j < 15; ++j) others[j].answer();
  }
  EXPECT_EQ(bench.take_events(), "");
  EXPECT_FALSE(bench.take({group, beacon_port}).empty()) << "and it says anew that it is here";
  bench.run_for(5s);
  EXPECT_EQ(bench.events.size(), 5U);
  EXPECT_EQ(bench.node.peers(bench.now).size(), 15U) << "those who did not answer are gone";
}

TEST(BeaconNode, TimeThatStandsStillOrGoesBackHurtsNobody) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  bench.now -= 30s;
  other.announce();
  bench.settle();
  bench.now += 31s;
  bench.settle();
  EXPECT_EQ(bench.take_events(), "joined other");
}

TEST(BeaconNode, AKeyKeepsOutWhoHasNone) {
  BeaconOptions options = options_of("self");
  options.authenticator = with_key(1);
  Bench bench(options);
  Other without{.bench = bench, .name = "without"}, wrong{.bench = bench, .name = "wrong", .id = 8, .authenticator = with_key(2)},
      right{.bench = bench, .name = "right", .at = Address::parse("10.0.0.9:41000").value(), .id = 9, .authenticator = with_key(1)};
  without.announce();
  wrong.announce();
  bench.run_for(2s);
  EXPECT_EQ(bench.dropped(Drop::tag_missing), 1U);
  EXPECT_EQ(bench.dropped(Drop::tag_wrong), 1U);
  EXPECT_TRUE(bench.take(without.at).empty()) << "not even asked";
  right.join();
  EXPECT_EQ(bench.take_events(), "joined right");
  EXPECT_TRUE(bench.node.peers(bench.now).at(0).is_authenticated);
  // What has the tag counts from wherever it comes, as it cannot be forged, and as no copy is news.
  right.profile.roles = {"new"};
  right.send(right.make({.type = Type::announcement}), true, Address::parse("10.0.0.10:1").value());
  EXPECT_EQ(bench.take_events(), "changed right");
}

TEST(BeaconNode, WithoutAKeyThoseWhoHaveOneAreTold) {
  Bench bench;
  Other other{.bench = bench, .name = "other", .authenticator = with_key(1)};
  other.announce();
  EXPECT_EQ(bench.dropped(Drop::key_missing), 1U);
}

TEST(BeaconNode, OtherRealmsAndOurselves) {
  Bench bench;
  Other elsewhere{.bench = bench, .name = "elsewhere", .realm = "lab"}, self{.bench = bench, .name = "self", .id = 1};
  elsewhere.announce();
  EXPECT_EQ(bench.dropped(Drop::other_realm), 1U);
  self.announce();
  EXPECT_EQ(bench.dropped(Drop::own_id), 1U);
  bench.run_for(1s);
  for (const Sent& own : bench.take({group, beacon_port})) self.send(own.bytes, true);
  EXPECT_EQ(bench.dropped(Drop::own_id), 1U) << "what comes back is no surprise";
  EXPECT_EQ(bench.take_events(), "");
}

// 100,000 beacons from as many addresses in five seconds, each a question unanswered, evicted or never asked, and all of them counted; the honest,
// known or not, are served.
TEST(BeaconNode, AFloodOfForgedBeacons) {
  Bench bench;
  Other known{.bench = bench, .name = "known"};
  known.join();
  Rng rng(5);
  constexpr int flood = 100'000;
  Other late{.bench = bench, .name = "late", .at = Address::parse("10.0.0.8:41000").value(), .id = 8};
  bool late_is_in = false;
  for (int i = 0; i < flood; ++i) {
    const Address from{IpAddress::ipv4(static_cast<std::uint32_t>(rng.next()) & 0x0fffffff), static_cast<std::uint16_t>(1024 + rng.below(60000))};
    Other forged{.bench = bench, .name = "forged", .at = from, .id = rng.next() | 1, .incarnation = 1, .sequence = 1};
    const auto bytes = forged.make({.type = Type::announcement});
    bench.node.input({.data = bytes, .route = {from, group, 2, Door::shared}, .to_group = true}, bench.now);
    bench.now += 50us;
    if (i % 20 == 0) bench.settle();
    if (i % 10'000 == 0) known.announce();
    if (i % 2'000 == 0 && !late_is_in) {
      late.announce();
      bench.run_for(25ms);
      late_is_in = late.answer() == 1;
    }
    if (bench.sent.size() > 1000) bench.sent.erase(bench.sent.begin(), bench.sent.begin() + 500);
  }
  bench.run_for(3s);
  EXPECT_TRUE(late_is_in);
  EXPECT_EQ(bench.take_events(), "joined known, joined late");
  const auto counted = bench.dropped(Drop::unanswered) + bench.dropped(Drop::candidate_evicted) + bench.dropped(Drop::question_limit);
  EXPECT_GE(counted, std::uint64_t{flood});
  EXPECT_LE(counted, std::uint64_t{flood} + 60) << "and the honest newcomer's attempts";
  EXPECT_LT(bench.dropped(Drop::unanswered), 12'000U) << "no more than 1024 a second are asked, and once 2048";
}

// 20,000 announcements and as many questions a second, forged from all over the world, do not keep a neighbour waiting.
TEST(BeaconNode, NeighboursAreServedInAFlood) {
  Bench bench;
  bench.node.set_networks({{home.ip, 24}});
  Rng rng(5);
  Other late{.bench = bench, .name = "late"};
  for (int step = 1; step <= 50'000 && bench.events.empty(); ++step) {
    bench.now += 100us;
    for (int i = 0; i < 4; ++i) {
      const Address from{IpAddress::ipv4(static_cast<std::uint32_t>(rng.next()) & 0x0fffffff), 2000};
      Other forged{.bench = bench, .name = "forged", .at = from, .id = rng.next() | 1};
      const bool to_group = i % 2 == 0;
      const auto bytes = forged.make({.type = Type::announcement, .nonce = to_group ? 0U : 5U}, 60);
      bench.node.input({.data = bytes, .route = {from, to_group ? group : home.ip, 2, Door::shared}, .to_group = to_group}, bench.now);
    }
    if (step % 10'000 == 5'000) late.announce();
    if (step % 20 == 0) bench.settle(), late.answer(), bench.sent.clear();
  }
  EXPECT_EQ(bench.take_events(), "joined late");
  EXPECT_LT(bench.now, start + 2s) << "at the first attempt";
}

TEST(BeaconNode, NetworksContainTheirHosts) {
  const auto ip = [](const char* text) { return IpAddress::parse(text).value(); };
  EXPECT_TRUE((Network{ip("10.0.1.1"), 23}).contains(ip("10.0.0.255")));
  EXPECT_FALSE((Network{ip("10.0.1.1"), 24}).contains(ip("10.0.0.255")));
  EXPECT_TRUE((Network{ip("2001:db8::1"), 64}).contains(ip("2001:db8::ffff:0:0:1")));
  EXPECT_FALSE((Network{ip("2001:db8::1"), 128}).contains(ip("2001:db8::3")));
  EXPECT_FALSE((Network{ip("10.0.0.1"), 8}).contains(ip("a00::1")));
}

TEST(BeaconNode, MemoryStaysWhatItWas) {
  Bench bench;
  Rng rng(5);
  const auto forge = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const Address from{IpAddress::ipv4(static_cast<std::uint32_t>(rng.next()) & 0x0fffffff), 5000};
      Other forged{.bench = bench, .name = "forged", .at = from, .id = rng.next() | 1};
      const auto bytes = forged.make({.type = Type::announcement});
      bench.node.input({.data = bytes, .route = {from, group, 2, Door::shared}, .to_group = true}, bench.now);
      if (i % 20 == 0) bench.settle(), bench.sent.clear();
      bench.now += 50us;
    }
  };
  forge(10'000);
  const std::size_t before = allocated();
  forge(100'000);
  EXPECT_LE(allocated(), before + 64 * 1024);
}

// Somebody who really has an address can answer for any number of identities there, up to the bound; others still get in.
TEST(BeaconNode, PeersAtOneAddressAreBounded) {
  BeaconOptions options = options_of("self");
  options.most_peers = 20;
  options.most_peers_at_one_address = 10;
  Bench bench(options);
  const auto join = [&](std::uint64_t id, std::uint8_t host) {
    Other other{.bench = bench, .name = "other", .at = Address{IpAddress::ipv4(10, 0, 0, host), static_cast<std::uint16_t>(5000 + id)}, .id = id};
    other.join();
  };
  for (std::uint64_t id = 100; id < 115; ++id) join(id, 7);
  EXPECT_EQ(bench.node.peers(bench.now).size(), 10U);
  EXPECT_EQ(bench.dropped(Drop::address_full), 5U);
  bench.take_events();
  for (std::uint64_t id = 200; id < 225; ++id) join(id, static_cast<std::uint8_t>(id));
  EXPECT_EQ(bench.node.peers(bench.now).size(), 20U);
  // The crowd makes room, as long as it is four times as many; who came alone does not.
  EXPECT_EQ(bench.dropped(Drop::peer_displaced), 7U);
  EXPECT_EQ(bench.dropped(Drop::peers_full), 8U);
}

// Who has one IPv6 address has all of its /64.
TEST(BeaconNode, ACrowdInOnePrefixMakesRoom) {
  BeaconOptions options = options_of("self");
  options.most_peers = 20;
  Bench bench(options);
  const auto join = [&](std::uint64_t id, const std::string& at) {
    Other other{.bench = bench, .name = "other", .at = Address{IpAddress::parse(at).value(), 5000}, .id = id};
    other.join();
  };
  for (std::uint64_t id = 100; id < 120; ++id) join(id, "2001:db8::" + std::to_string(id));
  join(8, "2001:db8::8");
  EXPECT_EQ(bench.dropped(Drop::peers_full), 1U);
  join(9, "2001:db8:0:1::9");
  EXPECT_EQ(bench.dropped(Drop::peer_displaced), 1U);
  EXPECT_EQ(bench.node.peers(bench.now).front().id, 9U);
}

// Without a key nobody is believed for an hour because he says so.
TEST(BeaconNode, LongLifetimesNeedAKey) {
  for (const bool has_key : {false, true}) {
    BeaconOptions options = options_of("self");
    if (has_key) options.authenticator = with_key(1);
    Bench bench(options);
    Other other{.bench = bench, .name = "other", .lifetime = 3'600'000, .authenticator = options.authenticator};
    other.join();
    bench.run_for(31s);
    EXPECT_EQ(bench.take_events(), has_key ? "joined other" : "joined other, expired other");
  }
}

// Sixty-four of one address, each of a very short lifetime, that ask as often as they may: this beacon still announces itself, still answers others,
// and says little more than it hears.
TEST(BeaconNode, ACrowdOfPeersDoesNotStarveTheOthers) {
  Bench bench;
  std::vector<Other> crowd;
  for (std::uint64_t i = 0; i < 64; ++i) {
    crowd.push_back({.bench = bench, .name = "crowd", .at = Address{IpAddress::ipv4(10, 66, 6, 6), 5000}, .id = 100 + i, .lifetime = 200});
  }
  Other honest{.bench = bench, .name = "honest"};
  honest.join();
  bench.run_for(3s);
  bench.sent.clear();
  std::size_t asked = 0, answered = 0, announced = 0, datagrams = 0;
  for (int step = 1; step <= 10'000; ++step) {
    bench.run_for(1ms);
    Other& one = crowd[static_cast<std::size_t>(step) % 64];
    one.send(one.make({.type = Type::announcement, .nonce = 7}, 60), false);
    if (step % 500 == 0) honest.send(honest.make({.type = Type::announcement, .nonce = 5}, 400), false), ++asked;
    for (const Sent& sent : bench.sent) {
      datagrams += sent.to_group ? 0 : 1;
      announced += sent.to_group ? 1 : 0;
      answered += sent.route.peer == honest.at && sent.header.echo == 5 ? 1 : 0;
    }
    for (const Sent& question : std::exchange(bench.sent, {})) {
      if (question.route.peer != one.at || question.header.nonce == 0) continue;
      one.send(one.make({.type = Type::announcement, .echo = question.header.nonce}), false);
    }
    bench.sent.clear();
  }
  EXPECT_GT(bench.node.peers(bench.now).size(), 10U);
  EXPECT_EQ(answered, asked);
  EXPECT_GE(announced, 3U);
  EXPECT_LE(datagrams, 10'000U / 2);
}

TEST(BeaconNode, APeerThatSaysTooMuch) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  for (int i = 0; i < 10'000; ++i) {
    other.profile.metadata = {{"count", std::to_string(i)}};
    other.announce();
  }
  EXPECT_GT(bench.dropped(Drop::too_fast), 9'900U);
  EXPECT_LT(bench.events.size(), 100U);
}

TEST(BeaconNode, NobodyTakesTheNews) {
  BeaconOptions options = options_of("self");
  options.most_peers = 4;
  Bench bench(options);
  for (std::uint64_t id = 100; id < 120; ++id) {
    Other other{.bench = bench, .name = "other", .at = Address{IpAddress::ipv4(10, 0, 0, static_cast<std::uint8_t>(id)), 5000}, .id = id};
    const auto hear = [&](const std::vector<std::byte>& bytes, bool to_group) {
      bench.node.input({.data = bytes, .route = {other.at, to_group ? group : home.ip, 2, Door::own}, .to_group = to_group}, bench.now);
    };
    hear(other.make({.type = Type::announcement}), true);
    bench.now += 30ms;
    bench.node.advance(bench.now);
    std::uint64_t nonce = 0;
    while (const auto out = bench.node.output(bench.now)) {
      if (out->route.peer == other.at) nonce = parse_message(out->data)->header.nonce;
    }
    hear(other.make({.type = Type::announcement, .echo = nonce}), false);
    hear(other.make({.type = Type::leave}), true);
  }
  bench.settle();
  EXPECT_EQ(bench.events.size(), 8U) << "twice as many as there is room for peers";
  EXPECT_EQ(bench.dropped(Drop::event_lost), 32U);
}

// RFC 8085 6: whoever forges a question gets for somebody else at most three times the bytes.
TEST(BeaconNode, AnswersAreNotMuchLargerThanQuestions) {
  BeaconOptions options = options_of("self");
  options.metadata = {{"text", std::string(500, 'x')}};
  Bench bench(options);
  bench.run_for(1s);
  const std::size_t answer_size = bench.take({group, beacon_port}).at(0).bytes.size();
  Other other{.bench = bench, .name = "o"};
  for (std::size_t least = 0; least <= 500; least += 10) {
    for (const Type type : {Type::query, Type::announcement}) {
      bench.sent.clear();
      other.at.port++;
      const auto question = other.make({.type = type, .nonce = 5}, least);
      other.send(question, false);
      std::size_t bytes = 0;
      for (const Sent& answer : bench.take(other.at)) bytes += answer.bytes.size();
      EXPECT_LE(bytes, 3 * question.size());
      EXPECT_EQ(bytes > 0, answer_size <= 3 * question.size()) << question.size();
    }
    bench.now += 1s;
  }
  EXPECT_GT(bench.dropped(Drop::answer_too_large), 20U);
}

TEST(BeaconNode, QuestionsByMulticastAreAnsweredByMulticastAndNotOften) {
  Bench bench;
  bench.run_for(10s);
  bench.sent.clear();
  Other other{.bench = bench, .name = "o"};
  for (int i = 0; i < 1000; ++i) {
    other.id = 100 + static_cast<std::uint64_t>(i);
    other.send(other.make({.type = Type::query, .flags = flag_query, .nonce = 5}), true);
    bench.run_for(3ms);
  }
  EXPECT_TRUE(bench.take(other.at).empty());
  EXPECT_LE(bench.take({group, beacon_port}).size(), 4U);
}

TEST(BeaconNode, QuestionsByUnicastAreLimited) {
  Bench bench;
  Other other{.bench = bench, .name = "o"};
  for (int i = 0; i < 2000; ++i) other.send(other.make({.type = Type::query, .nonce = 5}, 400), false);
  EXPECT_EQ(bench.take(other.at).size(), 256U);
  EXPECT_EQ(bench.dropped(Drop::answer_limit), 2000U - 256);
}

TEST(BeaconNode, TellsWhatChanged) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  bench.run_for(11s);
  other.announce(false);
  bench.run_for(30ms);
  other.answer();
  bench.run_for(11s);
  bench.sent.clear();
  ASSERT_EQ(bench.node.update({.roles = {"new"}, .addresses = {}, .metadata = {}}, bench.now).error().code, 0);
  bench.settle();
  const auto told = bench.take({group, beacon_port});
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(profile_of(parse_message(told[0].bytes).value()).roles, std::vector<std::string>{"new"});
  EXPECT_EQ(bench.node.update({.roles = {std::string(99, 'a')}, .addresses = {}, .metadata = {}}, bench.now).error().code, EINVAL);
  bench.run_for(1200ms);
  EXPECT_EQ(bench.take({group, beacon_port}).size(), 2U);
}

TEST(BeaconNode, AChangeAtTheStartDoesNotKeepItFromAsking) {
  Bench bench;
  ASSERT_TRUE(bench.node.update({.roles = {"new"}, .addresses = {}, .metadata = {}}, bench.now));
  bench.run_for(2s);
  for (const Sent& each : bench.take({group, beacon_port})) EXPECT_EQ(each.header.flags, flag_query);
}

TEST(BeaconNode, ManyChangesAreToldTogether) {
  Bench bench;
  bench.run_for(2s);
  bench.sent.clear();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(bench.node.update({.roles = {}, .addresses = {}, .metadata = {{"count", std::to_string(i)}}}, bench.now));
    bench.run_for(1ms);
  }
  bench.run_for(50ms);
  const auto told = bench.take({group, beacon_port});
  EXPECT_TRUE(told.size() >= 19 && told.size() <= 22) << told.size();
  EXPECT_EQ(profile_of(parse_message(told.back().bytes).value()).metadata.at(0).second, "999");
}

TEST(BeaconNode, SaysGoodbyeThreeTimes) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  bench.sent.clear();
  bench.node.leave(bench.now);
  bench.run_for(100ms);
  EXPECT_TRUE(bench.node.has_left());
  const auto said = bench.take({group, beacon_port});
  ASSERT_EQ(said.size(), 3U);
  EXPECT_EQ(said[2].header.type, Type::leave);
  other.announce();
  bench.run_for(10s);
  EXPECT_TRUE(bench.sent.empty());
}

TEST(BeaconNode, AnObserverSaysNothingOfItself) {
  Bench bench(options_of(""));
  Other other{.bench = bench, .name = "other"};
  other.join();
  bench.run_for(20s);
  for (const Sent& each : bench.sent) EXPECT_EQ(each.header.type, Type::query);
  EXPECT_EQ(bench.take({group, beacon_port}).size(), 3U) << "who is there";
}

TEST(BeaconNode, HintsFromWhoIsNoSeed) {
  Bench bench;
  Other other{.bench = bench, .name = "other"};
  other.join();
  bench.run_for(100ms);
  bench.sent.clear();
  const Hint victim{9, 9, Address::parse("10.9.9.9:9").value()};
  std::span<const Hint> hints(&victim, 1);
  std::vector<std::byte> body;
  append_hints(body, hints, 1000);
  std::array<std::byte, most_bytes> room;
  const auto bytes = emit_message({.type = Type::hints, .id = 7, .incarnation = 70, .sequence = ++other.sequence}, {body, 0, 0}, {}, 0, 0, room);
  other.send({bytes.begin(), bytes.end()}, false);
  bench.run_for(1s);
  EXPECT_EQ(bench.dropped(Drop::hint_unasked), 1U);
  EXPECT_TRUE(bench.take(victim.address).empty());
}

// A seed that means harm, or whom somebody speaks for, names one address many times, and many ports of one host.
TEST(BeaconNode, HintsReflectLittle) {
  BeaconOptions options = options_of("self");
  options.seeds = {Address::parse("10.0.0.5:65437").value()};
  Bench bench(options);
  Other seed{.bench = bench, .name = "seed", .at = options.seeds[0], .id = 5};
  bench.settle();
  ASSERT_EQ(seed.answer(), 1U);
  std::size_t heard = 0, said = 0;
  for (const bool many_ports : {false, true}) {
    std::vector<Hint> all;
    for (std::uint16_t i = 0; i < 30; ++i) {
      all.push_back({900U + i, 1, {IpAddress::ipv4(203, 0, 113, many_ports ? 10 : 9), static_cast<std::uint16_t>(many_ports ? 1000 + i : 53)}});
    }
    std::span<const Hint> hints(all);
    std::vector<std::byte> body;
    append_hints(body, hints, 1100);
    std::array<std::byte, most_bytes> room;
    const Header header{.type = Type::hints, .id = 5, .incarnation = 70, .sequence = ++seed.sequence, .lifetime = 10'000};
    const auto bytes = emit_message(header, {body, 0, 0}, {}, 0, 0, room);
    heard += bytes.size();
    seed.send({bytes.begin(), bytes.end()}, false);
  }
  bench.run_for(5s);
  for (const Sent& sent : bench.sent) said += sent.route.peer.ip.number() >> 8 == 0xcb0071 ? sent.bytes.size() : 0;
  EXPECT_TRUE(said > 0 && said <= 3 * heard) << said;
}

TEST(BeaconNode, ALinkLocalAddressIsOnTheLinkByWhichItsOwnerIsHeard) {
  Bench bench;
  const Address announced{IpAddress::parse("fe80::7").value(), 99, 0};
  Other other{.bench = bench, .name = "other", .profile = {.roles = {}, .addresses = {announced}, .metadata = {}}};
  other.join();
  EXPECT_EQ(bench.node.peers(bench.now).at(0).profile.addresses.at(0).scope, 2U);
}

TEST(BeaconNode, OptionsOutOfTheirBounds) {
  const auto code = [](auto change) {
    BeaconOptions options = options_of("a");
    change(options);
    return check_options(options).error().code;
  };
  EXPECT_EQ(code([](auto&) {}), 0);
  EXPECT_EQ(code([](auto& o) { o.groups = {IpAddress::ipv4(10, 0, 0, 1)}; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.port = 0; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.groups = {group, group}; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.groups = {group}, o.multicast = false; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.interfaces = {"lo"}, o.multicast = false; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.interval = std::chrono::milliseconds(10); }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.lifetime = std::chrono::milliseconds(5000); }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.seeds = {Address{group, 1}}; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.most_peers = 0; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.name = "", o.multicast = false; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.authenticator = [](std::span<const std::byte>) { return BeaconTag{.bytes = {}, .size = 8}; }; }), EINVAL);
  EXPECT_EQ(code([](auto& o) { o.metadata = {{"k", std::string(513, 'v')}}; }), EINVAL);
}

}  // namespace
}  // namespace gannet::beacon
