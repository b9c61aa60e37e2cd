// Runs the suite under `gannet run`, with a hub of its own, and looks at how the hub ended.
//
//   main() -> gannet run -- this program again -> the tests
//          -> gannet hub down; the hub, an orphan by then, becomes ours to wait for
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// The exit status, as a shell tells it.
int run(const std::vector<std::string>& words) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// What the sanitizers of the hub said, which has no terminal.
bool tell_findings(const fs::path& folder) {
  bool any = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with("sanitizer.")) continue;
    std::cout << std::ifstream(entry.path()).rdbuf();
    any = true;
  }
  return any;
}

int run_under_gannet(const std::vector<std::string>& arguments) {
  std::string folder = fs::temp_directory_path() / "gannet-suite-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  ::setenv("GANNET_SESSION", fs::path(folder).filename().c_str(), 1);  // a hub of our own
  for (const char* name : {"ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}) {
    const char* before = std::getenv(name);
    ::setenv(name, ((before != nullptr ? std::string(before) + ":" : "") + "log_path=" + folder + "/sanitizer").c_str(), 1);
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);

  const fs::path self = fs::read_symlink("/proc/self/exe");
  const std::string gannet = self.parent_path().parent_path() / "gannet";
  std::vector<std::string> words{gannet, "run", "--via", "none", "--", self};
  words.insert(words.end(), arguments.begin(), arguments.end());
  int result = run(words);
  if (run({gannet, "hub", "down", "--via", "none"}) != 0) {
    std::puts("no hub was left to end");
    result = 1;
  }
  int status = 0;
  while (::wait(&status) > 0) {
    if (status == 0) continue;
    std::printf("the hub did not end well: %d\n", status);
    result = 1;
  }
  if (tell_findings(folder)) result = 1;
  fs::remove_all(folder);
  return result;
}

}  // namespace

int main(int count, char** words) {
  const std::vector<std::string> arguments(words + 1, words + count);
  ::testing::InitGoogleTest(&count, words);
  const bool entered = std::getenv("GANNET_HUB") != nullptr;
  return entered || GTEST_FLAG_GET(list_tests) ? RUN_ALL_TESTS() : run_under_gannet(arguments);
}
