#include "stack/record_ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace gannet::stack {
namespace {

constexpr std::size_t ring_size = std::size_t{1} << 19;
constexpr std::uint64_t no_limit = ~std::uint64_t{0} / 2;

struct ReceiveRing {
  RingControl control;
  std::vector<std::byte> memory = std::vector<std::byte>(ring_size);
  RingWriter writer{control, memory};
  RingReader reader{control, memory};

  bool put(std::span<const std::byte> payload, std::uint64_t limit = no_limit) {
    RecordHeader header;
    header.kind = RecordKind::datagram;
    header.interface = static_cast<std::uint32_t>(payload.size());
    return writer.write(header, {}, payload, charge_of(payload.size()), limit);
  }
};

struct SendRing {
  SendControl control;
  std::vector<std::atomic<std::uint64_t>> commits = std::vector<std::atomic<std::uint64_t>>(commit_words(ring_size));
  std::vector<std::byte> memory = std::vector<std::byte>(ring_size);
  SendRingWriter writer{control, commits, memory};
  SendRingReader reader{control, commits, memory};
  SendRing() { control.limit = 1 << 18; }
};

// A payload that tells where it is torn: its number, repeated.
std::vector<std::byte> pattern(std::uint32_t number, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(number >> (i % 4 * 8));
  return bytes;
}

TEST(RecordRing, ChargesAboutAsLinuxAndNeverLessThanTheRecord) {
  EXPECT_EQ(charge_of(1), 768u);
  EXPECT_EQ(charge_of(1400), 2304u);
  for (std::size_t size = 0; size <= max_record_payload; ++size) {
    const std::size_t record = sizeof(RecordHeader) + max_ip_options + size + record_alignment;
    ASSERT_GE(charge_of(size), record) << size;
  }
}

TEST(RecordRing, GivesBackInOrderWhatWasWritten) {
  ReceiveRing ring;
  const auto options = pattern(7, 12);
  RecordHeader header;
  header.kind = RecordKind::datagram;
  header.peer = {IpAddress::ipv4(192, 0, 2, 1), 99};
  ASSERT_TRUE(ring.writer.write(header, options, pattern(1, 100), 768, no_limit));
  ASSERT_TRUE(ring.put({}));
  std::vector<std::byte> payload(200), ip_options(40);
  const auto peeked = ring.reader.read(payload, ip_options, true);
  ASSERT_TRUE(peeked.has_value());
  const auto first = ring.reader.read(payload, ip_options);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(peeked->header.charge, first->header.charge);
  EXPECT_EQ(first->header.peer, header.peer);
  EXPECT_EQ(first->payload_copied, 100u);
  EXPECT_TRUE(std::ranges::equal(std::span(payload).first(100), pattern(1, 100)));
  EXPECT_TRUE(std::ranges::equal(std::span(ip_options).first(first->options_copied), options));
  EXPECT_FALSE(first->emptied);
  const auto second = ring.reader.read(payload, ip_options);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->payload_copied, 0u);
  EXPECT_TRUE(second->emptied);
  EXPECT_FALSE(ring.reader.read(payload, {}).has_value());
}

TEST(RecordRing, CutsOffWhatDoesNotFitTheBuffer) {
  ReceiveRing ring;
  ASSERT_TRUE(ring.put(pattern(3, 1000)));
  std::vector<std::byte> payload(10);
  const auto record = ring.reader.read(payload, {});
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->payload_copied, 10u);
  EXPECT_EQ(record->header.payload_size, 1000u);
  EXPECT_TRUE(ring.reader.is_empty());
}

// Linux takes a datagram as long as what is queued does not exceed the limit, and charges 768 for a small one.
TEST(RecordRing, HoldsWhatTheLimitAllows) {
  ReceiveRing ring;
  int count = 0;
  while (ring.put(pattern(1, 10), 7680)) ++count;
  EXPECT_EQ(count, 11);
  EXPECT_EQ(ring.writer.used(), 11u * 768);
  ASSERT_TRUE(ring.reader.read({}, {}));
  EXPECT_TRUE(ring.put(pattern(1, 10), 7680));
  EXPECT_FALSE(ring.put(pattern(1, 10), 7680));
  EXPECT_TRUE(ring.put(pattern(1, 60000), 8448)) << "a raised limit holds at once";
  EXPECT_FALSE(ring.put({}, 8448));
}

TEST(RecordRing, NeverOverwritesWhatIsNotRead) {
  ReceiveRing ring;
  std::uint32_t count = 0;
  while (ring.put(pattern(count, 65000))) ++count;
  EXPECT_GE(count, ring_size / max_record_size - 1);
  std::vector<std::byte> payload(65535);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto record = ring.reader.read(payload, {});
    ASSERT_TRUE(record.has_value());
    ASSERT_TRUE(std::ranges::equal(std::span(payload).first(65000), pattern(i, 65000)));
  }
  EXPECT_TRUE(ring.put(pattern(count, 65000)));
}

TEST(RecordRing, AgreesWithAQueueUnderRandomUse) {
  ReceiveRing ring;
  std::mt19937 random(1);
  std::vector<std::size_t> expected;
  std::size_t taken = 0;
  std::vector<std::byte> payload(65535);
  for (int step = 0; step < 3000; ++step) {
    if (random() % 2 == 0) {
      const std::size_t size = random() % 8 == 0 ? random() % 65536 : random() % 3000;
      if (ring.put(pattern(static_cast<std::uint32_t>(expected.size()), size))) expected.push_back(size);
    } else if (const auto record = ring.reader.read(payload, {})) {
      ASSERT_LT(taken, expected.size());
      ASSERT_EQ(record->header.payload_size, expected[taken]);
      const auto want = pattern(static_cast<std::uint32_t>(taken), expected[taken]);
      ASSERT_TRUE(std::ranges::equal(std::span(payload).first(want.size()), want));
      ++taken;
    } else {
      ASSERT_EQ(taken, expected.size());
      ASSERT_EQ(ring.writer.used(), 0u);
    }
  }
}

TEST(RecordRing, AnEmptyRingStartsAgainAtItsBeginning) {
  ReceiveRing ring;
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(ring.put(pattern(1, 1000), 50'000));
    ASSERT_TRUE(ring.reader.read({}, {}).has_value());
  }
  EXPECT_TRUE(std::ranges::all_of(std::span(ring.memory).subspan(128 * 1024), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(RecordRing, StartingAgainCostsNoRoomThatTheLimitAllows) {
  for (int before = 0; before < 400; ++before) {
    ReceiveRing ring;
    for (int i = 0; i < before; ++i) {
      ASSERT_TRUE(ring.put(pattern(1, 1000), 200'000));
      ASSERT_TRUE(ring.reader.read({}, {}).has_value());
    }
    for (std::uint64_t charged = 0; charged <= 200'000; charged += charge_of(1000)) ASSERT_TRUE(ring.put(pattern(1, 1000), 200'000)) << before;
  }
}

// A peer that owns the other side's words can only lose its own datagrams.
TEST(RecordRing, WriterDoesNotBelieveAnImpossibleTail) {
  ReceiveRing ring;
  ASSERT_TRUE(ring.put(pattern(1, 1000)));
  ASSERT_TRUE(ring.reader.read({}, {}).has_value());
  const std::uint64_t head = ring.writer.head();
  for (const std::uint64_t tail : {head + 64, head - 1, ~std::uint64_t{0}, head + ring_size}) {
    ring.control.tail = tail;
    EXPECT_LE(ring.writer.tail(), head);
    EXPECT_EQ(ring.writer.tail() % record_alignment, 0u);
  }
  ring.control.tail = head - 64 * 1000;
  std::uint32_t count = 0;
  while (ring.put(pattern(1, 60000))) ASSERT_LT(++count, 100u);
}

TEST(RecordRing, ReaderStaysInsideARingOfRandomBytes) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 100; ++round) {
    ReceiveRing ring;
    for (std::size_t i = 0; i < 4096; ++i) ring.memory[random() % 2 == 0 ? i : ring_size - 1 - i] = static_cast<std::byte>(random());
    if (random() % 2 == 0) {
      RecordHeader header;
      header.size = static_cast<std::uint32_t>(random() % 4096 / 64 * 64);
      header.kind = RecordKind::datagram;
      std::memcpy(ring.memory.data(), &header, sizeof header);
      ring.memory[16 + random() % 100] = static_cast<std::byte>(random());
    }
    ring.control.tail = random() % 2 == 0 ? random() : random() % 4 * 64;
    ring.control.head = random() % 2 == 0 ? ring.control.tail + random() % ring_size : random();
    std::vector<std::byte> payload(65535), options(40);
    while (ring.reader.read(payload, options)) {
    }
    EXPECT_TRUE(ring.reader.is_empty());
  }
}

// The engine writes, four threads read: each datagram is read once and whole, and each thread sees them in order.
TEST(RecordRing, ManyReadersTakeEachRecordOnce) {
  ReceiveRing ring;
  constexpr std::uint32_t total = 10000;
  std::vector<std::atomic<int>> seen(total);
  std::vector<std::thread> readers;
  std::atomic<std::uint32_t> taken = 0;
  std::atomic<bool> torn = false;
  for (int r = 0; r < 4; ++r) {
    readers.emplace_back([&] {
      std::vector<std::byte> payload(2048);
      while (taken < total) {
        const auto record = ring.reader.read(payload, {});
        if (!record) {
          std::this_thread::yield();
          continue;
        }
        const std::uint32_t number = record->header.timestamp_key;
        if (!std::ranges::equal(std::span(payload).first(record->payload_copied), pattern(number, record->header.interface))) torn = true;
        ++seen[number];
        ++taken;
      }
    });
  }
  std::mt19937 random(3);
  for (std::uint32_t i = 0; i < total;) {
    RecordHeader header;
    header.kind = RecordKind::datagram;
    header.timestamp_key = i;
    const auto payload = pattern(i, random() % 300);
    header.interface = static_cast<std::uint32_t>(payload.size());
    if (ring.writer.write(header, {}, payload, charge_of(payload.size()), 100000))
      ++i;
    else
      std::this_thread::yield();
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_FALSE(torn);
  EXPECT_TRUE(std::ranges::all_of(seen, [](const auto& count) { return count == 1; }));
}

TEST(SendRing, GivesBackInOrderWhatWasWritten) {
  SendRing ring;
  RecordHeader header;
  header.peer = {IpAddress::ipv4(192, 0, 2, 1), 99};
  ASSERT_TRUE(ring.writer.write(header, pattern(7, 8), pattern(1, 100)));
  ASSERT_TRUE(ring.writer.write(header, {}, {}));
  SendRequest request;
  ASSERT_TRUE(*ring.reader.next(request));
  EXPECT_EQ(request.header.peer, header.peer);
  EXPECT_EQ(request.header.ip_options_size, 8u);
  EXPECT_TRUE(std::ranges::equal(request.payload, pattern(1, 100)));
  ASSERT_TRUE(*ring.reader.next(request)) << "until finish() it is the same one";
  EXPECT_EQ(request.payload.size(), 100u);
  ring.reader.finish();
  ASSERT_TRUE(*ring.reader.next(request));
  EXPECT_TRUE(request.payload.empty());
  ring.reader.finish();
  EXPECT_FALSE(*ring.reader.next(request));
  EXPECT_EQ(ring.writer.used(), 0u);
}

TEST(SendRing, TakesWhatTheLimitAllows) {
  SendRing ring;
  ring.control.limit = 7680;
  int count = 0;
  while (ring.writer.write({}, {}, pattern(1, 10))) ++count;
  EXPECT_EQ(count, 11);
  EXPECT_FALSE(ring.writer.has_space());
  SendRequest request;
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(*ring.reader.next(request));
    ring.reader.finish();
  }
  EXPECT_TRUE(ring.writer.has_space());
}

TEST(SendRing, StartingAgainCostsNoRoomThatTheLimitAllows) {
  for (int before = 0; before < 400; ++before) {
    SendRing ring;
    ring.control.limit = 200'000;
    SendRequest request;
    for (int i = 0; i < before; ++i) {
      ASSERT_TRUE(ring.writer.write({}, {}, pattern(1, 1000)));
      ASSERT_TRUE(*ring.reader.next(request));
      ring.reader.finish();
    }
    for (std::uint64_t charged = 0; charged <= 200'000; charged += charge_of(1000))
      ASSERT_TRUE(ring.writer.write({}, {}, pattern(1, 1000))) << before;
  }
}

TEST(SendRing, WrapsForEver) {
  SendRing ring;
  std::mt19937 random(4);
  SendRequest request;
  std::uint32_t written = 0, taken = 0;
  for (int step = 0; step < 3000; ++step) {
    if (random() % 2 == 0) {
      const std::size_t size = random() % 16 == 0 ? random() % 65536 : random() % 3000;
      RecordHeader header;
      header.timestamp_key = written;
      written += ring.writer.write(header, {}, pattern(written, size));
    } else if (*ring.reader.next(request)) {
      ASSERT_EQ(request.header.timestamp_key, taken);
      ASSERT_TRUE(std::ranges::equal(request.payload, pattern(taken, request.payload.size())));
      ring.reader.finish();
      ++taken;
    } else {
      ASSERT_EQ(taken, written);
    }
  }
  EXPECT_GT(taken, 1000u);
}

// A record of a few kilobytes that asks to be cut into bytes would keep the engine from everybody else.
TEST(SendRing, SkipsARecordOfTooManySegments) {
  SendRing ring;
  RecordHeader header;
  header.segment_size = 1;
  ring.writer.write(header, {}, pattern(1, 128));
  ring.writer.write(header, {}, pattern(2, 129));
  ring.writer.write({}, {}, pattern(3, 8));
  SendRequest request;
  ASSERT_TRUE(ring.reader.next(request).value());
  EXPECT_EQ(request.payload.size(), 128u);
  ring.reader.finish();
  EXPECT_EQ(ring.reader.next(request).error(), Drop::send_record_invalid);
  ASSERT_TRUE(ring.reader.next(request).value());
  EXPECT_EQ(request.payload.size(), 8u);
}

TEST(SendRing, SkipsAHopLimitThatNoPacketHas) {
  SendRing ring;
  RecordHeader header;
  for (const int hop_limit : {-2, 256}) {
    header.hop_limit = static_cast<std::int16_t>(hop_limit);
    ring.writer.write(header, {}, pattern(1, 8));
  }
  SendRequest request;
  EXPECT_EQ(ring.reader.next(request).error(), Drop::send_record_invalid);
  EXPECT_EQ(ring.reader.next(request).error(), Drop::send_record_invalid);
  EXPECT_FALSE(ring.reader.next(request).value());
}

// What an application writes into its own ring costs it that datagram, or the ring, and the engine nothing.
TEST(SendRing, SurvivesAHostileWriter) {
  std::mt19937_64 random(5);
  unsigned sum = 0;  // reads every byte, so that the sanitizer sees a bad one
  for (int round = 0; round < 100; ++round) {
    SendRing ring;
    for (int i = 0; i < 4; ++i) ring.writer.write({}, pattern(1, 8), pattern(1, random() % 500));
    for (int i = 0; i < 8; ++i) ring.memory[random() % 2048] = static_cast<std::byte>(random());
    for (int i = 0; i < 2; ++i) ring.commits[random() % 32] = random() % 2 == 0 ? random() : random() % (4 * ring_size);
    SendRequest request;
    std::size_t steps = 0;
    for (;;) {
      ASSERT_LT(++steps, 10000u);
      const auto next = ring.reader.next(request);
      if (!next) {
        EXPECT_EQ(next.error(), Drop::send_record_invalid);
        continue;
      }
      if (!*next) break;
      ASSERT_LE(request.payload.size(), max_record_payload);
      sum += std::accumulate(request.payload.begin(), request.payload.end(), 0u,
                             [](unsigned a, std::byte b) { return a + std::to_integer<unsigned>(b); });
      ring.reader.finish();
    }
  }
  EXPECT_NE(sum, 0u);
}

TEST(SendRing, ManyThreadsWrite) {
  SendRing ring;
  constexpr std::uint32_t each = 2500, threads = 4;
  std::vector<std::thread> writers;
  for (std::uint32_t t = 0; t < threads; ++t) {
    writers.emplace_back([&ring, t] {
      for (std::uint32_t i = 0; i < each;) {
        RecordHeader header;
        header.interface = t;
        header.timestamp_key = i;
        if (ring.writer.write(header, {}, pattern(i, i % 700)))
          ++i;
        else
          std::this_thread::yield();
      }
    });
  }
  std::array<std::uint32_t, threads> next_of{};
  SendRequest request;
  for (std::uint32_t taken = 0; taken < each * threads;) {
    if (!*ring.reader.next(request)) {
      std::this_thread::yield();
      continue;
    }
    const std::uint32_t number = request.header.timestamp_key;
    ASSERT_LT(request.header.interface, threads);
    ASSERT_EQ(number, next_of[request.header.interface]++);
    ASSERT_TRUE(std::ranges::equal(request.payload, pattern(number, number % 700)));
    ring.reader.finish();
    ++taken;
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(ring.writer.used(), 0u);
}

}  // namespace
}  // namespace gannet::stack
