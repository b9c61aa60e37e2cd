#include "cli/hub_place.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

// Of whoever logged in; not that of the user whose environment was kept by sudo(8).
bool is_own_folder(const char* path) {
  struct stat status{};
  return *path == '/' && ::stat(path, &status) == 0 && status.st_uid == ::geteuid();
}

}  // namespace

hub::LaunchPlace hub_place(std::string_view via) {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const bool has_runtime = runtime != nullptr && is_own_folder(runtime);
  const char* session = std::getenv("GANNET_SESSION");
  // The name is the same with and without a runtime folder: a login and a job of the same user share their hub.
  std::string name = fmt::format("gannet-hub-{}-{}", ::geteuid(), via);
  if (session != nullptr && *session != '\0') name += fmt::format("-{}", session);
  return {.folder = has_runtime ? fmt::format("{}/gannet", runtime) : fmt::format("/tmp/gannet-{}", ::geteuid()), .name = std::move(name)};
}

hub::HubSetup hub_setup(std::string_view via) {
  hub::HubSetup setup;
  setup.via = via == "kernel" ? hub::Via::kernel : via == "none" ? hub::Via::none : hub::Via::tap;
  if (setup.via == hub::Via::tap) setup.tap = via;
  setup.engine.spin = std::chrono::microseconds(50);
  return setup;
}

void check_via(std::string_view via) {
  if (via == "kernel" || via == "none") return;
  if (!via.starts_with("tap:")) refuse(fmt::format("--via takes kernel, none or tap:NAME,ADDR/LEN[,gw=ADDR], not \"{}\"", via));
  if (const auto good = hub::check_tap(via); !good) refuse(fmt::format("--via {}: {}", via, good.error().message()));
}

}  // namespace gannet::cli
