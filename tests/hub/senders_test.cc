// One socket that many processes send on: how many may, and what the next one is told.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>

#include "hub/hubs.h"
#include "socket/stack_socket.h"

namespace gannet::tests {
namespace {

constexpr int most_senders = 1024;

// R11: each process that sends on a socket has a ring of its own, and their number is bounded.
TEST(Senders, OneMoreThanThereMayBeIsRefusedAlone) {
  const hub::HubAddress address{.name = "gannet-senders-test-" + std::to_string(::getpid())};
  const pid_t hub = start_hub(address.name, {});
  auto receiver = hub::open_socket(address).value();
  receiver->bind(on_loopback(0)).value();
  const Address to = receiver->local_address().value();
  const Fd fd = hub::make_doorbell(SOCK_CLOEXEC, Family::ipv4);
  auto shared = hub::open_socket(address, fd.get()).value();
  shared->share();

  struct State {
    std::atomic<int> rings = 0, refusal = 0;
    std::atomic<bool> stop = false;
  };
  Shared<State> state;
  // The hub counts rings, not processes: the child has as many as a thousand would.
  const pid_t child = in_child([&] {
    for (auto renewed = shared->renew_send_ring(); state->refusal == 0; renewed = shared->renew_send_ring()) {
      if (renewed) {
        ++state->rings;
      } else {
        state->refusal = renewed.error().code;
      }
    }
    if (!say(*shared, to, "child")) return 1;  // by the last one that it got
    return comes_true([&] { return state->stop.load(); }) ? 0 : 2;
  });
  EXPECT_EQ(hear(*receiver).value().text, "child");
  EXPECT_EQ(state->refusal, ENOBUFS);
  EXPECT_EQ(state->rings, most_senders - 1);

  const auto refused = shared->renew_send_ring();
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused ? 0 : refused.error().code, ENOBUFS);
  EXPECT_TRUE(say(*shared, to, "parent"));
  EXPECT_EQ(hear(*receiver).value().text, "parent");
  EXPECT_TRUE(hub::open_socket(address)) << "another socket's senders are its own";

  state->stop = true;
  EXPECT_EQ(end_of(child), 0);
  EXPECT_TRUE(comes_true([&] { return shared->renew_send_ring().has_value(); }));
  EXPECT_TRUE(say(*shared, to, "again"));
  EXPECT_EQ(hear(*receiver).value().text, "again");
  EXPECT_EQ(shut_down(address, hub), 0);
}

}  // namespace
}  // namespace gannet::tests
