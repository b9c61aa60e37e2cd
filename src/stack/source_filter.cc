#include "stack/source_filter.h"

#include <iterator>

namespace gannet::stack {

bool SourceFilter::add(const IpAddress& source) {
  const auto at = std::ranges::lower_bound(sources, source);
  if (at != sources.end() && *at == source) return false;
  sources.insert(at, source);
  return true;
}

bool SourceFilter::remove(const IpAddress& source) {
  const auto at = std::ranges::lower_bound(sources, source);
  if (at == sources.end() || *at != source) return false;
  sources.erase(at);
  return true;
}

void SourceFilter::merge(const SourceFilter& other) {
  std::vector<IpAddress> merged;
  const auto into = std::back_inserter(merged);
  if (mode == FilterMode::include && other.mode == FilterMode::include) {
    std::ranges::set_union(sources, other.sources, into);
  } else if (mode == FilterMode::exclude && other.mode == FilterMode::exclude) {
    std::ranges::set_intersection(sources, other.sources, into);
  } else if (mode == FilterMode::exclude) {
    std::ranges::set_difference(sources, other.sources, into);
  } else {
    std::ranges::set_difference(other.sources, sources, into);
    mode = FilterMode::exclude;
  }
  sources = std::move(merged);
}

}  // namespace gannet::stack
