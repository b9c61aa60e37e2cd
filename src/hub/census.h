// Fills in a Listing from an engine.
//
// Thread: the engine's.  Allocates: the tables.
#pragma once
#include "engine/engine.h"
#include "hub/listing.h"

namespace gannet::hub {

// Interfaces, addresses, counters, drops.
void list_host(engine::Engine& engine, Listing& listing);
// A socket, and the groups that it has joined.
void list_socket(engine::Engine& engine, stack::Endpoint& endpoint, std::int32_t process, std::string_view program, Listing& listing);

}  // namespace gannet::hub
