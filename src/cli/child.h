// A program as a child of this command, which stands in for it before whoever started the command: signals reach it, it stops and goes on with it,
// and its end is told as a shell would tell it.
//
// Thread: the command's main thread.
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

namespace gannet::cli {

class Child {
 public:
  // Runs the file `path` with these arguments, the first of which is its name. Failure: the system has no process left.
  Child(const std::string& path, const std::vector<std::string>& arguments);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t process() const { return process_; }
  // Its exit status, or 128 and the number of the signal that ended it; 126, 127: it could not be run. Stops while the child is stopped.
  int wait();

 private:
  pid_t process_;
};

}  // namespace gannet::cli
