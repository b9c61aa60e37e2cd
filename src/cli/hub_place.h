// Where this user's hubs are. Thread: any; it reads the environment.
#pragma once
#include <string_view>

#include "hub/launch.h"

namespace gannet::cli {

// `via`: what the hub's host is linked to; each has a hub of its own. So has each GANNET_SESSION, a word that sets programs apart which are to have
// nothing to do with each other.
hub::LaunchPlace hub_place(std::string_view via);
// A hub as it is best for programs.
hub::HubSetup hub_setup(std::string_view via);
// Failure (Status::usage) for what no hub can be linked to.
void check_via(std::string_view via);

}  // namespace gannet::cli
