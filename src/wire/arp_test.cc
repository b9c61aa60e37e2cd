#include "wire/arp.h"

#include <gtest/gtest.h>

#include <array>
#include <span>
#include <vector>

namespace gannet::wire {
namespace {

const Arp request{.operation = ArpOperation::request,
                  .sender_mac = *MacAddress::parse("02:00:00:00:00:01"),
                  .sender_ip = IpAddress::ipv4(10, 7, 0, 1),
                  .target_mac = {},
                  .target_ip = IpAddress::ipv4(10, 7, 0, 2)};

std::vector<std::byte> bytes_of(const Arp& arp) {
  std::vector<std::byte> packet(arp_size);
  emit_arp(arp, packet);
  return packet;
}

// RFC 826, byte by byte.
TEST(Arp, EmitsTheKnownBytes) {
  constexpr std::array expected{0, 1, 8, 0, 6, 4, 0,  1,         // Ethernet, IPv4, sizes, request
                                2, 0, 0, 0, 0, 1, 10, 7, 0, 1,   // sender
                                0, 0, 0, 0, 0, 0, 10, 7, 0, 2};  // target
  const auto packet = bytes_of(request);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(std::to_integer<int>(packet[i]), expected[i]) << i;
}

TEST(Arp, ParsesWhatItEmitsAndIgnoresPadding) {
  Arp reply = request;
  reply.operation = ArpOperation::reply;
  for (const Arp& arp : {request, reply}) {
    auto packet = bytes_of(arp);
    packet.resize(46, std::byte{0xee});
    const auto parsed = parse_arp(packet);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*parsed, arp);
  }
}

TEST(Arp, DropsWhatIsTruncatedOrForeign) {
  const auto good = bytes_of(request);
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(parse_arp(std::vector(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size))).error(), Drop::arp_malformed);
  }
  // Hardware type, protocol type, sizes, operation: each bit matters (but for the one that makes a request a reply of 3, which is refused too).
  for (std::size_t bit = 0; bit < 64; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_EQ(parse_arp(bad).error(), Drop::arp_malformed) << "bit " << bit;
  }
}

}  // namespace
}  // namespace gannet::wire
