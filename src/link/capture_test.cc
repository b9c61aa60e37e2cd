#include "link/capture.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "link/capture_file.h"
#include "link/capture_link.h"
#include "link/fault_link.h"
#include "link/memory_link.h"
#include "wire/capture_reader.h"

namespace gannet::link {
namespace {

using Bytes = std::vector<std::byte>;

constexpr Duration offset = 1'700'000'000s;  // of real time
constexpr Time start = Time(1s);

struct Read {
  std::string interface, comment;
  std::uint16_t link_type;
  std::chrono::nanoseconds time;
  wire::Direction direction;
  std::optional<std::uint64_t> drop_count;
  std::uint32_t original_size;
  Bytes bytes;
};

std::vector<Read> read(std::span<const std::byte> file) {
  wire::CaptureReader reader([&](std::span<std::byte> into) -> Result<std::size_t> {
    const std::size_t size = std::min(into.size(), file.size());
    std::ranges::copy(file.first(size), into.begin());
    file = file.subspan(size);
    return size;
  });
  std::vector<Read> packets;
  for (;;) {
    const auto next = reader.next();
    EXPECT_TRUE(next) << next.error().message();
    if (!next || !*next) return packets;
    const auto& p = **next;
    packets.push_back({std::string(p.interface_name), std::string(p.comment), p.link_type, p.time, p.direction, p.drop_count, p.original_size,
                       Bytes(p.bytes.begin(), p.bytes.end())});
  }
}

// Empties the ring as a file would.
Bytes drain(ByteRing& ring) {
  Bytes bytes;
  for (auto readable = ring.readable(); !readable.empty(); readable = ring.readable()) {
    bytes.insert(bytes.end(), readable.begin(), readable.end());
    ring.consume(readable.size());
  }
  return bytes;
}

// The blocks of one type.
std::vector<Bytes> blocks(std::span<const std::byte> file, wire::pcapng::Block type) {
  std::vector<Bytes> found;
  while (file.size() >= 12) {
    std::uint32_t header[2];
    std::memcpy(header, file.data(), sizeof header);
    if (header[0] == static_cast<std::uint32_t>(type)) found.emplace_back(file.begin(), file.begin() + header[1]);
    file = file.subspan(header[1]);
  }
  return found;
}

// An option of eight bytes in a statistics block.
std::uint64_t statistic(const Bytes& block, std::uint16_t wanted) {
  for (std::size_t at = 20; at + 4 <= block.size() - 4;) {
    std::uint16_t option[2];
    std::memcpy(option, &block[at], sizeof option);
    std::uint64_t value = 0;
    if (option[0] == wanted) {
      std::memcpy(&value, &block[at + 4], sizeof value);
      return value;
    }
    at += 4u + (option[1] + 3u) / 4 * 4;
  }
  ADD_FAILURE() << "no option " << wanted;
  return 0;
}

TEST(Capture, TellsTimeDirectionInterfaceAndFate) {
  ByteRing ring(1 << 17);
  Capture capture(ring, offset);
  const auto wire = capture.add_interface("tap gannet0", true);
  const auto sockets = capture.add_interface("sockets", false);
  const Bytes first(60, std::byte{1}), second(61, std::byte{2});
  capture.take(wire, first, start + 5ns, {.direction = Direction::in});
  capture.take(sockets, second, start,
               {.direction = Direction::out, .drop = Drop::udp_no_socket, .process = 812, .process_name = "nc", .socket = 3, .comment = "why"});
  capture.take(wire, first, start, {.drop = Drop::udp_checksum_bad});
  capture.take(wire, first, start, {.process = 7});
  EXPECT_TRUE(capture.finish(start + 1s));

  const auto packets = read(drain(ring));
  ASSERT_EQ(packets.size(), 4u);
  EXPECT_EQ(packets[0].interface, "tap gannet0");
  EXPECT_EQ(packets[0].link_type, wire::link_type_ethernet);
  EXPECT_EQ(packets[0].time, offset + 1s + 5ns);
  EXPECT_EQ(packets[0].direction, wire::Direction::inbound);
  EXPECT_EQ(packets[0].comment, "");
  EXPECT_EQ(packets[0].drop_count, std::nullopt);
  EXPECT_EQ(packets[0].bytes, first);
  EXPECT_EQ(packets[1].interface, "sockets");
  EXPECT_EQ(packets[1].link_type, wire::link_type_raw);
  EXPECT_EQ(packets[1].direction, wire::Direction::outbound);
  EXPECT_EQ(packets[1].comment, "dropped: udp_no_socket, process 812 (nc), socket 3; why");
  EXPECT_EQ(packets[1].bytes, second);
  EXPECT_EQ(packets[2].comment, "dropped: udp_checksum_bad");
  EXPECT_EQ(packets[2].direction, wire::Direction::unknown);
  EXPECT_EQ(packets[3].comment, "process 7");
}

TEST(Capture, WhatTheBufferMissesIsToldInTheFile) {
  ByteRing ring(1 << 12);
  Capture capture(ring, offset);
  const auto quiet = capture.add_interface("quiet", true);
  const auto busy = capture.add_interface("busy", true);
  const Bytes packet(1000);
  for (int i = 0; i < 10; ++i) capture.take(busy, packet, start, {});
  capture.take(quiet, packet, start, {});
  EXPECT_EQ(capture.seen(busy), 10u);
  const std::uint64_t missed = capture.missed(busy);
  EXPECT_EQ(missed, 7u);
  EXPECT_EQ(capture.missed(quiet), 1u);

  Bytes file = drain(ring);
  capture.take(quiet, packet, start, {});
  capture.take(busy, packet, start, {});
  capture.take(busy, packet, start, {});
  Bytes rest = drain(ring);
  file.insert(file.end(), rest.begin(), rest.end());
  EXPECT_TRUE(capture.finish(start));
  rest = drain(ring);
  file.insert(file.end(), rest.begin(), rest.end());

  const auto packets = read(file);
  ASSERT_EQ(packets.size(), 6u);
  EXPECT_EQ(packets[3].interface, "quiet");
  EXPECT_EQ(packets[3].drop_count, 1u);
  EXPECT_EQ(packets[4].interface, "busy");
  EXPECT_EQ(packets[4].drop_count, missed);
  EXPECT_EQ(packets[5].drop_count, std::nullopt);

  const auto statistics = blocks(file, wire::pcapng::Block::statistics);
  ASSERT_EQ(statistics.size(), 2u);
  EXPECT_EQ(statistic(statistics[1], wire::pcapng::option::statistics_received), 12u);
  EXPECT_EQ(statistic(statistics[1], wire::pcapng::option::statistics_dropped), missed);
}

// A block of secrets stands among the packets and is none: readers that do not know it pass over it.
TEST(Capture, KeysStandBetweenThePackets) {
  ByteRing ring(1 << 20);
  Capture capture(ring, offset);
  const auto interface = capture.add_interface("gannet0", true);
  const Bytes packet(60, std::byte{1});
  constexpr std::string_view log = "CLIENT_RANDOM 00 11\n";
  capture.take(interface, packet, start, {});
  EXPECT_TRUE(capture.add_secrets(log));
  capture.take(interface, packet, start, {});
  const Bytes file = drain(ring);
  EXPECT_EQ(read(file).size(), 2);
  const auto at = std::search(file.begin(), file.end(), reinterpret_cast<const std::byte*>(log.data()),
                              reinterpret_cast<const std::byte*>(log.data()) + log.size());
  ASSERT_NE(at, file.end());
  std::array<std::uint32_t, 4> head{};  // type and length of the block, type and length of the secrets
  std::memcpy(head.data(), &*(at - sizeof head), sizeof head);
  EXPECT_EQ(head[0], 10);
  EXPECT_EQ(head[2], wire::secrets_tls_key_log);
  EXPECT_EQ(head[3], log.size());
}

TEST(Capture, TheStatisticsWaitForRoom) {
  ByteRing ring(1 << 12);
  Capture capture(ring, offset);
  const auto wire = capture.add_interface("full", true);
  while (capture.missed(wire) == 0) capture.take(wire, Bytes(1), start, {});
  EXPECT_FALSE(capture.finish(start));
  drain(ring);
  EXPECT_TRUE(capture.finish(start));
  const Bytes rest = drain(ring);
  ASSERT_EQ(blocks(rest, wire::pcapng::Block::statistics).size(), 1u);
  EXPECT_EQ(statistic(blocks(rest, wire::pcapng::Block::statistics)[0], wire::pcapng::option::statistics_dropped), 1u);
}

TEST(Capture, AnInterfaceWithoutPacketsHasItsStatistics) {
  ByteRing ring(1 << 12);
  Capture capture(ring, offset);
  capture.add_interface("idle", true);
  EXPECT_TRUE(capture.finish(start));
  const Bytes file = drain(ring);
  EXPECT_EQ(blocks(file, wire::pcapng::Block::interface).size(), 1u);
  ASSERT_EQ(blocks(file, wire::pcapng::Block::statistics).size(), 1u);
  EXPECT_EQ(statistic(blocks(file, wire::pcapng::Block::statistics)[0], wire::pcapng::option::statistics_received), 0u);
}

TEST(Capture, WhatIsTooLongIsCutAndSaysSo) {
  ByteRing ring(1 << 18);
  Capture capture(ring, offset);
  const auto wire = capture.add_interface("a name that is much longer than thirty-two bytes", true);
  const std::string comment(1000, 'x');
  capture.take(wire, Bytes(70'000), start, {.comment = comment});
  const auto packets = read(drain(ring));
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].bytes.size(), 65'599u);
  EXPECT_EQ(packets[0].original_size, 70'000u);
  EXPECT_EQ(packets[0].comment, std::string(128, 'x'));
  EXPECT_EQ(packets[0].interface.size(), 32u);
}

class CaptureLinks : public ::testing::Test {
 protected:
  Frame frame(std::uint8_t fill) {
    Frame frame = pools_.allocate(60);
    frame.resize(60);
    std::ranges::fill(frame.bytes(), std::byte{fill});
    return frame;
  }
  FramePools pools_ = FramePools::create(256, 1).value();
  std::shared_ptr<MemorySegment> segment_ = MemorySegment::create().value();
  std::unique_ptr<MemoryLink> peer_ = segment_->attach().value();
  ByteRing ring_{1 << 20};
  Capture capture_{ring_, offset};
  std::uint32_t interface_ = capture_.add_interface("memory", true);
};

TEST_F(CaptureLinks, WhatPassesIsCapturedAndUnchanged) {
  CaptureLink link(segment_->attach().value(), capture_, interface_);
  Frame out = frame(1), in = frame(2);
  EXPECT_EQ(link.send({&out, 1}, start), 1u);
  peer_->send({&in, 1}, start);
  std::array<Frame, 4> into;
  ASSERT_EQ(peer_->receive(into, pools_, start), 1u);
  EXPECT_EQ(into[0].bytes()[59], std::byte{1});
  ASSERT_EQ(link.receive(into, pools_, start + 1s), 1u);
  EXPECT_EQ(into[0].bytes()[59], std::byte{2});

  const auto packets = read(drain(ring_));
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].direction, wire::Direction::outbound);
  EXPECT_EQ(packets[0].bytes, Bytes(60, std::byte{1}));
  EXPECT_EQ(packets[1].direction, wire::Direction::inbound);
  EXPECT_EQ(packets[1].time, offset + 2s);
  EXPECT_EQ(link.counters().frames_out.value(), 1u);
}

// A link that takes what it has room for.
class NarrowLink final : public Link {
 public:
  [[nodiscard]] const Caps& caps() const override { return caps_; }
  [[nodiscard]] const Counters& counters() const override { return counters_; }
  std::size_t receive(std::span<Frame>, FramePools&, Time) override { return 0; }
  std::size_t send(std::span<Frame> frames, Time) override {
    const std::size_t taken = std::min(room, frames.size());
    for (Frame& frame : frames.first(taken)) frame.release();
    return taken;
  }
  [[nodiscard]] int fd() const override { return -1; }
  std::size_t room = 0;

 private:
  Caps caps_;
  Counters counters_;
};

TEST_F(CaptureLinks, WhatIsSentInPartsIsCapturedOnce) {
  auto owned = std::make_unique<NarrowLink>();
  NarrowLink& narrow = *owned;
  CaptureLink link(std::move(owned), capture_, interface_);
  std::vector<Frame> frames;
  for (std::uint8_t i = 0; i < 10; ++i) frames.push_back(frame(i));
  std::span<Frame> rest(frames);
  for (const auto& [offered, room] : {std::pair<std::size_t, std::size_t>{6, 2}, {4, 0}, {2, 1}, {0, 0}, {7, 3}, {4, 4}}) {
    narrow.room = room;
    rest = rest.subspan(link.send(rest.first(offered), start));
  }
  EXPECT_TRUE(rest.empty());
  const auto packets = read(drain(ring_));
  ASSERT_EQ(packets.size(), 10u);
  for (std::uint8_t i = 0; i < 10; ++i) EXPECT_EQ(packets[i].bytes[0], std::byte{i});
}

TEST_F(CaptureLinks, WhatAFaultLosesHasItsReason) {
  auto inner = std::make_unique<CaptureLink>(segment_->attach().value(), capture_, interface_);
  const auto link = FaultLink::create(std::move(inner), {}, {.loss = 1}, pools_).value();
  link->watch_drops([this](Direction direction, std::span<const std::byte> frame, Drop reason, Time now) {
    capture_.take(interface_, frame, now, {.direction = direction, .drop = reason});
  });
  Frame out = frame(1);
  link->send({&out, 1}, start);
  const auto packets = read(drain(ring_));
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].comment, "dropped: fault_loss");
  EXPECT_EQ(packets[0].direction, wire::Direction::outbound);
}

class CaptureFiles : public ::testing::Test {
 protected:
  void TearDown() override { std::remove(path_.c_str()); }
  Bytes contents() const {
    std::ifstream file(path_, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }
  std::string path_ = ::testing::TempDir() + "gannet_capture_test_" + std::to_string(::getpid()) + ".pcapng";
};

TEST_F(CaptureFiles, EverythingTakenIsInTheFile) {
  constexpr std::uint32_t count = 4'000;
  auto file = CaptureFile::open(path_, offset, 1 << 17).value();
  const auto wire = file->capture().add_interface("memory", true);
  for (std::uint32_t i = 0; i < count; ++i) {
    Bytes packet(64 + i % 1000);
    std::memcpy(packet.data(), &i, sizeof i);
    file->capture().take(wire, packet, start, {});
    if (i % 100 == 0) std::this_thread::yield();
  }
  const std::uint64_t missed = file->capture().missed(wire);
  ASSERT_TRUE(file->close(start));
  EXPECT_EQ(file->close(start).error().code, EBADF);
  const auto packets = read(contents());
  EXPECT_EQ(packets.size() + missed, count);
  std::uint64_t told = 0;
  for (const Read& packet : packets) told += packet.drop_count.value_or(0);
  EXPECT_LE(told, missed);
  const auto statistics = blocks(contents(), wire::pcapng::Block::statistics);
  ASSERT_EQ(statistics.size(), 1u);
  EXPECT_EQ(statistic(statistics[0], wire::pcapng::option::statistics_dropped), missed);
}

TEST_F(CaptureFiles, SaysWhatItCannotOpenOrWrite) {
  EXPECT_EQ(CaptureFile::open("/nowhere/at/all.pcapng", offset).error().code, ENOENT);
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  auto file = CaptureFile::open("/dev/full", offset).value();
  EXPECT_EQ(file->close(start).error().code, ENOSPC);
}

}  // namespace
}  // namespace gannet::link
