#include "sim/program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <utility>

#include "sim/world.h"
#include "support/net.h"

namespace gannet::sim {
namespace {

constexpr std::size_t largest_unfragmented_of(std::size_t mtu) { return mtu - 28; }
constexpr unsigned groups = 4;

IpAddress group_of(unsigned number) { return IpAddress::ipv4(239, 1, 0, static_cast<std::uint8_t>(number + 1)); }

}  // namespace

Program::Program(World& world, Host& host, Role role) : world_(world), host_(host), role_(role), buffer_(Ledger::largest + 1) { open(); }

Program::~Program() { close(); }

void Program::open() {
  stack::Udp& udp = host_.stack.udp();
  endpoint_ = udp.open(host_.news).value();
  endpoint_->open_rings().value();
  client_.emplace(endpoint_->memory());
  client_->set_send_ring(endpoint_->add_send_ring().value());
  stack::EndpointOptions& options = endpoint_->options;
  options.broadcast = true;
  options.multicast_all = false;
  options.reuse_address = role_ == Role::server || role_ == Role::member;
  options.receive_errors = host_.whims.chance(0.5);
  options.tos = static_cast<std::uint8_t>(host_.whims.below(256));
  if (host_.whims.chance(0.3)) options.fragmentation = host_.whims.chance(0.5) ? stack::Fragmentation::never_df : stack::Fragmentation::omit;

  const IpAddress any = IpAddress::any(Family::ipv4);
  if (role_ == Role::server || role_ == Role::member) udp.bind(*endpoint_, {any, server_port}).value();
  if (role_ == Role::echo) {
    endpoint_->handler = {[](void* self, stack::Endpoint&, stack::Delivery& delivery) { static_cast<Program*>(self)->handle(delivery); }, this};
    udp.bind(*endpoint_, {any, echo_port}).value();
  }
}

void Program::close() {
  if (endpoint_ == nullptr) return;
  read(true);
  client_.reset();
  joined_.clear();
  host_.stack.udp().close(*endpoint_, world_.now());
  endpoint_ = nullptr;
}

void Program::act() {
  const Mix& mix = world_.options().mix;
  read(true);
  unsigned choice = host_.whims.below(mix.total());
  const auto is = [&](unsigned weight) {
    if (choice < weight) return true;
    choice -= weight;
    return false;
  };
  if (is(mix.broadcast)) return send_to_group(true);
  if (is(mix.multicast)) return send_to_group(false);
  if (is(mix.nobody)) return send_to_nobody();
  if (is(mix.refused)) return send_what_is_refused();
  if (is(mix.membership)) return change_membership();
  if (is(mix.reopen)) {
    close();
    return open();
  }
  if (is(mix.reconnect)) {
    if (role_ == Role::client) connect();
    return;
  }
  const bool large = is(mix.large);
  const bool segments = !large && is(mix.segments);
  if (role_ == Role::client && !endpoint_->is_connected()) connect();
  const auto to = role_ == Role::client && endpoint_->is_connected() ? std::optional(endpoint_->peer) : any_server();
  if (!to) return;
  if (segments) return send_segments(*to);
  send(*to, large ? any_large_size() : any_size(), {});
}

void Program::read(bool all) {
  if (role_ == Role::member && world_.options().mix.members_read_late && !all) return;
  stack::ReceiveSlot slot{.buffer = buffer_};
  while (client_->receive({&slot, 1}) == 1) {
    const std::span payload = std::span(buffer_).first(slot.size);
    const auto number = world_.deliver(host_, role_, slot.header.peer, payload);
    if (number && role_ == Role::server && wants_answer(*number)) answer(slot.header, *number);
  }
  while (client_->has_queued_error()) client_->receive_error(slot);
  client_->take_error();
}

void Program::handle(stack::Delivery& delivery) {
  const auto number = world_.deliver(host_, role_, delivery.peer(), delivery.payload);
  if (!number || delivery.ip.to_group || !wants_answer(*number)) return;
  const std::size_t size = delivery.payload.size();
  const Ledger::Number reply =
      world_.begin_send({.host = host_.number, .to = delivery.peer(), .size = static_cast<std::uint32_t>(size), .is_reply = true}, delivery.payload);
  const auto sent = host_.stack.udp().reply(*endpoint_, delivery, size);
  world_.end_send();
  if (!sent) world_.ledger().refused(reply, sent.error().code);
}

bool Program::wants_answer(Ledger::Number number) {
  const Ledger::Datagram& datagram = world_.ledger()[number];
  return !datagram.is_reply && !datagram.to_group && host_.whims.chance(world_.options().mix.answer);
}

void Program::answer(const stack::RecordHeader& header, Ledger::Number number) {
  stack::RecordHeader reply;
  reply.peer = header.peer;
  reply.local = header.local;
  const auto size = world_.ledger()[number].size;
  const std::span payload = std::span(buffer_).first(size);
  world_.begin_send({.host = host_.number, .to = header.peer, .size = size, .is_reply = true}, payload);
  client_->send(std::array{stack::SendSlot{.header = reply, .ip_options = {}, .payload = payload}});
  host_.stack.udp().flush(*endpoint_, world_.now(), 64);
  world_.end_send();
}

std::size_t Program::any_size() {
  const auto most = static_cast<std::uint32_t>(largest_unfragmented_of(world_.options().mtu));
  const std::uint32_t small = std::min(most, std::uint32_t{200});
  return host_.whims.between(Ledger::smallest, host_.whims.chance(0.7) ? small : most);
}

std::size_t Program::any_large_size() {
  const std::size_t mtu = world_.options().mtu;
  const std::uint32_t most = host_.whims.chance(0.7) ? 8000 : Ledger::largest;
  return Ledger::recognizable(host_.whims.between(static_cast<std::uint32_t>(largest_unfragmented_of(mtu)), most), mtu);
}

std::optional<Address> Program::any_server() {
  const std::uint16_t port = host_.whims.chance(0.5) ? server_port : echo_port;
  const Host::Port& mine = host_.ports[host_.whims.below(static_cast<std::uint32_t>(host_.ports.size()))];
  const Host& other = world_.host(host_.whims.below(static_cast<std::uint32_t>(world_.hosts().size())));
  const Host::Port* theirs = other.on(mine.network);
  if (theirs == nullptr) return std::nullopt;
  return Address{theirs->ip, port};
}

void Program::connect() {
  if (const auto to = any_server()) host_.stack.udp().connect(*endpoint_, *to).value();
}

void Program::send(const Address& to, std::size_t size, const Ledger::Datagram& kind) {
  const Host::Port& from = host_.ports.front();
  Ledger::Datagram datagram = kind;
  datagram.host = host_.number;
  datagram.to = to;
  datagram.size = static_cast<std::uint32_t>(size);
  stack::RecordHeader header;
  header.peer = to;
  if (datagram.to_group) header.interface = from.interface;
  const std::span payload = std::span(buffer_).first(size);
  const Ledger::Number number = world_.begin_send(datagram, payload);
  if (host_.whims.chance(0.5)) {
    const auto sent = send_now(header, payload);
    if (!sent) world_.ledger().refused(number, sent.error().code);
  } else {
    EXPECT_EQ(client_->send(std::array{stack::SendSlot{.header = header, .ip_options = {}, .payload = payload}}), 1u);
    host_.stack.udp().flush(*endpoint_, world_.now(), 64);
  }
  world_.end_send();
}

Result<void> Program::send_now(const stack::RecordHeader& header, std::span<const std::byte> payload) {
  return host_.stack.udp().send(*endpoint_, {.header = header, .payload = payload}, world_.now());
}

// Several datagrams in one record (UDP_SEGMENT). The call fails with the first of them, or not at all.
void Program::send_segments(const Address& to) {
  const std::size_t size = host_.whims.between(Ledger::smallest, 400);
  const std::size_t count = host_.whims.between(2, 16);
  std::vector<Ledger::Number> numbers;
  const Ledger::Datagram datagram{.host = host_.number, .to = to, .size = static_cast<std::uint32_t>(size)};
  for (std::size_t i = 0; i < count; ++i) numbers.push_back(world_.begin_send(datagram, std::span(buffer_).subspan(i * size, size)));
  world_.end_send();
  stack::RecordHeader header;
  header.peer = to;
  header.segment_size = static_cast<std::uint16_t>(size);
  const auto sent = send_now(header, std::span(buffer_).first(size * count));
  if (sent) return;
  for (const Ledger::Number number : numbers) world_.ledger().refused(number, sent.error().code);
}

void Program::send_to_group(bool everybody) {
  if (role_ == Role::client) return;  // its address may be another network's
  const Host::Port& from = host_.ports.front();
  Address to{group_of(host_.whims.below(groups)), host_.whims.chance(0.5) ? server_port : echo_port};
  if (everybody) to.ip = host_.whims.chance(0.5) ? IpAddress::ipv4(from.ip.number() | 0xff) : IpAddress::ipv4(255, 255, 255, 255);
  send(to, any_size(), {.expected = world_.listeners(from, to), .to_group = true});
}

void Program::send_to_nobody() {
  const Host::Port& from = host_.ports.front();
  const auto there = any_server();
  if (role_ == Role::client || !there) return;
  // An address of the network that no host has, or a port that no program has.
  const Address to = host_.whims.chance(0.3) ? Address{IpAddress::ipv4((from.ip.number() & 0xffffff00) | 250), server_port} : Address{there->ip, 9};
  send(to, any_size(), {.expected = 0});
}

void Program::send_what_is_refused() {
  if (role_ == Role::client) return;
  const auto there = any_server();
  if (!there) return;
  switch (host_.whims.below(3)) {
    case 0:
      return send(*there, Ledger::largest + 1, {.expected = 0});
    case 1:
      return send({there->ip, 0}, any_size(), {.expected = 0});
    default:
      return send({IpAddress::ipv4(198, 51, 100, 1), server_port}, any_size(), {.expected = 0});  // no route leads there
  }
}

void Program::change_membership() {
  if (role_ == Role::client) return;
  const Host::Port& port = host_.ports[host_.whims.below(static_cast<std::uint32_t>(host_.ports.size()))];
  const Group group{group_of(host_.whims.below(groups)), port.interface};
  stack::Multicast& multicast = host_.stack.multicast();
  stack::SocketGroups& mine = host_.stack.udp().groups(*endpoint_);
  const auto [joined, is_new] = joined_.try_emplace(group);
  if (is_new && host_.whims.chance(0.3)) joined->second = IpAddress::ipv4((port.ip.number() & 0xffffff00) | 1);
  const auto& source = joined->second;
  if (is_new) {
    (source ? multicast.join_source(mine, group.first, *source, group.second, world_.now())
            : multicast.join(mine, group.first, group.second, world_.now()))
        .value();
    return;
  }
  (source ? multicast.leave_source(mine, group.first, *source, group.second, world_.now())
          : multicast.leave(mine, group.first, group.second, world_.now()))
      .value();
  joined_.erase(joined);
}

bool Program::listens(std::uint32_t interface, const IpAddress& src, const Address& to) const {
  if (role_ == Role::client || endpoint_->local.port != to.port) return false;
  if (!to.ip.is_multicast()) return true;
  const auto joined = joined_.find({to.ip, interface});
  return joined != joined_.end() && joined->second.value_or(src) == src;
}

}  // namespace gannet::sim
