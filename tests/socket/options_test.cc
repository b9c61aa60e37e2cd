// Options: what they start as, take, refuse and do.
#include "socket/options.h"

#include <limits>

#include "socket/world.h"

namespace gannet::tests {
namespace {

using Options = SocketTest;
INSTANTIATE_TEST_SUITE_P(In, Options, ::testing::ValuesIn(worlds()), name_of_world);

TEST_P(Options, StartAsTheTableSays) {
  for (Socket socket = open_b(); const auto& row : socket::option_table()) {
    const auto value = socket.get(row.option);
    if (row.option == Option::receive_buffer || row.option == Option::send_buffer) {
      EXPECT_GT(value.value(), 0) << row.name;  // the machine's setting, on the kernel
    } else if (row.option == Option::mtu) {
      EXPECT_EQ(code_of(value), ENOTCONN);
    } else if (row.option == Option::require_checksum && !value) {
      EXPECT_EQ(code_of(value), ENOPROTOOPT);
    } else {
      ASSERT_TRUE(value) << row.name << ": " << value.error().message();
      EXPECT_EQ(*value, row.initial) << row.name;
    }
  }
}

TEST_P(Options, KeepWhatTheyAreGiven) {
  Socket socket = open_b();
  for (const auto& row : socket::option_table()) {
    if (!row.settable || row.option == Option::receive_buffer || row.option == Option::send_buffer) continue;
    for (const int value : {row.max, std::max(row.min, 0), row.max}) {
      if ((row.option == Option::ttl || row.option == Option::max_pacing_rate) && value == 0) continue;
      const auto set = socket.set(row.option, value);
      if ((row.option == Option::require_checksum || row.option == Option::segment_coalescing) && !set) {
        EXPECT_EQ(code_of(set), ENOPROTOOPT);
        break;
      }
      ASSERT_TRUE(set) << row.name << " = " << value << ": " << set.error().message();
      EXPECT_EQ(socket.get(row.option).value(), value) << row.name;
    }
  }
}

TEST_P(Options, RefuseWhatIsOutOfRange) {
  Socket socket = open_b();
  for (const auto& row : socket::option_table()) {
    EXPECT_EQ(code_of(socket.set(row.option, row.min - 1)), EINVAL) << row.name;
    if (row.max < std::numeric_limits<int>::max()) {
      EXPECT_EQ(code_of(socket.set(row.option, row.max + 1)), EINVAL) << row.name;
    }
    if (!row.settable) {
      EXPECT_EQ(code_of(socket.set(row.option, 0)), EINVAL) << row.name;
    }
  }
}

TEST_P(Options, DoubleBufferSizesAsLinuxDoes) {
  Socket socket = open_b();
  for (const Option option : {Option::receive_buffer, Option::send_buffer}) {
    ASSERT_TRUE(socket.set(option, 50000));
    EXPECT_EQ(socket.get(option).value(), 100000);
    ASSERT_TRUE(socket.set(option, 0));
    EXPECT_GT(socket.get(option).value(), 0);  // no buffer is too small for anything
  }
}

TEST_P(Options, GoBackToTheDefaultTtl) {
  Socket socket = open_b();
  ASSERT_TRUE(socket.set(Option::ttl, 3));
  ASSERT_TRUE(socket.set(Option::ttl, -1));
  EXPECT_EQ(socket.get(Option::ttl).value(), 64);
  ASSERT_TRUE(socket.set(Option::multicast_ttl, 3));
  ASSERT_TRUE(socket.set(Option::multicast_ttl, -1));
  EXPECT_EQ(socket.get(Option::multicast_ttl).value(), 1);
}

// U8: a datagram without a checksum arrives; U10: where a checksum is required, it does not.
TEST_P(Options, SendWithoutChecksum) {
  Socket server = bound_b();
  Socket client = open_a();
  ASSERT_TRUE(client.set(Option::no_checksum, 1));
  say(client, address_of(server), "without");
  EXPECT_EQ(hear(server), "without");
  const auto required = server.set(Option::require_checksum, 1);
  if (!required) {
    EXPECT_EQ(code_of(required), ENOPROTOOPT);
    EXPECT_NE(required.error().why, nullptr);
    return;
  }
  say(client, address_of(server), "without");
  ASSERT_TRUE(client.set(Option::no_checksum, 0));
  say(client, address_of(server), "with");
  EXPECT_EQ(hear(server), "with");
}

}  // namespace
}  // namespace gannet::tests
