#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace gannet {

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "gannet: a bug of ours: %s does not hold at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace gannet
