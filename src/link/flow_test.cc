#include "link/flow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "wire/endian.h"
#include "wire/ethernet.h"

namespace gannet::link {
namespace {

// 192.0.2.1:1000 -> 192.0.2.2:53, 8 bytes of UDP, no checksum: nobody here looks at one.
std::vector<std::byte> ipv4_packet(std::uint16_t fragment_field = 0, std::uint8_t protocol = 17) {
  std::vector<std::byte> packet(28);
  wire::store_u8(packet, 0, 0x45);
  wire::store_be16(packet, 2, 28);
  wire::store_be16(packet, 6, fragment_field);
  wire::store_u8(packet, 9, protocol);
  wire::store_be32(packet, 12, 0xc0000201);
  wire::store_be32(packet, 16, 0xc0000202);
  wire::store_be16(packet, 20, 1000);
  wire::store_be16(packet, 22, 53);
  return packet;
}

TEST(Flow, BothDirectionsAreOneFlow) {
  auto answer = ipv4_packet();
  std::swap_ranges(answer.begin() + 12, answer.begin() + 16, answer.begin() + 16);
  std::swap_ranges(answer.begin() + 20, answer.begin() + 22, answer.begin() + 22);
  const FlowKey out = flow_of_packet(ipv4_packet(), Direction::out);
  EXPECT_EQ(out.kind, 17);
  EXPECT_EQ(out.local, IpAddress::ipv4(192, 0, 2, 1));
  EXPECT_EQ(out.remote, IpAddress::ipv4(192, 0, 2, 2));
  EXPECT_EQ(out.local_port, 1000);
  EXPECT_EQ(out.remote_port, 53);
  EXPECT_EQ(flow_of_packet(answer, Direction::in), out);
}

TEST(Flow, FragmentsShowNoPorts) {
  const FlowKey first = flow_of_packet(ipv4_packet(0x2000), Direction::out);
  const FlowKey last = flow_of_packet(ipv4_packet(0x0010), Direction::out);
  EXPECT_EQ(first, last);
  EXPECT_EQ(first.kind, FlowKey::fragment | 17);
  EXPECT_EQ(first.local_port, 0);
  EXPECT_EQ(flow_of_packet(ipv4_packet(0x4000), Direction::out).kind, 17);  // Don't Fragment is no fragment
}

TEST(Flow, ReadsIpv6) {
  std::vector<std::byte> packet(48);
  wire::store_u8(packet, 0, 0x60);
  wire::store_be16(packet, 4, 8);
  wire::store_u8(packet, 6, 17);
  packet[23] = std::byte{1};
  packet[39] = std::byte{2};
  wire::store_be16(packet, 40, 1000);
  wire::store_be16(packet, 42, 53);
  const FlowKey key = flow_of_packet(packet, Direction::in);
  EXPECT_EQ(key.kind, 17);
  EXPECT_EQ(key.local.family, Family::ipv6);
  EXPECT_EQ(key.local.bytes[15], std::byte{2});
  EXPECT_TRUE(key.remote.is_loopback());
  EXPECT_EQ(key.local_port, 53);
}

TEST(Flow, WhatIsTruncatedIsNotIpAndReadNoFurther) {
  const auto packet = ipv4_packet();
  for (std::size_t size = 0; size < packet.size(); ++size) {
    const std::vector<std::byte> cut(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(flow_of_packet(cut, Direction::in), FlowKey{}) << size;
    EXPECT_TRUE(packet_of_frame(cut, false).empty());
  }
}

TEST(Flow, TheLinksPaddingIsNotOfThePacket) {
  auto frame = std::vector<std::byte>(60);
  wire::emit_ethernet({}, {}, wire::ethertype_ipv4, frame);
  std::ranges::copy(ipv4_packet(), frame.begin() + wire::ethernet_header_size);
  const auto packet = packet_of_frame(frame, true);
  EXPECT_EQ(packet.data(), frame.data() + 14);
  EXPECT_EQ(packet.size(), 28u);
  wire::store_be16(frame, 12, wire::ethertype_arp);
  EXPECT_TRUE(packet_of_frame(frame, true).empty());
}

FlowKey key_of(std::uint16_t port, std::uint16_t kind = 17) {
  FlowKey key;
  key.kind = kind;
  key.local_port = port;
  return key;
}

TEST(FlowTable, OrdinalsCountPerKind) {
  FlowTable table;
  EXPECT_EQ(table.find(key_of(5)).ordinal, 0u);
  EXPECT_EQ(table.find(key_of(0, 1)).ordinal, 0u);
  EXPECT_EQ(table.find(key_of(9)).ordinal, 1u);
  EXPECT_EQ(table.find(key_of(5)).ordinal, 0u);
  EXPECT_EQ(table.size(), 3u);
}

TEST(FlowTable, HoldsItsBoundAndTheRestShareOneFlow) {
  FlowTable table(100);
  std::vector<Flow*> flows;
  for (std::uint16_t port = 0; port < 100; ++port) flows.push_back(&table.find(key_of(port)));
  Flow& overflow = table.find(key_of(100));
  EXPECT_EQ(&table.find(key_of(101)), &overflow);
  for (std::uint16_t port = 0; port < 100; ++port) {
    EXPECT_EQ(&table.find(key_of(port)), flows[port]);
    EXPECT_EQ(flows[port]->ordinal, port);
  }
  EXPECT_EQ(table.size(), 100u);
}

}  // namespace
}  // namespace gannet::link
