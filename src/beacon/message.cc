#include "beacon/message.h"

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstring>

#include "base/assert.h"

namespace gannet::beacon {
namespace {

enum class EntryType : std::uint8_t { padding = 0, role = 1, ipv4 = 2, ipv6 = 3, metadata = 4, hint = 5 };

constexpr std::size_t entry_header = 3;

template <std::unsigned_integral T>
T number_at(std::span<const std::byte> bytes, std::size_t at) {
  T value = 0;
  for (const std::byte octet : bytes.subspan(at, sizeof(T))) value = static_cast<T>(value << 8 | std::to_integer<T>(octet));
  return value;
}

template <std::unsigned_integral T>
void put_number(std::span<std::byte> bytes, std::size_t at, T value) {
  for (std::size_t i = sizeof(T); i-- > 0; value = static_cast<T>(value >> 8)) bytes[at + i] = static_cast<std::byte>(value & 0xff);
}

std::string_view text_in(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct Entry {
  std::uint8_t type;
  std::span<const std::byte> value;

  [[nodiscard]] bool is(EntryType wanted) const { return type == static_cast<std::uint8_t>(wanted); }
};

// The entry at the front, which is taken away; nothing where there is none, or one that is cut short.
std::optional<Entry> take_entry(std::span<const std::byte>& rest) {
  if (rest.size() < entry_header) return std::nullopt;
  const std::size_t size = number_at<std::uint16_t>(rest, 1);
  if (size > rest.size() - entry_header) return std::nullopt;
  const Entry entry{std::to_integer<std::uint8_t>(rest[0]), rest.subspan(entry_header, size)};
  rest = rest.subspan(entry_header + size);
  return entry;
}

// An address and a port at the end of `value`.
Address address_in(std::span<const std::byte> value, Family family) {
  Address address{IpAddress::any(family), 0, 0};
  std::ranges::copy(value.first(address.ip.size()), address.ip.bytes.begin());
  address.port = number_at<std::uint16_t>(value, address.ip.size());
  return address;
}

std::pair<std::string_view, std::string_view> pair_in(const Entry& entry) {
  const std::size_t key = std::to_integer<std::size_t>(entry.value[0]);
  return {text_in(entry.value.subspan(1, key)), text_in(entry.value.subspan(1 + key))};
}

// What was counted of a message's entries so far, and whether one more is good.
struct EntryCheck {
  std::size_t roles = 0, addresses = 0, pairs = 0;
  std::array<std::string_view, most_metadata> keys{};

  bool is_good(const Entry& entry) {
    const auto value = entry.value;
    switch (static_cast<EntryType>(entry.type)) {
      case EntryType::role:
        return ++roles <= most_roles && !value.empty() && value.size() <= most_role && is_text(text_in(value), true);
      case EntryType::ipv4:
        return ++addresses <= most_addresses && value.size() == 6;
      case EntryType::ipv6:
        return ++addresses <= most_addresses && value.size() == 18;
      case EntryType::metadata: {
        if (pairs == most_metadata || value.empty()) return false;
        const std::size_t key = std::to_integer<std::size_t>(value[0]);
        if (key == 0 || key > most_key || key > value.size() - 1 || value.size() - 1 - key > most_value) return false;
        const auto [name, text] = pair_in(entry);
        if (std::find(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(pairs), name) != keys.begin() + static_cast<std::ptrdiff_t>(pairs))
          return false;
        keys[pairs++] = name;
        return is_text(name, true) && is_text(text, false);
      }
      case EntryType::hint:
        return value.size() == 12 + 6 || value.size() == 12 + 18;
      case EntryType::padding:
        return true;
    }
    return true;  // of a later version
  }
};

// The entries at the front of `bytes`, without padding; nothing where one is not good, or something follows the padding.
std::optional<std::span<const std::byte>> good_entries(std::span<const std::byte> bytes) {
  std::span<const std::byte> rest = bytes;
  EntryCheck check;
  while (!rest.empty()) {
    const std::size_t before = bytes.size() - rest.size();
    const auto entry = take_entry(rest);
    if (!entry || !check.is_good(*entry)) return std::nullopt;
    if (!entry->is(EntryType::padding)) continue;
    if (!rest.empty()) return std::nullopt;
    return bytes.first(before);
  }
  return bytes;
}

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

void append_entry(std::vector<std::byte>& to, EntryType type, std::initializer_list<std::span<const std::byte>> parts) {
  const std::size_t at = to.size();
  to.resize(at + entry_header);
  for (const auto part : parts) append(to, part);
  to[at] = static_cast<std::byte>(type);
  put_number(std::span(to), at + 1, static_cast<std::uint16_t>(to.size() - at - entry_header));
}

template <std::unsigned_integral T>
std::array<std::byte, sizeof(T)> bytes_of_number(T value) {
  std::array<std::byte, sizeof(T)> bytes;
  put_number(std::span<std::byte>(bytes), 0, value);
  return bytes;
}

Result<void> check_profile(const Profile& profile) {
  if (profile.roles.size() > most_roles) return Error{EINVAL, "a beacon has at most 16 roles"};
  for (const std::string& role : profile.roles) {
    if (role.empty() || role.size() > most_role || !is_text(role, true)) {
      return Error{EINVAL, "a role has 1 to 32 bytes of UTF-8, without control characters"};
    }
  }
  if (profile.addresses.size() > most_addresses) return Error{EINVAL, "a beacon announces at most 16 addresses"};
  if (profile.metadata.size() > most_metadata) return Error{EINVAL, "a beacon has at most 32 values of metadata"};
  for (auto pair = profile.metadata.begin(); pair != profile.metadata.end(); ++pair) {
    const auto& [key, value] = *pair;
    if (key.empty() || key.size() > most_key || !is_text(key, true)) {
      return Error{EINVAL, "a key of metadata has 1 to 64 bytes of UTF-8, without control characters"};
    }
    if (value.size() > most_value || !is_text(value, false)) return Error{EINVAL, "a value of metadata has up to 512 bytes of UTF-8"};
    if (std::any_of(profile.metadata.begin(), pair, [&key](const auto& earlier) { return earlier.first == key; })) {
      return Error{EINVAL, "two values of metadata have the same key"};
    }
  }
  return {};
}

}  // namespace

bool is_text(std::string_view text, bool plain) {
  for (std::size_t i = 0; i < text.size();) {
    const auto at = [&](std::size_t j) -> unsigned { return j < text.size() ? static_cast<unsigned char>(text[j]) : 0; };
    const unsigned first = at(i);
    const std::size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (size == 0) return false;
    unsigned code = size == 1 ? first : first & (0xffU >> (size + 1));
    for (std::size_t j = 1; j < size; ++j) {
      if ((at(i + j) & 0xc0) != 0x80) return false;
      code = code << 6 | (at(i + j) & 0x3f);
    }
    if ((size == 3 && code < 0x800) || (size == 4 && (code < 0x10000 || code > 0x10ffff)) || (code >= 0xd800 && code < 0xe000)) return false;
    if (plain && (code < 0x20 || (code >= 0x7f && code < 0xa0))) return false;
    i += size;
  }
  return true;
}

std::expected<Message, Drop> parse_message(std::span<const std::byte> bytes) {
  if (bytes.size() < header_size || bytes.size() > most_bytes || text_in(bytes.first(2)) != "GB") return std::unexpected(Drop::malformed);
  if (bytes[2] != std::byte{1}) return std::unexpected(Drop::version_unknown);
  Message message;
  Header& header = message.header;
  const auto type = std::to_integer<std::uint8_t>(bytes[3]);
  header = {.type = static_cast<Type>(type),
            .flags = std::to_integer<std::uint8_t>(bytes[4]),
            .id = number_at<std::uint64_t>(bytes, 8),
            .incarnation = number_at<std::uint32_t>(bytes, 16),
            .sequence = number_at<std::uint32_t>(bytes, 20),
            .lifetime = number_at<std::uint32_t>(bytes, 24),
            .port = number_at<std::uint16_t>(bytes, 28),
            .nonce = number_at<std::uint64_t>(bytes, 32),
            .echo = number_at<std::uint64_t>(bytes, 40)};
  const auto tag = std::to_integer<std::size_t>(bytes[5]), realm = std::to_integer<std::size_t>(bytes[6]),
             name = std::to_integer<std::size_t>(bytes[7]);
  const bool sizes_good = (tag == 0 || (tag >= least_tag && tag <= most_tag)) && realm <= most_realm && name <= most_name;
  if (type < 1 || type > 4 || header.id == 0 || !sizes_good || bytes.size() < header_size + realm + name + tag) {
    return std::unexpected(Drop::malformed);
  }
  if (header.type == Type::announcement && (name == 0 || header.lifetime == 0)) return std::unexpected(Drop::malformed);
  message.proven = bytes.first(bytes.size() - tag);
  message.tag = bytes.last(tag);
  message.realm = text_in(bytes.subspan(header_size, realm));
  message.name = text_in(bytes.subspan(header_size + realm, name));
  const auto entries = good_entries(message.proven.subspan(header_size + realm + name));
  if (!entries || !is_text(message.realm, true) || !is_text(message.name, true)) return std::unexpected(Drop::malformed);
  message.entries = *entries;
  message.body = bytes.subspan(header_size, realm + name + entries->size());
  return message;
}

Profile profile_of(const Message& message) {
  Profile profile;
  std::span<const std::byte> rest = message.entries;
  while (const auto entry = take_entry(rest)) {
    if (entry->is(EntryType::role)) profile.roles.emplace_back(text_in(entry->value));
    if (entry->is(EntryType::ipv4)) profile.addresses.push_back(address_in(entry->value, Family::ipv4));
    if (entry->is(EntryType::ipv6)) profile.addresses.push_back(address_in(entry->value, Family::ipv6));
    if (entry->is(EntryType::metadata)) profile.metadata.emplace_back(pair_in(*entry));
  }
  return profile;
}

std::optional<Hint> Hints::next() {
  while (const auto entry = take_entry(rest_)) {
    if (!entry->is(EntryType::hint)) continue;
    return Hint{number_at<std::uint64_t>(entry->value, 0), number_at<std::uint32_t>(entry->value, 8),
                address_in(entry->value.subspan(12), entry->value.size() == 12 + 6 ? Family::ipv4 : Family::ipv6)};
  }
  return std::nullopt;
}

Result<std::vector<std::byte>> body_of(std::string_view realm, std::string_view name, const Profile& profile) {
  if (realm.size() > most_realm || !is_text(realm, true)) return Error{EINVAL, "a realm has up to 63 bytes of UTF-8, without control characters"};
  if (name.size() > most_name || !is_text(name, true))
    return Error{EINVAL, "a beacon's name has up to 63 bytes of UTF-8, without control characters"};
  if (const auto good = check_profile(profile); !good) return good.error();
  std::vector<std::byte> body;
  append(body, bytes_of(realm));
  append(body, bytes_of(name));
  for (const std::string& role : profile.roles) append_entry(body, EntryType::role, {bytes_of(role)});
  for (const Address& address : profile.addresses) {
    append_entry(body, address.ip.is_ipv4() ? EntryType::ipv4 : EntryType::ipv6, {address.ip.octets(), bytes_of_number(address.port)});
  }
  for (const auto& [key, value] : profile.metadata) {
    append_entry(body, EntryType::metadata, {bytes_of_number(static_cast<std::uint8_t>(key.size())), bytes_of(key), bytes_of(value)});
  }
  if (body.size() > most_bytes - header_size - most_tag) {
    return Error{EMSGSIZE, "what is announced has to fit into 1120 bytes: shorten the metadata, or have peers ask for it at an address"};
  }
  return body;
}

void append_hints(std::vector<std::byte>& body, std::span<const Hint>& hints, std::size_t most) {
  while (!hints.empty()) {
    const Hint& hint = hints.front();
    if (body.size() + entry_header + 12 + hint.address.ip.size() + 2 > most) return;
    append_entry(body, EntryType::hint,
                 {bytes_of_number(hint.id), bytes_of_number(hint.incarnation), hint.address.ip.octets(), bytes_of_number(hint.address.port)});
    hints = hints.subspan(1);
  }
}

std::span<const std::byte> emit_message(const Header& header, const Body& body, const Authenticator& authenticator, std::size_t tag_size,
                                        std::size_t least, std::span<std::byte, most_bytes> into) {
  std::size_t size = header_size + body.bytes.size();
  ASSERT(size + tag_size <= most_bytes && tag_size <= most_tag);
  std::ranges::fill(into, std::byte{0});
  std::ranges::copy(bytes_of("GB"), into.begin());
  into[2] = std::byte{1};
  into[3] = static_cast<std::byte>(header.type);
  into[4] = std::byte{header.flags};
  into[5] = static_cast<std::byte>(tag_size);
  into[6] = static_cast<std::byte>(body.realm_size);
  into[7] = static_cast<std::byte>(body.name_size);
  put_number(std::span<std::byte>(into), 8, header.id);
  put_number(std::span<std::byte>(into), 16, header.incarnation);
  put_number(std::span<std::byte>(into), 20, header.sequence);
  put_number(std::span<std::byte>(into), 24, header.lifetime);
  put_number(std::span<std::byte>(into), 28, header.port);
  put_number(std::span<std::byte>(into), 32, header.nonce);
  put_number(std::span<std::byte>(into), 40, header.echo);
  std::ranges::copy(body.bytes, into.begin() + header_size);
  const std::size_t wanted = std::min(least, most_bytes);
  if (size + entry_header + tag_size <= wanted) {
    put_number(std::span<std::byte>(into), size + 1, static_cast<std::uint16_t>(wanted - tag_size - size - entry_header));
    size = wanted - tag_size;
  } else if (size + tag_size < wanted && size + entry_header + tag_size <= most_bytes) {
    size += entry_header;
  }
  if (tag_size != 0) {
    const BeaconTag tag = authenticator(into.first(size));
    ASSERT(tag.size == tag_size);
    std::copy_n(tag.bytes.begin(), tag_size, into.begin() + static_cast<std::ptrdiff_t>(size));
  }
  return into.first(size + tag_size);
}

bool is_proven(const Message& message, const Authenticator& authenticator) {
  const BeaconTag tag = authenticator(message.proven);
  if (tag.size != message.tag.size()) return false;
  std::byte difference{0};
  for (std::size_t i = 0; i < tag.size; ++i) difference |= tag.bytes[i] ^ message.tag[i];
  return difference == std::byte{0};
}

}  // namespace gannet::beacon
