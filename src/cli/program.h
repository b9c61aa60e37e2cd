// A program that is to be started: where it is, and whether a preloaded library can enter it.
//
// Thread: any; there is no state.
#pragma once
#include <string>

namespace gannet::cli {

// The file that execvp(3) would run. Failure, with a sentence: none is there (Status::no_program), or it is none (Status::no_exec).
std::string find_program(const std::string& name);
// Failure (Status::no_exec), with the reason: it is static, setuid, of another architecture, or makes its system calls by itself (Go). A script is
// judged by its interpreter.
void check_preloadable(const std::string& path);

}  // namespace gannet::cli
