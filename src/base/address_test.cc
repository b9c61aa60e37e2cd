#include <gannet/address.h>

#include <gtest/gtest.h>

namespace gannet {
namespace {

TEST(IpAddress, ComesBackAsItWent) {
  for (const char* text : {"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1", "2001:db8::1", "fe80::1:2:3:4", "ff02::16"}) {
    const auto ip = IpAddress::parse(text);
    ASSERT_TRUE(ip) << text;
    EXPECT_EQ(ip->to_string(), text);
  }
}

// RFC 5952: the longest run of zeros goes, hex digits are small, no leading zeros.
TEST(IpAddress, IsWrittenInTheOneTextForm) {
  EXPECT_EQ(IpAddress::parse("2001:0DB8:0:0:1:0:0:1")->to_string(), "2001:db8::1:0:0:1");
  EXPECT_EQ(IpAddress::parse("2001:db8:0:0:0:0:2:1")->to_string(), "2001:db8::2:1");
}

TEST(IpAddress, RefusesWhatIsNone) {
  for (const char* text : {"", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "localhost", ":::", "1:2:3:4:5:6:7:8:9", "g::1",
                           "[::1]", "fe80::1%2", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"}) {
    const auto ip = IpAddress::parse(text);
    EXPECT_EQ(ip.error().code, EINVAL) << text;
    EXPECT_NE(ip.error().why, nullptr) << text;
  }
  EXPECT_FALSE(IpAddress::parse(std::string_view("127.0.0.1\0.5", 12)));
}

TEST(Address, ComesBackAsItWent) {
  for (const char* text : {"127.0.0.1:65433", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:53", "[fe80::1%2]:53", "[2001:db8::1]:0"}) {
    const auto address = Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
  }
  EXPECT_EQ(Address::parse("[fe80::1%2]:53")->scope, 2u);
}

TEST(Address, RefusesWhatIsNone) {
  for (const char* text : {"",
                           ":",
                           ":53",
                           "127.0.0.1",
                           "127.0.0.1:",
                           "127.0.0.1:65536",
                           "127.0.0.1:-1",
                           "127.0.0.1: 53",
                           "127.0.0.1:0x35",
                           "::1:53",
                           "::1",
                           "[::1]",
                           "[::1]53",
                           "[::1:53",
                           "::1]:53",
                           "[127.0.0.1]:53",
                           "[fe80::1%]:53",
                           "[fe80::1%eth0]:53",
                           "[fe80::1%4294967296]:53",
                           "127.0.0.1%2:53",
                           "localhost:53"}) {
    const auto address = Address::parse(text);
    EXPECT_EQ(address.error().code, EINVAL) << text;
    EXPECT_NE(address.error().why, nullptr) << text;
  }
}

}  // namespace
}  // namespace gannet
