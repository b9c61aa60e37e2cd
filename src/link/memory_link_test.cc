#include "link/memory_link.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

namespace gannet::link {
namespace {

constexpr Time start{};

wire::MacAddress mac_of(const Link& link) { return link.caps().mac; }

bool is_readable(int fd, int timeout_ms = 0) {
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, timeout_ms) == 1;
}

class MemoryLinks : public ::testing::Test {
 protected:
  void attach(std::size_t count, std::size_t mtu = 1500, std::size_t slots = 8) {
    segment_ = MemorySegment::create(mtu, slots).value();
    for (std::size_t i = 0; i < count; ++i) links_.push_back(segment_->attach().value());
  }
  Frame frame(const wire::MacAddress& dst, std::size_t size, std::uint8_t fill = 0) {
    Frame frame = pools_.allocate(size);
    frame.resize(size);
    std::ranges::fill(frame.bytes(), std::byte{fill});
    std::ranges::copy(dst.bytes, frame.bytes().begin());
    return frame;
  }
  std::size_t send(std::size_t from, const wire::MacAddress& dst, std::size_t size = 60, std::uint8_t fill = 0) {
    Frame one = frame(dst, size, fill);
    return links_[from]->send({&one, 1}, start);
  }
  std::vector<Frame> receive(std::size_t at, std::size_t most = batch_size) {
    std::vector<Frame> into(most);
    into.resize(links_[at]->receive(into, pools_, start));
    return into;
  }
  std::uint64_t drops(std::size_t at, Drop reason) const { return links_[at]->counters().drops[static_cast<std::size_t>(reason)].value(); }

  FramePools pools_ = FramePools::create(64, 4).value();
  std::shared_ptr<MemorySegment> segment_;
  std::vector<std::unique_ptr<MemoryLink>> links_;
};

TEST_F(MemoryLinks, UnicastGoesToItsOwnerAlone) {
  attach(3);
  send(0, mac_of(*links_[2]), 60, 7);
  EXPECT_TRUE(receive(1).empty());
  const auto got = receive(2);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].size(), 60u);
  EXPECT_EQ(got[0].bytes()[59], std::byte{7});
  EXPECT_GE(got[0].headroom(), frame_headroom);
}

TEST_F(MemoryLinks, BroadcastGroupsAndTheUnknownGoToAllOthers) {
  attach(3);
  const wire::MacAddress stranger{{std::byte{2}, {}, {}, {}, {}, std::byte{0x99}}};
  for (const auto& dst : {wire::MacAddress::broadcast(), wire::MacAddress::of_group(IpAddress::ipv4(239, 1, 2, 3)), stranger}) {
    send(0, dst);
    EXPECT_TRUE(receive(0).empty());
    EXPECT_EQ(receive(1).size(), 1u);
    EXPECT_EQ(receive(2).size(), 1u);
  }
}

TEST_F(MemoryLinks, KeepsTheOrderAndLeavesWhatDoesNotFitTheBatch) {
  attach(2);
  for (std::uint8_t i = 0; i < 5; ++i) send(0, mac_of(*links_[1]), 60, i);
  const auto first = receive(1, 3);
  const auto rest = receive(1, 3);
  ASSERT_EQ(first.size(), 3u);
  ASSERT_EQ(rest.size(), 2u);
  for (std::uint8_t i = 0; i < 5; ++i) EXPECT_EQ((i < 3 ? first[i] : rest[i - 3u]).bytes()[20], std::byte{i});
}

TEST_F(MemoryLinks, AFullPortDropsAndTheSenderCounts) {
  attach(2);
  for (int i = 0; i < 11; ++i) EXPECT_EQ(send(0, mac_of(*links_[1])), 1u);
  EXPECT_EQ(drops(0, Drop::link_queue_full), 3u);
  EXPECT_EQ(receive(1).size(), 8u);
  send(0, mac_of(*links_[1]));
  EXPECT_EQ(receive(1).size(), 1u);
}

TEST_F(MemoryLinks, TheMtuBoundsThePacketAndATagMayComeOnTop) {
  attach(2, 1500);
  send(0, mac_of(*links_[1]), 1514);
  send(0, mac_of(*links_[1]), 1515);
  Frame tagged = frame(mac_of(*links_[1]), 1518);
  tagged.bytes()[12] = std::byte{0x81};
  tagged.bytes()[13] = std::byte{0x00};
  links_[0]->send({&tagged, 1}, start);
  EXPECT_EQ(receive(1).size(), 2u);
  EXPECT_EQ(drops(0, Drop::frame_too_long), 1u);
}

TEST_F(MemoryLinks, CarriesTheLargestPacketAndTheShortestFrame) {
  attach(2, 65535);
  send(0, mac_of(*links_[1]), 65535 + 14);
  Frame runt = pools_.allocate(1);
  runt.resize(1);
  links_[0]->send({&runt, 1}, start);
  const auto got = receive(1);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].size(), 65549u);
  EXPECT_EQ(got[1].size(), 1u);
}

TEST_F(MemoryLinks, AnExhaustedPoolCostsFramesThatAreCounted) {
  attach(2);
  for (int i = 0; i < 4; ++i) send(0, mac_of(*links_[1]));
  FramePools poor = FramePools::create(1, 1).value();
  std::array<Frame, 4> into;
  EXPECT_EQ(links_[1]->receive(into, poor, start), 1u);
  EXPECT_EQ(drops(1, Drop::no_frame), 3u);
  into = {};
}

// The law that the simulator relies on: each copy is received, dropped, in flight, or lost with the link it waited at.
TEST_F(MemoryLinks, AccountsForEveryCopy) {
  attach(4);
  for (int i = 0; i < 12; ++i) send(static_cast<std::size_t>(i) % 4, wire::MacAddress::broadcast());
  EXPECT_EQ(segment_->in_flight(), 4 * 8u);
  std::uint64_t copies = 0;
  for (const auto& link : links_) copies += link->copies();
  EXPECT_EQ(copies, 4 * 8u);
  const std::uint64_t received = receive(0).size() + receive(1, 3).size();
  links_[2].reset();
  EXPECT_EQ(copies, received + segment_->in_flight() + segment_->lost());
  EXPECT_EQ(segment_->lost(), 8u);
}

TEST_F(MemoryLinks, ADetachedPortIsFreeForTheNext) {
  attach(2);
  const auto old = mac_of(*links_[1]);
  links_.pop_back();
  send(0, wire::MacAddress::broadcast());
  EXPECT_EQ(links_[0]->copies(), 0u);
  links_.push_back(segment_->attach().value());
  EXPECT_EQ(mac_of(*links_[1]), old);
  EXPECT_TRUE(receive(1).empty());
  send(0, old);
  EXPECT_EQ(receive(1).size(), 1u);
}

TEST_F(MemoryLinks, RefusesWhatItCannotBe) {
  EXPECT_EQ(MemorySegment::create(67).error().code, EINVAL);
  EXPECT_EQ(MemorySegment::create(65536).error().code, EINVAL);
  EXPECT_EQ(MemorySegment::create(1500, 100).error().code, EINVAL);
  attach(1);
  EXPECT_EQ(segment_->attach(wire::MacAddress::broadcast()).error().code, EINVAL);
  while (links_.size() < MemorySegment::max_ports) links_.push_back(segment_->attach().value());
  EXPECT_EQ(segment_->attach().error().code, ENOSPC);
}

TEST_F(MemoryLinks, TheDescriptorIsReadableExactlyWhileFramesWait) {
  attach(2);
  const int fd = links_[1]->fd();
  EXPECT_FALSE(is_readable(fd));
  for (int round = 0; round < 3; ++round) {
    send(0, mac_of(*links_[1]));
    send(0, mac_of(*links_[1]));
    EXPECT_TRUE(is_readable(fd));
    EXPECT_EQ(receive(1, 1).size(), 1u);
    EXPECT_TRUE(is_readable(fd));
    EXPECT_EQ(receive(1).size(), 1u);
    EXPECT_FALSE(is_readable(fd));
  }
}

TEST_F(MemoryLinks, TheDescriptorTellsOfWhatCameBeforeItWasAskedFor) {
  attach(2);
  send(0, mac_of(*links_[1]));
  EXPECT_TRUE(is_readable(links_[1]->fd()));
}

// Several engines in threads of their own send to one that sleeps on its descriptor whenever it found nothing. A lost wake-up would time out.
TEST(MemoryLinkThreads, NoFrameAndNoWakeupIsLostAmongThreads) {
  constexpr std::uint32_t senders = 3, each = 4000;
  const auto segment = MemorySegment::create(100, 16).value();
  const auto receiver = segment->attach().value();
  std::vector<std::unique_ptr<MemoryLink>> links;
  for (std::uint32_t i = 0; i < senders; ++i) links.push_back(segment->attach().value());
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < senders; ++i) {
    threads.emplace_back([&, i] {
      FramePools pools = FramePools::create(1, 1).value();
      const Counter& full = links[i]->counters().drops[static_cast<std::size_t>(Drop::link_queue_full)];
      for (std::uint32_t n = 0; n < each;) {
        Frame frame = pools.allocate(60);
        frame.resize(60);
        std::ranges::copy(receiver->caps().mac.bytes, frame.bytes().begin());
        std::memcpy(frame.bytes().data() + 20, &i, sizeof i);
        std::memcpy(frame.bytes().data() + 24, &n, sizeof n);
        const std::uint64_t before = full.value();
        links[i]->send({&frame, 1}, start);
        if (full.value() == before) {
          ++n;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  FramePools pools = FramePools::create(batch_size, 1).value();
  std::array<std::uint32_t, senders> expected{};
  std::uint32_t total = 0;
  bool woken = true;
  while (total < senders * each && woken) {
    std::array<Frame, batch_size> into;
    const std::size_t count = receiver->receive(into, pools, start);
    for (std::size_t k = 0; k < count; ++k) {
      std::uint32_t i = 0, n = 0;
      std::memcpy(&i, into[k].bytes().data() + 20, sizeof i);
      std::memcpy(&n, into[k].bytes().data() + 24, sizeof n);
      ASSERT_LT(i, senders);
      EXPECT_EQ(n, expected[i]++);
    }
    total += static_cast<std::uint32_t>(count);
    if (count == 0) woken = is_readable(receiver->fd(), 20000);
  }
  EXPECT_EQ(total, senders * each);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(segment->in_flight(), 0u);
}

}  // namespace
}  // namespace gannet::link
