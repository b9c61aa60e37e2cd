#include "support/net.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "wire/checksum.h"
#include "wire/udp.h"

namespace gannet::tests {
namespace {

struct Network {
  IpAddress ip;
  std::uint8_t prefix = 0;
};

Network parse_network(std::string_view text) {
  const std::size_t slash = text.find('/');
  Network network{ip(text.substr(0, slash))};
  std::from_chars(text.data() + slash + 1, text.data() + text.size(), network.prefix);
  return network;
}

}  // namespace

Bytes bytes_of(std::string_view text) {
  Bytes bytes(text.size());
  std::ranges::transform(text, bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

Bytes make_ethernet(const wire::MacAddress& dst, const wire::MacAddress& src, std::uint16_t type, const Bytes& payload) {
  Bytes frame(wire::ethernet_header_size);
  wire::emit_ethernet(dst, src, type, frame);
  return frame + payload;
}

Bytes make_ipv4(const wire::Ipv4Header& header, const Bytes& payload) {
  Bytes packet = Bytes(header.size()) + payload;
  wire::emit_ipv4(header, packet);
  return packet;
}

Bytes make_udp(const IpAddress& src, const IpAddress& dst, std::uint16_t src_port, std::uint16_t dst_port, const Bytes& payload) {
  Bytes datagram = Bytes(wire::udp_header_size) + payload;
  wire::emit_udp(src, dst, src_port, dst_port, datagram);
  return datagram;
}

void Recorder::input(const wire::IpInfo& info, Frame payload, Time now) {
  const auto bytes = std::as_const(payload).bytes();
  Packet packet{info, {bytes.begin(), bytes.end()}, {info.options.begin(), info.options.end()}, {info.packet.begin(), info.packet.end()}, now};
  packet.info.options = packet.info.packet = {};
  packets.push_back(std::move(packet));
  fates->delivered();
}

bool Recorder::icmp_error(const stack::IcmpError& error, Time) {
  errors.push_back({error, {error.quote.begin(), error.quote.end()}});
  errors.back().error.quote = {};
  return is_live;
}

std::optional<Drop> Recorder::refuses(const IpAddress& group, const IpAddress&, std::uint32_t, std::uint8_t) const {
  return std::ranges::find(groups, group) != groups.end() ? std::nullopt : std::optional(Drop::group_not_joined);
}

Host::Host(std::uint64_t seed, const stack::Config& config) : pools(FramePools::create(4096, 64).value()), rng(seed), stack(pools, rng, config) {
  recorder.fates = &stack.fates();
}

void Host::record_udp() {
  stack.context().upper.udp = stack::UpperLayers::protocol_of(recorder);
  stack.context().upper.groups = stack::UpperLayers::groups_of(recorder);
}

Frame Host::frame_of(std::span<const std::byte> bytes) {
  Frame frame = pools.allocate(bytes.size());
  EXPECT_TRUE(static_cast<bool>(frame)) << "the host's pools are exhausted";
  if (!frame) return frame;
  frame.resize(bytes.size());
  std::ranges::copy(bytes, frame.bytes().begin());
  return frame;
}

Result<void> Host::send(const IpAddress& dst, const Bytes& payload, Time now, stack::Fragmentation fragmentation, std::uint8_t protocol) {
  const auto path = stack.ip().find_path(dst, IpAddress::any(Family::ipv4), 0);
  if (!path) return path.error();
  const wire::IpInfo info{.src = path->src, .dst = dst, .protocol = protocol};
  return stack.ip().output(frame_of(payload), info, *path, fragmentation, now);
}

std::int64_t Host::unaccounted() const {
  const stack::IpCounters& counters = stack.counters();
  const stack::Fates& fates = stack.fates();
  const std::uint64_t came = counters.frames_in.value() + counters.frames_made.value();
  const std::uint64_t went = counters.frames_out.value() + fates.delivered_count() + fates.consumed_count() + fates.dropped_total() + stack.held();
  return static_cast<std::int64_t>(came - went);
}

Net::~Net() {
  for (const auto& host : hosts_) EXPECT_EQ(host->unaccounted(), 0) << host->ip.to_string() << ": a frame was lost, or counted twice";
}

Host& Net::add_host(std::string_view address, const stack::Config& config, unsigned wire) {
  const auto number = static_cast<std::uint8_t>(hosts_.size() + 1);
  hosts_.push_back(std::make_unique<Host>(number, config));
  Host& host = *hosts_.back();
  host.mac = {{std::byte{2}, {}, {}, {}, {}, std::byte{number}}};
  host.interface = add_interface(host, address, wire);
  return host;
}

std::uint32_t Net::add_interface(Host& host, std::string_view address, unsigned wire, std::uint32_t mtu) {
  const auto index = host.stack.add_interface({.name = "eth" + std::to_string(host.wires.size()), .mac = host.mac, .mtu = mtu}).value();
  host.wires.emplace_back(index, wire);
  if (!address.empty()) {
    const Network network = parse_network(address);
    host.stack.add_address(index, network.ip, network.prefix, now).value();
    if (host.wires.size() == 1) host.ip = network.ip;
  }
  return index;
}

void Net::inject(Host& host, const Bytes& frame) { host.stack.input(host.interface, host.frame_of(frame), now); }

void Net::inject_ipv4(Host& host, const Bytes& packet, const wire::MacAddress& src) {
  inject(host, make_ethernet(host.mac, src, wire::ethertype_ipv4, packet));
}

bool Net::carry() {
  std::vector<Carried> batch;
  std::vector<const Host*> senders;
  for (const auto& host : hosts_) {
    for (const auto& [interface, wire] : host->wires) {
      const auto frames = host->stack.output(interface);
      for (Frame& frame : frames) {
        const auto bytes = std::as_const(frame).bytes();
        batch.push_back({now, wire, {bytes.begin(), bytes.end()}});
        senders.push_back(host.get());
        frame.release();
      }
      host->stack.sent(interface, frames.size());
    }
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    carried.push_back(batch[i]);
    if (carries && !carries(batch[i])) continue;
    for (const auto& host : hosts_) {
      if (host.get() == senders[i]) continue;
      for (const auto& [interface, wire] : host->wires) {
        if (wire == batch[i].wire) host->stack.input(interface, host->frame_of(batch[i].frame), now);
      }
    }
  }
  return !batch.empty();
}

void Net::settle() {
  for (unsigned round = 0; round < 1000; ++round) {
    for (const auto& host : hosts_) {
      if (host->stack.next_wakeup() <= now) host->stack.advance(now);
    }
    const bool moved = carry();
    const bool is_due = std::ranges::any_of(hosts_, [&](const auto& host) { return host->stack.next_wakeup() <= now; });
    if (!moved && !is_due) return;
  }
  ADD_FAILURE() << "the hosts never come to rest";
}

bool Net::step() {
  settle();
  Time next = never;
  for (const auto& host : hosts_) next = std::min(next, host->stack.next_wakeup());
  if (next == never) return false;
  now = next;
  settle();
  return true;
}

void Net::run_for(Duration time) {
  const Time end = now + time;
  settle();
  while (true) {
    Time next = never;
    for (const auto& host : hosts_) next = std::min(next, host->stack.next_wakeup());
    if (next > end) break;
    now = next;
    settle();
  }
  now = end;
}

}  // namespace gannet::tests
