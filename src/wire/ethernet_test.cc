#include "wire/ethernet.h"

#include <gtest/gtest.h>

#include <vector>

namespace gannet::wire {
namespace {

constexpr MacAddress a{{std::byte{2}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0xa}}};
constexpr MacAddress b{{std::byte{2}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0xb}}};

// A header of type `type` with the bytes after it.
std::vector<std::byte> frame_of(std::uint16_t type, std::initializer_list<unsigned> after) {
  std::vector<std::byte> frame(ethernet_header_size);
  emit_ethernet(a, b, type, frame);
  for (const unsigned byte : after) frame.push_back(static_cast<std::byte>(byte));
  return frame;
}

// P9
TEST(Ethernet, ParsesWhatItEmits) {
  const auto frame = frame_of(ethertype_ipv4, {1, 2, 3});
  const auto ethernet = parse_ethernet(frame);
  ASSERT_TRUE(ethernet);
  EXPECT_EQ(ethernet->dst, a);
  EXPECT_EQ(ethernet->src, b);
  EXPECT_EQ(ethernet->type, ethertype_ipv4);
  EXPECT_EQ(ethernet->vlan, 0);
  EXPECT_EQ(ethernet->header_size, 14u);
  EXPECT_EQ(ethernet->payload.data(), frame.data() + 14);
  EXPECT_EQ(ethernet->payload.size(), 3u);
}

// P9: RFC 1042 on receive. The length ends what the link padded.
TEST(Ethernet, ReadsLlcSnap) {
  auto frame = frame_of(11, {0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 1, 2, 3, 0xff, 0xff});
  const auto ethernet = parse_ethernet(frame);
  ASSERT_TRUE(ethernet);
  EXPECT_EQ(ethernet->type, ethertype_ipv4);
  EXPECT_EQ(ethernet->header_size, 22u);
  ASSERT_EQ(ethernet->payload.size(), 3u);
  EXPECT_EQ(ethernet->payload[0], std::byte{1});

  frame[14] = std::byte{0x42};  // spanning tree
  EXPECT_EQ(parse_ethernet(frame).error(), Drop::ethernet_type_unknown);
  EXPECT_EQ(parse_ethernet(frame_of(14, {0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 1, 2, 3, 4, 5})).error(), Drop::ethernet_length_invalid);
  EXPECT_EQ(parse_ethernet(frame_of(7, {0xaa, 0xaa, 3, 0, 0, 0, 8, 0})).error(), Drop::ethernet_truncated);
}

TEST(Ethernet, ReadsVlanTags) {
  const auto tagged = parse_ethernet(frame_of(ethertype_vlan, {0xa0, 0x07, 0x08, 0x00, 1}));
  ASSERT_TRUE(tagged);
  EXPECT_EQ(tagged->vlan, 7);
  EXPECT_EQ(tagged->type, ethertype_ipv4);
  EXPECT_EQ(tagged->header_size, 18u);
  EXPECT_EQ(tagged->payload.size(), 1u);
  // A tag that only carries a priority belongs to the untagged network.
  EXPECT_EQ(parse_ethernet(frame_of(ethertype_vlan, {0xa0, 0x00, 0x08, 0x06}))->vlan, 0);
  EXPECT_EQ(parse_ethernet(frame_of(ethertype_vlan, {0xa0, 0x07, 0x08})).error(), Drop::ethernet_truncated);
}

TEST(Ethernet, TruncatedAtEachLength) {
  const auto frame = frame_of(ethertype_ipv4, {});
  for (std::size_t size = 0; size < frame.size(); ++size) {
    EXPECT_EQ(parse_ethernet(std::vector(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size))).error(), Drop::ethernet_truncated);
  }
  EXPECT_TRUE(parse_ethernet(frame)->payload.empty());
}

// G2
TEST(MacAddress, MapsGroups) {
  EXPECT_EQ(MacAddress::of_group(*IpAddress::parse("224.0.0.251")).to_string(), "01:00:5e:00:00:fb");
  EXPECT_EQ(MacAddress::of_group(*IpAddress::parse("239.255.129.3")).to_string(), "01:00:5e:7f:81:03");
  EXPECT_EQ(MacAddress::of_group(*IpAddress::parse("ff02::1:ff12:3456")).to_string(), "33:33:ff:12:34:56");
}

TEST(MacAddress, TextFormsAndKinds) {
  EXPECT_EQ(*MacAddress::parse("02:00:00:00:00:0A"), a);
  EXPECT_EQ(*MacAddress::parse("02-00-00-00-00-0b"), b);
  EXPECT_EQ(a.to_string(), "02:00:00:00:00:0a");
  for (const auto* text :
       {"", "02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:0a:", "02.00.00.00.00.0a", "2:0:0:0:0:a", "020000:00:00:000a"}) {
    EXPECT_EQ(MacAddress::parse(text).error().code, EINVAL) << text;
  }
  EXPECT_TRUE(MacAddress::broadcast().is_broadcast());
  EXPECT_TRUE(MacAddress::broadcast().is_multicast());
  EXPECT_FALSE(a.is_multicast());
  EXPECT_TRUE(MacAddress{}.is_zero());
}

}  // namespace
}  // namespace gannet::wire
