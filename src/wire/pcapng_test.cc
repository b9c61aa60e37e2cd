#include "wire/pcapng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

namespace gannet::wire {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::uint32_t>;

std::vector<std::byte> some_bytes(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i + 1);
  return bytes;
}

// The file as 32-bit words of the machine's order, which is how blocks are drawn in the specification.
Words words_of(const std::vector<std::byte>& out) {
  Words words(out.size() / 4);
  std::memcpy(words.data(), out.data(), words.size() * 4);
  EXPECT_EQ(out.size() % 4, 0u);
  return words;
}

std::uint32_t word_of(const char (&text)[5]) {
  std::uint32_t word;
  std::memcpy(&word, text, 4);
  return word;
}

// An option's first word: code and length are two 16-bit numbers.
std::uint32_t option_word(std::uint16_t code, std::uint16_t size) {
  const std::array halves{code, size};
  std::uint32_t word;
  std::memcpy(&word, halves.data(), 4);
  return word;
}

TEST(Pcapng, SectionBlock) {
  std::vector<std::byte> out;
  emit_section({.application = "gann"}, out);
  const Words expected{0x0a0d0d0a, 40, 0x1a2b3c4d, option_word(1, 0), 0xffffffff, 0xffffffff, option_word(4, 4), word_of("gann"), 0, 40};
  EXPECT_EQ(words_of(out), expected);
  out.clear();
  emit_section({}, out);
  EXPECT_EQ(out.size(), 28u);  // no options: no end of options either
}

TEST(Pcapng, InterfaceBlock) {
  std::vector<std::byte> out;
  emit_interface({.name = "tap0", .snap_length = 65535}, out);
  const auto words = words_of(out);
  const Words expected{1, 40, option_word(1, 0), 65535, option_word(2, 4), word_of("tap0"), option_word(9, 1), words[7], 0, 40};
  EXPECT_EQ(words, expected);
  EXPECT_EQ(out[28], std::byte{9});  // nanoseconds
}

TEST(Pcapng, PacketBlock) {
  std::vector<std::byte> out;
  const auto bytes = some_bytes(6);
  emit_packet({.interface = 1,
               .time = std::chrono::nanoseconds(0x1122334455667788),
               .bytes = bytes,
               .original_size = 60,
               .direction = Direction::outbound,
               .reception = Reception::broadcast,
               .comment = "lost",
               .drop_count = 0x100000002,
               .packet_id = 7},
              out);
  const auto words = words_of(out);
  ASSERT_EQ(words.size(), 21u);
  std::uint64_t drop_count = 0;
  std::memcpy(&drop_count, &words[14], 8);
  EXPECT_EQ(drop_count, 0x100000002u);
  const Words expected{6,
                       84,
                       1,
                       0x11223344,
                       0x55667788,
                       6,
                       60,
                       words[7],
                       words[8],
                       option_word(1, 4),
                       word_of("lost"),
                       option_word(2, 4),
                       14,
                       option_word(4, 8),
                       words[14],
                       words[15],
                       option_word(5, 8),
                       words[17],
                       words[18],
                       0,
                       84};
  EXPECT_EQ(words, expected);
  EXPECT_TRUE(std::ranges::equal(std::span(out).subspan(28, 6), bytes));
  EXPECT_EQ(out[34], std::byte{0});
}

// Every block ends as it began, whatever the sizes within: lengths agree, everything is padded, and the vector only grows.
TEST(Pcapng, EveryBlockIsFramed) {
  for (std::size_t size = 0; size < 9; ++size) {
    const auto bytes = some_bytes(size);
    const std::string text(size, 'x');
    std::vector<std::vector<std::byte>> blocks(6);
    emit_section({.hardware = text, .os = text, .application = text, .comment = text}, blocks[0]);
    emit_interface({.name = text, .description = text}, blocks[1]);
    emit_packet({.bytes = bytes, .comment = text, .verdict = bytes}, blocks[2]);
    emit_statistics(
        {.time = 5ns, .start = 1ns, .end = 2ns, .received = 3, .dropped = 4, .accepted = 5, .os_dropped = 6, .delivered = 7, .comment = text},
        blocks[3]);
    emit_names(std::array{CaptureName{IpAddress::ipv4(10, 7, 0, 1), text}, CaptureName{IpAddress::any(Family::ipv6), text}}, blocks[4]);
    emit_secrets(secrets_tls_key_log, bytes, blocks[5]);
    for (const auto& block : blocks) {
      const auto words = words_of(block);
      EXPECT_EQ(words[1], block.size());
      EXPECT_EQ(words.back(), block.size());
    }
  }
}

TEST(Pcapng, LongTextsAreCut) {
  std::vector<std::byte> out;
  emit_packet({.comment = std::string(100'000, 'x')}, out);
  EXPECT_EQ(out.size(), 28u + 4 + 65536 + 4 + 4);
}

}  // namespace
}  // namespace gannet::wire
