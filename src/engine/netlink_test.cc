#include "engine/netlink.h"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace gannet::engine {
namespace {

using Bytes = std::vector<std::byte>;

// Recorded from Linux 6.1 on a machine of little-endian byte order; the first cut short after the MTU.
constexpr std::string_view veth0 =
    "54000000100002001200000000000000"
    "000001000300000043100100000000000a000300766574683000000008000d00e80300000500100006000000050011000000000005004300"
    "000000000800040078050000";
constexpr std::string_view address =
    "50000000140002001200000000000000"
    "021880000300000008000100c000020108000200c00002010a0003007665746830000000080008008000000014000600ffffffffffffffff"
    "1a8928001a892800";
constexpr std::string_view address_with_peer =
    "50000000140002001200000000000000"
    "022080000200000008000100c633640208000200c63364010a0003007665746831000000080008008000000014000600ffffffffffffffff"
    "1c8928001c892800";
constexpr std::string_view route_of_table_77 =
    "34000000180002001200000000000000"
    "020800004d03fd010000000008000f004d000000080001000a0000000800040003000000";
constexpr std::string_view default_route =
    "44000000180002001200000000000000"
    "02000000fe0300010000000008000f00fe000000080006006400000008000700c000020108000500c00002fe0800040003000000";
constexpr std::string_view network_route =
    "3c000000180002001200000000000000"
    "02180000fe02fd010000000008000f00fe00000008000100c000020008000700c00002010800040003000000";
constexpr std::string_view blackhole =
    "2c000000180002001200000000000000"
    "02190000fe0300060000000008000f00fe00000008000100cb007100";
constexpr std::string_view two_next_hops =
    "50000000180002001200000000000000"
    "02190000fe0300010000000008000f00fe00000008000100cb00718024000900100000000300000008000500c00002071000000003000000"
    "08000500c0000208";
constexpr std::string_view done =
    "14000000030002001200000000000000"
    "00000000";
constexpr std::uint32_t sequence = 0x12;

Bytes bytes_of(std::string_view hex) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::strtoul(std::string(hex.substr(i, 2)).c_str(), nullptr, 16)));
  }
  return bytes;
}

// What one message says.
KernelHost parse(std::string_view hex) {
  KernelHost host;
  const auto part = parse_netlink(bytes_of(hex), sequence, host);
  EXPECT_EQ(part.error, 0);
  return host;
}

TEST(Netlink, ReadsAnInterface) {
  const auto host = parse(veth0);
  ASSERT_EQ(host.interfaces.size(), 1u);
  EXPECT_EQ(host.interfaces[0], (KernelInterface{.index = 3, .name = "veth0", .mtu = 1400, .up = true}));
}

TEST(Netlink, ReadsAddresses) {
  const auto host = parse(address);
  ASSERT_EQ(host.addresses.size(), 1u);
  EXPECT_EQ(host.addresses[0], (KernelAddress{.interface = 3, .ip = IpAddress::ipv4(192, 0, 2, 1), .prefix = 24}));
  const auto peer = parse(address_with_peer);
  ASSERT_EQ(peer.addresses.size(), 1u);
  EXPECT_EQ(peer.addresses[0], (KernelAddress{.interface = 2, .ip = IpAddress::ipv4(198, 51, 100, 1), .prefix = 32}));
}

TEST(Netlink, ReadsRoutes) {
  const auto gateway = parse(default_route);
  ASSERT_EQ(gateway.routes.size(), 1u);
  EXPECT_EQ(gateway.routes[0], (stack::Route{.network = {},
                                             .prefix = 0,
                                             .gateway = IpAddress::ipv4(192, 0, 2, 254),
                                             .interface = 3,
                                             .metric = 100,
                                             .source = IpAddress::ipv4(192, 0, 2, 1)}));
  const auto network = parse(network_route);
  ASSERT_EQ(network.routes.size(), 1u);
  EXPECT_EQ(network.routes[0], (stack::Route{.network = IpAddress::ipv4(192, 0, 2, 0),
                                             .prefix = 24,
                                             .gateway = {},
                                             .interface = 3,
                                             .metric = 0,
                                             .source = IpAddress::ipv4(192, 0, 2, 1)}));
}

TEST(Netlink, TakesTheFirstOfManyNextHops) {
  const auto host = parse(two_next_hops);
  ASSERT_EQ(host.routes.size(), 1u);
  EXPECT_EQ(host.routes[0].gateway, IpAddress::ipv4(192, 0, 2, 7));
  EXPECT_EQ(host.routes[0].interface, 3u);

  Bytes dead = bytes_of(two_next_hops);
  dead[50] = std::byte{RTNH_F_DEAD};  // the first's flags
  ASSERT_EQ(dead[48], std::byte{0x10});
  KernelHost second;
  EXPECT_EQ(parse_netlink(dead, sequence, second).error, 0);
  ASSERT_EQ(second.routes.size(), 1u);
  EXPECT_EQ(second.routes[0].gateway, IpAddress::ipv4(192, 0, 2, 8));
}

TEST(Netlink, PassesOverWhatLeadsNowhereForUs) {
  EXPECT_TRUE(parse(blackhole).routes.empty());
  EXPECT_TRUE(parse(route_of_table_77).routes.empty());
  KernelHost host;
  EXPECT_FALSE(parse_netlink(bytes_of(default_route), sequence + 1, host).last);
  EXPECT_TRUE(host.routes.empty()) << "the answer to another request";
}

TEST(Netlink, EndsWithTheDump) {
  Bytes bytes = bytes_of(address);
  for (const std::byte byte : bytes_of(done)) bytes.push_back(byte);
  for (const std::byte byte : bytes_of(address_with_peer)) bytes.push_back(byte);
  bytes[6] = std::byte{NLM_F_MULTI | NLM_F_DUMP_INTR};
  KernelHost host;
  const auto part = parse_netlink(bytes, sequence, host);
  EXPECT_TRUE(part.last);
  EXPECT_TRUE(part.interrupted);
  EXPECT_EQ(host.addresses.size(), 1u);
}

TEST(Netlink, TellsARefusal) {
  Bytes bytes = bytes_of(done);
  bytes[4] = std::byte{NLMSG_ERROR};
  const std::int32_t code = -EPERM;
  std::memcpy(bytes.data() + 16, &code, sizeof code);
  KernelHost host;
  const auto part = parse_netlink(bytes, sequence, host);
  EXPECT_TRUE(part.last);
  EXPECT_EQ(part.error, EPERM);
}

// Cut anywhere, a message is refused; with any byte changed, it is read or refused, and nothing is read beyond it.
TEST(Netlink, BelievesNoLength) {
  for (const std::string_view hex : {veth0, address, default_route, two_next_hops}) {
    const Bytes whole = bytes_of(hex);
    for (std::size_t size = 1; size < whole.size(); ++size) {
      KernelHost host;
      EXPECT_EQ(parse_netlink(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), sequence, host).error, EPROTO) << size;
    }
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const unsigned value : {0x00u, 0x01u, 0x03u, 0x7fu, 0xffu}) {
        Bytes changed = whole;
        changed[at] = static_cast<std::byte>(value);
        KernelHost host;
        static_cast<void>(parse_netlink(changed, sequence, host));
        for (const stack::Route& route : host.routes) EXPECT_LE(route.prefix, 32);
        for (const KernelAddress& each : host.addresses) EXPECT_LE(each.prefix, 32);
      }
    }
  }
}

TEST(Netlink, TakesABoundedNumber) {
  KernelHost host;
  host.addresses.resize(kernel_entries_at_most - 1);
  static_cast<void>(parse_netlink(bytes_of(address), sequence, host));
  EXPECT_FALSE(host.overflow);
  static_cast<void>(parse_netlink(bytes_of(address), sequence, host));
  EXPECT_TRUE(host.overflow);
  EXPECT_EQ(host.addresses.size(), kernel_entries_at_most);
}

}  // namespace
}  // namespace gannet::engine
