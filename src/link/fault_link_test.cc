#include "link/fault_link.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <vector>

#include "link/memory_link.h"
#include "wire/endian.h"

namespace gannet::link {
namespace {

Time at(Duration since_start) { return Time(since_start); }

// A link with faults at one end of a wire in memory, the bare wire at the other.
class FaultLinks : public ::testing::Test {
 protected:
  void open(const Impairment& in, const Impairment& out) {
    segment_ = MemorySegment::create(1500, 1024).value();
    peer_ = segment_->attach().value();
    link_ = FaultLink::create(segment_->attach().value(), in, out, pools_).value();
  }
  // A UDP packet of flow `flow` with a number in it; flow is the port of the impaired side.
  Frame frame(std::uint16_t flow, std::uint32_t number, bool out) {
    Frame frame = pools_.allocate(60);
    frame.resize(60);
    const auto bytes = frame.bytes();
    std::ranges::fill(bytes, std::byte{0});
    wire::emit_ethernet(wire::MacAddress::broadcast(), {}, wire::ethertype_ipv4, bytes);
    const auto packet = bytes.subspan(14);
    wire::store_u8(packet, 0, 0x45);
    wire::store_be16(packet, 2, 46);
    wire::store_u8(packet, 9, 17);
    wire::store_be32(packet, 12, out ? 0x0a000001 : 0x0a000002);
    wire::store_be32(packet, 16, out ? 0x0a000002 : 0x0a000001);
    wire::store_be16(packet, 20, out ? flow : 7);
    wire::store_be16(packet, 22, out ? 7 : flow);
    wire::store_be32(packet, 28, number);
    return frame;
  }
  void send(std::uint16_t flow, std::uint32_t number, Time now) {
    Frame one = frame(flow, number, true);
    ASSERT_EQ(link_->send({&one, 1}, now), 1u);
  }
  void peer_sends(std::uint16_t flow, std::uint32_t number, Time now) {
    Frame one = frame(flow, number, false);
    peer_->send({&one, 1}, now);
  }
  static std::uint32_t number_in(const Frame& frame) { return wire::load_be32(frame.bytes(), 14 + 28); }
  std::vector<std::uint32_t> received(Link& link, Time now) {
    std::array<Frame, batch_size> into;
    std::vector<std::uint32_t> numbers(link.receive(into, pools_, now));
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = number_in(into[i]);
    return numbers;
  }
  std::uint64_t drops() const {
    std::uint64_t total = 0;
    for (const Counter& drop : link_->counters().drops) total += drop.value();
    return total;
  }

  FramePools pools_ = FramePools::create(4096, 4).value();
  std::shared_ptr<MemorySegment> segment_;
  std::unique_ptr<MemoryLink> peer_;
  std::unique_ptr<FaultLink> link_;
};

using Numbers = std::vector<std::uint32_t>;

TEST_F(FaultLinks, RefusesAnImpossibleImpairment) {
  open({}, {});
  EXPECT_EQ(FaultLink::create(segment_->attach().value(), {}, {.loss = 2}, pools_).error().code, EINVAL);
}

TEST_F(FaultLinks, NothingIsImpairedUnlessAsked) {
  open({}, {});
  send(1, 5, at(0s));
  EXPECT_EQ(received(*peer_, at(0s)), Numbers{5});
  peer_sends(1, 6, at(0s));
  EXPECT_EQ(received(*link_, at(0s)), Numbers{6});
  EXPECT_EQ(link_->next_wakeup(), never);
  EXPECT_EQ(link_->counters().bytes_in.value(), 60u);
  EXPECT_EQ(link_->counters().bytes_out.value(), 60u);
}

TEST_F(FaultLinks, DelayedFramesWaitInEachDirectionAndKeepTheirOrder) {
  open({.delay = 20ms}, {.delay = 80ms});
  for (std::uint32_t i = 0; i < 3; ++i) send(1, i, at(i * 1ms));
  EXPECT_EQ(link_->next_wakeup(), at(80ms));
  EXPECT_EQ(link_->held(), 3u);
  EXPECT_TRUE(received(*link_, at(79ms)).empty());
  EXPECT_TRUE(received(*peer_, at(79ms)).empty());
  EXPECT_TRUE(received(*link_, at(81ms)).empty());  // receive() alone moves what is due on its way out
  EXPECT_EQ(received(*peer_, at(81ms)), (Numbers{0, 1}));
  EXPECT_EQ(link_->next_wakeup(), at(82ms));

  peer_sends(1, 7, at(81ms));
  EXPECT_TRUE(received(*link_, at(81ms)).empty());
  peer_sends(1, 8, at(101ms));
  EXPECT_EQ(received(*link_, at(101ms)), Numbers{7});
  EXPECT_EQ(received(*link_, at(121ms)), Numbers{8});
  EXPECT_EQ(link_->next_wakeup(), never);
  EXPECT_EQ(link_->held(), 0u);
}

TEST_F(FaultLinks, ReorderedFramesOvertake) {
  open({}, {.delay = 10ms, .reorder = 0.5});
  for (std::uint32_t i = 0; i < 100; ++i) send(1, i, at(i * 1us));
  Numbers got = received(*peer_, at(100us));
  const std::size_t overtaking = got.size();
  EXPECT_GT(overtaking, 20u);
  EXPECT_LT(overtaking, 64u);
  received(*link_, at(1s));
  for (Numbers more = received(*peer_, at(1s)); !more.empty(); more = received(*peer_, at(1s))) got.insert(got.end(), more.begin(), more.end());
  EXPECT_FALSE(std::ranges::is_sorted(got));
  std::ranges::sort(got);
  ASSERT_EQ(got.size(), 100u);
  for (std::uint32_t i = 0; i < 100; ++i) EXPECT_EQ(got[i], i);
}

TEST_F(FaultLinks, ACopyFollowsRightBehind) {
  open({.duplicate = 1}, {.duplicate = 1});
  send(1, 1, at(0s));
  send(1, 2, at(0s));
  EXPECT_EQ(received(*peer_, at(0s)), (Numbers{1, 1, 2, 2}));
  peer_sends(1, 3, at(0s));
  EXPECT_EQ(received(*link_, at(0s)), (Numbers{3, 3}));
  EXPECT_EQ(link_->duplicates(), 3u);
}

TEST_F(FaultLinks, CorruptionFlipsOneBitOfThePacketAndNoneOfWhatIsNotIp) {
  open({}, {.corrupt = 1});
  for (std::uint32_t i = 0; i < 300; ++i) {
    const Frame original = frame(1, i, true);
    send(1, i, at(0s));
    std::array<Frame, 1> got;
    ASSERT_EQ(peer_->receive(got, pools_, at(0s)), 1u);
    int flipped = 0;
    for (std::size_t k = 0; k < 60; ++k) {
      const auto difference = std::to_integer<unsigned>(got[0].bytes()[k] ^ original.bytes()[k]);
      if (k < 14) {
        EXPECT_EQ(difference, 0u);
      }
      flipped += std::popcount(difference);
    }
    EXPECT_EQ(flipped, 1);
  }
  Frame arp = frame(1, 0, true);
  wire::store_be16(arp.bytes(), 12, wire::ethertype_arp);
  const std::vector<std::byte> before(arp.bytes().begin(), arp.bytes().end());
  link_->send({&arp, 1}, at(0s));
  std::array<Frame, 1> got;
  ASSERT_EQ(peer_->receive(got, pools_, at(0s)), 1u);
  EXPECT_TRUE(std::ranges::equal(got[0].bytes(), before));
}

// What is not IP takes part, as a flow of its own: it is lost in its share, and changes nothing of what becomes of others.
TEST_F(FaultLinks, WhatIsNotIpIsAFlowOfItsOwn) {
  std::array<std::size_t, 2> arps{};
  std::array<Numbers, 2> datagrams;
  for (const std::size_t with_arp : {0u, 1u}) {
    open({}, {.loss = 0.5, .corrupt = 0.5, .seed = 3});
    for (std::uint32_t i = 0; i < 400; ++i) {
      send(1, i, at(0s));
      for (std::size_t left = i % 3 * with_arp; left != 0; --left) {
        Frame arp = frame(1, 0, true);
        wire::store_be16(arp.bytes(), 12, wire::ethertype_arp);
        link_->send({&arp, 1}, at(0s));
      }
      std::array<Frame, batch_size> got;
      const std::size_t count = peer_->receive(got, pools_, at(0s));
      for (const Frame& one : std::span(got).first(count)) {
        if (wire::load_be16(one.bytes(), 12) == wire::ethertype_arp) {
          ++arps[with_arp];
        } else {
          datagrams[with_arp].push_back(number_in(one));
        }
      }
    }
  }
  EXPECT_EQ(datagrams[0], datagrams[1]);
  EXPECT_EQ(arps[0], 0u);
  EXPECT_GT(arps[1], 150u);
  EXPECT_LT(arps[1], 250u);
}

TEST_F(FaultLinks, MoreThanItMayHoldIsDropped) {
  open({}, {.delay = 1s, .held_packets = 5});
  for (std::uint32_t i = 0; i < 8; ++i) send(1, i, at(0s));
  EXPECT_EQ(link_->held(), 5u);
  EXPECT_EQ(link_->counters().drops[static_cast<std::size_t>(Drop::fault_held_full)].value(), 3u);
}

// The same seed loses the same packets of each flow, however the flows interleave and whatever their ports are.
TEST_F(FaultLinks, TheSameSeedLosesTheSamePackets) {
  std::vector<std::map<std::uint32_t, Numbers>> runs;
  for (const bool interleaved : {false, true}) {
    open({}, {.loss = 0.3, .seed = 42});
    const auto port = static_cast<std::uint16_t>(interleaved ? 50000 : 1000);
    std::map<std::uint32_t, Numbers> got;
    const auto step = [&](std::uint32_t f, std::uint32_t n) {
      send(static_cast<std::uint16_t>(port + f), f * 1000 + n, at(0s));
      for (const std::uint32_t number : received(*peer_, at(0s))) got[number / 1000].push_back(number % 1000);
    };
    if (interleaved) {
      for (std::uint32_t n = 0; n < 200; ++n) {
        for (std::uint32_t f = 0; f < 3; ++f) step(f, n);
      }
    } else {
      for (std::uint32_t f = 0; f < 3; ++f) {
        for (std::uint32_t n = 0; n < 200; ++n) step(f, n);
      }
    }
    runs.push_back(std::move(got));
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_NE(runs[0][0], runs[0][1]);
}

// A wire whose far end takes little at a time.
class SlowLink final : public Link {
 public:
  [[nodiscard]] const Caps& caps() const override { return caps_; }
  [[nodiscard]] const Counters& counters() const override { return counters_; }
  std::size_t receive(std::span<Frame>, FramePools&, Time) override { return 0; }
  std::size_t send(std::span<Frame> frames, Time) override {
    const std::size_t taken = std::min(room, frames.size());
    for (Frame& frame : frames.first(taken)) {
      sent.push_back(wire::load_be32(frame.bytes(), 14 + 28));
      frame.release();
    }
    room -= taken;
    return taken;
  }
  [[nodiscard]] int fd() const override { return -1; }

  std::size_t room = 0;
  Numbers sent;

 private:
  Caps caps_;
  Counters counters_;
};

TEST_F(FaultLinks, AFullLinkIsTriedAgainAndNothingIsLost) {
  auto owned = std::make_unique<SlowLink>();
  SlowLink& slow = *owned;
  link_ = FaultLink::create(std::move(owned), {}, {.duplicate = 0.2}, pools_).value();
  std::vector<Frame> frames;
  for (std::uint32_t i = 0; i < 200; ++i) frames.push_back(frame(1, i, true));
  std::size_t taken = 0;
  for (int step = 0; step < 1000 && (taken < 200 || link_->held() > 0); ++step) {
    slow.room = 3;
    const Time now = at(step * 1ms);
    if (taken < 200) taken += link_->send(std::span(frames).subspan(taken), now);
    received(*link_, now);
    if (link_->held() > 0) {
      EXPECT_GT(link_->next_wakeup(), now);
    }
  }
  EXPECT_EQ(taken, 200u);
  EXPECT_EQ(slow.sent.size(), 200 + link_->duplicates());
  EXPECT_TRUE(std::ranges::is_sorted(slow.sent));
}

// Frames let in + duplicates = passed on + dropped + held, at every moment.
TEST_F(FaultLinks, EveryFrameEndsOnce) {
  const Impairment everything{.loss = 0.1,
                              .burst_start = 0.02,
                              .burst_end = 0.3,
                              .delay = 10ms,
                              .jitter = 5ms,
                              .reorder = 0.1,
                              .duplicate = 0.1,
                              .corrupt = 0.1,
                              .rate = 500'000,
                              .queue_bytes = 3000,
                              .held_packets = 30};
  open(everything, everything);
  const std::size_t available = pools_.small->available();
  std::uint64_t let_in = 0;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    const Time now = at(i * 500us);
    send(static_cast<std::uint16_t>(i % 7), i, now);
    peer_sends(static_cast<std::uint16_t>(i % 5), i, now);
    received(*link_, now);
    received(*peer_, now);
    let_in += 2;
    const auto& counters = link_->counters();
    ASSERT_EQ(let_in + link_->duplicates(), counters.frames_in.value() + counters.frames_out.value() + drops() + link_->held());
    ASSERT_EQ(pools_.small->available(), available - link_->held());
  }
  for (const Drop drop : {Drop::fault_loss, Drop::fault_burst_loss, Drop::fault_held_full}) {
    EXPECT_GT(link_->counters().drops[static_cast<std::size_t>(drop)].value(), 0u) << name_of(drop);
  }
  received(*link_, at(100s));
  EXPECT_EQ(link_->held(), 0u);
}

}  // namespace
}  // namespace gannet::link
