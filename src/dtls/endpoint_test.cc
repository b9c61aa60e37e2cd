#include "dtls/endpoint.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <deque>
#include <map>
#include <string>

#include "base/rng.h"
#include "dtls/association.h"

// OpenSSL asks the system for the time when it wonders whether to send again. Here time is a number, for it as well.
namespace {
gannet::Time present{std::chrono::hours(1)};
std::chrono::nanoseconds clock_was_set{0};  // by how much the system's clock has been put off
}  // namespace
// What is allocated, by OpenSSL (which can be told how, once) and by us.
namespace {
std::size_t allocations = 0;
const int counts_openssl =
    CRYPTO_set_mem_functions([](std::size_t size, const char*, int) { return ++allocations, std::malloc(size); },
                             [](void* at, std::size_t size, const char*, int) { return ++allocations, std::realloc(at, size); },
                             [](void* at, const char*, int) { std::free(at); });
}  // namespace
void* operator new(std::size_t size) { return ++allocations, std::malloc(size); }
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, std::size_t /*size*/) noexcept { std::free(at); }

extern "C" int gettimeofday(timeval* into, void* /*zone*/) noexcept {
  const auto now = present.time_since_epoch() + clock_was_set;
  into->tv_sec = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  into->tv_usec = std::chrono::duration_cast<std::chrono::microseconds>(now % std::chrono::seconds(1)).count();
  return 0;
}

namespace gannet::dtls {
namespace {

const Address client_address{IpAddress::ipv4(192, 0, 2, 1), 40'000};
const Address server_address{IpAddress::ipv4(192, 0, 2, 2), 4433};

DtlsIdentity identity(const char* name) {
  static std::map<std::string, DtlsIdentity> made;
  if (!made.contains(name)) made[name] = DtlsIdentity::self_signed(name).value();
  return made[name];
}

DtlsOptions server_options() { return {.identity = identity("server"), .accept = true}; }
DtlsOptions client_options() { return {.fingerprints = {identity("server").fingerprint().value()}}; }

PreSharedKey shared_key(const std::string& name, char octet) { return {name, std::vector<std::byte>(32, static_cast<std::byte>(octet))}; }

// Endpoints on a network where each datagram takes 10 ms, and some are lost, doubled or late, as the test says.
class World : public ::testing::Test {
 protected:
  struct Node {
    Address address;
    Endpoint endpoint;
    std::vector<std::string> heard{};
    std::vector<DtlsEvent> events{};

    Node(const Address& at, DtlsOptions options) : address(at), endpoint(Context::create(std::move(options)).value(), HashKey{1, 2}, present) {}
    [[nodiscard]] bool is_open(const Node& with) const { return endpoint.find(with.address) != nullptr; }
    [[nodiscard]] Error last_error() const { return events.empty() ? Error{0, nullptr} : events.back().why; }
    void say(const Node& to, std::string_view text) {
      const Outgoing datagram{.data = bytes_of(text)};
      endpoint.send(to.address, datagram, endpoint.outbox()).value();
    }
  };
  struct Flying {
    Time due;
    Address from, to;
    std::vector<std::byte> bytes;
  };

  World() { clock_was_set = 0ns; }

  Node& add(const Address& address, DtlsOptions options) { return *nodes_.emplace_back(std::make_unique<Node>(address, std::move(options))); }
  Node& add_server(DtlsOptions options = server_options()) { return add(server_address, std::move(options)); }
  Node& add_client(DtlsOptions options = client_options()) { return add(client_address, std::move(options)); }

  void collect(Node& node) {
    for (const Outgoing& datagram : node.endpoint.outbox().batch()) {
      ++sent_;
      largest_ = std::max(largest_, datagram.data.size());
      if (rng_.chance(loss)) continue;
      std::vector<std::byte> bytes(datagram.data.begin(), datagram.data.end());
      const Duration late = rng_.chance(reorder) ? 15ms : 0ms;
      if (rng_.chance(duplicate)) flying_.push_back({present + 25ms, node.address, datagram.to, bytes});
      flying_.push_back({present + 10ms + late, node.address, datagram.to, std::move(bytes)});
    }
    node.endpoint.outbox().clear();
    std::array<std::byte, 17'000> buffer{};
    while (!node.endpoint.inbox().is_empty()) {
      Datagram datagram{.buffer = buffer};
      node.endpoint.inbox().take(datagram, false);
      node.heard.emplace_back(text_of(datagram.data));
    }
    for (DtlsEvent& event : node.endpoint.take_events()) node.events.push_back(std::move(event));
  }

  // Until nothing flies and nothing is due within `limit` from now.
  void run(Duration limit = 60s) {
    const Time end = present + limit;
    for (;;) {
      for (const auto& node : nodes_) collect(*node);
      Time next = never;
      for (const Flying& each : flying_) next = std::min(next, each.due);
      for (const auto& node : nodes_) next = std::min(next, node->endpoint.next_wakeup());
      if (next > end) break;
      present = std::max(present, next);
      for (const auto& node : nodes_) node->endpoint.advance(present);
      std::vector<Flying> arrived;
      std::erase_if(flying_, [&](Flying& each) { return each.due <= present && (arrived.push_back(std::move(each)), true); });
      for (const Flying& each : arrived) arrive(each);
    }
    present = end;
  }
  void arrive(const Flying& flying) {
    for (const auto& node : nodes_) {
      if (node->address == flying.to) give(*node, flying.from, flying.bytes);
    }
  }
  void give(Node& node, const Address& from, std::vector<std::byte> bytes) {
    node.endpoint.input(Datagram{.data = bytes, .length = bytes.size(), .peer = from, .local = node.address}, present);
  }
  // The first datagram of a client that is no node.
  std::vector<std::byte> client_hello(DtlsOptions options = client_options()) {
    Node alone({IpAddress::ipv4(192, 0, 2, 77), 7}, std::move(options));
    alone.endpoint.connect(server_address, present).value();
    const auto first = alone.endpoint.outbox().batch().front().data;
    return {first.begin(), first.end()};
  }

  double loss = 0, reorder = 0, duplicate = 0;
  std::uint64_t sent_ = 0;
  std::size_t largest_ = 0;
  std::deque<Flying> flying_;

 private:
  Rng rng_{6347};
  std::vector<std::unique_ptr<Node>> nodes_;
};

TEST_F(World, ShakesHandsByFingerprintAndTalks) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  ASSERT_TRUE(client.is_open(server) && server.is_open(client)) << client.last_error().message();
  client.say(server, "there");
  server.say(client, "and back");
  run(1s);
  EXPECT_EQ(server.heard, std::vector<std::string>{"there"});
  EXPECT_EQ(client.heard, std::vector<std::string>{"and back"});
  const DtlsPeer peer = client.endpoint.find(server.address)->peer();
  EXPECT_EQ(peer.identity, "server");
  EXPECT_EQ(peer.fingerprint, identity("server").fingerprint().value());
  EXPECT_TRUE(peer.answers_keepalives);
  EXPECT_FALSE(peer.began);
  EXPECT_TRUE(server.endpoint.find(client.address)->peer().began);
  EXPECT_EQ(server.endpoint.find(client.address)->peer().fingerprint, std::nullopt);
}

TEST_F(World, BelievesNoOtherFingerprint) {
  Node& server = add_server({.identity = identity("mallory"), .accept = true});
  Node& client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  EXPECT_FALSE(client.is_open(server) || server.is_open(client));
  EXPECT_EQ(client.last_error().code, EACCES);
  EXPECT_EQ(server.last_error().code, ECONNABORTED) << server.last_error().message();
}

TEST_F(World, DemandsACertificateWhereItTrustsByThem) {
  DtlsOptions strict = server_options();
  strict.fingerprints = {identity("client").fingerprint().value()};
  Node &server = add_server(strict), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  EXPECT_FALSE(client.is_open(server) || server.is_open(client));
  EXPECT_EQ(client.last_error().code, ECONNABORTED);

  DtlsOptions known = client_options();
  known.identity = identity("client");
  Node& good = add({client_address.ip, 40'001}, known);
  good.endpoint.connect(server.address, present).value();
  run(1s);
  EXPECT_TRUE(good.is_open(server) && server.is_open(good)) << good.last_error().message();
  EXPECT_EQ(server.endpoint.find(good.address)->peer().identity, "client");
}

TEST_F(World, SharedKeys) {
  Node& server = add_server({.pre_shared_keys = {shared_key("lamp", 1), shared_key("door", 2)}, .accept = true});
  Node& client = add_client({.pre_shared_keys = {shared_key("door", 2)}});
  client.endpoint.connect(server.address, present).value();
  run(1s);
  ASSERT_TRUE(client.is_open(server) && server.is_open(client)) << client.last_error().message();
  EXPECT_EQ(server.endpoint.find(client.address)->peer().identity, "door");

  Node& stranger = add({client_address.ip, 40'001}, {.pre_shared_keys = {shared_key("cat", 2)}});
  Node& guesser = add({client_address.ip, 40'002}, {.pre_shared_keys = {shared_key("lamp", 2)}});
  stranger.endpoint.connect(server.address, present).value();
  guesser.endpoint.connect(server.address, present).value();
  run(60s);
  EXPECT_FALSE(stranger.is_open(server) || server.is_open(stranger));
  EXPECT_EQ(stranger.last_error().code, ECONNABORTED) << stranger.last_error().message();
  EXPECT_FALSE(guesser.is_open(server) || server.is_open(guesser));
  EXPECT_NE(guesser.last_error().code, 0);
  EXPECT_EQ(server.endpoint.peer_count(), 1);
}

// A certificate of its own opens no door into a server that believes keys alone.
TEST_F(World, WhoHasKeysBelievesKeysAlone) {
  Node& server = add_server({.identity = identity("server"), .pre_shared_keys = {shared_key("lamp", 1)}, .accept = true});
  DtlsOptions without = client_options();
  without.identity = identity("mallory");
  Node& intruder = add_client(without);
  intruder.endpoint.connect(server.address, present).value();
  run(31s);
  EXPECT_FALSE(intruder.is_open(server) || server.is_open(intruder));

  Node& friendly = add({client_address.ip, 40'001}, {.identity = identity("client"), .pre_shared_keys = {shared_key("lamp", 1)}});
  friendly.endpoint.connect(server.address, present).value();
  run(1s);
  ASSERT_TRUE(friendly.is_open(server)) << friendly.last_error().message();
  EXPECT_EQ(friendly.endpoint.find(server.address)->peer().cipher, "ECDHE-PSK-CHACHA20-POLY1305") << "the one with forward secrecy";

  DtlsOptions either = server_options();
  either.pre_shared_keys = {shared_key("lamp", 1)};
  either.fingerprints = {identity("client").fingerprint().value()};
  Node& both = add({server_address.ip, 4434}, either);
  DtlsOptions by_certificate = client_options();
  by_certificate.identity = identity("client");
  Node& shows = add({client_address.ip, 40'002}, by_certificate);
  shows.endpoint.connect(both.address, present).value();
  friendly.endpoint.connect(both.address, present).value();
  run(1s);
  EXPECT_TRUE(both.is_open(shows) && both.is_open(friendly));
}

// RFC 6347 4.2.4: lost flights are sent again, one second later and then twice that, however many pieces they have.
TEST_F(World, ShakesHandsThroughLossAndDisorder) {
  for (const std::size_t mtu : {320u, 576u, 1280u}) {
    for (int round = 0; round < 20; ++round) {
      loss = 0.2, reorder = 0.2, duplicate = 0.1;
      DtlsOptions at_server = server_options(), at_client = client_options();
      at_server.mtu = at_client.mtu = mtu;
      at_server.handshake_timeout = at_client.handshake_timeout = 120s;
      at_server.fingerprints = {identity("client").fingerprint().value()};
      at_client.identity = identity("client");
      const auto port = static_cast<std::uint16_t>(1000 + round);
      Node& server = add({IpAddress::ipv4(198, 51, 100, static_cast<std::uint8_t>(mtu / 10)), port}, at_server);
      Node& client = add({client_address.ip, static_cast<std::uint16_t>(mtu + port)}, at_client);
      client.endpoint.connect(server.address, present).value();
      run(120s);
      EXPECT_TRUE(client.is_open(server) && server.is_open(client)) << "MTU " << mtu << ", round " << round << ": " << client.last_error().message();
      loss = reorder = duplicate = 0;
      server.endpoint.close_all();
      client.endpoint.close_all();
      run(1s);
    }
    EXPECT_LE(largest_, mtu - 28);
  }
}

// A ClientHello in pieces, of which only the first shows a cookie.
TEST_F(World, AcceptsAClientHelloInPieces) {
  DtlsOptions at_server = server_options(), at_client = client_options();
  at_client.mtu = 320;
  at_client.server_name = std::string(60, 'x') + "." + std::string(60, 'y') + ".example";
  Node &server = add_server(at_server), &client = add_client(at_client);
  client.endpoint.connect(server.address, present).value();
  EXPECT_GE(client.endpoint.outbox().size(), 2) << "it was to be in pieces";
  run(1s);
  EXPECT_TRUE(client.is_open(server) && server.is_open(client)) << client.last_error().message();
  EXPECT_EQ(server.endpoint.dropped(Drop::dtls_hello_fragment), 1) << "of the first, without a cookie";
}

TEST_F(World, NobodyThere) {
  Node& client = add_client();
  client.endpoint.connect(server_address, present).value();
  run(29s);
  EXPECT_EQ(sent_, 5) << "at once, and after 1, 3, 7 and 15 s";
  EXPECT_TRUE(client.events.empty());
  run(2s);
  EXPECT_EQ(client.last_error().code, ETIMEDOUT);
  EXPECT_EQ(client.endpoint.next_wakeup(), never);
}

// Where somebody sets the system's clock, by which OpenSSL counts, hands are shaken all the same.
TEST_F(World, TheSystemsClockIsSet) {
  for (const auto by : {Duration(-1h), Duration(1h)}) {
    Node& server = add({server_address.ip, static_cast<std::uint16_t>(by > 0s ? 1 : 2)}, server_options());
    Node& client = add({client_address.ip, static_cast<std::uint16_t>(by > 0s ? 1 : 2)}, client_options());
    client.endpoint.connect(server.address, present).value();
    clock_was_set += by;
    run(31s);
    EXPECT_TRUE(client.is_open(server) && server.is_open(client)) << client.last_error().message();
  }
}

// B8, X5: 100,000 ClientHellos from as many addresses: a hash and a shorter answer each, and nothing remembered; a peer is served meanwhile.
TEST_F(World, AFloodOfSpoofedClientHellosAllocatesNothing) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  ASSERT_TRUE(client.is_open(server));
  std::vector<std::byte> hello = client_hello();
  std::uint64_t received = 0, answered = 0;
  const auto flood = [&](std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t i = from; i < to; ++i) {
      server.endpoint.input(Datagram{.data = hello, .length = hello.size(), .peer = {IpAddress::ipv4(0x0a00'0000 + i), 5}, .local = server.address},
                            present);
      received += hello.size();
      if (i % 64 != 63 && i + 1 != to) continue;
      for (const Outgoing& each : server.endpoint.outbox().batch()) answered += each.data.size();
      server.endpoint.outbox().clear();
    }
  };
  ASSERT_EQ(counts_openssl, 1);
  flood(0, 64);
  const std::size_t before = allocations;
  flood(64, 100'000);
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(server.endpoint.peer_count(), 1);
  EXPECT_LT(answered, received) << "less goes out to an address that is not validated than came from it";
  client.say(server, "still there?");
  run(1s);
  EXPECT_EQ(server.heard.size(), 1);
}

// A cookie is for one address, and for a minute or two.
TEST_F(World, CookiesOfOthersAndOldOnes) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  collect(client);
  present += 10ms;
  arrive(flying_.front());
  flying_.clear();
  collect(server);
  present += 10ms;
  arrive(flying_.front());
  flying_.clear();
  ASSERT_EQ(client.endpoint.outbox().size(), 1);
  const auto with_cookie = client.endpoint.outbox().batch().front().data;
  const std::vector<std::byte> hello(with_cookie.begin(), with_cookie.end());
  give(server, {client_address.ip, 40'001}, hello);
  give(server, {IpAddress::ipv4(192, 0, 2, 3), client_address.port}, hello);
  EXPECT_EQ(server.endpoint.dropped(Drop::dtls_cookie_wrong), 2);
  for (std::size_t at = 60; at < 69; ++at) {
    std::vector<std::byte> forged = hello;
    forged[at] ^= std::byte{1};
    give(server, client_address, forged);
  }
  EXPECT_EQ(server.endpoint.next_wakeup(), never) << "no handshake was begun";
  present += 121s;
  give(server, client_address, hello);
  EXPECT_EQ(server.endpoint.next_wakeup(), never);
  EXPECT_GE(server.endpoint.dropped(Drop::dtls_cookie_wrong), 3);
}

// Half-open handshakes have a bound, a quarter of it for one address; who comes later is served when they have timed out.
TEST_F(World, HalfOpenHandshakesAreCapped) {
  DtlsOptions few = server_options();
  few.most_handshakes = 8;
  Node& server = add_server(few);
  for (std::uint16_t i = 0; i < 5; ++i) {
    Node& client = add({client_address.ip, static_cast<std::uint16_t>(50'000 + i)}, client_options());
    client.endpoint.connect(server.address, present).value();
  }
  // They get their cookies, show them, and are not heard of again.
  for (int flight = 0; flight < 3; ++flight) {
    for (const Flying& each : std::exchange(flying_, {})) arrive(each);
    run(0s);
    present += 10ms;
  }
  loss = 1;
  run(5ms);
  EXPECT_EQ(server.endpoint.dropped(Drop::dtls_handshakes_full), 3) << "two of five have begun";
  loss = 0;
  run(120s);
  Node& late = add({IpAddress::ipv4(203, 0, 113, 9), 9}, client_options());
  late.endpoint.connect(server.address, present).value();
  run(2s);
  EXPECT_TRUE(late.is_open(server));
}

TEST_F(World, NoMorePeersThanWereAllowed) {
  DtlsOptions few = server_options();
  few.most_peers = 3;
  Node& server = add_server(few);
  std::vector<Node*> clients;
  for (std::uint16_t i = 0; i < 4; ++i) {
    clients.push_back(&add({client_address.ip, static_cast<std::uint16_t>(50'000 + i)}, client_options()));
    clients.back()->endpoint.connect(server.address, present).value();
    run(1s);
  }
  EXPECT_EQ(server.endpoint.peer_count(), 3);
  EXPECT_GE(server.endpoint.dropped(Drop::dtls_peers_full), 1);
  clients[0]->endpoint.close_all();
  run(10s);
  EXPECT_TRUE(clients[3]->is_open(server)) << "its next try finds room";
}

// Each is served by its address, and all go when they are silent for too long.
TEST_F(World, TenThousandPeersOfOneServer) {
  constexpr std::uint32_t count = 10'000;
  Node& server = add_server({.pre_shared_keys = {shared_key("many", 1)}, .accept = true});
  const auto carry = [&](Node& from, Node& to) {
    for (const Outgoing& each : from.endpoint.outbox().batch()) give(to, from.address, {each.data.begin(), each.data.end()});
    const bool any = !from.endpoint.outbox().is_empty();
    from.endpoint.outbox().clear();
    return any;
  };
  std::array<std::byte, 64> buffer{};
  for (std::uint32_t i = 0; i < count; ++i) {
    Node client({IpAddress::ipv4(0x0a00'0000 + i / 100), static_cast<std::uint16_t>(1024 + i % 100)}, {.pre_shared_keys = {shared_key("many", 1)}});
    client.endpoint.connect(server.address, present).value();
    while (carry(client, server) || carry(server, client)) {
    }
    const std::string text = std::to_string(i);
    client.say(server, text);
    carry(client, server);
    Datagram heard{.buffer = buffer};
    ASSERT_FALSE(server.endpoint.inbox().is_empty()) << i;
    server.endpoint.inbox().take(heard, false);
    ASSERT_EQ(text_of(heard.data), text);
    ASSERT_EQ(heard.peer, client.address);
  }
  EXPECT_EQ(server.endpoint.peer_count(), count);
  present += 11min;
  server.endpoint.advance(present);
  EXPECT_EQ(server.endpoint.peer_count(), 0);
}

TEST_F(World, ForgeriesCopiesAndOldRecordsAreDropped) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  client.say(server, "once");
  const auto sealed = client.endpoint.outbox().batch().front().data;
  const std::vector<std::byte> record(sealed.begin(), sealed.end());
  run(1s);
  ASSERT_EQ(server.heard.size(), 1);
  give(server, client.address, record);
  Rng rng(1);
  for (int i = 0; i < 500; ++i) {
    std::vector<std::byte> forged = record;
    forged[rng.below(static_cast<std::uint32_t>(forged.size()))] ^= static_cast<std::byte>(1 + rng.below(255));
    give(server, client.address, forged);
    forged.resize(rng.below(static_cast<std::uint32_t>(forged.size())));
    give(server, client.address, forged);
  }
  give(server, {client.address.ip, 9}, record);
  EXPECT_EQ(server.endpoint.dropped(Drop::dtls_no_association), 1);
  EXPECT_GE(server.endpoint.dropped(Drop::dtls_record_rejected), 300);
  run(1s);
  EXPECT_EQ(server.heard.size(), 1);
  client.say(server, "and on");
  run(1s);
  EXPECT_EQ(server.heard.size(), 2);
}

TEST_F(World, Farewell) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  client.endpoint.close(server.address).value();
  run(1s);
  EXPECT_FALSE(client.is_open(server) || server.is_open(client));
  EXPECT_EQ(server.events.back().kind, DtlsEvent::Kind::closed);
  EXPECT_EQ(server.last_error().code, 0);
  EXPECT_EQ(server.endpoint.next_wakeup(), never);
}

// B7: a silent peer is asked, and goes when it does not answer; one that answers stays.
TEST_F(World, KeepalivesTellTheSilentFromTheDead) {
  DtlsOptions careful = server_options();
  careful.keepalive = 20s;
  careful.idle_timeout = 1h;
  Node &server = add_server(careful), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(300s);
  EXPECT_TRUE(server.is_open(client)) << "it answered";
  EXPECT_TRUE(client.heard.empty() && server.heard.empty()) << "no application sees a keepalive";
  loss = 1;
  run(59s);
  EXPECT_TRUE(server.is_open(client)) << "three questions, each 20 s apart";
  run(22s);
  EXPECT_FALSE(server.is_open(client));
  EXPECT_EQ(server.last_error().code, ETIMEDOUT);
}

TEST_F(World, TheIdleGo) {
  DtlsOptions brief = server_options();
  brief.idle_timeout = 30s;
  Node &server = add_server(brief), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(20s);
  client.say(server, "awake");
  run(29s);
  EXPECT_TRUE(server.is_open(client));
  run(2s);
  EXPECT_FALSE(server.is_open(client));
  EXPECT_FALSE(client.is_open(server)) << "it was told";
}

// RFC 6347 4.2.8: who has forgotten us begins anew; what he was before serves until then, and a forged beginning ends nothing.
TEST_F(World, APeerThatBeginsAnew) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  give(server, client.address, client_hello());
  run(1s);
  EXPECT_TRUE(server.is_open(client)) << "a ClientHello without a cookie is anybody's";
  client.say(server, "before");
  run(1s);
  Node reborn(client.address, client_options());
  reborn.endpoint.connect(server.address, present).value();
  for (int flight = 0; flight < 4; ++flight) {
    for (const Outgoing& each : reborn.endpoint.outbox().batch()) give(server, client.address, {each.data.begin(), each.data.end()});
    reborn.endpoint.outbox().clear();
    if (flight == 1) {
      client.say(server, "between");
      const auto sealed = client.endpoint.outbox().batch().front().data;
      give(server, client.address, {sealed.begin(), sealed.end()});
      client.endpoint.outbox().clear();
    }
    for (const Outgoing& each : server.endpoint.outbox().batch()) give(reborn, server.address, {each.data.begin(), each.data.end()});
    server.endpoint.outbox().clear();
    present += 10ms;
  }
  collect(server);
  EXPECT_TRUE(reborn.is_open(server));
  EXPECT_EQ(server.endpoint.peer_count(), 1);
  EXPECT_EQ(server.heard, (std::vector<std::string>{"before", "between"}));
  ASSERT_GE(server.events.size(), 3);
  EXPECT_EQ(server.events[1].why.code, ECONNRESET);
  EXPECT_EQ(server.events[2].kind, DtlsEvent::Kind::connected);
}

// Where one of two that begin at once does not accept, the other's beginning is taken once its own has gone unanswered.
TEST_F(World, BothBeginAndOneAccepts) {
  for (std::uint16_t i = 0; i < 16; ++i) {
    DtlsOptions accepts = server_options();
    accepts.fingerprints = {identity("client").fingerprint().value()};
    DtlsOptions connects = client_options();
    connects.identity = identity("client");
    Node &a = add({server_address.ip, i}, accepts), &b = add({client_address.ip, i}, connects);
    a.endpoint.connect(b.address, present).value();
    b.endpoint.connect(a.address, present).value();
    run(20s);
    EXPECT_TRUE(a.is_open(b) && b.is_open(a)) << i << ": " << a.last_error().message() << ", " << b.last_error().message();
  }
}

TEST_F(World, SomebodyElseHasTheAddressNow) {
  DtlsOptions strict = server_options();
  strict.fingerprints = {identity("one").fingerprint().value(), identity("two").fingerprint().value()};
  Node& server = add_server(strict);
  for (const char* name : {"one", "two"}) {
    DtlsOptions options = client_options();
    options.identity = identity(name);
    Node client(client_address, options);
    client.endpoint.connect(server.address, present).value();
    for (int flight = 0; flight < 5; ++flight) {
      for (const Outgoing& each : client.endpoint.outbox().batch()) give(server, client.address, {each.data.begin(), each.data.end()});
      client.endpoint.outbox().clear();
      for (const Outgoing& each : server.endpoint.outbox().batch()) give(client, server.address, {each.data.begin(), each.data.end()});
      server.endpoint.outbox().clear();
    }
    EXPECT_EQ(server.endpoint.find(client_address)->peer().identity, name);
  }
  collect(server);
  ASSERT_EQ(server.events.size(), 3);
  EXPECT_EQ(server.events[1].kind, DtlsEvent::Kind::closed);
  EXPECT_EQ(server.events[1].peer.identity, "one");
  EXPECT_EQ(server.events[2].peer.identity, "two");
}

// What nobody takes out of the inbox is dropped beyond its bound, and counted.
TEST_F(World, TheInboxHasABound) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  const std::string text(1200, 'x');
  constexpr int count = 5000;
  for (int i = 0; i < count; ++i) {
    client.say(server, text);
    const auto sealed = client.endpoint.outbox().batch().front().data;
    give(server, client.address, {sealed.begin(), sealed.end()});
    client.endpoint.outbox().clear();
  }
  EXPECT_EQ(server.endpoint.dropped(Drop::receive_queue_full), count - Inbox::most_bytes / 1200);
  collect(server);
  EXPECT_EQ(server.heard.size(), Inbox::most_bytes / 1200);
}

TEST_F(World, ClosedBeforeHandsWereShaken) {
  Node& client = add_client();
  client.endpoint.connect(server_address, present).value();
  client.endpoint.close(server_address).value();
  collect(client);
  EXPECT_EQ(client.last_error().code, ECANCELED);
  EXPECT_EQ(client.endpoint.connect({IpAddress::ipv4(239, 1, 2, 3), 9}, present).error().code, EINVAL);
}

TEST_F(World, BothBeginAtOnce) {
  DtlsOptions one = server_options(), two = server_options();
  one.trust_anyone = two.trust_anyone = true;
  two.identity = one.identity = identity("server");
  Node &a = add_server(one), &b = add_client(two);
  a.endpoint.connect(b.address, present).value();
  b.endpoint.connect(a.address, present).value();
  run(5s);
  ASSERT_TRUE(a.is_open(b) && b.is_open(a));
  EXPECT_NE(a.endpoint.find(b.address)->is_server(), b.endpoint.find(a.address)->is_server());
  a.say(b, "one");
  b.say(a, "two");
  run(1s);
  EXPECT_EQ(b.heard.size() + a.heard.size(), 2);
}

TEST_F(World, WhatIsTooLargeIsRefused) {
  Node &server = add_server(), &client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(1s);
  const std::size_t most = client.endpoint.find(server.address)->max_payload();
  EXPECT_LE(most, 1280 - 28 - 13);
  EXPECT_GE(most, 1280 - 28 - 13 - 24);
  const std::string text(most + 1, 'x');
  Outbox& outbox = client.endpoint.outbox();
  EXPECT_EQ(client.endpoint.send(server.address, {.data = bytes_of(text)}, outbox).error().code, EMSGSIZE);
  EXPECT_EQ(client.endpoint.send(server.address, {.data = {}}, outbox).error().code, EINVAL);
  EXPECT_EQ(client.endpoint.send(client.address, {.data = bytes_of("x")}, outbox).error().code, ENOTCONN);
  client.say(server, text.substr(1));
  run(1s);
  EXPECT_EQ(server.heard.size(), 1);
  EXPECT_EQ(largest_, 1252) << "an MTU of 1280 is used to the last byte, and not beyond";
}

TEST_F(World, OnlyWhoAcceptsIsAServer) {
  Node& server = add_server(client_options());
  Node& client = add_client();
  client.endpoint.connect(server.address, present).value();
  run(31s);
  EXPECT_FALSE(client.is_open(server));
  EXPECT_GE(server.endpoint.dropped(Drop::dtls_not_accepting), 4);
}

TEST(Context, OptionsThatAreNotEnough) {
  const auto refused = [](DtlsOptions options) { return Context::create(std::move(options)).error().code; };
  EXPECT_EQ(refused({}), EINVAL);
  EXPECT_EQ(refused({.accept = true}), EINVAL);
  EXPECT_EQ(refused({.pre_shared_keys = {{"x", {}}}}), EINVAL);
  EXPECT_EQ(refused({.trust_anyone = true, .mtu = 100}), EINVAL);
  EXPECT_EQ(refused({.trust_anyone = true, .ciphers = "nonsense"}), EINVAL);
  EXPECT_EQ(refused({.trust_anyone = true, .keepalive = 5s}), EINVAL);
  EXPECT_EQ(refused({.authorities_file = "/nonexistent"}), ENOENT);
  EXPECT_EQ(refused({.pre_shared_keys = {shared_key("x", 1), shared_key("x", 2)}}), EINVAL);
  EXPECT_EQ(refused({.trust_anyone = true, .handshake_timeout = 2h}), EINVAL);
  EXPECT_TRUE(Context::create({.trust_anyone = true}));
}

TEST(Identity, IsKeptAndRead) {
  const DtlsIdentity one = DtlsIdentity::self_signed("one").value();
  const std::string text = one.fingerprint().value().to_string();
  EXPECT_EQ(text.size(), 95);
  EXPECT_EQ(Fingerprint::parse(text).value(), one.fingerprint().value());
  for (const char* wrong : {"", "3F", "zz", "3F:A0:"}) EXPECT_EQ(Fingerprint::parse(wrong).error().code, EINVAL);
  EXPECT_EQ(Fingerprint::parse(text + ":00").error().code, EINVAL);
  EXPECT_EQ(DtlsIdentity().fingerprint().error().code, EINVAL);
  EXPECT_EQ(DtlsIdentity::from_files("/nonexistent", "/nonexistent").error().code, ENOENT);
  EXPECT_TRUE(one.certificate_pem().value().starts_with("-----BEGIN CERTIFICATE-----"));
  EXPECT_TRUE(one.key_pem().value().find("PRIVATE KEY-----") != std::string::npos);
}

// RFC 4231, case 1.
TEST(Hmac, KnownAnswer) {
  const std::vector<std::byte> key(20, std::byte{0x0b});
  const auto tag = hmac_sha256(key).value()(bytes_of("Hi There"));
  EXPECT_EQ(tag.size, 32);
  EXPECT_EQ(tag.bytes[0], std::byte{0xb0});
  EXPECT_EQ(tag.bytes[31], std::byte{0xf7});
  EXPECT_EQ(hmac_sha256({}).error().code, EINVAL);
}

}  // namespace
}  // namespace gannet::dtls
