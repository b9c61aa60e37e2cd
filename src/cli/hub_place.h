// Where this user's hubs are. Thread: any; it reads the environment.
#pragma once
#include <string_view>

#include "hub/launch.h"

namespace gannet::cli {

// `via`: what the hub's host is linked to; each has a hub of its own.
hub::LaunchPlace hub_place(std::string_view via);

}  // namespace gannet::cli
