#include "stack/icmp4.h"

#include <algorithm>
#include <array>
#include <utility>

#include "wire/checksum.h"
#include "wire/endian.h"
#include "wire/ipv4.h"

namespace gannet::stack {
namespace {

using wire::Icmp4Type;

constexpr std::size_t quoted_max = 576 - wire::ipv4_header_size - wire::icmp4_header_size;  // RFC 1812 4.3.2.3
constexpr std::uint8_t error_tos = 0xc0;                                                    // RFC 1812 4.3.2.5: internetwork control

struct Meaning {
  int error;
  bool hard;
};

// As Linux maps types and codes to errors (icmp_err_convert and udp_err in net/ipv4), so that programs see what they know.
Meaning meaning_of(Icmp4Type type, std::uint8_t code) {
  static constexpr std::array<Meaning, 16> unreachable = {{{ENETUNREACH, false},
                                                           {EHOSTUNREACH, false},
                                                           {ENOPROTOOPT, true},
                                                           {ECONNREFUSED, true},
                                                           {EMSGSIZE, true},
                                                           {EOPNOTSUPP, false},
                                                           {ENETUNREACH, true},
                                                           {EHOSTDOWN, true},
                                                           {ENONET, true},
                                                           {ENETUNREACH, true},
                                                           {EHOSTUNREACH, true},
                                                           {ENETUNREACH, false},
                                                           {EHOSTUNREACH, false},
                                                           {EHOSTUNREACH, true},
                                                           {EHOSTUNREACH, true},
                                                           {EHOSTUNREACH, true}}};
  if (type == Icmp4Type::unreachable && code < unreachable.size()) return unreachable[code];
  if (type == Icmp4Type::parameter_problem) return {EPROTO, true};
  return {EHOSTUNREACH, false};
}

const UpperLayers::Protocol* upper_of(const UpperLayers& upper, std::uint8_t protocol) {
  const bool takes_errors = protocol == wire::protocol_udp && upper.udp.icmp_error != nullptr;
  return takes_errors ? &upper.udp : nullptr;
}

// Errors are told of the first fragment only, which has the ports (RFC 1122 3.2.2).
bool is_later_fragment(std::span<const std::byte> packet) { return (wire::load_be16(packet, 6) & wire::ipv4_field::offset) != 0; }

bool is_icmp_query(std::span<const std::byte> packet) {
  const std::size_t header_size = std::size_t{wire::load_u8(packet, 0) & 0x0fu} * 4;
  if (packet.size() <= header_size) return false;
  const auto type = static_cast<Icmp4Type>(wire::load_u8(packet, header_size));
  return type == Icmp4Type::echo_request || type == Icmp4Type::echo_reply || type == Icmp4Type::timestamp_request ||
         type == Icmp4Type::timestamp_reply;
}

}  // namespace

void report_unreachable(const Context& context, std::span<const std::byte> packet, std::uint32_t interface, Time now) {
  const auto quote = wire::parse_quote({.type = Icmp4Type::unreachable, .code = wire::unreachable_code::host, .body = packet});
  if (!quote || quote->fragment_offset != 0) return;
  const auto* upper = upper_of(context.upper, quote->protocol);
  if (upper == nullptr) return;
  const IcmpError error{.src = quote->src,
                        .dst = quote->dst,
                        .protocol = quote->protocol,
                        .quote = quote->payload,
                        .offender = quote->src,
                        .interface = interface,
                        .type = static_cast<std::uint8_t>(Icmp4Type::unreachable),
                        .code = wire::unreachable_code::host,
                        .error = EHOSTUNREACH};
  upper->icmp_error(upper->layer, error, now);
}

Icmp4::Icmp4(Context& context, IpLayer& ip, Interfaces& interfaces, PathMtus& path_mtus)
    : context_(context), ip_(ip), interfaces_(interfaces), path_mtus_(path_mtus), limit_(context) {}

void Icmp4::input(const wire::IpInfo& ip, Frame message, Time now) {
  context_.counters.icmp_in_messages.add();
  const auto icmp = wire::parse_icmp4(std::as_const(message).bytes());
  if (!icmp) {
    context_.counters.icmp_in_errors.add();
    return context_.fates.drop(icmp.error(), ip.packet);
  }
  switch (icmp->type) {
    case Icmp4Type::echo_request:
      return answer_echo(ip, std::move(message), now);
    case Icmp4Type::unreachable:
    case Icmp4Type::time_exceeded:
    case Icmp4Type::parameter_problem:
      return input_error(ip, *icmp, now);
    default:
      // Source quench too (RFC 6633), and whatever else asks for nothing that a UDP host has.
      return context_.fates.drop(Drop::icmp_type_unknown, ip.packet);
  }
}

void Icmp4::answer_echo(const wire::IpInfo& ip, Frame message, Time now) {
  // RFC 1122 3.2.2.6 lets a host be silent here, and so nobody can use it to multiply a flood.
  if (!ip_.is_own_address(ip.dst)) return context_.fates.drop(Drop::icmp_echo_broadcast, ip.packet);
  const auto path = ip_.find_path(ip.src, ip.dst, 0);
  if (!path) return context_.fates.drop(Drop::ip_no_route, ip.packet);

  const std::span<std::byte> bytes = message.bytes();
  const std::uint16_t before = wire::load_be16(bytes, 0);
  wire::store_u8(bytes, 0, static_cast<std::uint8_t>(Icmp4Type::echo_reply));
  wire::store_be16(bytes, 2, wire::update_checksum(wire::load_be16(bytes, 2), before, wire::load_be16(bytes, 0)));
  const wire::IpInfo reply{.src = ip.dst, .dst = ip.src, .protocol = wire::protocol_icmp, .hop_limit = context_.config.ttl, .tos = ip.tos};
  context_.fates.consumed();
  send(std::move(message), reply, *path, now);
}

void Icmp4::input_error(const wire::IpInfo& ip, const wire::Icmp4& icmp, Time now) {
  const auto quote = wire::parse_quote(icmp);
  if (!quote) return context_.fates.drop(quote.error(), ip.packet);
  const Meaning meaning = meaning_of(icmp.type, icmp.code);
  const bool too_big = icmp.type == Icmp4Type::unreachable && icmp.code == wire::unreachable_code::fragmentation_needed;
  const IcmpError error{.src = quote->src,
                        .dst = quote->dst,
                        .protocol = quote->protocol,
                        .quote = quote->payload,
                        .offender = ip.src,
                        .interface = ip.interface,
                        .type = static_cast<std::uint8_t>(icmp.type),
                        .code = icmp.code,
                        .mtu = too_big ? icmp.mtu() : 0u,
                        .error = meaning.error,
                        .hard = meaning.hard};
  // RFC 8085 5.2: it must be about a packet that a live socket here did send. Whoever is off the path cannot know that.
  const auto* upper = upper_of(context_.upper, quote->protocol);
  const bool is_plausible = ip_.is_own_address(ip.dst) && ip_.is_own_address(quote->src) && quote->fragment_offset == 0;
  if (upper == nullptr || !is_plausible || !upper->icmp_error(upper->layer, error, now)) {
    return context_.fates.drop(Drop::icmp_no_socket, ip.packet);
  }
  if (too_big) {
    const auto path = ip_.find_path(quote->dst, quote->src, 0);
    if (path) path_mtus_.learn(quote->dst, error.mtu, quote->total_length, path->mtu, now);
  }
  context_.fates.consumed();
}

void Icmp4::send_error(Icmp4Type type, std::uint8_t code, std::uint32_t word, const wire::IpInfo& ip, Time now) {
  if (!may_be_told(ip)) return;
  const auto path = ip_.find_path(ip.src, ip.dst, 0);
  if (!path) return;
  // As on Linux, who is on this host is always told.
  if (path->kind != PathKind::local && !limit_.allow(ip.src, now)) return context_.counters.icmp_out_limited.add();

  const auto quoted = ip.packet.first(std::min(ip.packet.size(), quoted_max));
  Frame message = context_.pools.allocate(wire::icmp4_header_size + quoted.size());
  if (!message) return context_.counters.icmp_out_limited.add();
  message.resize(wire::icmp4_header_size + quoted.size());
  std::ranges::copy(quoted, message.bytes().subspan(wire::icmp4_header_size).begin());
  wire::emit_icmp4(type, code, word, message.bytes());
  const wire::IpInfo error{.src = ip.dst, .dst = ip.src, .protocol = wire::protocol_icmp, .hop_limit = context_.config.ttl, .tos = error_tos};
  send(std::move(message), error, *path, now);
}

bool Icmp4::may_be_told(const wire::IpInfo& ip) const {
  if (ip.link_broadcast || !ip_.is_own_address(ip.dst) || is_later_fragment(ip.packet)) return false;
  const AddressKind src = interfaces_.kind_of(ip.src, ip.interface);
  const bool is_one_host = src == AddressKind::foreign || src == AddressKind::own || src == AddressKind::loopback;
  return is_one_host && (ip.protocol != wire::protocol_icmp || is_icmp_query(ip.packet));
}

void Icmp4::send(Frame message, const wire::IpInfo& ip, const Path& path, Time now) {
  context_.counters.icmp_out_messages.add();
  if (!ip_.output(std::move(message), ip, path, Fragmentation::want, now)) context_.counters.icmp_out_errors.add();
}

}  // namespace gannet::stack
