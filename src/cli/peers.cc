// gannet peers: who is there, by beacons: asks for two seconds, or watches them come and go; and announces, where it is given a name.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <tuple>

#include <gannet/dtls.h>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/place.h"
#include "cli/waiter.h"

namespace gannet::cli {
namespace {

constexpr const char* examples =
    R"(PATH is by what a peer was heard: a group on an interface, unicast, or a seed, which is a beacon at a known address that tells of others. Two of
one name are shown with their ids. The exit status is 0 whether or not anybody is there.

Examples:
  gannet peers
  gannet peers --watch --json                  a line for each that joins, changes, leaves, expires
  gannet peers --seed 192.0.2.5                where multicast is blocked, as between containers and on many a Wi-Fi
  gannet peers --interface eth0 --realm lab
  gannet peers --key @lab.hex                  of those who have the key; who has none is neither seen nor believed
  gannet peers --announce camera --role sensor --address 0.0.0.0:7000 --watch
                                               and say that this is here, until Ctrl-C; 0.0.0.0 is where others hear it from)";

struct Plan {
  BeaconOptions options;
  std::vector<std::byte> key;  // empty: none
  bool watch = false;
  std::string has_profile;  // the first flag that means nothing without --announce
};

// The one place where a command line becomes a beacon's options.
BeaconOptions options_of(const Plan& plan) {
  BeaconOptions options = plan.options;
  if (!plan.key.empty()) options.authenticator = hmac_sha256(plan.key).value();
  options.most_peers = 16'384;
  options.most_peers_at_one_address = 1'024;
  return options;
}

std::uint64_t dropped(const std::vector<Count>& drops, std::string_view name) {
  const auto found = std::ranges::find(drops, name, &Count::name);
  return found == drops.end() ? 0 : found->value;
}

class Peers {
 public:
  Peers(const Settings& settings, const Plan& plan, Report& report) : settings_(settings), plan_(plan), report_(report), place_(settings, report) {
    if (place_.is_memory()) refuse("peers has nobody to hear on --via memory, a wire of this process alone");
    auto beacon = place_.host() != nullptr ? Beacon::open(*place_.host(), options_of(plan)) : Beacon::open(options_of(plan));
    if (!beacon && (beacon.error().code == EINVAL || beacon.error().code == EMSGSIZE)) refuse(beacon.error().message());
    if (!beacon) fail("cannot open a beacon", beacon.error());
    beacon_.emplace(*std::move(beacon));
    if (const auto started = beacon_->start(); !started) fail("cannot run the beacon", started.error());
  }

  Status run() {
    plan_.watch ? watch() : ask();
    const auto peers = beacon_->peers();
    if (!plan_.watch) report_.peers(peers, beacon_->paths());
    report_.beacon_paths(beacon_->paths(), beacon_->drops(), advice(peers));
    if (const auto left = beacon_->leave(); !left) fail("cannot take leave", left.error());
    place_.require_link();
    return Status::ok;
  }

 private:
  void watch() {
    const auto until = settings_.timeout ? std::chrono::steady_clock::now() + *settings_.timeout : Waiter::Moment::max();
    while (!waiter_.interrupted() && place_.has_link() && std::chrono::steady_clock::now() < until) {
      waiter_.wait({beacon_->fd(), place_.loss_fd()}, until);
      while (const auto event = beacon_->next(Deadline::now())) report_.peer_event(*event, beacon_->paths());
    }
  }

  void ask() {
    const auto begin = std::chrono::steady_clock::now();
    const auto until = begin + settings_.timeout.value_or(std::chrono::seconds(2));
    const bool shows = isatty(STDERR_FILENO) == 1 && !report_.json();
    while (!waiter_.interrupted() && place_.has_link() && std::chrono::steady_clock::now() < until) {
      if (shows) fmt::print(stderr, "\rasking, {} found ", beacon_->peers().size());
      waiter_.wait({place_.loss_fd()}, std::min(until, std::chrono::steady_clock::now() + std::chrono::milliseconds(100)));
      while (beacon_->next(Deadline::now())) {
      }
    }
    if (shows) fmt::print(stderr, "\r\033[K");
  }

  // Where nothing was heard by multicast, or not by some way, what that may mean.
  std::string advice(const std::vector<Peer>& peers) const {
    const auto drops = beacon_->drops();
    if (const auto count = dropped(drops, "key_missing"); peers.empty() && count > 0) {
      return fmt::format("{} datagrams came from beacons that have a key, which is needed to see them: --key", count);
    }
    std::string silent;
    std::uint64_t heard = 0;
    bool by_multicast = false, has_multicast = false, is_refused = false;
    for (const BeaconPath& path : beacon_->paths()) {
      heard += path.heard;
      is_refused |= path.error == EPERM;
      if (path.kind != PathKind::multicast) continue;
      has_multicast = true;
      by_multicast |= path.peers > 0;
      if (path.heard == 0 && !silent.ends_with(path.interface_name)) silent += (silent.empty() ? "" : ", ") + path.interface_name;
    }
    if (heard == 0 && peers.empty()) {
      const auto& [name, seeds] = std::tie(plan_.options.realm, plan_.options.seeds);
      return fmt::format("nobody answered. Either nobody announces{}, or what is said to all does not pass{}{}: {}",
                         name.empty() ? "" : fmt::format(" in realm \"{}\"", name), silent.empty() ? "" : " on " + silent,
                         is_refused ? " (a firewall here refuses it: nft list ruleset)" : "",
                         seeds.empty() ? fmt::format("let UDP port {} through, or name one that is there: --seed ADDRESS", plan_.options.port)
                                       : "see whether a beacon runs at the seed, and let UDP through to it, and back");
    }
    if (const auto count = dropped(drops, "unanswered"); peers.empty() && count > 0) {
      return fmt::format("{} were heard of, and none answered at its own address: let UDP through to where they are, and back", count);
    }
    if (peers.empty()) return {};
    if (has_multicast && !by_multicast) {
      return fmt::format(
          "multicast seems blocked: all that are here were heard by unicast alone. Let UDP port {} to the groups through (nft list ruleset; "
          "on switches and access points, IGMP snooping), or go on with --seed",
          plan_.options.port);
    }
    return {};
  }

  const Settings& settings_;
  const Plan& plan_;
  Report& report_;
  Waiter waiter_;  // before the place, whose threads inherit the blocked signals
  Place place_;
  std::optional<Beacon> beacon_;
};

Address parse_address(std::string_view flag, std::string_view text, bool needs_port) {
  if (const auto address = Address::parse(text); address) return *address;
  const auto ip = IpAddress::parse(text);
  if (ip && !needs_port) return {*ip, 0};
  refuse(fmt::format("{} takes an address such as 192.0.2.5{}, [2001:db8::5]:7000, not \"{}\"", flag, needs_port ? ":7000" : " or 192.0.2.5:7000",
                     text));
}

void add_announcement(Command& command, const std::shared_ptr<Plan>& plan) {
  const auto remember = [plan](std::string_view flag) {
    if (plan->has_profile.empty()) plan->has_profile = flag;
  };
  command.heading("To be seen oneself");
  command.text("--announce", "NAME", "say that this is here, as long as the command runs", plan->options.name);
  command.value(
      "--role", "ROLE", "what it is; may be given again",
      [=](std::string_view flag, std::string_view text) {
        remember(flag);
        plan->options.roles.emplace_back(text);
      },
      true);
  command.value(
      "--address", "ADDRESS:PORT", "where it is reached; 0.0.0.0 stands for where it is heard from; may be given again",
      [=](std::string_view flag, std::string_view text) {
        remember(flag);
        plan->options.addresses.push_back(parse_address(flag, text, true));
      },
      true);
  command.value(
      "--meta", "KEY=VALUE", "something about it; may be given again",
      [=](std::string_view flag, std::string_view text) {
        remember(flag);
        const auto equals = text.find('=');
        if (equals == text.npos || equals == 0) refuse(fmt::format("{} takes KEY=VALUE, not \"{}\"", flag, text));
        plan->options.metadata.emplace_back(text.substr(0, equals), text.substr(equals + 1));
      },
      true);
}

void check(const Plan& plan, const Settings& settings) {
  if (settings.timeout && settings.timeout->count() == 0) refuse("--timeout 0 leaves no time to ask: give more, or none, for 2s");
  if (!plan.has_profile.empty() && plan.options.name.empty()) refuse(fmt::format("{} is about who is announced: --announce NAME", plan.has_profile));
}

}  // namespace

void add_peers(CommandLine& line) {
  Command command = line.command("peers", "show which programs announce themselves by beacons, and by which way they are heard");
  const auto plan = std::make_shared<Plan>();
  BeaconOptions& options = plan->options;
  command.flag("--watch", "a line for each that joins, changes, leaves or expires, until Ctrl-C", plan->watch);
  add_timeout_flag(command, "ask for this long (2s); with --watch, end after it");
  command.text("--realm", "NAME", "of those beacons alone that have this realm", options.realm);
  command.value("--key", "HEX|@FILE", "see, and be seen by, those alone who have this key (HMAC-SHA-256); 16 bytes or more",
                [plan](std::string_view flag, std::string_view text) { plan->key = parse_key(flag, text); });
  command.value(
      "--seed", "ADDRESS[:PORT]", "ask the beacon there, on another host, and those that it knows; may be given again",
      [&options](std::string_view flag, std::string_view text) { options.seeds.push_back(parse_address(flag, text, false)); }, true);
  command.value(
      "-i,--interface", "NAME", "by multicast on this interface alone; may be given again",
      [&options](std::string_view, std::string_view text) { options.interfaces.emplace_back(text); }, true);
  command.value(
      "--group", "GROUP", "by this group (239.255.71.66 and ff15::6761:6e6e:6574); may be given again",
      [&options](std::string_view flag, std::string_view text) { options.groups.push_back(parse_join(flag, text).group); }, true);
  command.value("--port", "PORT", "of the groups and the seeds (65437)",
                [&options](std::string_view flag, std::string_view text) { options.port = parse_port(flag, text); });
  command.flag("--no-multicast", "by seeds alone", [&options] { options.multicast = false; });
  command.text("--via", "WHERE", "whose UDP: kernel (default), or a host of ours on tap:NAME,ADDR/LEN[,gw=ADDR]", command.settings().via);
  command.flag("-v,--verbose", "metadata, and what was dropped, by reason", command.settings().verbose);
  command.flag("--json", "one JSON object per line", command.settings().json);
  add_announcement(command, plan);
  command.examples(examples);
  const Settings& settings = command.settings();
  command.run([&settings, plan](Report& report) { return Peers(settings, *plan, report).run(); }, [plan, &settings] { check(*plan, settings); });
}

}  // namespace gannet::cli
