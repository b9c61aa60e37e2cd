#include "wire/capture_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"

namespace gannet::wire {
namespace {

using namespace std::chrono_literals;
using Bytes = std::vector<std::byte>;

// Gives a few bytes at a time, as a pipe would.
CaptureReader::Source source_of(const Bytes& file) {
  return [&file, at = std::size_t{0}](std::span<std::byte> into) mutable -> Result<std::size_t> {
    const std::size_t size = std::min({into.size(), file.size() - at, std::size_t{7}});
    std::ranges::copy(std::span(file).subspan(at, size), into.begin());
    at += size;
    return size;
  };
}

struct Read {
  std::vector<CaptureReader::Packet> packets;  // their views are gone
  std::vector<std::string> texts;              // the bytes, a bar, the comment
  std::optional<Error> damage;
  std::uint64_t offset = 0;
};

Read read_all(const Bytes& file) {
  CaptureReader reader(source_of(file));
  Read read;
  while (true) {
    const auto packet = reader.next();
    if (!packet) read.damage = packet.error();
    if (!packet || !*packet) break;
    read.packets.push_back(**packet);
    std::string text((*packet)->bytes.size(), '\0');
    std::ranges::transform((*packet)->bytes, text.begin(), [](std::byte byte) { return static_cast<char>(byte); });
    read.texts.push_back(text + "|" + std::string((*packet)->comment));
  }
  read.offset = reader.offset();
  // Once ended, it stays ended.
  const auto again = reader.next();
  EXPECT_TRUE(again && !*again);
  return read;
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

Bytes sample() {
  Bytes file;
  emit_section({.application = "gannet"}, file);
  emit_interface({.name = "tap0"}, file);
  emit_packet({.time = 1'700'000'000'123'456'789ns, .bytes = bytes_of("first"), .direction = Direction::inbound, .comment = "hello"}, file);
  emit_interface({.name = "lo", .link_type = link_type_raw}, file);
  emit_names(std::array{CaptureName{IpAddress::ipv4(10, 7, 0, 1), "us"}}, file);
  emit_packet({.interface = 1,
               .time = 2ns,
               .bytes = bytes_of("second!"),
               .original_size = 1000,
               .reception = Reception::multicast,
               .drop_count = 3,
               .packet_id = 4},
              file);
  emit_statistics({.received = 2}, file);
  return file;
}

TEST(CaptureReader, ReadsWhatTheEmittersWrite) {
  const auto read = read_all(sample());
  EXPECT_FALSE(read.damage);
  ASSERT_EQ(read.packets.size(), 2u);
  EXPECT_EQ(read.texts[0], "first|hello");
  EXPECT_EQ(read.packets[0].time, 1'700'000'000'123'456'789ns);
  EXPECT_EQ(read.packets[0].direction, Direction::inbound);
  EXPECT_EQ(read.packets[0].link_type, link_type_ethernet);
  EXPECT_EQ(read.packets[0].original_size, 5u);
  EXPECT_EQ(read.texts[1], "second!|");
  EXPECT_EQ(read.packets[1].interface, 1u);
  EXPECT_EQ(read.packets[1].time, 2ns);
  EXPECT_EQ(read.packets[1].link_type, link_type_raw);
  EXPECT_EQ(read.packets[1].original_size, 1000u);
  EXPECT_EQ(read.packets[1].reception, Reception::multicast);
  EXPECT_EQ(read.packets[1].drop_count, 3u);
  EXPECT_EQ(read.packets[1].packet_id, 4u);
}

TEST(CaptureReader, KnowsTheInterfacesNames) {
  const auto file = sample();
  CaptureReader reader(source_of(file));
  EXPECT_EQ((**reader.next()).interface_name, "tap0");
  EXPECT_EQ((**reader.next()).interface_name, "lo");
}

// Builds files number by number, in either byte order.
class Builder {
 public:
  explicit Builder(bool swapped) : swapped_(swapped) {}
  template <std::unsigned_integral T>
  Builder& add(T number) {
    if (swapped_) number = std::byteswap(number);
    const auto bytes = std::as_bytes(std::span(&number, 1));
    file.insert(file.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Builder& words(std::initializer_list<std::uint32_t> words) {
    for (const auto word : words) add(word);
    return *this;
  }
  Bytes file;

 private:
  bool swapped_;
};

Bytes pcap(bool swapped, bool nanoseconds) {
  Builder build(swapped);
  build.add(nanoseconds ? 0xa1b23c4du : 0xa1b2c3d4u).add(std::uint16_t{2}).add(std::uint16_t{4});
  build.words({0, 0, 65535, 1});
  build.words({1'700'000'000, 999'999, 4, 60}).file.insert(build.file.end(), 4, std::byte{'x'});
  build.words({1'700'000'001, 1, 0, 0});
  return build.file;
}

TEST(CaptureReader, ReadsTheOlderFormatInAllItsFour) {
  for (const bool swapped : {false, true}) {
    for (const bool nanoseconds : {false, true}) {
      const auto read = read_all(pcap(swapped, nanoseconds));
      EXPECT_FALSE(read.damage);
      ASSERT_EQ(read.packets.size(), 2u);
      EXPECT_EQ(read.texts[0], "xxxx|");
      EXPECT_EQ(read.packets[0].time, 1'700'000'000s + (nanoseconds ? 999'999ns : 999'999us));
      EXPECT_EQ(read.packets[0].original_size, 60u);
      EXPECT_EQ(read.packets[0].link_type, link_type_ethernet);
    }
  }
}

void add_section(Builder& build) {
  build.words({0x0a0d0d0a, 28, 0x1a2b3c4d}).add(std::uint16_t{1}).add(std::uint16_t{0}).words({0xffffffff, 0xffffffff, 28});
}

// An interface with a resolution of time, and a packet at `units` of it.
void add_packet_at(Builder& build, std::uint8_t resolution, std::uint64_t units) {
  build.words({1, 32}).add(std::uint16_t{1}).add(std::uint16_t{0}).words({0}).add(std::uint16_t{9}).add(std::uint16_t{1});
  build.file.push_back(std::byte{resolution});
  build.file.resize(build.file.size() + 3);
  build.words({0, 32});
  build.words({6, 36, 0, static_cast<std::uint32_t>(units >> 32), static_cast<std::uint32_t>(units), 4, 4})
      .file.insert(build.file.end(), 4, std::byte{'y'});
  build.words({36});
}

// Sections follow each other in one file, each with a byte order of its own; their interfaces are counted anew.
TEST(CaptureReader, SectionsMayDifferInByteOrder) {
  Builder native(false);
  Builder foreign(true);
  add_section(native);
  add_packet_at(native, 6, 5);
  add_section(foreign);
  add_packet_at(foreign, 6, 7);
  native.file.insert(native.file.end(), foreign.file.begin(), foreign.file.end());
  const auto read = read_all(native.file);
  EXPECT_FALSE(read.damage) << read.damage->why;
  ASSERT_EQ(read.packets.size(), 2u);
  EXPECT_EQ(read.packets[0].time, 5us);
  EXPECT_EQ(read.packets[1].time, 7us);
}

TEST(CaptureReader, TimesOfEveryResolution) {
  const auto time = [](std::uint8_t resolution, std::uint64_t units) {
    Builder build(false);
    add_section(build);
    add_packet_at(build, resolution, units);
    const auto read = read_all(build.file);
    EXPECT_EQ(read.packets.size(), 1u);
    return read.packets.at(0).time;
  };
  EXPECT_EQ(time(0, 3), 3s);
  EXPECT_EQ(time(3, 3), 3ms);
  EXPECT_EQ(time(12, 3'000'000), 3us);
  EXPECT_EQ(time(0x80 | 10, 1536), 1500ms);
  EXPECT_EQ(time(0x80 | 63, std::uint64_t{1} << 62), 500ms);
  EXPECT_EQ(time(0, ~std::uint64_t{0}), 0ns);  // beyond what nanoseconds can tell
  Builder build(false);
  add_section(build);
  add_packet_at(build, 20, 1);
  EXPECT_STREQ(read_all(build.file).damage.value_or(Error{}).why, "an interface with an impossible resolution of time");
}

TEST(CaptureReader, ReadsSimpleAndObsoletePackets) {
  Builder build(false);
  add_section(build);
  build.words({1, 20}).add(std::uint16_t{1}).add(std::uint16_t{0}).words({6, 20});                       // captures 6 bytes of each packet
  build.words({3, 24, 100, 0x61616161, 0x00006161, 24});                                                 // simple
  build.words({2, 36}).add(std::uint16_t{0}).add(std::uint16_t{9}).words({0, 5, 4, 4, 0x62626262, 36});  // obsolete
  const auto read = read_all(build.file);
  EXPECT_FALSE(read.damage) << read.damage->why;
  EXPECT_EQ(read.texts, (std::vector<std::string>{"aaaaaa|", "bbbb|"}));
  EXPECT_EQ(read.packets[0].original_size, 100u);
  EXPECT_EQ(read.packets[1].time, 5us);
}

// The damage that a full disk or a killed writer leaves: everything before it is read, and its place is named.
TEST(CaptureReader, TruncatedAtEachLength) {
  for (const auto& file : {sample(), pcap(false, false)}) {
    const auto whole = read_all(file);
    std::size_t last = 0;
    for (std::size_t size = 1; size < file.size(); ++size) {
      const auto read = read_all(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size)));
      ASSERT_GE(read.texts.size(), last) << size;
      last = read.texts.size();
      ASSERT_TRUE(std::ranges::equal(read.texts, std::span(whole.texts).first(last)));
      if (read.damage) {
        EXPECT_EQ(read.damage->code, EBADMSG);
        EXPECT_LT(read.offset, size);
      }
    }
    EXPECT_EQ(last, whole.texts.size() - (file[0] == std::byte{0x0a} ? 0 : 1));
  }
}

TEST(CaptureReader, NamesTheDamageAndItsPlace) {
  auto file = sample();
  file.resize(file.size() - 3);
  const auto cut = read_all(file);
  EXPECT_EQ(cut.packets.size(), 2u);
  EXPECT_STREQ(cut.damage.value_or(Error{}).why, "the file ends in the middle of a block");

  const auto with = [](std::initializer_list<std::uint32_t> words) {
    Builder build(false);
    add_section(build);
    build.words({1, 20, 1, 0, 20});
    build.words(words);
    const auto read = read_all(build.file);
    EXPECT_EQ(read.offset, 48u);
    return std::string(read.damage ? read.damage->why : "no damage");
  };
  EXPECT_EQ(with({5, 8, 8}), "a block with an impossible length");
  EXPECT_EQ(with({5, 13, 13}), "a block with an impossible length");
  EXPECT_EQ(with({5, 0xfffffffc}), "a block of more than 1 MiB: either damage, or no capture of packets");
  EXPECT_EQ(with({5, 16, 0, 12}), "a block whose two lengths differ");
  EXPECT_EQ(with({6, 32, 1, 0, 0, 0, 0, 32}), "a packet of an interface that the file does not describe");
  EXPECT_EQ(with({6, 32, 0, 0, 0, 1, 1, 32}), "a packet that is longer than its block");
  EXPECT_EQ(with({6, 32, 0, 0, 0, 0xffffffff, 0, 32}), "a packet of more than 256 KiB");
  EXPECT_EQ(with({6, 20, 0, 0, 20}), "a packet block that is too short");
  EXPECT_EQ(with({6, 36, 0, 0, 0, 0, 0, 0x00050001, 36}), "an option that runs past the end of its block");
  EXPECT_EQ(with({1, 12, 12}), "an interface block that is too short");
  EXPECT_EQ(with({0x0a0d0d0a, 28, 0x1a2b3c4e}), "a section without its byte-order magic");
  EXPECT_EQ(with({0x0a0d0d0a, 12, 0x1a2b3c4d}), "a section block with an impossible length");
  EXPECT_EQ(with({0x0a0d0d0a, 28, 0x1a2b3c4d, 2, 0, 0, 28}), "a section of an unknown version: only 1.x is known");

  EXPECT_STREQ(read_all(Bytes(100, std::byte{'x'})).damage.value_or(Error{}).why, "not a capture file: it begins like neither pcapng nor pcap");
  EXPECT_STREQ(read_all({}).damage.value_or(Error{}).why, "not a capture file: it is empty");
}

TEST(CaptureReader, AnErrorOfTheSourceIsNotDamage) {
  CaptureReader reader([](std::span<std::byte>) -> Result<std::size_t> { return Error{EIO, nullptr}; });
  EXPECT_EQ(reader.next().error().code, EIO);
}

// Interfaces cost memory: a section has a bounded number.
TEST(CaptureReader, InterfacesAreBounded) {
  Builder build(false);
  add_section(build);
  for (std::size_t i = 0; i <= capture_interfaces_max; ++i) build.words({1, 20, 1, 0, 20});
  EXPECT_STREQ(read_all(build.file).damage.value_or(Error{}).why, "more than 4,096 interfaces in one section");
}

TEST(CaptureReader, SurvivesAnyDamage) {
  Rng rng(8);
  for (int i = 0; i < 2'000; ++i) {
    auto file = rng.chance(0.5) ? sample() : pcap(rng.chance(0.5), false);
    for (std::uint32_t changes = rng.between(1, 4); changes != 0; --changes) {
      file[rng.below(static_cast<std::uint32_t>(file.size()))] = static_cast<std::byte>(rng.next());
    }
    const auto read = read_all(file);
    ASSERT_LE(read.packets.size(), 2u);
    ASSERT_EQ(read.damage.value_or(Error{EBADMSG}).code, EBADMSG);
  }
}

}  // namespace
}  // namespace gannet::wire
