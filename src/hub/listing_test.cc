#include "hub/listing.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace gannet::hub {
namespace {

Listing some_listing() {
  Listing listing;
  listing.status.process = 812;
  ListedSocket socket;
  socket.id = 7;
  socket.program = ListedName("python3");
  socket.local = {IpAddress::ipv4(127, 0, 0, 1), 65433};
  listing.sockets.assign(3, socket);
  listing.counters.push_back({ListedName("udp_in_datagrams"), 5});
  return listing;
}

TEST(Listings, AreReadAsTheyWereWritten) {
  const Listing read = Listing::parse(some_listing().emit()).value();
  EXPECT_EQ(read.status.process, 812);
  ASSERT_EQ(read.sockets.size(), 3u);
  EXPECT_EQ(read.sockets[2].id, 7u);
  EXPECT_EQ(read.sockets[2].program.view(), "python3");
  EXPECT_EQ(read.sockets[2].local.port, 65433);
  ASSERT_EQ(read.counters.size(), 1u);
  EXPECT_EQ(read.counters[0].name.view(), "udp_in_datagrams");
  EXPECT_TRUE(read.drops.empty());
}

// Whatever is cut off, or claims to be more than there is, is refused.
TEST(Listings, AreRefusedWhereTheyContradictThemselves) {
  std::vector<std::byte> bytes = some_listing().emit();
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_EQ(Listing::parse(std::span(bytes).first(size)).error().code, EPROTO) << size;
  bytes.push_back({});
  EXPECT_EQ(Listing::parse(bytes).error().code, EPROTO);
  bytes.pop_back();
  for (std::size_t i = 0; i < 8; ++i) bytes[sizeof(Status) + i] = std::byte{0xff};
  EXPECT_EQ(Listing::parse(bytes).error().code, EPROTO);
}

TEST(Listings, CutLongNames) { EXPECT_EQ(ListedName(std::string(100, 'x')).view(), std::string(31, 'x')); }

}  // namespace
}  // namespace gannet::hub
