#include "cli/hub_place.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>

namespace gannet::cli {

hub::LaunchPlace hub_place(std::string_view via) {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const std::string folder = runtime != nullptr && *runtime == '/' ? fmt::format("{}/gannet", runtime) : fmt::format("/tmp/gannet-{}", ::geteuid());
  // The folder decides: who has another runtime directory has another session, and another hub.
  return {.folder = folder, .name = fmt::format("gannet-hub-{}-{}-{:x}", ::geteuid(), via, std::hash<std::string>()(folder))};
}

}  // namespace gannet::cli
