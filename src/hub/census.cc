#include "hub/census.h"

#include "stack/counts.h"

namespace gannet::hub {

void list_host(engine::Engine& engine, Listing& listing) {
  stack::Stack& stack = engine.stack();
  std::array<std::uint64_t, drop_count> drops{};
  for (std::size_t i = 0; i < drop_count; ++i) drops[i] = stack.fates().dropped_count(static_cast<Drop>(i));
  for (const auto& interface : stack.interfaces().all()) {
    if (!interface) continue;
    ListedInterface listed;
    listed.index = interface->index();
    listed.name = ListedName(interface->name());
    listed.mtu = interface->mtu();
    listed.is_up = interface->is_up() ? 1 : 0;
    for (const link::Link* link = engine.link(interface->index()); link != nullptr; link = link->wrapped()) {
      const link::Counters& counters = link->counters();
      listed.frames_in = counters.frames_in.value();
      listed.bytes_in = counters.bytes_in.value();
      listed.frames_out = counters.frames_out.value();
      listed.bytes_out = counters.bytes_out.value();
      for (std::size_t i = 0; i < drop_count; ++i) {
        listed.dropped += counters.drops[i].value();
        drops[i] += counters.drops[i].value();
      }
    }
    listing.interfaces.push_back(listed);
    for (const stack::InterfaceAddress& address : interface->addresses()) {
      listing.addresses.push_back({.interface = interface->index(), .prefix = address.prefix, .ip = address.ip});
    }
  }
  for (const stack::NamedCount& count : stack::counts_of(stack)) listing.counters.push_back({ListedName(count.name), count.value});
  for (std::size_t i = 0; i < drop_count; ++i) {
    if (drops[i] != 0) listing.drops.push_back({ListedName(drop_names[i]), drops[i]});
  }
}

void list_socket(engine::Engine& engine, stack::Endpoint& endpoint, std::int32_t process, std::string_view program, Listing& listing) {
  ListedSocket listed;
  listed.id = endpoint.id();
  listed.process = process;
  listed.program = ListedName(program);
  listed.local = endpoint.local;
  listed.remote = endpoint.peer;
  listed.is_interposed = endpoint.handler.handle != nullptr ? 1 : 0;
  listed.in = endpoint.delivered.value();
  listed.out = endpoint.sent.value();
  listed.receive_used = endpoint.receive_used();
  listed.receive_limit = endpoint.receive_limit();
  listed.send_used = endpoint.send_used();
  listed.send_limit = endpoint.send_limit();
  listed.receive_queue_full = endpoint.overflow();
  listed.send_refused = endpoint.refused.value();
  listing.sockets.push_back(listed);
  for (const auto& membership : engine.stack().udp().groups(endpoint).all()) {
    ListedGroup group;
    group.socket = endpoint.id();
    group.interface = membership.interface;
    group.group = membership.group;
    group.sources = static_cast<std::uint32_t>(membership.filter.sources.size());
    listing.groups.push_back(group);
  }
}

}  // namespace gannet::hub
