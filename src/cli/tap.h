// A TAP device as --via names it, tap:NAME,ADDR/LEN[,gw=ADDR], and what to tell whoever cannot have it.
//
// Thread: the command's; there is no state.
#pragma once
#include <string>

#include <gannet/result.h>

namespace gannet::cli {

// "gannet0" of "tap:gannet0,10.7.0.2/24".
std::string tap_name(const std::string& via);
// Throws Failure: with the command that grants what is missing (Status::permission), or with what is wrong.
[[noreturn]] void cannot_open_tap(const std::string& via, const Error& error);

}  // namespace gannet::cli
