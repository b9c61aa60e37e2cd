#include "socket/world.h"

namespace gannet::tests {

std::vector<WorldKind> worlds() {
  std::vector<WorldKind> all = kernel_worlds();
  std::ranges::move(gannet_worlds(), std::back_inserter(all));
  std::ranges::move(hub_worlds(), std::back_inserter(all));
  return all;
}

}  // namespace gannet::tests
