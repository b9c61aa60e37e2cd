// From which sources a group is wanted: of one socket, or of an interface, where it is the sum of its sockets.
//
// Thread: any; plain values.  Allocates: with the sources.
// Sources: RFC 3678 section 3; RFC 9776 3.2 (the sum).
#pragma once
#include <algorithm>
#include <vector>

#include <gannet/address.h>

namespace gannet::stack {

enum class FilterMode : std::uint8_t { include, exclude };

// "From none but these", or "from all but these". Include with no sources is no reception at all: what is not joined has that filter.
struct SourceFilter {
  FilterMode mode = FilterMode::include;
  std::vector<IpAddress> sources{};  // in order, none twice

  [[nodiscard]] bool contains(const IpAddress& source) const { return std::ranges::binary_search(sources, source); }
  [[nodiscard]] bool allows(const IpAddress& source) const { return contains(source) == (mode == FilterMode::include); }
  [[nodiscard]] bool is_nothing() const { return mode == FilterMode::include && sources.empty(); }
  // False when it was there, or was not.
  bool add(const IpAddress& source);
  bool remove(const IpAddress& source);

  // Also accepts what `other` accepts.
  void merge(const SourceFilter& other);

  friend bool operator==(const SourceFilter&, const SourceFilter&) = default;
};

}  // namespace gannet::stack
