#include "sim/world.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/hash.h"
#include "support/net.h"
#include "wire/arp.h"
#include "wire/print.h"

namespace gannet::sim {
namespace {

constexpr unsigned rounds_at_most = 10'000;  // of carrying frames while the clock stands still
constexpr Duration rest_at_most = 20min;     // longer than anything here waits

IpAddress address_of(unsigned network, unsigned host) {
  return IpAddress::ipv4(10, 0, static_cast<std::uint8_t>(network), static_cast<std::uint8_t>(host + 1));
}

std::string describe_replay(std::uint64_t seed) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string name = test == nullptr ? "*" : std::string(test->test_suite_name()) + "." + test->name();
  return "replay with GANNET_SEED=" + std::to_string(seed) + " and --gtest_filter=" + name + "; GANNET_TRACE=1 shows the frames";
}

std::uint64_t total(const std::array<Counter, drop_count>& drops) {
  std::uint64_t sum = 0;
  for (const Counter& counter : drops) sum += counter.value();
  return sum;
}

std::uint64_t count(const Counter& counter) { return counter.value(); }
std::uint64_t count(const std::array<Counter, drop_count>& drops, Drop reason) { return drops[static_cast<std::size_t>(reason)].value(); }

// Frames that a host's links have put on wires.
std::uint64_t copies_of(const Host& host) {
  std::uint64_t copies = 0;
  for (const Host::Port& port : host.ports) copies += port.wire->copies();
  return copies;
}

}  // namespace

Duration random_pause(Rng& rng, Duration mean) {
  return std::max(Duration(1us), Duration(std::llround(-std::log1p(-rng.unit()) * static_cast<double>(mean.count()))));
}

std::vector<std::uint64_t> seeds(unsigned count) {
  if (const char* seed = std::getenv("GANNET_SEED")) return {std::strtoull(seed, nullptr, 10)};
  std::vector<std::uint64_t> all(count);
  for (unsigned i = 0; i < count; ++i) all[i] = i + 1;
  return all;
}

Host::Host(unsigned host_number, std::uint64_t seed, const Options& options)
    : number(host_number),
      pools(FramePools::create(options.small_frames, options.large_frames).value()),
      rng(splitmix64(seed)),
      stack(pools, rng, options.config),
      whims(splitmix64(seed)) {}

const Host::Port* Host::on(unsigned network) const {
  const auto port = std::ranges::find(ports, network, &Port::network);
  return port == ports.end() ? nullptr : &*port;
}

World::World(const Options& options)
    : options_(options),
      replay_(describe_replay(options.seed)),
      scoped_(__FILE__, __LINE__, replay_),
      rng_(options.seed),
      ledger_(rng_.next()),
      prints_(std::getenv("GANNET_TRACE") != nullptr) {
  for (unsigned i = 0; i < options.networks; ++i) segments_.push_back(link::MemorySegment::create(options.mtu, options.wire_slots).value());
  for (unsigned i = 0; i < options.hosts; ++i) add_host();
  settle();
}

World::~World() = default;

void World::add_host() {
  const auto number = static_cast<unsigned>(hosts_.size());
  Host& host = *hosts_.emplace_back(std::make_unique<Host>(number, rng_.next(), options_));
  Watcher& watcher = *watchers_.emplace_back(std::make_unique<Watcher>(this, number));
  host.stack.fates().observer = {[](void* context, std::span<const std::byte> bytes, Drop reason) {
                                   const auto* self = static_cast<Watcher*>(context);
                                   self->world->note_drop(self->host, bytes, reason);
                                 },
                                 &watcher};
  for (unsigned network = 0; network < options_.networks; ++network) {
    if (number != 0 && network != number % options_.networks) continue;
    auto wire = segments_[network]->attach().value();
    link::MemoryLink* const inner = wire.get();
    const link::Caps caps = wire->caps();
    Impairment in = options_.in, out = options_.out;
    in.seed = rng_.next();
    out.seed = rng_.next();
    auto link = link::FaultLink::create(std::move(wire), in, out, host.pools).value();
    link->watch_drops([this, number](link::Direction, std::span<const std::byte> frame, Drop reason, Time) { note_drop(number, frame, reason); });
    const auto interface =
        host.stack.add_interface({.name = "eth" + std::to_string(network), .mac = caps.mac, .mtu = static_cast<std::uint32_t>(caps.mtu)}).value();
    const IpAddress ip = address_of(network, number);
    host.stack.add_address(interface, ip, 24, now_).value();
    host.ports.push_back({network, interface, ip, std::move(link), inner});
  }
  for (unsigned role = 0; role < Program::roles; ++role) {
    host.programs.push_back(std::make_unique<Program>(*this, host, static_cast<Program::Role>(role)));
  }
  host.next_act = now_ + Duration(host.whims.below(static_cast<std::uint32_t>(std::min<Duration::rep>(options_.pause.count(), 4'000'000'000))));
}

Stranger& World::add_stranger(Duration pause, Stranger::Deed deed, unsigned network) {
  ledger_.takes_strangers = true;
  return *strangers_.emplace_back(std::make_unique<Stranger>(*this, network, *segments_[network], rng_.next(), pause, std::move(deed)));
}

void World::silence_strangers() {
  for (const auto& stranger : strangers_) stranger->next_act = never;
}

// A frame's way: out of a stack, through its link's faults onto a wire, and from there into the other links.

void World::send_out(Host& host) {
  for (Host::Port& port : host.ports) {
    for (auto frames = host.stack.output(port.interface); !frames.empty(); frames = host.stack.output(port.interface)) {
      for (const Frame& frame : frames) {
        note(Event::sent, host.number, frame.bytes());
        watch_arp(host, frame.bytes());
        for (const auto& stranger : strangers_) {
          if (stranger->network() == port.network) stranger->overhear(frame.bytes());
        }
        ++frames_;
      }
      const std::size_t count = frames.size();
      EXPECT_EQ(port.link->send(frames, now_), count);
      host.stack.sent(port.interface, count);
    }
  }
}

// Lets a host do all that is due; whether it did anything.
bool World::service(Host& host) {
  const bool is_due = host.next_wakeup <= now_;
  const std::uint64_t copies = copies_of(host);
  bool came = false;
  for (Host::Port& port : host.ports) {
    came |= receive(host, port);
    host.next_wakeup = std::min(host.next_wakeup, port.link->next_wakeup());  // of what its faults hold back
  }
  if (!came && !is_due) return false;
  if (host.stack.next_wakeup() <= now_) host.stack.advance(now_);
  while (stack::Endpoint* endpoint = host.news.take_news()) {
    const auto reader = std::ranges::find_if(host.programs, [&](const auto& program) { return program->is(*endpoint); });
    if (reader != host.programs.end()) (*reader)->read();
  }
  send_out(host);
  is_moving_ |= copies_of(host) != copies;
  host.next_wakeup = host.stack.next_wakeup();
  for (const Host::Port& port : host.ports) host.next_wakeup = std::min(host.next_wakeup, port.link->next_wakeup());
  return true;
}

bool World::receive(Host& host, Host::Port& port) {
  bool came = false;
  while (const std::size_t count = port.link->receive(batch_, host.pools, now_)) {
    for (Frame& frame : std::span(batch_).first(count)) {
      note(Event::came, host.number, std::as_const(frame).bytes());
      host.stack.input(port.interface, std::move(frame), now_);
    }
    came = true;
  }
  return came;
}

void World::settle() {
  for (const auto& host : hosts_) host->next_wakeup = now_;
  carry();
}

void World::carry() {
  bool all = true;  // a frame is on a wire, so any host may have it
  for (unsigned round = 0; round < rounds_at_most; ++round) {
    bool busy = false;
    is_moving_ = false;
    for (const auto& host : hosts_) {
      if (all || host->next_wakeup <= now_) busy |= service(*host);
    }
    for (const auto& stranger : strangers_) stranger->drain();
    if (!busy) {
      if (++steps_ % options_.check_every == 0) check();
      if (step_watcher_) step_watcher_();
      return;
    }
    all = is_moving_;
  }
  ADD_FAILURE() << "the hosts never come to rest";
}

void World::run_until(Time end, bool acting) {
  settle();
  while (!testing::Test::HasFailure()) {
    Time next = never;
    for (const auto& host : hosts_) next = std::min({next, host->next_wakeup, acting ? host->next_act : never});
    for (const auto& stranger : strangers_) next = std::min(next, acting ? stranger->next_act : never);
    if (next > end || next == never) break;
    now_ = std::max(now_, next);
    for (const auto& host : hosts_) {
      if (!acting || host->next_act > now_) continue;
      host->programs[host->whims.below(static_cast<std::uint32_t>(host->programs.size()))]->act();
      host->next_act = now_ + random_pause(host->whims, options_.pause);
      host->next_wakeup = now_;
    }
    for (const auto& stranger : strangers_) {
      if (acting && stranger->next_act <= now_) stranger->act();
    }
    carry();
  }
}

void World::run(Duration time) {
  const Time end = now_ + time;
  run_until(end, true);
  now_ = end;
}

void World::wait(Duration time) {
  const Time end = now_ + time;
  run_until(end, false);
  now_ = end;
}

void World::rest() {
  const Time end = now_ + rest_at_most;
  run_until(end, false);
  for (const auto& host : hosts_) EXPECT_EQ(host->next_wakeup, never) << "host " << host->number << " still waits for something";
}

void World::finish() {
  rest();
  for (const auto& host : hosts_) host->programs.clear();
  rest();
  check();
  std::uint64_t unseen = 0;
  bool exhausted = false;
  for (const auto& host : hosts_) {
    EXPECT_EQ(host->stack.held(), 0u) << "host " << host->number;
    EXPECT_TRUE(host->pools.full()) << "host " << host->number;
    exhausted |= host->stack.fates().dropped_count(Drop::no_frame) != 0;
    for (const Host::Port& port : host->ports) {
      EXPECT_EQ(port.link->held(), 0u) << "host " << host->number;
      unseen += count(port.wire->counters().drops, Drop::link_queue_full) + count(port.wire->counters().drops, Drop::no_frame);
      exhausted |= count(port.link->counters().drops, Drop::no_frame) != 0;
    }
  }
  const bool duplicated = options_.in.duplicate > 0 || options_.out.duplicate > 0;
  // A stranger may have sent once more what it heard.
  ledger_.check_ends(duplicated || exhausted || !strangers_.empty(), unseen);
}

std::uint64_t World::dropped(Drop reason) const {
  std::uint64_t sum = 0;
  for (const auto& host : hosts_) sum += host->stack.fates().dropped_count(reason);
  return sum;
}

std::uint16_t World::listeners(const Host::Port& from, const Address& to) const {
  std::uint16_t count = 0;
  for (const auto& host : hosts_) {
    const Host::Port* port = host->on(from.network);
    if (port == nullptr) continue;
    count = static_cast<std::uint16_t>(
        count + std::ranges::count_if(host->programs, [&](const auto& program) { return program->listens(port->interface, from.ip, to); }));
  }
  return count;
}

Ledger::Number World::begin_send(const Ledger::Datagram& datagram, std::span<std::byte> payload) {
  sending_ = ledger_.add(datagram, payload);
  return *sending_;
}

std::optional<Ledger::Number> World::deliver(const Host& host, Program::Role role, const Address& peer, std::span<const std::byte> payload) {
  note(Event::delivered, host.number, payload);
  return ledger_.delivered({host.number, static_cast<unsigned>(role)}, peer, payload);
}

void World::note(Event event, unsigned host, std::span<const std::byte> bytes, std::uint64_t what) {
  if (prints_) print(event, host, bytes, event == Event::dropped ? name_of(static_cast<Drop>(what)) : "");
  std::uint64_t hash = mix(trace_ ^ static_cast<std::uint64_t>(now_.time_since_epoch().count()),
                           0x9e3779b97f4a7c15 ^ (std::uint64_t{host} << 16 | what << 8 | static_cast<std::uint64_t>(event)));
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    hash = mix(hash ^ word, 0xff51afd7ed558ccd);
  }
  std::uint64_t tail = bytes.size();
  for (const std::byte byte : bytes) tail = tail << 8 | std::to_integer<std::uint64_t>(byte);
  trace_ = mix(hash ^ tail, 0xc4ceb9fe1a85ec53);
}

void World::print(Event event, unsigned host, std::span<const std::byte> bytes, std::string_view what) const {
  static constexpr std::array names = {"sent", "came", "dropped", "delivered"};
  std::string line;
  const bool is_packet = !bytes.empty() && std::to_integer<unsigned>(bytes[0]) >> 4 == 4;
  if (event == Event::delivered) {
    line = std::to_string(bytes.size()) + " bytes";
  } else if (is_packet) {
    wire::print_packet(bytes, line);
  } else {
    wire::print_frame(bytes, line);
  }
  std::fprintf(stderr, "%.6f host %u %s %s%s%s\n", std::chrono::duration<double>(now_.time_since_epoch()).count(), host,
               names[static_cast<std::size_t>(event)], line.c_str(), what.empty() ? "" : ": ", std::string(what).c_str());
}

void World::note_drop(unsigned host, std::span<const std::byte> bytes, Drop reason) {
  note(Event::dropped, host, bytes, static_cast<std::uint64_t>(reason));
  if (!bytes.empty() || !sending_) return ledger_.dropped(bytes, reason);
  if (reason == Drop::send_refused) return ledger_.refused(*sending_, EINVAL);
  ledger_.dropped(*sending_);
}

// RFC 1122 2.3.2.1: never more than one request a second to a destination.
void World::watch_arp(Host& host, std::span<const std::byte> frame) {
  const auto ethernet = wire::parse_ethernet(frame);
  if (!ethernet || ethernet->type != wire::ethertype_arp) return;
  const auto arp = wire::parse_arp(frame.subspan(ethernet->header_size));
  if (!arp || arp->operation != wire::ArpOperation::request || arp->sender_ip == arp->target_ip) return;
  ++host.arp_requests;
  const auto [last, is_first] = last_asked_.try_emplace({host.number, arp->target_ip.number()}, now_);
  EXPECT_TRUE(is_first || now_ - last->second >= options_.config.neighbor_retry) << "host " << host.number << " asks too often";
  last->second = now_;
}

void World::check() {
  for (const auto& host : hosts_) check_host(*host);
  check_wires();
}

void World::check_host(const Host& host) const {
  const stack::IpCounters& counters = host.stack.counters();
  const stack::Fates& fates = host.stack.fates();
  const std::uint64_t held = host.stack.held();
  const std::uint64_t came = count(counters.frames_in) + count(counters.frames_made);
  const std::uint64_t went = count(counters.frames_out) + fates.delivered_count() + fates.consumed_count() + fates.dropped_total() + held;
  EXPECT_EQ(came, went) << "host " << host.number << ": frames in + made, and out + delivered + consumed + dropped + held";

  std::uint64_t from_links = 0, to_links = 0, held_by_links = 0;
  for (const Host::Port& port : host.ports) {
    const link::Counters& faults = port.link->counters();
    const link::Counters& wire = port.wire->counters();
    const std::uint64_t into_wire = count(wire.frames_out) + count(wire.drops, Drop::frame_too_long);
    EXPECT_EQ(count(faults.frames_out), into_wire) << "host " << host.number << ", network " << port.network;
    from_links += count(faults.frames_in);
    to_links += into_wire + total(faults.drops) + port.link->held() - port.link->duplicates() - (count(wire.frames_in) - count(faults.frames_in));
    held_by_links += port.link->held();
  }
  EXPECT_EQ(count(counters.frames_in), from_links) << "host " << host.number << ": frames that its links gave it";
  EXPECT_EQ(count(counters.frames_out), to_links) << "host " << host.number << ": frames that its links took, doubled, dropped and hold";
  const std::uint64_t in_use =
      host.pools.small->capacity() - host.pools.small->available() + host.pools.large->capacity() - host.pools.large->available();
  EXPECT_EQ(in_use, held + held_by_links) << "host " << host.number << ": chunks in use, and frames held";
}

void World::check_wires() const {
  std::uint64_t copies = 0, ends = 0;
  const auto add = [&](const link::MemoryLink& wire) {
    copies += wire.copies();
    ends += count(wire.counters().frames_in) + count(wire.counters().drops, Drop::no_frame);
  };
  for (const auto& host : hosts_) {
    for (const Host::Port& port : host->ports) add(*port.wire);
  }
  for (const auto& stranger : strangers_) add(stranger->wire());
  for (const auto& segment : segments_) ends += segment->in_flight() + segment->lost();
  EXPECT_EQ(copies, ends) << "frames put on the wires, and taken off, dropped, lost and in flight";
}

}  // namespace gannet::sim
