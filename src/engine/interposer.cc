#include "engine/interposer.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/senders.h"
#include "wire/icmp4.h"
#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::engine {
namespace {

constexpr std::size_t headers_size = wire::ipv4_header_size + wire::udp_header_size;
constexpr std::size_t largest_packet = 65535;
constexpr std::size_t large_held = 1024;  // of those held, such as do not fit a small frame

std::size_t held_by(const Impairment& impairment) { return impairment.is_none() ? 0 : impairment.held_packets; }

void count(Interposer::Drops& drops, Drop reason) { drops[static_cast<std::size_t>(reason)].add(); }

}  // namespace

Result<std::unique_ptr<Interposer>> Interposer::create(const InterposerSetup& setup, Senders& senders, stack::Stack& stack) {
  if (const auto good = setup.in.check(); !good) return good.error();
  if (const auto good = setup.out.check(); !good) return good.error();
  if (setup.mtu != 0 && (setup.mtu < least_mtu || setup.mtu > largest_packet)) return Error{EINVAL, "the MTU of a path is 68 to 65,535 bytes"};
  const std::size_t held = held_by(setup.in) + held_by(setup.out);
  auto pools = FramePools::create(std::max<std::size_t>(held, 1), std::clamp<std::size_t>(held, 1, large_held));
  if (!pools) return pools.error();
  return std::unique_ptr<Interposer>(new Interposer(setup, std::move(*pools), senders, stack));
}

Interposer::Interposer(const InterposerSetup& setup, FramePools pools, Senders& senders, stack::Stack& stack)
    : setup_(setup),
      pools_(std::move(pools)),
      senders_(senders),
      stack_(stack),
      in_(setup.in, link::Direction::in, counters_.in),
      out_(setup.out, link::Direction::out, counters_.out),
      payload_(std::make_unique_for_overwrite<std::byte[]>(stack::max_record_payload)),
      packet_(std::make_unique_for_overwrite<std::byte[]>(largest_packet)) {}

Interposer::~Interposer() { senders_.forget(*this); }

Result<void> Interposer::attach(stack::Endpoint& endpoint, const Owner& owner) {
  if (endpoint.handler.handle != nullptr) return Error{EBUSY, "a handler takes the socket's datagrams in their frames: impair its link instead"};
  endpoints_.emplace(endpoint.id(), Attached{.endpoint = &endpoint, .owner = owner, .told = {}});
  endpoint.handler = {on_arrival, this};
  return {};
}

void Interposer::detach(stack::Endpoint& endpoint) {
  if (endpoints_.erase(endpoint.id()) != 0) endpoint.handler = {};
}

bool Interposer::has_departing(const stack::Endpoint& endpoint) const {
  const auto found = endpoints_.find(endpoint.id());
  return found != endpoints_.end() && found->second.departing != 0;
}

void Interposer::on_arrival(void* self, stack::Endpoint& endpoint, stack::Delivery& delivery) {
  static_cast<Interposer*>(self)->arrive(endpoint, delivery);
}

void Interposer::arrive(stack::Endpoint& endpoint, stack::Delivery& delivery) {
  in_.counters.taken.add();
  About about{.endpoint = endpoint.id(),
              .local = delivery.local(),
              .remote = delivery.peer(),
              .header = {},
              .ip = delivery.ip,
              .has_checksum = delivery.has_checksum};
  about.header.segment_size = delivery.segment_size;
  about.ip_options_size = static_cast<std::uint8_t>(std::min(delivery.ip.options.size(), about.ip_options.size()));
  std::ranges::copy(delivery.ip.options.first(about.ip_options_size), about.ip_options.begin());
  about.ip.options = about.ip.packet = {};
  if (impair(in_, about, delivery.payload, delivery.now)) pass(in_, about, delivery.payload, delivery.now);
}

std::size_t Interposer::flush(stack::Endpoint& endpoint, Time now, std::size_t budget) {
  stack::SendRequest request;
  std::size_t taken = 0;
  for (; taken < budget; ++taken) {
    const auto next = endpoint.next_send(request, now);
    if (!next) {
      out_.counters.taken.add();
      count(out_.counters.drops, next.error());
      continue;
    }
    if (!*next) break;
    depart(endpoint, request, now);
    endpoint.finish_send();
  }
  return taken;
}

// What IP would write. A socket that is bound to no address has one for each way that it sends.
Interposer::About Interposer::describe(const stack::Endpoint& endpoint, const stack::SendRequest& request) const {
  const bool names_peer = request.header.peer.port != 0;
  return {.endpoint = endpoint.id(),
          .local = endpoint.local,
          .remote = names_peer ? request.header.peer : endpoint.peer,
          .header = request.header,
          .ip = {},
          .ip_options = request.ip_options,
          .ip_options_size = static_cast<std::uint8_t>(request.header.ip_options_size)};
}

// A super-datagram is impaired as what it becomes: several datagrams.
void Interposer::depart(stack::Endpoint& endpoint, const stack::SendRequest& request, Time now) {
  About about = describe(endpoint, request);
  if (const auto ip = stack_.udp().preview(endpoint, request)) {
    about.ip = *ip;
    about.local = {ip->src, endpoint.local.port};
    about.remote.ip = ip->dst;
    Attached& attached = endpoints_.at(endpoint.id());
    if (attached.told != about.local) senders_.note(attached.told = about.local, {this, endpoint.id()});
  }
  std::span<std::byte> payload(payload_.get(), request.payload.size());
  std::ranges::copy(request.payload, payload.begin());
  const std::size_t asked = request.header.segment_size;
  const std::size_t segment = asked != 0 ? asked : std::max<std::size_t>(payload.size(), 1);
  about.header.segment_size = 0;
  do {
    const auto one = payload.first(std::min(segment, payload.size()));
    out_.counters.taken.add();
    if (!fits(endpoint, about, one)) {
      drop(out_, about, one, Drop::ip_too_big, now);
    } else if (impair(out_, about, one, now)) {
      pass(out_, about, one, now);
    }
    payload = payload.subspan(one.size());
  } while (!payload.empty());
}

// Who fragments what the path does not take (Linux's default) has to be told once; who forbids it, each time.
bool Interposer::fits(stack::Endpoint& endpoint, const About& about, std::span<const std::byte> payload) {
  if (setup_.mtu == 0 || headers_size + about.ip_options_size + payload.size() <= setup_.mtu) return true;
  const auto kind = stack_.interfaces().kind_of(about.remote.ip, 0);
  if (kind == stack::AddressKind::broadcast || kind == stack::AddressKind::multicast) return true;
  const stack::Fragmentation wanted = endpoint.options.fragmentation;
  if (!stack::always_sets_df(wanted) && (wanted != stack::Fragmentation::want || path_mtu(about.remote.ip) != 0)) return true;
  if (told_mtu_.size() >= max_told) told_mtu_.clear();
  told_mtu_.insert(about.remote.ip.number());
  endpoint.report({.code = EMSGSIZE,
                   .origin = SocketError::Origin::icmp,
                   .type = static_cast<std::uint8_t>(wire::Icmp4Type::unreachable),
                   .icmp_code = wire::unreachable_code::fragmentation_needed,
                   .mtu = setup_.mtu,
                   .peer = about.remote,
                   .offender = about.local.ip},
                  true, payload);
  return false;
}

bool Interposer::impair(Side& side, const About& about, std::span<std::byte> payload, Time now) {
  if (side.fault.is_none()) return true;
  const link::FlowKey key{.kind = wire::protocol_udp,
                          .local_port = about.local.port,
                          .remote_port = about.remote.port,
                          .local = about.local.ip,
                          .remote = about.remote.ip};
  const link::Verdict verdict = side.fault.decide(flows_.find(key), headers_size + payload.size(), now);
  if (verdict.drop) {
    drop(side, about, payload, *verdict.drop, now);
    return false;
  }
  if (verdict.corrupt_bit && is_checked(side, about)) {
    drop(side, about, payload, Drop::udp_checksum_bad, now);
    return false;
  }
  if (verdict.corrupt_bit && !payload.empty()) {
    const std::size_t bit = *verdict.corrupt_bit % (payload.size() * 8);
    payload[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  // What comes due now goes behind what is due already.
  const bool at_once = verdict.release <= now && side.held.next() > now;
  if (!at_once) hold(side, about, payload, verdict.release, now);
  if (verdict.duplicate) {
    side.counters.duplicates.add();
    hold(side, about, payload, verdict.release, now);
  }
  return at_once;
}

// A flipped bit is for the checksum to find. Of what arrives here nobody knows whether it had one: as good as all has.
bool Interposer::is_checked(const Side& side, const About& about) const {
  const auto from = endpoints_.find(about.endpoint);
  return side.direction == link::Direction::in || from == endpoints_.end() || !from->second.endpoint->options.no_checksum;
}

void Interposer::hold(Side& side, const About& about, std::span<const std::byte> payload, Time release, Time now) {
  if (side.held.full()) return drop(side, about, payload, Drop::fault_held_full, now);
  Frame frame = pools_.allocate(payload.size());
  if (!frame) return drop(side, about, payload, Drop::no_frame, now);
  frame.resize(payload.size());
  std::ranges::copy(payload, frame.bytes().begin());
  side.held.push(release, {about, std::move(frame)});
  if (side.direction == link::Direction::out) ++endpoints_.at(about.endpoint).departing;
}

void Interposer::advance(Time now) {
  for (Side* side : {&in_, &out_}) {
    while (side->held.next() <= now) {
      Held held = side->held.pop();
      if (const auto from = endpoints_.find(held.about.endpoint); side == &out_ && from != endpoints_.end()) --from->second.departing;
      pass(*side, held.about, held.payload.bytes(), now);
    }
  }
}

void Interposer::pass(Side& side, const About& about, std::span<std::byte> payload, Time now) {
  const auto found = endpoints_.find(about.endpoint);
  if (found == endpoints_.end()) return drop(side, about, payload, Drop::socket_closed, now);
  const bool in = side.direction == link::Direction::in;
  const auto passed = in ? hand_in(found->second, about, payload, now) : hand_out(found->second, about, payload, now);
  if (!passed) return drop(side, about, payload, passed.error(), now);
  side.counters.passed.add();
  capture(side, about, payload, {}, now);
}

std::expected<void, Drop> Interposer::hand_in(Attached& to, const About& about, std::span<std::byte> payload, Time now) {
  wire::IpInfo ip = about.ip;
  ip.options = std::span(about.ip_options).first(about.ip_options_size);
  const stack::Delivery delivery{.ip = ip,
                                 .peer_port = about.remote.port,
                                 .local_port = about.local.port,
                                 .payload = payload,
                                 .segment_size = about.header.segment_size,
                                 .has_checksum = about.has_checksum,
                                 .now = now};
  return to.endpoint->enqueue(delivery);
}

std::expected<void, Drop> Interposer::hand_out(Attached& from, const About& about, std::span<std::byte> payload, Time now) {
  const auto sent = stack_.udp().submit(*from.endpoint, {.header = about.header, .ip_options = about.ip_options, .payload = payload}, now);
  if (!sent) return std::unexpected(sent.error());
  switch (*sent) {
    case stack::PathKind::local:
      counters_.here.passed.add();
      break;
    case stack::PathKind::unicast:
      counters_.away.passed.add();
      break;
    case stack::PathKind::broadcast:
    case stack::PathKind::multicast:
      counters_.to_groups.add();
      break;
  }
  return {};
}

void Interposer::drop(Side& side, const About& about, std::span<const std::byte> payload, Drop reason, Time now) {
  count(side.counters.drops, reason);
  capture(side, about, payload, reason, now);
  if (side.direction == link::Direction::out) return;
  // To the stack it was delivered; who sent it, where he is here, hears of its end from us.
  const Senders::Sender sender = senders_.find(about.remote);
  if (sender.interposer == nullptr) return;
  sender.interposer->lost({.endpoint = sender.endpoint, .dst = about.local.ip, .packet = packet_of(side, about, payload), .reason = reason}, now);
}

void Interposer::lost(const Loss& loss, Time now) {
  switch (stack_.interfaces().kind_of(loss.dst, 0)) {
    case stack::AddressKind::own:
    case stack::AddressKind::loopback:
      count(counters_.here.lost, loss.reason);
      break;
    case stack::AddressKind::broadcast:
    case stack::AddressKind::multicast:
      return;
    default:
      count(counters_.away.lost, loss.reason);
  }
  record(setup_.capture_lost, link::Direction::out, loss.endpoint, loss.packet, loss.reason, now);
}

void Interposer::capture(const Side& side, const About& about, std::span<const std::byte> payload, std::optional<Drop> reason, Time now) {
  if (setup_.capture == nullptr) return;
  record(setup_.capture_interface, side.direction, about.endpoint, packet_of(side, about, payload), reason, now);
}

void Interposer::record(std::uint32_t interface, link::Direction direction, std::uint32_t endpoint, std::span<const std::byte> packet,
                        std::optional<Drop> reason, Time now) {
  if (setup_.capture == nullptr || packet.empty()) return;
  const auto found = endpoints_.find(endpoint);
  const Owner owner = found != endpoints_.end() ? found->second.owner : Owner{};
  setup_.capture->take(interface, packet, now,
                       {.direction = direction, .drop = reason, .process = owner.process, .process_name = owner.view(), .socket = endpoint});
}

// A datagram here is no packet, or no longer.
std::span<const std::byte> Interposer::packet_of(const Side& side, const About& about, std::span<const std::byte> payload) {
  if (payload.size() > largest_packet - headers_size || !about.local.ip.is_ipv4()) return {};
  const bool in = side.direction == link::Direction::in;
  const Address& src = in ? about.remote : about.local;
  const Address& dst = in ? about.local : about.remote;
  const std::span<std::byte> packet(packet_.get(), headers_size + payload.size());
  std::ranges::copy(payload, packet.subspan(headers_size).begin());
  wire::emit_udp(src.ip, dst.ip, src.port, dst.port, packet.subspan(wire::ipv4_header_size));
  wire::emit_ipv4({.src = src.ip, .dst = dst.ip, .protocol = wire::protocol_udp, .ttl = about.ip.hop_limit, .tos = about.ip.tos}, packet);
  return packet;
}

}  // namespace gannet::engine
