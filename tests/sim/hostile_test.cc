// Worlds with somebody on the wire who means no good: what it can do to the hosts is what their bounds allow, and what the hosts say to each other
// arrives all the same. The books are compared after each step, as in every world.
#include "sim/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "wire/checksum.h"
#include "wire/igmp.h"
#include "wire/udp.h"

namespace gannet::sim {
namespace {

using Bytes = std::vector<std::byte>;
using wire::ArpOperation;
using wire::Icmp4Type;

constexpr std::size_t ip_at = wire::ethernet_header_size;

// Programs that know each other, as each other's datagrams are expected to arrive.
Mix steady() { return {.reconnect = 0, .reopen = 0, .members_read_late = false}; }

// What a mangler does with a frame.
void flip_bits(Bytes& frame, Rng& rng) {
  for (unsigned left = rng.between(1, 8); left != 0; --left) {
    const auto bit = rng.below(static_cast<std::uint32_t>(frame.size() * 8));
    frame[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
}

// A field of two bytes, a length more often than not, says something else.
void lie(Bytes& frame, Rng& rng) {
  static constexpr std::array<std::size_t, 8> fields = {2, 6, 10, 12, 16, 24, 26, 0};  // of an IPv4 packet and a UDP header behind it
  const std::array<std::uint32_t, 8> values = {0, 7, 8, 24, 0x7fff, 0xffff, static_cast<std::uint32_t>(frame.size()), rng.below(0x10000)};
  const std::size_t at = ip_at + fields[rng.below(fields.size())];
  if (at + 2 > frame.size()) return;
  if (at == ip_at) {
    wire::store_u8(frame, at, static_cast<std::uint8_t>(0x40 | rng.below(16)));
  } else {
    wire::store_be16(frame, at, static_cast<std::uint16_t>(values[rng.below(values.size())]));
  }
}

// Makes checksums right where they can be, so that what is behind them is reached.
void repair(Bytes& frame) {
  if (frame.size() < ip_at + wire::ipv4_header_size + 8) return;
  const std::span packet = std::span(frame).subspan(ip_at);
  const std::size_t header_size = std::clamp<std::size_t>((wire::load_u8(packet, 0) & 0x0fu) * 4u, wire::ipv4_header_size, packet.size() - 8);
  wire::store_be16(packet, 10, 0);
  wire::ChecksumSum header;
  header.add(packet.first(header_size));
  wire::store_be16(packet, 10, header.checksum());

  const std::uint8_t protocol = wire::load_u8(packet, 9);
  const std::size_t total = std::clamp<std::size_t>(wire::load_be16(packet, 2), header_size + 8, packet.size());
  const std::span payload = packet.subspan(header_size, total - header_size);
  if (protocol == wire::protocol_udp) return wire::store_be16(payload, 6, 0);
  wire::store_be16(payload, 2, 0);
  wire::ChecksumSum sum;
  sum.add(payload);
  wire::store_be16(payload, 2, sum.checksum());
}

// Frames that were heard, and what can be made of them.
void mangle(Stranger& stranger, std::size_t largest, bool spares_arp) {
  Rng& rng = stranger.rng;
  const auto heard = stranger.overheard();
  if (spares_arp && heard.size() > ip_at && wire::load_be16(heard, 12) == wire::ethertype_arp) return;
  Bytes frame(heard.begin(), heard.end());
  if (frame.empty() || rng.chance(0.1)) {
    static constexpr std::array<std::uint16_t, 6> types = {0x0800, 0x0806, 0x8100, 0x86dd, 46, 0xffff};
    frame.resize(ip_at + rng.below(static_cast<std::uint32_t>(largest - ip_at)));
    std::ranges::copy(stranger.junk(frame.size()), frame.begin());
    wire::emit_ethernet(stranger.any_victim().mac, stranger.mac(), types[rng.below(types.size())], frame);
    return stranger.send(frame);
  }
  switch (rng.below(5)) {
    case 0:
      flip_bits(frame, rng);
      break;
    case 1:
      frame.resize(rng.below(static_cast<std::uint32_t>(frame.size())) + 1);
      break;
    case 2: {
      const auto more = stranger.junk(rng.below(static_cast<std::uint32_t>(largest - std::min(largest, frame.size()) + 1)));
      frame.insert(frame.end(), more.begin(), more.end());
      break;
    }
    default:
      lie(frame, rng);
      if (rng.chance(0.3)) lie(frame, rng);
  }
  if (rng.chance(0.6)) repair(frame);
  stranger.send(frame);
}

// Whatever was done to them, hosts that are left alone are as good as new: each datagram arrives.
void expect_recovery(World& world) {
  world.silence_strangers();
  world.rest();
  world.wait(61s);  // what was learned from whoever forged it has to be confirmed by now
  world.run(2s);
  world.wait(5s);
  world.rest();
  const auto first = static_cast<Ledger::Number>(world.ledger().size());
  world.run(1s);
  world.finish();
  world.ledger().check_complete(first);
  EXPECT_GT(world.ledger().size(), first + 100u);
}

// X1: no frame, however malformed, does more than be dropped under a name that fits. ARP believes whoever speaks (RFC 826): where the stranger speaks
// of that too, datagrams go astray until neighbours are asked again.
TEST(Hostile, MangledFramesAreDroppedByNameAndForgotten) {
  std::array<std::uint64_t, drop_count> drops{};
  std::uint64_t sent = 0, arrived = 0, wanted = 0;
  const auto all = seeds(6);
  for (const std::uint64_t seed : all) {
    World world({.seed = seed, .hosts = 4, .mtu = seed % 3 == 0 ? 1500u : 576u, .pause = 10ms, .mix = {.members_read_late = false}});
    const bool spares_arp = seed % 2 == 0;
    const std::size_t largest = world.options().mtu + wire::ethernet_header_size;
    const Stranger& stranger = world.add_stranger(1ms, [&](Stranger& self) { mangle(self, largest, spares_arp); });
    world.run(3s);
    for (std::size_t i = 0; i < drop_count; ++i) drops[i] += world.dropped(static_cast<Drop>(i));
    for (Ledger::Number number = 0; number < world.ledger().size() && spares_arp; ++number) {
      const Ledger::Datagram& datagram = world.ledger()[number];
      if (datagram.to_group || datagram.refused != 0 || datagram.expected != 1) continue;
      ++wanted;
      arrived += datagram.delivered != 0;
    }
    expect_recovery(world);
    sent += stranger.sent();
    if (HasFailure()) return;
  }
  if (all.size() == 1) return;
  EXPECT_GT(sent, all.size() * 2000);
  EXPECT_GT(arrived, wanted * 99 / 100) << "of " << wanted << " datagrams";
  for (const Drop reason :
       {Drop::ethernet_truncated, Drop::ethernet_not_for_us, Drop::ethernet_type_unknown, Drop::ethernet_length_invalid, Drop::ip_header_truncated,
        Drop::ip_version_wrong, Drop::ip_length_invalid, Drop::ip_checksum_bad, Drop::ip_options_malformed, Drop::ip_not_for_us,
        Drop::ip_source_invalid, Drop::fragment_malformed, Drop::udp_header_truncated, Drop::udp_length_invalid, Drop::udp_checksum_bad,
        Drop::icmp_checksum_bad, Drop::arp_malformed}) {
    EXPECT_NE(drops[static_cast<std::size_t>(reason)], 0u) << name_of(reason);
  }
}

// One of a datagram that never becomes whole.
void send_fragment(Stranger& stranger, const Stranger::Victim& to, const IpAddress& src) {
  Rng& rng = stranger.rng;
  const bool is_first = rng.chance(0.3);
  const wire::Ipv4Header header{.src = src,
                                .protocol = wire::protocol_udp,
                                .id = static_cast<std::uint16_t>(rng.next()),
                                .more_fragments = is_first || rng.chance(0.8),
                                .fragment_offset = static_cast<std::uint16_t>(is_first ? 0 : 8 * rng.between(1, 8000))};
  stranger.send_ipv4(to, header, stranger.junk(8 * rng.between(1, 60)));
}

void expect_within_bounds(World& world) {
  const stack::Config& config = world.options().config;
  for (const auto& host : world.hosts()) {
    const stack::Reassembly& reassembly = host->stack.reassembly();
    EXPECT_LE(reassembly.bytes(), config.reassembly_bytes);
    EXPECT_LE(reassembly.datagrams(), config.reassembly_datagrams);
    EXPECT_LE(reassembly.held(), config.reassembly_fragments);
    EXPECT_GT(reassembly.next_wakeup(), world.now()) << "a datagram is older than it may be";
  }
}

Mix many_fragments() {
  Mix mix = steady();
  mix.large = 30;
  mix.multicast = mix.membership = mix.nobody = 0;
  return mix;
}

// X5: a flood of fragments from everywhere fills reassembly to its bounds and no further. A datagram gives way only when all older ones have, so
// those whose fragments come within the time in which the flood fills the table all arrive: here 40 ms, in which it sends a third of that.
TEST(Hostile, AFloodOfFragmentsLeavesRoomForWhatIsQuick) {
  for (const std::uint64_t seed : seeds(2)) {
    World world({.seed = seed,
                 .hosts = 4,
                 .out = {.delay = 20ms, .jitter = 20ms, .held_packets = 1024},
                 .pause = 20ms,
                 .mix = many_fragments(),
                 .small_frames = 4096});
    world.run(1s);
    world.add_stranger(4ms, [](Stranger& self) {
      const Stranger::Victim victim = self.any_victim();
      for (int i = 0; i < 32; ++i) send_fragment(self, victim, self.rng.chance(0.5) ? self.nobody() : self.nobody_near());
    });
    world.watch_steps([&] { expect_within_bounds(world); });
    world.run(3s);
    world.silence_strangers();
    world.finish();
    world.ledger().check_complete();
    EXPECT_GT(world.dropped(Drop::fragment_table_full), 1000u);
    EXPECT_EQ(world.ledger().lost(Drop::fragment_table_full), 0u);
    EXPECT_GT(world.dropped(Drop::fragment_timeout), 100u);
  }
}

// X5: one source has its share, and no more; a slow flood is bounded by age.
TEST(Hostile, OneSourceFillsItsShareAndNoMore) {
  World world({.seed = seeds(1)[0], .hosts = 3, .pause = 50ms, .mix = many_fragments(), .small_frames = 4096});
  const stack::Config& config = world.options().config;
  const IpAddress source = IpAddress::ipv4(10, 0, 0, 200);
  world.add_stranger(2ms, [&](Stranger& self) {
    const Stranger::Victim victim = self.any_victim();
    for (int i = 0; i < 8; ++i) send_fragment(self, victim, source);
  });
  std::size_t most = 0;
  world.watch_steps([&] {
    expect_within_bounds(world);
    for (const auto& host : world.hosts()) {
      const stack::Reassembly& reassembly = host->stack.reassembly();
      most = std::max(most, reassembly.datagrams());
      EXPECT_LE(reassembly.datagrams(), config.reassembly_datagrams / config.reassembly_source_share);
      EXPECT_LE(reassembly.bytes(), config.reassembly_bytes / config.reassembly_source_share);
    }
  });
  world.run(2s);
  EXPECT_EQ(most, config.reassembly_datagrams / config.reassembly_source_share);
  world.silence_strangers();
  world.add_stranger(3s, [&](Stranger& self) { send_fragment(self, self.any_victim(), source); });
  world.wait(61s);
  const std::uint64_t full = world.dropped(Drop::fragment_table_full);
  world.run(70s);
  EXPECT_EQ(world.dropped(Drop::fragment_table_full), full);
  world.silence_strangers();
  world.finish();
  world.ledger().check_complete();
}

// X10: a sweep of sources that nobody can ask for fills the table of neighbours to its bounds; whoever was in it stays.
TEST(Hostile, ASweepOfAddressesEvictsNoNeighbour) {
  for (const std::uint64_t seed : seeds(2)) {
    World world({.seed = seed, .hosts = 5, .pause = 10ms, .mix = steady(), .config = {.neighbors = 64, .neighbors_unresolved = 16}});
    const stack::Config& config = world.options().config;
    world.run(2s);  // they get to know each other
    world.add_stranger(2ms, [](Stranger& self) {
      const Stranger::Victim victim = self.any_victim();
      const IpAddress src = self.nobody_near();
      switch (self.rng.below(4)) {
        case 0:
          return self.send_arp(wire::MacAddress::broadcast(), {ArpOperation::request, self.mac(), src, {}, victim.ip});
        case 1:
          return self.send_arp(victim.mac, {ArpOperation::reply, self.mac(), src, victim.mac, victim.ip});
        case 2:
          return self.send_icmp(victim, src, Icmp4Type::echo_request, 0, wire::echo_word(1, 1), {});
        default:
          return self.send_udp(victim, {src, 4000}, 9, {});
      }
    });
    std::size_t most = 0, most_unresolved = 0;
    world.watch_steps([&] {
      for (const auto& host : world.hosts()) {
        most = std::max(most, host->stack.neighbors().size());
        most_unresolved = std::max(most_unresolved, host->stack.neighbors().unresolved());
      }
    });
    world.run(4s);
    world.silence_strangers();
    world.finish();
    world.ledger().check_complete();
    EXPECT_GT(most, config.neighbors * 3 / 4);
    EXPECT_LE(most, config.neighbors);
    EXPECT_EQ(most_unresolved, config.neighbors_unresolved);
    EXPECT_GT(world.dropped(Drop::neighbor_table_full), 100u);
  }
}

// X6, M3: errors about what nobody sent change nothing: no socket hears of them, no path becomes narrower.
TEST(Hostile, ForgedErrorsChangeNothing) {
  World world({.seed = seeds(1)[0], .hosts = 4, .pause = 10ms, .mix = steady()});
  std::uint64_t forged = 0;
  world.add_stranger(1ms, [&](Stranger& self) {
    static constexpr std::array<std::pair<Icmp4Type, std::uint8_t>, 6> kinds = {
        {{Icmp4Type::unreachable, wire::unreachable_code::port},
         {Icmp4Type::unreachable, wire::unreachable_code::host},
         {Icmp4Type::unreachable, wire::unreachable_code::fragmentation_needed},
         {Icmp4Type::unreachable, wire::unreachable_code::prohibited},
         {Icmp4Type::time_exceeded, wire::time_exceeded_code::in_transit},
         {Icmp4Type::parameter_problem, 0}}};
    static constexpr std::array<std::uint16_t, 4> mtus = {0, 68, 576, 1400};
    const Stranger::Victim victim = self.any_victim(), peer = self.any_victim();
    // A real socket and a peer's port to which it never sent, or the other way round: whoever is off the path has to guess both.
    const bool is_real = self.rng.chance(0.5);
    const auto low = static_cast<std::uint16_t>(self.rng.between(10, 1000));
    std::array<std::byte, wire::ipv4_header_size + wire::udp_header_size> quote{};
    wire::emit_udp(victim.ip, peer.ip, is_real ? Program::server_port : low, is_real ? low : Program::server_port,
                   std::span(quote).subspan(wire::ipv4_header_size));
    wire::emit_ipv4({.src = victim.ip, .dst = peer.ip, .protocol = wire::protocol_udp, .dont_fragment = true}, quote);
    const auto [type, code] = kinds[self.rng.below(kinds.size())];
    self.send_icmp(victim, self.nobody_near(), type, code, mtus[self.rng.below(mtus.size())], quote);
    ++forged;
  });
  world.run(4s);
  for (const auto& host : world.hosts()) {
    for (const auto& peer : world.hosts()) {
      if (host == peer) continue;
      EXPECT_EQ(host->stack.ip().find_path(peer->ports[0].ip, IpAddress::any(Family::ipv4), 0).value().mtu, world.options().mtu);
    }
  }
  world.silence_strangers();
  world.finish();
  world.ledger().check_perfect();
  EXPECT_GT(forged, 3000u);
  EXPECT_GE(world.dropped(Drop::icmp_no_socket), forged);
}

// X7: who sweeps our ports is told of a few; who does it by everybody's name makes us tell no more than the limit of all.
TEST(Hostile, ASweepOfPortsIsAnsweredByTheLimits) {
  const std::uint64_t seed = seeds(1)[0];
  const auto sweep = [&](bool by_many, Duration time) {
    Mix mix = steady();
    mix.nobody = 0;
    World world({.seed = seed, .hosts = 4, .pause = 10ms, .mix = mix});
    world.run(1s);
    const Stranger::Victim victim{0, world.host(0).ports[0].ip, world.host(0).ports[0].wire->caps().mac};
    std::uint16_t port = 10;
    world.add_stranger(1ms, [&](Stranger& self) {
      for (int i = 0; i < 4; ++i) {
        if (++port == Program::server_port || port == Program::echo_port) port = Program::echo_port + 1;
        self.send_udp(victim, {by_many ? self.nobody_near() : IpAddress::ipv4(10, 0, 0, 99), 4000}, port, {});
      }
    });
    world.run(time);
    world.silence_strangers();
    world.finish();
    world.ledger().check_perfect();
    const stack::IpCounters& counters = world.host(0).stack.counters();
    EXPECT_GT(counters.icmp_out_limited.value(), 1000u);
    return counters.icmp_out_messages.value();
  };
  const stack::Config config;
  const std::uint64_t to_one = sweep(false, 4s);
  EXPECT_LE(to_one, config.icmp_destination_burst + 4 * config.icmp_destination_rate);
  EXPECT_GE(to_one, config.icmp_destination_burst);
  const std::uint64_t to_many = sweep(true, 500ms);
  EXPECT_LE(to_many, (config.icmp_burst + config.icmp_rate / 2) * 12 / 10);
  EXPECT_GT(to_many, config.icmp_burst);
}

// X13: whatever routers claim to ask, members hear their groups, and each question is worth at most one answer of each group.
TEST(Hostile, ForgedQueriesDisturbNoMember) {
  Mix mix = steady();
  mix.multicast = mix.membership = 30;
  World world({.seed = seeds(1)[0], .hosts = 4, .pause = 10ms, .mix = mix});
  const Stranger& stranger = world.add_stranger(2ms, [](Stranger& self) {
    Rng& rng = self.rng;
    std::array<IpAddress, 100> sources;
    for (IpAddress& source : sources) source = self.nobody();
    const bool is_general = rng.chance(0.5);
    const IpAddress group = IpAddress::ipv4(239, 1, 0, static_cast<std::uint8_t>(rng.between(1, 5)));
    const wire::IgmpQuery query{.version = static_cast<std::uint8_t>(rng.between(1, 3)),
                                .group = is_general ? IpAddress::any(Family::ipv4) : group,
                                .max_response = Duration(100ms) * rng.between(0, 20),
                                .sources = is_general ? std::span<const IpAddress>() : std::span(sources).first(rng.below(100))};
    static constexpr std::array alert = {std::byte{wire::ipv4_option::router_alert}, std::byte{4}, std::byte{0}, std::byte{0}};
    std::array<std::byte, 512> message;
    const std::size_t size = wire::emit_igmp_query(query, message);
    self.send_ipv4(
        {0, {}, wire::MacAddress::of_group(wire::igmp_all_hosts)},
        {.src = self.nobody_near(), .dst = is_general ? wire::igmp_all_hosts : group, .protocol = wire::protocol_igmp, .ttl = 1, .options = alert},
        std::span(message).first(size));
  });
  world.run(4s);
  world.silence_strangers();
  world.finish();
  world.ledger().check_perfect();
  EXPECT_GT(stranger.sent(), 1000u);
  constexpr unsigned groups_of_all_hosts = 4 * 4;
  const std::uint64_t changes = world.ledger().size();
  EXPECT_LE(stranger.heard(wire::protocol_igmp), stranger.sent() * groups_of_all_hosts + changes);
}

}  // namespace
}  // namespace gannet::sim
