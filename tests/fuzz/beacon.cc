// Any datagrams, with and without a key: what is parsed means the same after it was emitted; and a beacon that hears them keeps its bounds, says only
// what itself understands, and to nobody unknown more than three times the bytes that came.
//
// The input is a row of datagrams, each behind an octet that says from whom and how it comes and how much later, and one with its size; where a
// beacon has asked, an octet can put the nonce into the echo, which a fuzzer does not guess.
#include "beacon/message.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/hash.h"
#include "beacon/node.h"
#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::beacon;

namespace {

constexpr std::size_t most_peers = 4;
const IpAddress group = IpAddress::ipv4(239, 255, 71, 66);

BeaconTag tag_of(std::span<const std::byte> message) {
  BeaconTag tag{.bytes = {}, .size = 16};
  const std::uint64_t hash = siphash({1, 2}, message);
  for (std::size_t i = 0; i < 16; ++i) tag.bytes[i] = static_cast<std::byte>(hash >> (i % 8 * 8) & 0xff);
  return tag;
}

void check_message(std::span<const std::byte> bytes) {
  const auto message = parse_message(bytes);
  if (!message) return;
  for (const auto view : {message->entries, message->body, message->proven, message->tag}) EXPECT(fuzz::within(view, bytes));
  const Profile profile = profile_of(*message);
  const auto body = body_of(message->realm, message->name, profile);
  std::size_t hints = 0;
  Hints reader(*message);
  while (reader.next()) ++hints;
  EXPECT(hints <= most_bytes / 18);
  if (!body) {
    EXPECT(body.error().code == EMSGSIZE);  // without a tag there is room for a little more
    return;
  }
  std::array<std::byte, most_bytes> room;
  const auto emitted = emit_message(message->header, {*body, message->realm.size(), message->name.size()}, {}, 0, bytes.size(), room);
  const auto again = parse_message(emitted);
  EXPECT(again && again->header == message->header && again->realm == message->realm && again->name == message->name);
  EXPECT(profile_of(*again) == profile);
}

// A beacon and the addresses from which it hears.
class Listener {
 public:
  explicit Listener(bool has_key) : has_key_(has_key), node_(options_of(has_key), {1, 2}, 40'000, now_) {
    const Link link{.group = group, .interface = 2, .name = "eth0"};
    node_.set_links({&link, 1}, now_);
    settle();
  }

  void hear(std::uint8_t how, std::span<const std::byte> data) {
    const Address from{IpAddress::ipv4(10, 0, 0, static_cast<std::uint8_t>(2 + (how & 3))),
                       static_cast<std::uint16_t>((how & 4) != 0 ? beacon_port : 5000)};
    const bool to_group = (how & 8) != 0;
    fuzz::Bytes bytes(data.begin(), data.end());
    if ((how & 16) != 0 && bytes.size() >= header_size) {
      if (nonces_[from] != 0) proven_.insert(from.ip);
      for (std::size_t i = 0; i < 8; ++i) bytes[40 + i] = static_cast<std::byte>(nonces_[from] >> (56 - 8 * i) & 0xff);
    }
    if (has_key_ && bytes.size() <= most_bytes - 16 && bytes.size() > 5) {
      bytes[5] = std::byte{16};
      const BeaconTag tag = tag_of(bytes);
      bytes.insert(bytes.end(), tag.bytes.begin(), tag.bytes.begin() + 16);
    }
    check_message(bytes);
    if (const auto message = parse_message(bytes)) {
      Hints hints(*message);
      while (const auto hint = hints.next()) hinted_.insert(hint->address);
    }
    now_ += std::array<Duration, 4>{0ms, 30ms, 2s, 1h}[how >> 6];
    heard_[from] += bytes.size();
    node_.input({.data = bytes, .route = {from, to_group ? group : IpAddress::ipv4(10, 0, 0, 1), 2, Door::own}, .to_group = to_group}, now_);
    settle();
  }

 private:
  static BeaconOptions options_of(bool has_key) {
    BeaconOptions options{.name = "self", .seeds = {Address{IpAddress::ipv4(10, 0, 0, 5), beacon_port}}, .most_peers = most_peers, .id = 1};
    options.most_peers_at_one_address = 2;
    if (has_key) options.authenticator = tag_of;
    return options;
  }

  void settle() {
    node_.advance(now_);
    while (const auto out = node_.output(now_)) {
      const auto message = parse_message(out->data);
      EXPECT(message && (!has_key_ || is_proven(*message, tag_of)));
      const Address& to = out->route.peer;
      if (message->header.nonce != 0) nonces_[to] = message->header.nonce;
      if (out->path == nullptr) said_[to] += out->data.size();
      // To one whose host proved to be there, and where a seed sent it, as it needs; to a stranger no more than this.
      EXPECT(proven_.contains(to.ip) || hinted_.contains(to) || !heard_.contains(to) || said_[to] <= 3 * heard_[to]);
      node_.sent(*out, 0);
    }
    while (const auto event = node_.take_news(now_)) EXPECT(event->peer.id != 0 && event->peer.id != 1 && !event->peer.name.empty());
    const auto peers = node_.peers(now_);
    EXPECT(peers.size() <= most_peers);
    for (const Peer& peer : peers) {
      EXPECT(peer.paths.size() <= 8);
      for (const PeerPath& path : peer.paths) EXPECT(proven_.contains(path.source.ip));
    }
    EXPECT(node_.next_wakeup(now_) > now_ || node_.drops()[Drop::send_queue_full] > 0);
  }

  bool has_key_;
  Time now_ = Time(1h);
  Node node_;
  std::map<Address, std::uint64_t> nonces_;
  std::map<Address, std::size_t> heard_, said_;
  std::set<IpAddress> proven_;
  std::set<Address> hinted_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto rest = fuzz::input(data, size);
  check_message(rest);
  if (rest.empty()) return 0;
  Listener listener((data[0] & 1) != 0);
  rest = rest.subspan(1);
  while (rest.size() > 2) {
    const auto how = std::to_integer<std::uint8_t>(rest[0]);
    const std::size_t length = std::min(rest.size() - 2, 4 * std::to_integer<std::size_t>(rest[1]));
    listener.hear(how, rest.subspan(2, length));
    rest = rest.subspan(2 + length);
  }
  return 0;
}
