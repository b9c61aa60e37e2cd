#include "wire/print.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/rng.h"
#include "wire/arp.h"
#include "wire/icmp4.h"
#include "wire/igmp.h"
#include "wire/ipv4.h"
#include "wire/pcapng.h"
#include "wire/udp.h"

namespace gannet::wire {
namespace {

using Bytes = std::vector<std::byte>;

constexpr auto one = IpAddress::ipv4(10, 7, 0, 1);
constexpr auto two = IpAddress::ipv4(10, 7, 0, 2);

Bytes in_ipv4(Ipv4Header header, const Bytes& payload) {
  Bytes packet(header.size());
  packet.insert(packet.end(), payload.begin(), payload.end());
  emit_ipv4(header, packet);
  return packet;
}

Bytes udp_packet(std::size_t user_data) {
  Bytes udp(udp_header_size + user_data, std::byte{'x'});
  emit_udp(one, two, 40000, 65433, udp);
  return in_ipv4({.src = one, .dst = two, .protocol = protocol_udp}, udp);
}

Bytes icmp_packet(Icmp4Type type, std::uint8_t code, std::uint32_t word, const Bytes& body) {
  Bytes icmp(icmp4_header_size);
  icmp.insert(icmp.end(), body.begin(), body.end());
  emit_icmp4(type, code, word, icmp);
  return in_ipv4({.src = two, .dst = one, .protocol = protocol_icmp}, icmp);
}

Bytes in_ethernet(std::uint16_t type, const Bytes& payload) {
  Bytes frame(ethernet_header_size);
  frame.insert(frame.end(), payload.begin(), payload.end());
  emit_ethernet(*MacAddress::parse("02:00:00:00:00:0b"), *MacAddress::parse("02:00:00:00:00:0a"), type, frame);
  return frame;
}

std::string packet_line(const Bytes& packet) {
  std::string line;
  print_packet(packet, line);
  return line;
}

std::string frame_line(const Bytes& frame) {
  std::string line = "12:00 ";
  print_frame(frame, line);
  EXPECT_TRUE(line.starts_with("12:00 "));  // it appends
  return line.substr(6);
}

TEST(Print, Udp) {
  EXPECT_EQ(frame_line(in_ethernet(ethertype_ipv4, udp_packet(18))), "IP 10.7.0.1.40000 > 10.7.0.2.65433: UDP, length 18");
  auto damaged = udp_packet(18);
  damaged.back() ^= std::byte{1};
  EXPECT_EQ(packet_line(damaged), "IP 10.7.0.1.40000 > 10.7.0.2.65433: UDP, length 18 [udp_checksum_bad]");
  damaged = udp_packet(18);
  damaged[8] ^= std::byte{1};
  EXPECT_EQ(packet_line(damaged), "IP 10.7.0.1 > 10.7.0.2: length 46 [ip_checksum_bad]");

  Bytes udp(udp_header_size + 2);
  emit_udp_unchecked(1, 2, udp);
  const Ipv4Header header{.src = one, .dst = two, .protocol = protocol_udp};
  EXPECT_EQ(packet_line(in_ipv4(header, udp)), "IP 10.7.0.1.1 > 10.7.0.2.2: UDP, length 2 (no cksum)");
  udp.resize(udp.size() + 3);
  EXPECT_EQ(packet_line(in_ipv4(header, udp)), "IP 10.7.0.1.1 > 10.7.0.2.2: UDP, length 2 (no cksum) (surplus 3)");
  udp.resize(7);
  EXPECT_EQ(packet_line(in_ipv4(header, udp)), "IP 10.7.0.1 > 10.7.0.2: udp, length 7 [udp_header_truncated]");
}

TEST(Print, Fragments) {
  Bytes udp(udp_header_size + 4000, std::byte{'x'});
  emit_udp(one, two, 40000, 9, udp);
  Ipv4Header header{.src = one, .dst = two, .protocol = protocol_udp, .id = 77, .more_fragments = true};
  EXPECT_EQ(packet_line(in_ipv4(header, Bytes(udp.begin(), udp.begin() + 1480))),
            "IP 10.7.0.1.40000 > 10.7.0.2.9: UDP, length 4000 (frag 77:1480@0+)");
  header.fragment_offset = 1480;
  EXPECT_EQ(packet_line(in_ipv4(header, Bytes(1480))), "IP 10.7.0.1 > 10.7.0.2: udp (frag 77:1480@1480+)");
  header.fragment_offset = 2960;
  header.more_fragments = false;
  EXPECT_EQ(packet_line(in_ipv4(header, Bytes(1048))), "IP 10.7.0.1 > 10.7.0.2: udp (frag 77:1048@2960)");
}

TEST(Print, Arp) {
  Arp arp{.sender_mac = *MacAddress::parse("02:00:00:00:00:0a"), .sender_ip = one, .target_ip = two};
  const auto line = [&] {
    Bytes packet(arp_size);
    emit_arp(arp, packet);
    return frame_line(in_ethernet(ethertype_arp, packet));
  };
  EXPECT_EQ(line(), "ARP, Request who-has 10.7.0.2 tell 10.7.0.1");
  arp.operation = ArpOperation::reply;
  EXPECT_EQ(line(), "ARP, Reply 10.7.0.1 is-at 02:00:00:00:00:0a");
  arp.operation = ArpOperation::request;
  arp.target_ip = one;
  EXPECT_EQ(line(), "ARP, Announcement 10.7.0.1 is-at 02:00:00:00:00:0a");
  arp.sender_ip = IpAddress::any(Family::ipv4);
  EXPECT_EQ(line(), "ARP, Probe 10.7.0.1 from 02:00:00:00:00:0a");
  EXPECT_EQ(frame_line(in_ethernet(ethertype_arp, Bytes(3))), "ARP, length 3 [arp_malformed]");
}

TEST(Print, Icmp) {
  const auto quoted = udp_packet(0);
  EXPECT_EQ(packet_line(icmp_packet(Icmp4Type::echo_request, 0, echo_word(7, 3), Bytes(56))),
            "IP 10.7.0.2 > 10.7.0.1: ICMP echo request, id 7, seq 3, length 64");
  EXPECT_EQ(packet_line(icmp_packet(Icmp4Type::unreachable, 3, 0, quoted)), "IP 10.7.0.2 > 10.7.0.1: ICMP 10.7.0.2 udp port 65433 unreachable");
  EXPECT_EQ(packet_line(icmp_packet(Icmp4Type::unreachable, 4, 1400, quoted)),
            "IP 10.7.0.2 > 10.7.0.1: ICMP 10.7.0.2 unreachable - need to frag (mtu 1400)");
  EXPECT_EQ(packet_line(icmp_packet(Icmp4Type::time_exceeded, 1, 0, quoted)),
            "IP 10.7.0.2 > 10.7.0.1: ICMP ip reassembly time exceeded for 10.7.0.2");
  EXPECT_EQ(packet_line(icmp_packet(Icmp4Type::parameter_problem, 0, 20u << 24, quoted)),
            "IP 10.7.0.2 > 10.7.0.1: ICMP parameter problem - octet 20 for 10.7.0.2");
  EXPECT_EQ(packet_line(icmp_packet(Icmp4Type::redirect, 1, 0x0a0700fe, {})), "IP 10.7.0.2 > 10.7.0.1: ICMP redirect to 10.7.0.254 [icmp_truncated]");
  EXPECT_EQ(packet_line(icmp_packet(static_cast<Icmp4Type>(42), 1, 0, {})), "IP 10.7.0.2 > 10.7.0.1: ICMP type-42 code-1, length 8");
}

TEST(Print, Igmp) {
  const auto igmp = [](const Bytes& message) {
    return packet_line(in_ipv4({.src = two, .dst = igmp_v3_routers, .protocol = protocol_igmp, .ttl = 1}, message));
  };
  const auto group = IpAddress::ipv4(239, 1, 2, 3);
  Bytes message(igmp_size);
  emit_igmp(IgmpType::v2_report, group, message);
  EXPECT_EQ(igmp(message), "IP 10.7.0.2 > 224.0.0.22: igmp v2 report 239.1.2.3");
  message.resize(64);
  message.resize(emit_igmp_query({.version = 2, .max_response = std::chrono::milliseconds(2500)}, message));
  EXPECT_EQ(igmp(message), "IP 10.7.0.2 > 224.0.0.22: igmp query v2 [max resp time 2.5s]");

  message.resize(64);
  IgmpReportWriter report(message);
  report.add(IgmpRecordType::to_exclude, group, {});
  report.add(IgmpRecordType::allow_new_sources, group, std::array{one});
  message.resize(report.finish().size());
  EXPECT_EQ(igmp(message),
            "IP 10.7.0.2 > 224.0.0.22: igmp v3 report, 2 group record(s) [gaddr 239.1.2.3 to_ex] [gaddr 239.1.2.3 allow { 10.7.0.1 }]");
}

TEST(Print, OtherFrames) {
  Bytes ipv6(40 + udp_header_size + 3, std::byte{'x'});
  std::fill_n(ipv6.begin(), 40, std::byte{0});
  ipv6[0] = std::byte{0x60};
  ipv6[5] = std::byte{11};
  ipv6[6] = std::byte{17};
  ipv6[23] = ipv6[39] = std::byte{1};
  const auto loopback = *IpAddress::parse("::1");
  emit_udp(loopback, loopback, 5, 6, std::span(ipv6).subspan(40));
  EXPECT_EQ(frame_line(in_ethernet(ethertype_ipv6, ipv6)), "IP6 ::1.5 > ::1.6: UDP, length 3");
  ipv6[6] = std::byte{58};
  EXPECT_EQ(packet_line(ipv6), "IP6 ::1 > ::1: icmp6, length 11");

  EXPECT_EQ(frame_line(in_ethernet(0x88cc, Bytes(4))), "02:00:00:00:00:0a > 02:00:00:00:00:0b, ethertype 0x88cc, length 18");
  EXPECT_EQ(frame_line(Bytes(5)), "Ethernet, length 5 [ethernet_truncated]");
  EXPECT_EQ(packet_line({}), "IP, length 0 [ip_header_truncated]");
}

TEST(Print, CapturesOfAnyInterface) {
  const auto captured = [](std::uint16_t link_type, const Bytes& header) {
    Bytes bytes = header;
    const auto packet = udp_packet(1);
    bytes.insert(bytes.end(), packet.begin(), packet.end());
    std::string line;
    print_captured(link_type, bytes, line);
    return line;
  };
  const std::string expected = "IP 10.7.0.1.40000 > 10.7.0.2.65433: UDP, length 1";
  EXPECT_EQ(captured(link_type_raw, {}), expected);
  EXPECT_EQ(captured(link_type_ethernet, in_ethernet(ethertype_ipv4, {})), expected);
  Bytes cooked(16);
  cooked[14] = std::byte{8};
  EXPECT_EQ(captured(113, cooked), expected);
  cooked = Bytes(20);
  cooked[0] = std::byte{8};
  EXPECT_EQ(captured(276, cooked), expected);
  EXPECT_EQ(captured(105, {}), "link type 105, length 29");
  std::string line;
  print_captured(113, Bytes(15), line);
  EXPECT_EQ(line, "cooked, length 15 [ethernet_truncated]");
}

// Whatever arrives gets one line: no byte of it is believed, and none becomes a line's end.
TEST(Print, AnyBytesGetOneLine) {
  Rng rng(3);
  const std::vector<Bytes> samples{in_ethernet(ethertype_ipv4, udp_packet(20)),
                                   in_ethernet(ethertype_ipv4, icmp_packet(Icmp4Type::unreachable, 3, 0, udp_packet(4))),
                                   in_ethernet(ethertype_arp, Bytes(28))};
  for (int i = 0; i < 20'000; ++i) {
    auto frame = samples[rng.below(static_cast<std::uint32_t>(samples.size()))];
    for (std::uint32_t changes = rng.below(4); changes != 0; --changes)
      frame[rng.below(static_cast<std::uint32_t>(frame.size()))] = static_cast<std::byte>(rng.next());
    frame.resize(rng.below(static_cast<std::uint32_t>(frame.size()) + 1));
    const auto line = frame_line(frame);
    ASSERT_FALSE(line.empty());
    ASSERT_TRUE(std::ranges::all_of(line, [](char c) { return c >= ' ' && c <= '~'; })) << line;
  }
}

}  // namespace
}  // namespace gannet::wire
