// The datagrams of a beacon: bytes to views and back. All numbers are big-endian.
//
//    0  'G' 'B'            magic
//    2  1                  version
//    3  type               1 announcement, 2 leave, 3 query, 4 hints
//    4  flags              1: whoever hears this is to announce itself; 2: tell me of others (a seed is asked)
//    5  size of the tag    0 or 16-32
//    6  size of the realm  up to 63
//    7  size of the name   up to 63
//    8  id                 64 bits
//   16  incarnation        32 bits, random at each start
//   20  sequence number    32 bits, one more with each datagram (RFC 1982); copies by several interfaces have the same
//   24  lifetime           in ms
//   28  port               where this beacon alone is reached, as the groups' port may be shared; 0: none
//   30  0
//   32  nonce              a question: the answer repeats it. 0: none
//   40  echo               the answer: the nonce of the question. 0: none
//   48  realm, name, entries, tag
//
// An entry is a type (1 byte), a size (2 bytes) and as many bytes: 1 a role; 2 an IPv4 address and a port; 3 an IPv6 one; 4 the size of a key (1
// byte), the key, a value; 5 a hint: id, incarnation, address, port of another beacon; 0 padding, which comes last. Entries of other types are passed
// over. The tag is of all that stands before it. A datagram has at most 1200 bytes, which pass everywhere unfragmented (RFC 8085 3.2).
//
// Views end with the bytes.  Thread: any.  Allocates: profile_of() and body_of() alone.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/beacon.h>

#include "beacon/drop.h"

namespace gannet::beacon {

inline constexpr std::size_t most_bytes = 1200;
inline constexpr std::size_t header_size = 48;
inline constexpr std::size_t question_size = 400;  // what any answer is at most three times of
inline constexpr std::size_t most_name = 63, most_realm = 63;
inline constexpr std::size_t most_roles = 16, most_role = 32, most_addresses = 16, most_metadata = 32, most_key = 64, most_value = 512;
inline constexpr std::size_t least_tag = 16, most_tag = 32;

enum class Type : std::uint8_t { announcement = 1, leave = 2, query = 3, hints = 4 };

inline constexpr std::uint8_t flag_query = 1, flag_hints = 2;

struct Header {
  Type type = Type::announcement;
  std::uint8_t flags = 0;
  std::uint64_t id = 0;
  std::uint32_t incarnation = 0, sequence = 0;
  std::uint32_t lifetime = 0;  // ms
  std::uint16_t port = 0;
  std::uint64_t nonce = 0, echo = 0;

  friend bool operator==(const Header&, const Header&) = default;
};

// Of another beacon, from a seed.
struct Hint {
  std::uint64_t id = 0;
  std::uint32_t incarnation = 0;
  Address address{};

  friend bool operator==(const Hint&, const Hint&) = default;
};

struct Message {
  Header header;
  std::string_view realm, name;
  std::span<const std::byte> entries;  // whole ones, all good; without padding
  std::span<const std::byte> body;     // realm, name and entries: what differs where the announcement does
  std::span<const std::byte> proven;   // what the tag is of
  std::span<const std::byte> tag;      // empty: none
};

// `malformed` or `version_unknown` where it is none.
std::expected<Message, Drop> parse_message(std::span<const std::byte> bytes);
Profile profile_of(const Message& message);

// Reads the hints of a message one by one.
class Hints {
 public:
  explicit Hints(const Message& message) : rest_(message.entries) {}
  std::optional<Hint> next();

 private:
  std::span<const std::byte> rest_;
};

// Realm, name and entries as bytes. EINVAL or EMSGSIZE with a sentence for what may not be announced.
Result<std::vector<std::byte>> body_of(std::string_view realm, std::string_view name, const Profile& profile);
// What body_of() is for hints: realm, then as many hints from the front as fit into `most` bytes, which are taken away.
void append_hints(std::vector<std::byte>& body, std::span<const Hint>& hints, std::size_t most);

// One datagram into `into`, padded to at least `least` bytes (as far as there is room): its bytes. The body has a realm and a name of these sizes.
struct Body {
  std::span<const std::byte> bytes;
  std::size_t realm_size = 0, name_size = 0;
};
std::span<const std::byte> emit_message(const Header& header, const Body& body, const Authenticator& authenticator, std::size_t tag_size,
                                        std::size_t least, std::span<std::byte, most_bytes> into);
// Whether the tag is that of the message; in a time that does not tell where it is not.
bool is_proven(const Message& message, const Authenticator& authenticator);

// Well-formed UTF-8 (RFC 3629); where `plain`, with no control characters.
bool is_text(std::string_view text, bool plain);
// RFC 1982: whether a comes after b.
constexpr bool is_newer(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) > 0; }

}  // namespace gannet::beacon
