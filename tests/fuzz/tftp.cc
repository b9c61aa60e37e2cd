// Any bytes as a request of TFTP's, and as a name in one: what is read is within its bounds, and the file that is meant is in the folder served,
// whatever the name; or the other side is told why not.
#include <atomic>
#include <filesystem>
#include <iostream>
#include <thread>

#include <unistd.h>

#include "../../examples/tftp_transfer.h"
#include "fuzz/fuzz.h"

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wreturn-type"
namespace tftp {
#include "../../examples/tftp.cc"
}
#pragma clang diagnostic pop

namespace fs = std::filesystem;

namespace {

// A folder to serve, with what may lead out of it; gone when the fuzzer ends.
class Folder {
 public:
  Folder() : outside_(fs::canonical(fs::temp_directory_path()) / ("gannet-fuzz-tftp-" + std::to_string(::getpid()))) {
    fs::create_directories(path() / "sub");
    fs::create_symlink("..", path() / "up");
    fs::create_symlink("/", path() / "root");
    fs::create_symlink("sub", path() / "down");
    fs::create_symlink("../nothing", path() / "dangling");
    fs::create_symlink("circle", path() / "circle");
    std::ofstream(path() / "file") << "file";
    std::ofstream(outside_ / "secret") << "secret";
  }
  ~Folder() { fs::remove_all(outside_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] fs::path path() const { return outside_ / "served"; }

 private:
  fs::path outside_;
};

// Judged by text and by the kernel, not as the program does it.
void check_name(const Folder& folder, const std::string& name) {
  fs::path path;
  try {
    path = tftp::path_of(folder.path(), name);
  } catch (const Failure&) {
    return;
  }
  const std::string text = path.string(), inside = folder.path().string() + '/';
  EXPECT(text.starts_with(inside) && text.size() > inside.size());
  for (const fs::path& part : path) EXPECT(part != ".." && part != ".");
  std::error_code none;
  for (fs::path there = path; there != folder.path(); there = there.parent_path()) {
    EXPECT(!fs::is_symlink(there, none));
    char real[PATH_MAX];
    if (::realpath(there.c_str(), real) != nullptr) EXPECT(std::string(real) == there.string());
  }
}

void check_options(const Options& options) {
  for (const auto& [name, value] : options) {
    EXPECT(name == "blksize" || name == "timeout" || name == "tsize");
    if (name == "blksize") EXPECT(value >= 8 && value <= 1428);
    if (name == "timeout") EXPECT(value >= 1 && value <= 255);
  }
}

void check_request(const Folder& folder, const std::string& text) {
  try {
    const tftp::Request asked = tftp::parse(text);
    EXPECT((asked.kind == read_request || asked.kind == write_request) && !asked.name.empty() && asked.name.find('\0') == std::string::npos);
    check_options(asked.options);
    const tftp::Request again = tftp::parse(request(asked.kind, {asked.name, "octet"}, asked.options));
    EXPECT(again.kind == asked.kind && again.name == asked.name && again.options == asked.options);
    check_name(folder, asked.name);
  } catch (const Failure& failure) {
    EXPECT(failure.what() != std::string() && failure.code <= 8);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  if (size > 1500) return 0;
  const std::string text(gannet::text_of(gannet::fuzz::input(data, size)));
  check_request(folder, text);
  check_request(folder, number(read_request) + text);
  check_request(folder, request(write_request, {text.substr(0, text.find('\0')), "octet"}) + text);
  check_name(folder, text.substr(0, text.find('\0')));
  check_options(options_in(fields_of(text), 0));
  for (const char each : plain(text)) EXPECT(each >= ' ' && each <= '~');
  return 0;
}
