// What ends a command before its work is done: the exit status, and one sentence (what, why, what to do).
//
// Thrown by whatever finds it, caught once, in main(). Thread: the command's.
#pragma once
#include <string>

#include <gannet/result.h>

namespace gannet::cli {

// no_exec, no_program: as a shell tells that a program cannot be run, or is not there.
enum class Status : int { ok = 0, failed = 1, usage = 2, permission = 4, no_exec = 126, no_program = 127 };

struct Failure {
  Status status;
  std::string sentence;
};

// A failed call of the library as a Failure: `doing` is what was tried ("cannot bind 10.0.0.1:53"), the rest is the library's.
[[noreturn]] inline void fail(const std::string& doing, const Error& error) { throw Failure{Status::failed, doing + ": " + error.message()}; }
[[noreturn]] inline void refuse(std::string sentence) { throw Failure{Status::usage, std::move(sentence)}; }

}  // namespace gannet::cli
