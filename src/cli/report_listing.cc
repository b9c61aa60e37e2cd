// What a hub has, as tables for people and one object for programs.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/report.h"

namespace gannet::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string written(const Address& address) { return address.port == 0 ? "-" : address.to_string(); }

std::string_view name_of(const hub::Listing& listing, std::uint32_t interface) {
  const auto found = std::ranges::find(listing.interfaces, interface, &hub::ListedInterface::index);
  return found == listing.interfaces.end() ? "?" : found->name.view();
}

Json json_of(const std::vector<hub::ListedCount>& counts) {
  Json object = Json::object();
  for (const auto& count : counts) object[std::string(count.name.view())] = count.value;
  return object;
}

Json json_of(const hub::ListedSocket& socket) {
  const auto or_null = [](const Address& address) { return address.port == 0 ? Json(nullptr) : Json(address.to_string()); };
  return {{"id", socket.id},
          {"process", socket.process},
          {"program", socket.program.view()},
          {"local", or_null(socket.local)},
          {"remote", or_null(socket.remote)},
          {"interposed", socket.is_interposed != 0},
          {"datagrams_in", socket.in},
          {"datagrams_out", socket.out},
          {"receive_queue", socket.receive_used},
          {"receive_limit", socket.receive_limit},
          {"send_queue", socket.send_used},
          {"send_limit", socket.send_limit},
          {"drops", {{"receive_queue_full", socket.receive_queue_full}, {"send_refused", socket.send_refused}}}};
}

Json json_of(const hub::Listing& listing, const hub::ListedInterface& interface) {
  Json addresses = Json::array();
  for (const auto& address : listing.addresses) {
    if (address.interface == interface.index) addresses.push_back(fmt::format("{}/{}", address.ip.to_string(), address.prefix));
  }
  return {
      {"index", interface.index},         {"name", interface.name.view()},    {"mtu", interface.mtu},           {"up", interface.is_up != 0},
      {"addresses", addresses},           {"frames_in", interface.frames_in}, {"bytes_in", interface.bytes_in}, {"frames_out", interface.frames_out},
      {"bytes_out", interface.bytes_out}, {"dropped", interface.dropped}};
}

Json json_of(const hub::Listing& listing) {
  const hub::Status& hub = listing.status;
  Json object{{"event", "stat"},
              {"hub", {{"process", hub.process}, {"programs", hub.programs}, {"rounds", hub.rounds}, {"sleeps", hub.sleeps}}},
              {"omitted", {{"interfaces", hub.omitted_interfaces}, {"addresses", hub.omitted_addresses}, {"routes", hub.omitted_routes}}},
              {"sockets", Json::array()},
              {"links", Json::array()},
              {"groups", Json::array()},
              {"counters", json_of(listing.counters)},
              {"drops", json_of(listing.drops)}};
  for (const auto& socket : listing.sockets) object["sockets"].push_back(json_of(socket));
  for (const auto& interface : listing.interfaces) object["links"].push_back(json_of(listing, interface));
  for (const auto& group : listing.groups) {
    object["groups"].push_back(
        {{"group", group.group.to_string()}, {"interface", name_of(listing, group.interface)}, {"socket", group.socket}, {"sources", group.sources}});
  }
  return object;
}

// Empty: it has all.
std::string text_of_omitted(const hub::Status& hub) {
  if (hub.omitted_interfaces + hub.omitted_addresses + hub.omitted_routes == 0) return {};
  return fmt::format("not all of the kernel's network has room on this host: {} interfaces, {} addresses and {} routes are left out",
                     hub.omitted_interfaces, hub.omitted_addresses, hub.omitted_routes);
}

std::string text_of(const hub::Listing& listing, bool verbose) {
  std::string text =
      fmt::format("hub: process {}, programs {}, sockets {}\n\n", listing.status.process, listing.status.programs, listing.sockets.size());
  text += fmt::format("{:>7} {:<16} {:<22} {:<22} {:>9} {:>9} {:>6} {:>6} {:>6}\n", "PID", "PROGRAM", "LOCAL", "REMOTE", "IN", "OUT", "LOST",
                      "RECV-Q", "SEND-Q");
  for (const auto& socket : listing.sockets) {
    text +=
        fmt::format("{:>7} {:<16} {:<22} {:<22} {:>9} {:>9} {:>6} {:>6} {:>6}\n", socket.process,
                    fmt::format("{}{}", socket.program.view(), socket.is_interposed != 0 ? "*" : ""), written(socket.local), written(socket.remote),
                    socket.in, socket.out, socket.receive_queue_full + socket.send_refused, socket.receive_used, socket.send_used);
  }
  text += '\n';
  if (const std::string omitted = text_of_omitted(listing.status); !omitted.empty()) text += omitted + '\n';
  for (const auto& interface : listing.interfaces) {
    text += fmt::format("link {} {} {}, mtu {}", interface.index, interface.name.view(), interface.is_up != 0 ? "up" : "down", interface.mtu);
    for (const auto& address : listing.addresses) {
      if (address.interface == interface.index) text += fmt::format(", {}/{}", address.ip.to_string(), address.prefix);
    }
    if (interface.frames_in + interface.frames_out != 0) text += fmt::format(": {} packets in, {} out", interface.frames_in, interface.frames_out);
    text += '\n';
  }
  for (const auto& group : listing.groups) {
    text += fmt::format("group {} on {}, socket {}", group.group.to_string(), name_of(listing, group.interface), group.socket);
    text += group.sources != 0 ? fmt::format(", {} sources named\n", group.sources) : "\n";
  }
  for (const auto& count : listing.counters) {
    if (count.value != 0 || verbose) text += fmt::format("{:>14}  {}\n", count.value, count.name.view());
  }
  for (const auto& count : listing.drops) text += fmt::format("{:>14}  dropped: {}\n", count.value, count.name.view());
  text.pop_back();
  return text;
}

}  // namespace

void Report::listing(const hub::Listing& listing) { line(json_of(listing), text_of(listing, verbose_)); }

void Report::omitted(const hub::Status& hub) {
  const std::string text = text_of_omitted(hub);
  if (text.empty()) return;
  if (!json_) return note(fmt::format("gannet: {}; gannet stat lists those that are here", text));
  line({{"event", "omitted"}, {"interfaces", hub.omitted_interfaces}, {"addresses", hub.omitted_addresses}, {"routes", hub.omitted_routes}}, {});
}

void Report::clear() { write(stdout, "\033[H\033[2J"); }

}  // namespace gannet::cli
