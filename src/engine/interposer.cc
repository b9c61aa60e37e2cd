#include "engine/interposer.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::engine {
namespace {

constexpr std::size_t headers_size = wire::ipv4_header_size + wire::udp_header_size;
constexpr std::size_t largest_packet = 65535;

}  // namespace

Result<std::unique_ptr<Interposer>> Interposer::create(const InterposerSetup& setup, FramePools& pools, stack::Udp& udp) {
  if (const auto good = setup.in.check(); !good) return good.error();
  if (const auto good = setup.out.check(); !good) return good.error();
  return std::unique_ptr<Interposer>(new Interposer(setup, pools, udp));
}

Interposer::Interposer(const InterposerSetup& setup, FramePools& pools, stack::Udp& udp)
    : setup_(setup),
      pools_(pools),
      udp_(udp),
      in_(setup.in, link::Direction::in),
      out_(setup.out, link::Direction::out),
      payload_(std::make_unique_for_overwrite<std::byte[]>(stack::max_record_payload)),
      packet_(setup.capture != nullptr ? std::make_unique_for_overwrite<std::byte[]>(largest_packet) : nullptr) {}

Result<void> Interposer::attach(stack::Endpoint& endpoint) {
  if (endpoint.handler.handle != nullptr) return Error{EBUSY, "a handler takes the socket's datagrams in their frames: impair its link instead"};
  endpoints_.emplace(endpoint.id(), &endpoint);
  endpoint.handler = {on_arrival, this};
  return {};
}

void Interposer::detach(stack::Endpoint& endpoint) {
  if (endpoints_.erase(endpoint.id()) != 0) endpoint.handler = {};
}

void Interposer::on_arrival(void* self, stack::Endpoint& endpoint, stack::Delivery& delivery) {
  static_cast<Interposer*>(self)->arrive(endpoint, delivery);
}

void Interposer::arrive(stack::Endpoint& endpoint, stack::Delivery& delivery) {
  counters_.arrivals.add();
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
      counters_.departures.add();
      counters_.drops[static_cast<std::size_t>(next.error())].add();
      continue;
    }
    if (!*next) break;
    depart(endpoint, request, now);
    endpoint.finish_send();
  }
  return taken;
}

// A super-datagram is impaired as what it becomes: several datagrams.
void Interposer::depart(stack::Endpoint& endpoint, const stack::SendRequest& request, Time now) {
  About about{.endpoint = endpoint.id(),
              .local = endpoint.local,
              .remote = request.header.peer.port != 0 ? request.header.peer : endpoint.peer,
              .header = request.header,
              .ip = {},
              .ip_options = request.ip_options,
              .ip_options_size = static_cast<std::uint8_t>(request.header.ip_options_size)};
  std::span<std::byte> payload(payload_.get(), request.payload.size());
  std::ranges::copy(request.payload, payload.begin());
  const std::size_t asked = request.header.segment_size;
  const std::size_t segment = asked != 0 ? asked : std::max<std::size_t>(payload.size(), 1);
  about.header.segment_size = 0;
  do {
    const auto one = payload.first(std::min(segment, payload.size()));
    counters_.departures.add();
    if (impair(out_, about, one, now)) pass(out_, about, one, now);
    payload = payload.subspan(one.size());
  } while (!payload.empty());
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
  if (verdict.corrupt_bit && !payload.empty()) {
    const std::size_t bit = *verdict.corrupt_bit % (payload.size() * 8);
    payload[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  // What comes due now goes behind what is due already.
  const bool at_once = verdict.release <= now && side.held.next() > now;
  if (!at_once) hold(side, about, payload, verdict.release, now);
  if (verdict.duplicate) {
    counters_.duplicates.add();
    hold(side, about, payload, verdict.release, now);
  }
  return at_once;
}

void Interposer::hold(Side& side, const About& about, std::span<const std::byte> payload, Time release, Time now) {
  if (side.held.full()) return drop(side, about, payload, Drop::fault_held_full, now);
  Frame frame = pools_.allocate(payload.size());
  if (!frame) return drop(side, about, payload, Drop::no_frame, now);
  frame.resize(payload.size());
  std::ranges::copy(payload, frame.bytes().begin());
  side.held.push(release, {about, std::move(frame)});
}

void Interposer::advance(Time now) {
  for (Side* side : {&in_, &out_}) {
    while (side->held.next() <= now) {
      Held held = side->held.pop();
      pass(*side, held.about, held.payload.bytes(), now);
    }
  }
}

void Interposer::pass(const Side& side, const About& about, std::span<std::byte> payload, Time now) {
  const auto found = endpoints_.find(about.endpoint);
  if (found == endpoints_.end()) return drop(side, about, payload, Drop::socket_closed, now);
  stack::Endpoint& endpoint = *found->second;
  const auto options = std::span(about.ip_options).first(about.ip_options_size);
  if (side.direction == link::Direction::in) {
    wire::IpInfo ip = about.ip;
    ip.options = options;
    const stack::Delivery delivery{.ip = ip,
                                   .peer_port = about.remote.port,
                                   .local_port = about.local.port,
                                   .payload = payload,
                                   .segment_size = about.header.segment_size,
                                   .has_checksum = about.has_checksum,
                                   .now = now};
    const auto taken = endpoint.enqueue(delivery);
    if (!taken) return drop(side, about, payload, taken.error(), now);
  } else {
    udp_.submit(endpoint, {.header = about.header, .ip_options = about.ip_options, .payload = payload}, now);
  }
  counters_.passed.add();
  capture(side, about, payload, {}, now);
}

void Interposer::drop(const Side& side, const About& about, std::span<const std::byte> payload, Drop reason, Time now) {
  counters_.drops[static_cast<std::size_t>(reason)].add();
  capture(side, about, payload, reason, now);
}

// A datagram here is no packet, or no longer: the capture shows the one that it was or would be, where that can be told.
void Interposer::capture(const Side& side, const About& about, std::span<const std::byte> payload, std::optional<Drop> reason, Time now) {
  if (setup_.capture == nullptr || payload.size() > largest_packet - headers_size || !about.local.ip.is_ipv4()) return;
  const bool in = side.direction == link::Direction::in;
  const Address& src = in ? about.remote : about.local;
  const Address& dst = in ? about.local : about.remote;
  const std::span<std::byte> packet(packet_.get(), headers_size + payload.size());
  std::ranges::copy(payload, packet.subspan(headers_size).begin());
  wire::emit_udp(src.ip, dst.ip, src.port, dst.port, packet.subspan(wire::ipv4_header_size));
  wire::emit_ipv4({.src = src.ip,
                   .dst = dst.ip,
                   .protocol = wire::protocol_udp,
                   .ttl = in ? about.ip.hop_limit : wire::IpInfo{}.hop_limit,
                   .tos = in ? about.ip.tos : std::uint8_t{0}},
                  packet);
  setup_.capture->take(setup_.capture_interface, packet, now,
                       {.direction = side.direction, .drop = reason, .process = setup_.process, .socket = about.endpoint});
}

}  // namespace gannet::engine
