#include "hub/listing.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <type_traits>

namespace gannet::hub {
namespace {

// The tables in their order.
template <class L, class Do>
void for_each_table(L& listing, Do&& with) {
  with(listing.sockets);
  with(listing.interfaces);
  with(listing.addresses);
  with(listing.groups);
  with(listing.counters);
  with(listing.drops);
}

template <class T>
void append(std::vector<std::byte>& bytes, std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto raw = std::as_bytes(values);
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

// False: there are not as many bytes.
template <class T>
bool take(std::span<const std::byte>& bytes, std::span<T> into) {
  if (bytes.size() < into.size_bytes()) return false;
  if (!into.empty()) std::memcpy(into.data(), bytes.data(), into.size_bytes());
  bytes = bytes.subspan(into.size_bytes());
  return true;
}

}  // namespace

std::string_view ListedName::view() const { return {text.data(), static_cast<std::size_t>(std::ranges::find(text, '\0') - text.begin())}; }

std::vector<std::byte> Listing::emit() const {
  std::vector<std::byte> bytes;
  append(bytes, std::span(&status, 1));
  for_each_table(*this, [&](const auto& table) {
    const std::uint64_t count = table.size();
    append(bytes, std::span(&count, 1));
    append(bytes, std::span(table));
  });
  return bytes;
}

Result<Listing> Listing::parse(std::span<const std::byte> bytes) {
  Listing listing;
  bool good = take(bytes, std::span(&listing.status, 1));
  for_each_table(listing, [&]<class T>(std::vector<T>& table) {
    std::uint64_t count = 0;
    good = good && take(bytes, std::span(&count, 1)) && count <= bytes.size() / sizeof(T);
    if (!good) return;
    table.resize(count);
    good = take(bytes, std::span(table));
  });
  if (!good || !bytes.empty()) return Error{EPROTO, "what answered is no hub of this version of Gannet"};
  return listing;
}

}  // namespace gannet::hub
