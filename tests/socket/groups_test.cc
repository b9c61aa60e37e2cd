// One datagram to many: multicast and broadcast.
#include "socket/world.h"

namespace gannet::tests {
namespace {

constexpr IpAddress group = IpAddress::ipv4(239, 1, 2, 3);
constexpr IpAddress other_group = IpAddress::ipv4(239, 1, 2, 4);
constexpr std::uint16_t port = 40123;

class Groups : public SocketTest {
 protected:
  // A socket of a that sends to groups by the common network.
  Socket sender() {
    Socket socket = bound_a();
    socket.set_multicast_interface(world->interface_a).value();
    return socket;
  }
  // A socket of b on `port` and any address, which it shares with others.
  Socket listener() {
    Socket socket = open_b();
    socket.set(Option::reuse_address, 1).value();
    socket.bind(Address{IpAddress::any(Family::ipv4), port}).value();
    return socket;
  }
  Socket member(const IpAddress& of) {
    Socket socket = listener();
    socket.join(of, world->interface_b).value();
    return socket;
  }
  // What comes next to the listener is not what was said to a group before, but this. Of several, unicast goes to the one that was bound last.
  void say_after(Socket& source, Socket& last_opened) {
    say(source, {world->b, port}, "after");
    EXPECT_EQ(hear(last_opened), "after");
  }
};
INSTANTIATE_TEST_SUITE_P(In, Groups, ::testing::ValuesIn(worlds()), name_of_world);

TEST_P(Groups, ReachTheirMembersAndTellTheGroup) {
  Socket receiver = member(group);
  Socket source = sender();
  say(source, {group, port}, "hello");
  std::array<std::byte, 16> buffer;
  const auto datagram = receiver.receive(buffer, patience).value();
  EXPECT_EQ(text_of(datagram.data), "hello");
  EXPECT_EQ(datagram.local, (Address{group, port}));  // U11: the group, not the host
  EXPECT_EQ(datagram.peer, address_of(source));
  EXPECT_EQ(datagram.interface, world->interface_b);
  EXPECT_EQ(datagram.ttl, 1);  // G1: the default
}

// G1, X15: who has not joined hears nothing. `after` is sent by unicast and comes behind.
TEST_P(Groups, AreSilentToOthers) {
  Socket receiver = member(other_group);
  Socket source = sender();
  say(source, {group, port}, "to the group");
  say(source, {world->b, port}, "after");
  EXPECT_EQ(hear(receiver), "after");
}

TEST_P(Groups, AreSilentOnceLeft) {
  Socket receiver = member(group);
  Socket source = sender();
  say(source, {group, port}, "before");
  EXPECT_EQ(hear(receiver), "before");
  ASSERT_TRUE(receiver.leave(group, world->interface_b));
  say(source, {group, port}, "between");
  say(source, {world->b, port}, "after");
  EXPECT_EQ(hear(receiver), "after");
  ASSERT_TRUE(receiver.join(group, world->interface_b));
  say(source, {group, port}, "again");
  EXPECT_EQ(hear(receiver), "again");
}

// S5: each member has a copy of its own.
TEST_P(Groups, CopyToEveryMember) {
  std::vector<Socket> receivers;
  for (int i = 0; i < 4; ++i) receivers.push_back(member(group));
  Socket source = sender();
  say(source, {group, port}, "hello");
  for (Socket& receiver : receivers) EXPECT_EQ(hear(receiver), "hello");
  for (Socket& receiver : receivers) EXPECT_EQ(code_of(receiver.peek({}, Deadline::now())), EAGAIN);  // and one only
}

// G9, X15: a source-specific member hears its sources and nobody else.
TEST_P(Groups, AdmitTheSourcesThatWereNamed) {
  Socket receiver = listener();
  Socket source = sender();
  ASSERT_TRUE(receiver.join_source(group, IpAddress::ipv4(192, 0, 2, 77), world->interface_b));
  say(source, {group, port}, "not admitted");
  say(source, {world->b, port}, "after");
  EXPECT_EQ(hear(receiver), "after");
  ASSERT_TRUE(receiver.join_source(group, world->a, world->interface_b));
  say(source, {group, port}, "admitted");
  EXPECT_EQ(hear(receiver), "admitted");
  ASSERT_TRUE(receiver.leave_source(group, world->a, world->interface_b));
  say(source, {group, port}, "no more");
  say(source, {world->b, port}, "at last");
  EXPECT_EQ(hear(receiver), "at last");
}

TEST_P(Groups, BlockTheSourcesThatWereNamed) {
  Socket receiver = member(group);
  Socket source = sender();
  ASSERT_TRUE(receiver.block_source(group, world->a, world->interface_b));
  say(source, {group, port}, "blocked");
  say(source, {world->b, port}, "after");
  EXPECT_EQ(hear(receiver), "after");
  ASSERT_TRUE(receiver.unblock_source(group, world->a, world->interface_b));
  say(source, {group, port}, "unblocked");
  EXPECT_EQ(hear(receiver), "unblocked");
}

// The filter is each socket's own.
TEST_P(Groups, FilterForEachSocketByItself) {
  Socket everything = member(group);
  Socket nothing = member(group);
  Socket source = sender();
  ASSERT_TRUE(nothing.block_source(group, world->a, world->interface_b));
  say(source, {group, port}, "hello");
  EXPECT_EQ(hear(everything), "hello");
  EXPECT_EQ(code_of(nothing.peek({}, Deadline::now())), EAGAIN);
}

TEST_P(Groups, RefuseMembershipsThatMakeNoSense) {
  Socket socket = member(group);
  const std::uint32_t interface = world->interface_b;
  EXPECT_EQ(code_of(socket.join(group, interface)), EADDRINUSE);
  EXPECT_EQ(code_of(socket.leave(other_group, interface)), EADDRNOTAVAIL);
  EXPECT_EQ(code_of(socket.join(world->b, interface)), EINVAL);
  EXPECT_EQ(code_of(socket.join("10.0.0.1")), EINVAL);
  EXPECT_EQ(code_of(socket.join("group")), EINVAL);
  EXPECT_EQ(code_of(socket.join(other_group, 9999)), ENODEV);
  EXPECT_EQ(code_of(socket.set_multicast_interface(9999)), EADDRNOTAVAIL);
  EXPECT_EQ(code_of(socket.join_source(other_group, other_group, interface)), EINVAL);
  EXPECT_EQ(code_of(socket.unblock_source(group, world->a, interface)), EADDRNOTAVAIL);
  EXPECT_EQ(code_of(socket.block_source(other_group, world->a, interface)), EINVAL);
  ASSERT_TRUE(socket.block_source(group, world->a, interface));
  EXPECT_EQ(code_of(socket.block_source(group, world->a, interface)), EADDRNOTAVAIL);
  EXPECT_EQ(code_of(socket.join_source(group, world->a, interface)), EINVAL);  // the filter excludes; it cannot include as well
}

// multicast_all, as on Linux: without it a socket hears the groups that it has joined itself, and not its neighbour's.
TEST_P(Groups, OfOtherSocketsAreHeardUnlessTurnedOff) {
  Socket neighbour = member(group);
  Socket open_minded = listener();
  Socket strict = listener();
  ASSERT_TRUE(strict.set(Option::multicast_all, 0));
  Socket source = sender();
  say(source, {group, port}, "hello");
  EXPECT_EQ(hear(neighbour), "hello");
  EXPECT_EQ(hear(open_minded), "hello");
  EXPECT_EQ(code_of(strict.peek({}, Deadline::now())), EAGAIN);
}

// X15, multicast_all: who has not joined hears of a group what its members on the host let in, all of them together (RFC 9776 3.2). `after` is sent
// by unicast and comes behind.
TEST_P(Groups, OfOtherSocketsAreHeardOnlyFromTheirSources) {
  Socket member_of_one = listener();
  Socket open_minded = listener();
  Socket source = sender();
  ASSERT_TRUE(member_of_one.join_source(group, IpAddress::ipv4(192, 0, 2, 77), world->interface_b));
  say(source, {group, port}, "not admitted");
  say_after(source, open_minded);
  ASSERT_TRUE(member_of_one.join_source(group, world->a, world->interface_b));
  say(source, {group, port}, "admitted");
  EXPECT_EQ(hear(open_minded), "admitted");
  ASSERT_TRUE(member_of_one.leave_source(group, world->a, world->interface_b));
  say(source, {group, port}, "no more");
  say_after(source, open_minded);
}

TEST_P(Groups, OfOtherSocketsAreNotHeardFromWhomTheyBlock) {
  Socket first = member(group);
  Socket second = member(group);
  Socket open_minded = listener();
  Socket source = sender();
  ASSERT_TRUE(first.block_source(group, world->a, world->interface_b));
  say(source, {group, port}, "one still listens");
  for (Socket* socket : {&second, &open_minded}) EXPECT_EQ(hear(*socket), "one still listens");
  ASSERT_TRUE(second.block_source(group, world->a, world->interface_b));
  say(source, {group, port}, "all block it");
  say_after(source, open_minded);
  Socket third = listener();
  ASSERT_TRUE(third.join_source(group, world->a, world->interface_b));
  say(source, {group, port}, "one names it");
  for (Socket* socket : {&third, &open_minded}) EXPECT_EQ(hear(*socket), "one names it");
  for (Socket* socket : {&first, &second}) EXPECT_EQ(code_of(socket->peek({}, Deadline::now())), EAGAIN);
  ASSERT_TRUE(third.leave(group, world->interface_b));
  say(source, {group, port}, "all block it again");
  say_after(source, third);
  EXPECT_EQ(code_of(open_minded.peek({}, Deadline::now())), EAGAIN);
}

// Every host is in 224.0.0.1, whether a socket has joined it or not, and whatever those that have would rather not hear.
TEST_P(Groups, OfAllHostsIsHeardUnlessTurnedOff) {
  constexpr IpAddress all_hosts = IpAddress::ipv4(224, 0, 0, 1);
  Socket open_minded = listener();
  Socket strict = listener();
  Socket choosy = member(all_hosts);
  ASSERT_TRUE(strict.set(Option::multicast_all, 0));
  ASSERT_TRUE(choosy.block_source(all_hosts, world->a, world->interface_b));
  Socket source = sender();
  say(source, {all_hosts, port}, "hello");
  EXPECT_EQ(hear(open_minded), "hello");
  for (Socket* socket : {&strict, &choosy}) EXPECT_EQ(code_of(socket->peek({}, Deadline::now())), EAGAIN);
}

// Bound to the group's address, a socket is a stranger to it none the less.
TEST_P(Groups, AreHeardAtTheirAddressAsAtAnyOther) {
  Socket at_group = open_b();
  ASSERT_TRUE(at_group.set(Option::reuse_address, 1));
  ASSERT_TRUE(at_group.bind(Address{group, port}));
  Socket neighbour = listener();
  Socket source = sender();
  say(source, {group, port}, "to nobody");
  say_after(source, neighbour);
  ASSERT_TRUE(neighbour.join(group, world->interface_b));
  say(source, {group, port}, "to a member");
  EXPECT_EQ(hear(at_group), "to a member");
  EXPECT_EQ(hear(neighbour), "to a member");
  ASSERT_TRUE(at_group.set(Option::multicast_all, 0));
  say(source, {group, port}, "to members only");
  EXPECT_EQ(hear(neighbour), "to members only");
  EXPECT_EQ(code_of(at_group.peek({}, Deadline::now())), EAGAIN);
}

// Members on the sender's own host hear it, unless the sender turns that off.
TEST_P(Groups, LoopBackUnlessTurnedOff) {
  if (world->on_loopback) GTEST_SKIP() << "a loopback interface brings everything back";
  Socket receiver = open_a();
  ASSERT_TRUE(receiver.bind(Address{IpAddress::any(Family::ipv4), port}));
  ASSERT_TRUE(receiver.join(group, world->interface_a));
  Socket source = sender();
  say(source, {group, port}, "looped");
  EXPECT_EQ(hear(receiver), "looped");
  ASSERT_TRUE(source.set(Option::multicast_loop, 0));
  say(source, {group, port}, "not looped");
  say(source, {world->a, port}, "after");
  EXPECT_EQ(hear(receiver), "after");
}

TEST_P(Groups, HaveATtlOfTheirOwn) {
  Socket receiver = member(group);
  Socket source = sender();
  ASSERT_TRUE(source.set(Option::ttl, 99));  // is for unicast
  ASSERT_TRUE(source.set(Option::multicast_ttl, 5));
  std::array<std::byte, 16> buffer;
  say(source, {group, port}, "5");
  EXPECT_EQ(receiver.receive(buffer, patience).value().ttl, 5);
  ASSERT_TRUE(source.send(Outgoing{.data = bytes_of("7"), .to = {group, port}, .ttl = 7}));
  EXPECT_EQ(receiver.receive(buffer, patience).value().ttl, 7);
}

// The interface by datagram, where the socket has named none.
TEST_P(Groups, LeaveByTheInterfaceThatADatagramNames) {
  Socket receiver = member(group);
  Socket source = bound_a();
  ASSERT_TRUE(source.send(Outgoing{.data = bytes_of("hello"), .to = {group, port}, .interface = world->interface_a}));
  EXPECT_EQ(hear(receiver), "hello");
}

TEST_P(Groups, ListenAtTheGroupAddressItself) {
  Socket receiver = open_b();
  ASSERT_TRUE(receiver.bind(Address{group, port}));
  ASSERT_TRUE(receiver.join(group, world->interface_b));
  Socket source = sender();
  say(source, {world->b, port}, "by unicast");
  say(source, {group, port}, "to the group");
  EXPECT_EQ(hear(receiver), "to the group");
}

using Broadcast = Groups;
INSTANTIATE_TEST_SUITE_P(In, Broadcast, ::testing::ValuesIn(worlds()), name_of_world);

TEST_P(Broadcast, NeedsItsOption) {
  Socket source = bound_a();
  const auto refused = source.send_to(bytes_of("hello"), Address{world->broadcast, port});
  EXPECT_EQ(code_of(refused), EACCES);
  EXPECT_NE(refused.error().why, nullptr);
}

// S5, U11, P7.
TEST_P(Broadcast, CopiesToEverySocketAndTellsTheAddress) {
  std::vector<Socket> receivers;
  for (int i = 0; i < 3; ++i) receivers.push_back(listener());
  Socket source = bound_a();
  ASSERT_TRUE(source.set(Option::broadcast, 1));
  say(source, {world->broadcast, port}, "hello");
  for (Socket& receiver : receivers) {
    std::array<std::byte, 16> buffer;
    const auto datagram = receiver.receive(buffer, patience).value();
    EXPECT_EQ(text_of(datagram.data), "hello");
    EXPECT_EQ(datagram.local, (Address{world->broadcast, port}));
    EXPECT_EQ(datagram.peer, address_of(source));
  }
}

TEST_P(Broadcast, ReachesTheWholeLinkToo) {
  if (world->on_loopback) GTEST_SKIP() << "255.255.255.255 is for links, and loopback is none";
  Socket receiver = listener();
  Socket source = bound_a();
  ASSERT_TRUE(source.set(Option::broadcast, 1));
  const IpAddress everybody = IpAddress::ipv4(255, 255, 255, 255);
  ASSERT_TRUE(source.send(Outgoing{.data = bytes_of("hello"), .to = {everybody, port}, .interface = world->interface_a}));
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(receiver.receive(buffer, patience).value().local, (Address{everybody, port}));
}

}  // namespace
}  // namespace gannet::tests
