#include "sim/stranger.h"

#include <algorithm>
#include <utility>

#include "sim/world.h"
#include "wire/udp.h"

namespace gannet::sim {
namespace {

using Bytes = std::vector<std::byte>;

// The payload behind room for the header.
Bytes behind(std::size_t header_size, std::span<const std::byte> payload) {
  Bytes bytes(header_size + payload.size());
  std::ranges::copy(payload, bytes.begin() + static_cast<std::ptrdiff_t>(header_size));
  return bytes;
}

}  // namespace

Stranger::Stranger(World& world, unsigned network, link::MemorySegment& segment, std::uint64_t seed, Duration pause, Deed deed)
    : rng(seed),
      next_act(world.now() + random_pause(rng, pause)),
      world_(world),
      network_(network),
      pools_(FramePools::create(link::batch_size, 4).value()),
      link_(segment.attach().value()),
      pause_(pause),
      deed_(std::move(deed)) {}

void Stranger::act() {
  deed_(*this);
  next_act = world_.now() + random_pause(rng, pause_);
}

void Stranger::drain() {
  std::array<Frame, 4> batch;  // as many as there are frames for the largest
  while (link_->receive(batch, pools_, world_.now()) != 0) {
    for (Frame& frame : batch) frame.release();
  }
}

void Stranger::overhear(std::span<const std::byte> frame) {
  heard_[heard_count_++ % heard_.size()].assign(frame.begin(), frame.end());
  const auto ethernet = wire::parse_ethernet(frame);
  if (!ethernet || ethernet->type != wire::ethertype_ipv4) return;
  if (const auto packet = wire::parse_ipv4(ethernet->payload)) ++heard_of_[packet->protocol];
}

std::span<const std::byte> Stranger::overheard() {
  if (heard_count_ == 0) return {};
  return heard_[rng.below(static_cast<std::uint32_t>(std::min<std::uint64_t>(heard_count_, heard_.size())))];
}

Stranger::Victim Stranger::any_victim() {
  while (true) {
    const Host& host = world_.host(rng.below(static_cast<std::uint32_t>(world_.hosts().size())));
    if (const Host::Port* port = host.on(network_)) return {host.number, port->ip, port->wire->caps().mac};
  }
}

void Stranger::send(std::span<const std::byte> bytes) {
  Frame frame = pools_.allocate(bytes.size());
  frame.resize(bytes.size());
  std::ranges::copy(bytes, frame.bytes().begin());
  link_->send({&frame, 1}, world_.now());
  ++sent_;
}

void Stranger::send_ipv4(const Victim& to, wire::Ipv4Header header, std::span<const std::byte> payload) {
  if (header.dst == IpAddress{}) header.dst = to.ip;
  Bytes frame = behind(wire::ethernet_header_size + header.size(), payload);
  wire::emit_ethernet(to.mac, mac(), wire::ethertype_ipv4, frame);
  wire::emit_ipv4(header, std::span(frame).subspan(wire::ethernet_header_size));
  send(frame);
}

void Stranger::send_udp(const Victim& to, const Address& src, std::uint16_t dst_port, std::span<const std::byte> data) {
  Bytes datagram = behind(wire::udp_header_size, data);
  wire::emit_udp(src.ip, to.ip, src.port, dst_port, datagram);
  send_ipv4(to, {.src = src.ip, .protocol = wire::protocol_udp}, datagram);
}

void Stranger::send_icmp(const Victim& to, const IpAddress& src, wire::Icmp4Type type, std::uint8_t code, std::uint32_t word,
                         std::span<const std::byte> body) {
  Bytes message = behind(wire::icmp4_header_size, body);
  wire::emit_icmp4(type, code, word, message);
  send_ipv4(to, {.src = src, .protocol = wire::protocol_icmp}, message);
}

void Stranger::send_arp(const wire::MacAddress& to, const wire::Arp& arp) {
  std::array<std::byte, wire::ethernet_header_size + wire::arp_size> frame;
  wire::emit_ethernet(to, mac(), wire::ethertype_arp, frame);
  wire::emit_arp(arp, std::span(frame).subspan(wire::ethernet_header_size));
  send(frame);
}

IpAddress Stranger::nobody_near() { return IpAddress::ipv4((any_victim().ip.number() & 0xffffff00) | rng.between(100, 249)); }

IpAddress Stranger::nobody() { return IpAddress::ipv4(20 << 24 | rng.below(1 << 24)); }

std::span<const std::byte> Stranger::junk(std::size_t size) {
  junk_.resize(size);
  for (std::byte& byte : junk_) byte = static_cast<std::byte>(rng.next());
  return junk_;
}

}  // namespace gannet::sim
