#include "wire/print.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>

#include <gannet/address.h>

#include "wire/arp.h"
#include "wire/endian.h"
#include "wire/ethernet.h"
#include "wire/icmp4.h"
#include "wire/igmp.h"
#include "wire/ipv4.h"
#include "wire/pcapng.h"
#include "wire/udp.h"

namespace gannet::wire {
namespace {

constexpr std::size_t ipv6_header_size = 40;

// Appends text, numbers and addresses one after the other.
class Line {
 public:
  explicit Line(std::string& text) : text_(text) {}

  template <class... Parts>
  void add(const Parts&... parts) {
    (add_one(parts), ...);
  }
  void complain(Drop reason) { add(" [", name_of(reason), "]"); }
  void add_hex(std::uint64_t number) {
    text_ += "0x";
    add_number(number, 16);
  }

 private:
  void add_one(std::string_view text) { text_ += text; }
  void add_one(std::uint64_t number) { add_number(number, 10); }
  void add_one(const IpAddress& ip) {
    if (!ip.is_ipv4()) {
      text_ += ip.to_string();
      return;
    }
    for (std::size_t i = 0; i < 4; ++i) {
      if (i != 0) text_ += '.';
      add_number(std::to_integer<std::uint64_t>(ip.bytes[i]), 10);
    }
  }
  void add_one(const MacAddress& mac) { text_ += mac.to_string(); }
  void add_number(std::uint64_t number, int base) {
    std::array<char, 20> digits;
    const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), number, base);
    text_.append(digits.data(), result.ptr);
  }
  std::string& text_;
};

std::uint64_t milliseconds(Duration duration) { return static_cast<std::uint64_t>(duration / std::chrono::milliseconds(1)); }

void add_seconds(Line& line, Duration duration) {
  const std::uint64_t all = milliseconds(duration);
  line.add(all / 1000);
  if (all % 1000 != 0) line.add(".", all % 1000 / 100);
  line.add("s");
}

void print_arp(std::span<const std::byte> payload, Line& line) {
  line.add("ARP, ");
  const auto arp = parse_arp(payload);
  if (!arp) {
    line.add("length ", payload.size());
    line.complain(arp.error());
    return;
  }
  if (arp->operation == ArpOperation::reply) {
    line.add("Reply ", arp->sender_ip, " is-at ", arp->sender_mac);
  } else if (arp->sender_ip == arp->target_ip) {
    line.add("Announcement ", arp->sender_ip, " is-at ", arp->sender_mac);
  } else if (arp->sender_ip.is_any()) {
    line.add("Probe ", arp->target_ip, " from ", arp->sender_mac);
  } else {
    line.add("Request who-has ", arp->target_ip, " tell ", arp->sender_ip);
  }
}

void add_protocol(Line& line, std::uint8_t protocol) {
  switch (protocol) {
    case protocol_icmp:
      return line.add("icmp");
    case protocol_igmp:
      return line.add("igmp");
    case protocol_udp:
      return line.add("udp");
    case 6:
      return line.add("tcp");
    case protocol_icmpv6:
      return line.add("icmp6");
    case protocol_udplite:
      return line.add("udplite");
    default:
      return line.add("ip-proto-", std::uint64_t{protocol});
  }
}

// "A.port > B.port: UDP, length 18". A first fragment is not the whole datagram: it has ports, and nothing to verify.
void print_udp(const IpInfo& ip, bool first_fragment, std::span<const std::byte> payload, Line& line) {
  if (payload.size() < udp_header_size) {
    line.add(ip.src, " > ", ip.dst, ": udp, length ", payload.size());
    line.complain(Drop::udp_header_truncated);
    return;
  }
  line.add(ip.src, ".", std::uint64_t{load_be16(payload, 0)}, " > ", ip.dst, ".", std::uint64_t{load_be16(payload, 2)}, ": UDP, length ");
  const std::uint64_t length = load_be16(payload, 4);
  line.add(length < udp_header_size ? payload.size() - udp_header_size : length - udp_header_size);
  if (first_fragment) return;
  const auto udp = parse_udp(ip, payload, ip.src.is_ipv4() ? ZeroChecksum::allowed : ZeroChecksum::refused);
  if (!udp) return line.complain(udp.error());
  if (!udp->has_checksum) line.add(" (no cksum)");
  if (!udp->surplus.empty()) line.add(" (surplus ", udp->surplus.size(), ")");
}

void print_unreachable(const Icmp4& icmp, const Icmp4Quote& quote, Line& line) {
  switch (icmp.code) {
    case unreachable_code::network:
      return line.add("net ", quote.dst, " unreachable");
    case unreachable_code::host:
      return line.add("host ", quote.dst, " unreachable");
    case unreachable_code::protocol:
      return line.add(quote.dst, " protocol ", std::uint64_t{quote.protocol}, " unreachable");
    case unreachable_code::port:
      line.add(quote.dst, " ");
      add_protocol(line, quote.protocol);
      return line.add(" port ", std::uint64_t{quote.dst_port()}, " unreachable");
    case unreachable_code::fragmentation_needed:
      return line.add(quote.dst, " unreachable - need to frag (mtu ", std::uint64_t{icmp.mtu()}, ")");
    default:
      return line.add(quote.dst, " unreachable, code ", std::uint64_t{icmp.code});
  }
}

void print_icmp_error(const Icmp4& icmp, Line& line) {
  const auto quote = parse_quote(icmp);
  const std::uint64_t code = icmp.code;
  switch (icmp.type) {
    case Icmp4Type::unreachable:
      if (quote) return print_unreachable(icmp, *quote, line);
      line.add("unreachable, code ", code);
      break;
    case Icmp4Type::time_exceeded:
      if (code > 1) {
        line.add("time exceeded, code ", code);
      } else {
        line.add(code == time_exceeded_code::in_transit ? "time exceeded in-transit" : "ip reassembly time exceeded");
      }
      break;
    case Icmp4Type::redirect:
      line.add("redirect to ", icmp.gateway());
      break;
    case Icmp4Type::parameter_problem:
      line.add("parameter problem - octet ", std::uint64_t{icmp.pointer()});
      break;
    default:
      line.add("source quench");
      break;
  }
  if (!quote) return line.complain(quote.error());
  line.add(" for ", quote->dst);
}

void print_icmp(std::span<const std::byte> payload, Line& line) {
  line.add("ICMP ");
  const auto icmp = parse_icmp4(payload);
  if (!icmp) {
    if (payload.size() >= 2) line.add("type-", std::uint64_t{load_u8(payload, 0)}, " code-", std::uint64_t{load_u8(payload, 1)}, ", ");
    line.add("length ", payload.size());
    return line.complain(icmp.error());
  }
  if (icmp->is_error()) return print_icmp_error(*icmp, line);
  const auto with_id = [&](std::string_view name) { line.add(name, ", id ", std::uint64_t{icmp->id()}, ", seq ", std::uint64_t{icmp->sequence()}); };
  switch (icmp->type) {
    case Icmp4Type::echo_request:
      with_id("echo request");
      break;
    case Icmp4Type::echo_reply:
      with_id("echo reply");
      break;
    case Icmp4Type::timestamp_request:
      with_id("time stamp query");
      break;
    case Icmp4Type::timestamp_reply:
      with_id("time stamp reply");
      break;
    default:
      line.add("type-", static_cast<std::uint64_t>(icmp->type), " code-", std::uint64_t{icmp->code});
      break;
  }
  line.add(", length ", payload.size());
}

void add_sources(Line& line, const IgmpSources& sources) {
  constexpr std::size_t shown = 8;  // a line stays a line
  line.add(" {");
  for (std::size_t i = 0; i < sources.size() && i < shown; ++i) line.add(" ", sources[i]);
  if (sources.size() > shown) line.add(" and ", sources.size() - shown, " more");
  line.add(" }");
}

void print_igmp_report(const Igmp& report, Line& line) {
  constexpr std::array names{"", " is_in", " is_ex", " to_in", " to_ex", " allow", " block"};
  constexpr std::size_t shown = 8;
  line.add("igmp v3 report, ", std::uint64_t{report.record_count}, " group record(s)");
  IgmpRecords records(report);
  for (std::size_t i = 0; i < shown; ++i) {
    const auto record = records.next();
    if (!record) return;
    const auto type = static_cast<std::size_t>(record->type);
    line.add(" [gaddr ", record->group, type < names.size() ? names[type] : " unknown");
    if (record->sources.size() != 0) add_sources(line, record->sources);
    line.add("]");
  }
  if (records.next()) line.add(" ...");
}

void print_igmp(std::span<const std::byte> payload, Line& line) {
  const auto igmp = parse_igmp(payload);
  if (!igmp) {
    line.add("igmp, length ", payload.size());
    return line.complain(igmp.error());
  }
  switch (igmp->type) {
    case IgmpType::query:
      line.add("igmp query v", std::uint64_t{igmp->version});
      if (igmp->version > 1) {
        line.add(" [max resp time ");
        add_seconds(line, igmp->max_response);
        line.add("]");
      }
      if (!igmp->group.is_any()) line.add(" [gaddr ", igmp->group, "]");
      if (igmp->sources.size() != 0) add_sources(line, igmp->sources);
      return;
    case IgmpType::v1_report:
      return line.add("igmp v1 report ", igmp->group);
    case IgmpType::v2_report:
      return line.add("igmp v2 report ", igmp->group);
    case IgmpType::leave:
      return line.add("igmp leave ", igmp->group);
    case IgmpType::v3_report:
      return print_igmp_report(*igmp, line);
  }
  line.add("igmp type ");
  line.add_hex(static_cast<std::uint8_t>(igmp->type));
}

void print_ipv4(std::span<const std::byte> packet, Line& line) {
  line.add("IP ");
  const auto ipv4 = parse_ipv4(packet);
  if (!ipv4) {
    if (packet.size() >= ipv4_header_size) line.add(load_ipv4(packet, 12), " > ", load_ipv4(packet, 16), ": ");
    line.add("length ", packet.size());
    return line.complain(ipv4.error());
  }
  const bool later = ipv4->fragment_offset != 0;
  if (!later && ipv4->protocol == protocol_udp) {
    print_udp(ipv4->info(), ipv4->more_fragments, ipv4->payload, line);
  } else {
    line.add(ipv4->src, " > ", ipv4->dst, ": ");
    if (!ipv4->is_fragment() && ipv4->protocol == protocol_icmp) {
      print_icmp(ipv4->payload, line);
    } else if (!ipv4->is_fragment() && ipv4->protocol == protocol_igmp) {
      print_igmp(ipv4->payload, line);
    } else {
      add_protocol(line, ipv4->protocol);
      if (!later) line.add(", length ", ipv4->payload.size());
    }
  }
  if (ipv4->is_fragment()) {
    line.add(" (frag ", std::uint64_t{ipv4->id}, ":", ipv4->payload.size(), "@", std::uint64_t{ipv4->fragment_offset},
             ipv4->more_fragments ? "+)" : ")");
  }
  if (has_source_route(ipv4->options)) line.add(" (source route)");
}

// Enough to see what passes by; extension headers are not followed.
void print_ipv6(std::span<const std::byte> packet, Line& line) {
  line.add("IP6 ");
  if (packet.size() < ipv6_header_size) {
    line.add("length ", packet.size());
    return line.complain(Drop::ip_header_truncated);
  }
  IpInfo ip{.src = IpAddress::any(Family::ipv6), .dst = IpAddress::any(Family::ipv6), .protocol = load_u8(packet, 6)};
  std::memcpy(ip.src.bytes.data(), packet.data() + 8, 16);
  std::memcpy(ip.dst.bytes.data(), packet.data() + 24, 16);
  const std::size_t length = load_be16(packet, 4);
  const auto payload = packet.subspan(ipv6_header_size);
  if (length <= payload.size() && ip.protocol == protocol_udp) return print_udp(ip, false, payload.first(length), line);
  line.add(ip.src, " > ", ip.dst, ": ");
  add_protocol(line, ip.protocol);
  line.add(", length ", length);
  if (length > payload.size()) line.complain(Drop::ip_header_truncated);
}

}  // namespace

void print_packet(std::span<const std::byte> packet, std::string& text) {
  Line line(text);
  const unsigned version = packet.empty() ? 0 : load_u8(packet, 0) >> 4;
  if (version == 4) return print_ipv4(packet, line);
  if (version == 6) return print_ipv6(packet, line);
  line.add("IP, length ", packet.size());
  line.complain(packet.empty() ? Drop::ip_header_truncated : Drop::ip_version_wrong);
}

void print_frame(std::span<const std::byte> frame, std::string& text) {
  Line line(text);
  const auto ethernet = parse_ethernet(frame);
  if (!ethernet) {
    if (frame.size() >= ethernet_header_size) line.add(load_mac(frame, 6), " > ", load_mac(frame, 0), ", ");
    line.add("Ethernet, length ", frame.size());
    return line.complain(ethernet.error());
  }
  if (ethernet->vlan != 0) line.add("vlan ", std::uint64_t{ethernet->vlan}, ", ");
  switch (ethernet->type) {
    case ethertype_arp:
      return print_arp(ethernet->payload, line);
    case ethertype_ipv4:
    case ethertype_ipv6:
      return print_packet(ethernet->payload, text);
    default:
      line.add(ethernet->src, " > ", ethernet->dst, ", ethertype ");
      line.add_hex(ethernet->type);
      line.add(", length ", frame.size());
  }
}

void print_captured(std::uint16_t link_type, std::span<const std::byte> bytes, std::string& text) {
  // Where an EtherType stands in the headers that Linux gives to captures of "any" interface, and how long they are.
  struct Cooked {
    std::size_t type_at;
    std::size_t size;
  };
  Cooked cooked{};
  switch (link_type) {
    case link_type_ethernet:
      return print_frame(bytes, text);
    case 12:   // raw IP as BSD numbers it
    case 228:  // IPv4 only
    case 229:  // IPv6 only
    case link_type_raw:
      return print_packet(bytes, text);
    case 113:
      cooked = {14, 16};
      break;
    case 276:
      cooked = {0, 20};
      break;
    default:
      return Line(text).add("link type ", std::uint64_t{link_type}, ", length ", bytes.size());
  }
  Line line(text);
  if (bytes.size() < cooked.size) return line.add("cooked, length ", bytes.size(), " [", name_of(Drop::ethernet_truncated), "]");
  const std::uint16_t type = load_be16(bytes, cooked.type_at);
  if (type == ethertype_arp) return print_arp(bytes.subspan(cooked.size), line);
  if (type == ethertype_ipv4 || type == ethertype_ipv6) return print_packet(bytes.subspan(cooked.size), text);
  line.add("ethertype ");
  line.add_hex(type);
  line.add(", length ", bytes.size());
}

}  // namespace gannet::wire
