// What a person can do about each reason for which a packet may die (drop.h), in one sentence.
//
// Thread: any; there is no state.
#pragma once
#include <string_view>

#include "wire/drop.h"

namespace gannet {

std::string_view remedy_of(Drop drop);

}  // namespace gannet
