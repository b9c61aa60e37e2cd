#include "socket/world.h"

namespace gannet::tests {

std::vector<WorldKind> worlds() { return kernel_worlds(); }

}  // namespace gannet::tests
