// Who is there, as a table or a line for people and an object each for programs, and by which ways they were heard.
#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cli/report.h"

namespace gannet::cli {
namespace {

using Json = nlohmann::ordered_json;

std::int64_t ms(std::chrono::nanoseconds time) { return std::chrono::duration_cast<std::chrono::milliseconds>(time).count(); }

std::string name_of(std::uint32_t interface, const std::vector<BeaconPath>& paths) {
  const auto known = std::ranges::find(paths, interface, &BeaconPath::interface);
  if (interface != 0 && known != paths.end()) return known->interface_name;
  std::array<char, IF_NAMESIZE> name{};
  return interface != 0 && ::if_indextoname(interface, name.data()) != nullptr ? name.data() : fmt::format("{}", interface);
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text.empty() ? "-" : text;
}

std::string addresses_of(const Peer& peer) {
  std::vector<std::string> texts;
  for (const Address& address : peer.profile.addresses) texts.push_back(address.to_string());
  return joined(texts);
}

// "multicast eth0, unicast".
std::string paths_of(const Peer& peer, const std::vector<BeaconPath>& paths) {
  std::vector<std::string> texts;
  for (const PeerPath& path : peer.paths) {
    std::string text(to_string(path.kind));
    if (path.kind == PathKind::multicast) text += ' ' + name_of(path.interface, paths);
    if (std::ranges::find(texts, text) == texts.end()) texts.push_back(std::move(text));
  }
  return joined(texts);
}

std::string metadata_of(const Peer& peer) {
  std::string text;
  for (const auto& [key, value] : peer.profile.metadata) text += fmt::format(" {}={}", key, printable(bytes_of(value), 40));
  std::ranges::replace(text, '\n', ' ');
  std::ranges::replace(text, '\t', ' ');
  return text;
}

Json json_of(std::string_view change, const Peer& peer, const std::vector<BeaconPath>& paths) {
  Json addresses = Json::array(), ways = Json::array(), metadata = Json::object();
  for (const Address& address : peer.profile.addresses) addresses.push_back(address.to_string());
  for (const auto& [key, value] : peer.profile.metadata) metadata[key] = value;
  for (const PeerPath& path : peer.paths) {
    ways.push_back({{"kind", to_string(path.kind)},
                    {"interface", path.interface == 0 ? Json(nullptr) : Json(name_of(path.interface, paths))},
                    {"source", path.source.to_string()},
                    {"age_ms", ms(path.age)}});
  }
  return {{"event", "peer"},
          {"change", change},
          {"id", fmt::format("{:016x}", peer.id)},
          {"incarnation", peer.incarnation},
          {"name", peer.name},
          {"roles", peer.profile.roles},
          {"addresses", addresses},
          {"metadata", metadata},
          {"name_conflict", peer.name_conflict},
          {"authenticated", peer.is_authenticated},
          {"paths", ways},
          {"age_ms", ms(peer.age)},
          {"lifetime_ms", ms(peer.lifetime)}};
}

}  // namespace

void Report::peers(const std::vector<Peer>& found, const std::vector<BeaconPath>& paths) {
  std::vector<Peer> all = found;
  std::ranges::sort(all, {}, [](const Peer& peer) { return std::pair(peer.name, peer.id); });
  if (json_) {
    for (const Peer& peer : all) line(json_of("present", peer, paths), {});
    return;
  }
  if (all.empty()) return;
  std::array<std::size_t, 4> width{4, 5, 9, 4};
  std::vector<std::array<std::string, 5>> rows{{"NAME", "ROLES", "ADDRESSES", "PATH", "HEARD"}};
  for (const Peer& peer : all) {
    const std::string name = peer.name_conflict ? fmt::format("{} ({:016x})", peer.name, peer.id) : peer.name;
    rows.push_back({name, joined(peer.profile.roles), addresses_of(peer), paths_of(peer, paths),
                    fmt::format("{:.1f} s ago", static_cast<double>(ms(peer.age)) / 1000)});
    if (verbose_) rows.back()[4] += metadata_of(peer);
  }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < width.size(); ++i) width[i] = std::max(width[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    text += fmt::format("{:<{}}  {:<{}}  {:<{}}  {:<{}}  {}\n", row[0], width[0], row[1], width[1], row[2], width[2], row[3], width[3], row[4]);
  }
  text.pop_back();
  line({}, text);
}

void Report::peer_event(const PeerEvent& event, const std::vector<BeaconPath>& paths) {
  const Peer& peer = event.peer;
  line(json_of(to_string(event.kind), peer, paths),
       fmt::format("{:<7} {} {:016x} {} {} by {}{}{}", to_string(event.kind), peer.name, peer.id, joined(peer.profile.roles), addresses_of(peer),
                   paths_of(peer, paths), peer.name_conflict ? " (another has this name)" : "", metadata_of(peer)));
}

void Report::beacon_paths(const std::vector<BeaconPath>& paths, const std::vector<Count>& drops, std::string_view advice) {
  if (json_) {
    Json ways = Json::array(), dropped = Json::object();
    for (const BeaconPath& path : paths) {
      ways.push_back({{"kind", to_string(path.kind)},
                      {"address", path.kind == PathKind::seed ? path.address.to_string() : path.address.ip.to_string()},
                      {"interface", path.kind == PathKind::seed ? Json(nullptr) : Json(path.interface_name)},
                      {"sent", path.sent},
                      {"heard", path.heard},
                      {"peers", path.peers},
                      {"error", path.error == 0 ? Json(nullptr) : Json(Error{path.error}.message())}});
    }
    for (const Count& drop : drops) dropped[drop.name] = drop.value;
    return line({{"event", "paths"}, {"paths", ways}, {"drops", dropped}, {"advice", advice.empty() ? Json(nullptr) : Json(advice)}}, {});
  }
  std::string text;
  for (const BeaconPath& path : paths) text += fmt::format("-- {}\n", path.to_string());
  if (verbose_) {
    for (const Count& drop : drops) text += fmt::format("-- dropped {:>6}  {}\n", drop.value, drop.name);
  }
  if (!advice.empty()) text += fmt::format("-- {}\n", advice);
  if (!text.empty()) text.pop_back();
  note(text);
}

}  // namespace gannet::cli
