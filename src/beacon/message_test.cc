#include "beacon/message.h"

#include <gtest/gtest.h>

#include "base/hash.h"
#include "base/rng.h"

namespace gannet::beacon {
namespace {

const Profile camera{.roles = {"sensor", "camera"},
                     .addresses = {Address::parse("0.0.0.0:7000").value(), Address::parse("[2001:db8::1]:7001").value()},
                     .metadata = {{"model", "x1"},
                                  {"where",
                                   "K\xc3\xbc"
                                   "che\n2"},
                                  {"none", ""}}};
const Header header{.type = Type::announcement,
                    .flags = flag_query,
                    .id = 0x0102030405060708,
                    .incarnation = 0x11223344,
                    .sequence = 0xfffffffe,
                    .lifetime = 10'000,
                    .port = 40'000,
                    .nonce = 0xaabbccddeeff0011,
                    .echo = 5};

BeaconTag tag_of(std::uint64_t key, std::size_t size, std::span<const std::byte> message) {
  BeaconTag tag{.bytes = {}, .size = size};
  for (std::size_t i = 0; i < size; ++i) tag.bytes[i] = static_cast<std::byte>(siphash({key, i}, message) & 0xff);
  return tag;
}
Authenticator with_key(std::uint64_t key, std::size_t size = 16) {
  return [=](std::span<const std::byte> message) { return tag_of(key, size, message); };
}

std::vector<std::byte> emit(const Header& from, std::string_view realm, std::string_view name, const Profile& profile, std::size_t least = 0,
                            const Authenticator& authenticator = {}, std::size_t tag = 0) {
  const auto body = body_of(realm, name, profile).value();
  std::array<std::byte, most_bytes> room;
  const auto bytes = emit_message(from, {body, realm.size(), name.size()}, authenticator, tag, least, room);
  return {bytes.begin(), bytes.end()};
}

TEST(BeaconMessage, ParsesWhatItEmits) {
  for (const std::size_t least : {0u, 200u, 283u, 284u, 285u, 286u, 287u, 400u, 1200u, 5000u}) {
    for (const std::size_t tag : {0u, 16u, 32u}) {
      const auto bytes = emit(header, "lab", "camera 1", camera, least, with_key(1, tag), tag);
      EXPECT_LE(bytes.size(), most_bytes);
      EXPECT_GE(bytes.size(), std::min(least, most_bytes));
      const auto message = parse_message(bytes);
      ASSERT_TRUE(message) << least << ' ' << tag;
      EXPECT_EQ(message->header, header);
      EXPECT_EQ(message->realm, "lab");
      EXPECT_EQ(message->name, "camera 1");
      EXPECT_EQ(profile_of(*message), camera);
      EXPECT_EQ(message->tag.size(), tag);
      EXPECT_TRUE(tag == 0 || is_proven(*message, with_key(1, tag)));
      EXPECT_FALSE(tag != 0 && is_proven(*message, with_key(2, tag)));
    }
  }
}

TEST(BeaconMessage, BodyIsTheSameWhateverThePadding) {
  const auto bytes = emit(header, "", "a", camera), padded = emit(header, "", "a", camera, 800);
  const auto body = parse_message(bytes).value().body, body_of_padded = parse_message(padded).value().body;
  EXPECT_TRUE(std::ranges::equal(body, body_of_padded));
}

TEST(BeaconMessage, TruncatedIsMalformed) {
  const auto bytes = emit(header, "lab", "camera", camera, 0, with_key(1), 16);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto message = parse_message(std::span(bytes).first(size));
    EXPECT_FALSE(message && is_proven(*message, with_key(1))) << size;
  }
}

TEST(BeaconMessage, AFlippedBitIsMalformedOrNotProven) {
  auto bytes = emit(header, "lab", "camera", camera, 300, with_key(1), 16);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const auto message = parse_message(bytes);
    EXPECT_FALSE(message && is_proven(*message, with_key(1))) << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
}

TEST(BeaconMessage, RandomBytesAfterAGoodHeader) {
  Rng rng(1);
  const auto good = emit(header, "", "a", {});
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> bytes = good;
    bytes.resize(good.size() + rng.below(60));
    for (std::size_t i = good.size(); i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(rng.below(i % 3 == 1 ? 2 : 40));
    if (const auto message = parse_message(bytes)) {
      const auto again = body_of(message->realm, message->name, profile_of(*message));
      EXPECT_TRUE(again) << again.error().message();
    }
  }
}

TEST(BeaconMessage, RefusesWhatContradictsItself) {
  const auto broken = [](std::size_t at, unsigned value) {
    auto bytes = emit(header, "lab", "a", camera);
    bytes[at] = static_cast<std::byte>(value);
    const auto message = parse_message(bytes);
    return message ? std::string("good") : std::string(drop_names[static_cast<std::size_t>(message.error())]);
  };
  EXPECT_EQ(broken(2, 1), "good");
  EXPECT_EQ(broken(0, 'H'), "malformed");
  EXPECT_EQ(broken(2, 2), "version_unknown");
  for (const unsigned type : {0u, 5u, 255u}) EXPECT_EQ(broken(3, type), "malformed");
  for (const unsigned tag : {1u, 15u, 33u, 255u}) EXPECT_EQ(broken(5, tag), "malformed");
  EXPECT_EQ(broken(6, 64), "malformed");
  EXPECT_EQ(broken(7, 0), "malformed");  // an announcement of nobody
  EXPECT_EQ(broken(header_size, 0xff), "malformed");
  EXPECT_EQ(broken(header_size + 3, '\n'), "malformed");
  auto nobody = emit(header, "", "a", {});
  std::fill_n(nobody.begin() + 8, 8, std::byte{0});
  EXPECT_FALSE(parse_message(nobody));
  auto dead = emit(header, "", "a", {});
  std::fill_n(dead.begin() + 24, 4, std::byte{0});
  EXPECT_FALSE(parse_message(dead)) << "without a lifetime";
  auto twice = emit(header, "", "a", {.roles = {}, .addresses = {}, .metadata = {{"key", "1"}}});
  const std::vector entry(twice.begin() + header_size + 1, twice.end());
  twice.insert(twice.end(), entry.begin(), entry.end());
  EXPECT_FALSE(parse_message(twice)) << "a key that comes twice";
}

TEST(BeaconMessage, EntriesOfALaterVersionArePassedOver) {
  auto bytes = emit(header, "", "a", camera);
  for (const int octet : {77, 0, 2, 1, 1}) bytes.push_back(static_cast<std::byte>(octet));
  const auto message = parse_message(bytes);
  ASSERT_TRUE(message);
  EXPECT_EQ(profile_of(*message), camera);
}

TEST(BeaconMessage, Hints) {
  std::vector<Hint> hints;
  for (std::uint32_t i = 1; i < 100; ++i) {
    hints.push_back({i, i * 7,
                     Address{i % 2 == 0 ? IpAddress::ipv4(10, 0, 0, static_cast<std::uint8_t>(i)) : IpAddress::parse("2001:db8::7").value(),
                             static_cast<std::uint16_t>(i)}});
  }
  std::vector<Hint> found;
  int datagrams = 0;
  for (std::span<const Hint> rest(hints); !rest.empty(); ++datagrams) {
    std::vector<std::byte> body;
    append_hints(body, rest, most_bytes - header_size - 16);
    std::array<std::byte, most_bytes> room;
    const auto bytes = emit_message({.type = Type::hints, .id = 1}, {body, 0, 0}, with_key(1), 16, 0, room);
    const auto message = parse_message(bytes);
    ASSERT_TRUE(message);
    Hints reader(*message);
    while (const auto hint = reader.next()) found.push_back(*hint);
  }
  EXPECT_EQ(found, hints);
  EXPECT_EQ(datagrams, 3);
}

TEST(BeaconMessage, BoundsOfWhatIsAnnounced) {
  const auto code = [](std::string_view name, const Profile& profile) { return body_of("", name, profile).error().code; };
  EXPECT_EQ(code(std::string(63, 'a'), {}), 0);
  EXPECT_EQ(code(std::string(64, 'a'), {}), EINVAL);
  EXPECT_EQ(code("a\nb", {}), EINVAL);
  EXPECT_EQ(code("\xc0\xaf", {}), EINVAL);
  EXPECT_EQ(code("a", {.roles = std::vector<std::string>(17, "r"), .addresses = {}, .metadata = {}}), EINVAL);
  EXPECT_EQ(code("a", {.roles = {""}, .addresses = {}, .metadata = {}}), EINVAL);
  EXPECT_EQ(code("a", {.roles = {}, .addresses = std::vector<Address>(17), .metadata = {}}), EINVAL);
  EXPECT_EQ(code("a", {.roles = {}, .addresses = {}, .metadata = {{"k", "1"}, {"k", "2"}}}), EINVAL);
  EXPECT_EQ(code("a", {.roles = {}, .addresses = {}, .metadata = {{"k", std::string(513, 'v')}}}), EINVAL);
  EXPECT_EQ(code("a", {.roles = {}, .addresses = {}, .metadata = {{"k", std::string(512, 'v')}, {"l", std::string(512, 'v')}}}), 0);
  EXPECT_EQ(
      code("a",
           {.roles = {}, .addresses = {}, .metadata = {{"k", std::string(512, 'v')}, {"l", std::string(512, 'v')}, {"m", std::string(99, 'v')}}}),
      EMSGSIZE);
}

TEST(BeaconMessage, Utf8) {
  for (const char* good : {"", "abc", "\xc2\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xa7", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80"})
    EXPECT_TRUE(is_text(good, true)) << good;
  for (const char* bad :
       {"\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xff"})
    EXPECT_FALSE(is_text(bad, false)) << bad;
  for (const char* control : {"\x1b[2J", "a\tb", "\x7f", "\xc2\x9b"}) {
    EXPECT_FALSE(is_text(control, true));
    EXPECT_TRUE(is_text(control, false));
  }
}

TEST(BeaconMessage, SequenceNumbersWrap) {
  EXPECT_TRUE(is_newer(1, 0));
  EXPECT_TRUE(is_newer(0, 0xffffffff));
  EXPECT_TRUE(is_newer(5, 0xfffffff0));
  EXPECT_FALSE(is_newer(0xfffffff0, 5));
  EXPECT_FALSE(is_newer(7, 7));
}

}  // namespace
}  // namespace gannet::beacon
