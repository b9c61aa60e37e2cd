// Addresses of both families, as values: an IP address, and an IP address with a port (what a socket binds and sends to).
//
// Text forms: "127.0.0.1", "2001:db8::1"; with a port "127.0.0.1:65433", "[2001:db8::1]:53", "[fe80::1%2]:53" (scope: interface index).
// Thread: any; these are plain values.  Allocates: only to_string().
// Sources: RFC 791, RFC 4291 section 2, RFC 5952 (text form), RFC 4007 (scopes).
#pragma once
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <gannet/result.h>

namespace gannet {

enum class Family : std::uint8_t { ipv4 = 4, ipv6 = 6 };

struct IpAddress {
  Family family = Family::ipv4;
  std::array<std::byte, 16> bytes{};  // network order; an IPv4 address fills the first four, the rest is zero

  // 127.0.0.1 is ipv4(127, 0, 0, 1).
  static constexpr IpAddress ipv4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return {Family::ipv4, {std::byte{a}, std::byte{b}, std::byte{c}, std::byte{d}}};
  }
  // From the number in host order: 0x7f000001 is 127.0.0.1.
  static constexpr IpAddress ipv4(std::uint32_t number) {
    return ipv4(static_cast<std::uint8_t>(number >> 24), static_cast<std::uint8_t>(number >> 16), static_cast<std::uint8_t>(number >> 8),
                static_cast<std::uint8_t>(number));
  }
  static constexpr IpAddress any(Family family) { return {family, {}}; }
  // One of the text forms above, without a port. EINVAL with a sentence otherwise; no names are looked up.
  static Result<IpAddress> parse(std::string_view text);

  [[nodiscard]] constexpr bool is_ipv4() const { return family == Family::ipv4; }
  [[nodiscard]] constexpr std::size_t size() const { return is_ipv4() ? 4 : 16; }
  [[nodiscard]] constexpr std::span<const std::byte> octets() const { return {bytes.data(), size()}; }
  // The IPv4 address as a number in host order; 0 for IPv6.
  [[nodiscard]] constexpr std::uint32_t number() const {
    if (!is_ipv4()) return 0;
    return std::to_integer<std::uint32_t>(bytes[0]) << 24 | std::to_integer<std::uint32_t>(bytes[1]) << 16 |
           std::to_integer<std::uint32_t>(bytes[2]) << 8 | std::to_integer<std::uint32_t>(bytes[3]);
  }
  [[nodiscard]] constexpr bool is_any() const { return *this == any(family); }
  [[nodiscard]] constexpr bool is_loopback() const {
    if (is_ipv4()) return bytes[0] == std::byte{127};
    return *this == IpAddress{Family::ipv6, {{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, std::byte{1}}}};
  }
  [[nodiscard]] constexpr bool is_multicast() const {
    return is_ipv4() ? (bytes[0] & std::byte{0xf0}) == std::byte{0xe0} : bytes[0] == std::byte{0xff};
  }
  // 255.255.255.255; there is no broadcast in IPv6.
  [[nodiscard]] constexpr bool is_limited_broadcast() const { return is_ipv4() && number() == 0xffffffff; }
  // 169.254/16 or fe80::/10.
  [[nodiscard]] constexpr bool is_link_local() const {
    if (is_ipv4()) return bytes[0] == std::byte{169} && bytes[1] == std::byte{254};
    return bytes[0] == std::byte{0xfe} && (bytes[1] & std::byte{0xc0}) == std::byte{0x80};
  }
  [[nodiscard]] std::string to_string() const;

  // Compared for every datagram: as words, where a default would go byte by byte.
  friend constexpr bool operator==(const IpAddress& a, const IpAddress& b) {
    if (std::is_constant_evaluated()) return a.family == b.family && a.bytes == b.bytes;
    std::uint64_t x[2], y[2];
    std::memcpy(x, a.bytes.data(), sizeof x);
    std::memcpy(y, b.bytes.data(), sizeof y);
    return a.family == b.family && ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
  }
  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

struct Address {
  IpAddress ip;
  std::uint16_t port = 0;   // host order
  std::uint32_t scope = 0;  // IPv6 link-local: the interface index; 0 elsewhere

  // One of the text forms above, with a port (0-65535). EINVAL with a sentence otherwise; no names are looked up.
  static Result<Address> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;

  friend constexpr bool operator==(const Address&, const Address&) = default;
  friend constexpr auto operator<=>(const Address&, const Address&) = default;
};

}  // namespace gannet
