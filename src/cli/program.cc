#include "cli/program.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

constexpr int most_interpreters = 4;  // as Linux: a script's interpreter may be a script

bool is_program(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

[[noreturn]] void cannot(const std::string& path, std::string_view why) {
  throw Failure{Status::no_exec, fmt::format("{} cannot run over Gannet: {}", path, why)};
}

// Some bytes of a file, or nothing where it has not as many.
template <class T>
std::optional<T> read_at(std::ifstream& file, std::uint64_t offset) {
  T value;
  file.clear();
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(&value), sizeof value);
  if (!file) return std::nullopt;
  return value;
}

bool is_go(std::ifstream& file, const Elf64_Phdr& segment) {
  const auto note = read_at<Elf64_Nhdr>(file, segment.p_offset);
  const auto name = read_at<std::array<char, 4>>(file, segment.p_offset + sizeof(Elf64_Nhdr));
  return note && name && note->n_namesz == 4 && std::memcmp(name->data(), "Go\0", 4) == 0;
}

void check_elf(const std::string& path, std::ifstream& file) {
  const auto header = read_at<Elf64_Ehdr>(file, 0);
  if (!header || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64) cannot(path, "it is of another architecture");
  bool has_loader = false;
  for (unsigned i = 0; i < header->e_phnum; ++i) {
    const auto segment = read_at<Elf64_Phdr>(file, header->e_phoff + std::uint64_t{i} * header->e_phentsize);
    if (!segment) break;
    if (segment->p_type == PT_INTERP) has_loader = true;
    if (segment->p_type == PT_NOTE && is_go(file, *segment))
      cannot(path, "it is written in Go, whose programs make their system calls by themselves");
  }
  if (!has_loader) cannot(path, "it is statically linked, so that no library can be put under it");
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (is_program(name)) return name;
    if (::access(name.c_str(), F_OK) != 0) throw Failure{Status::no_program, fmt::format("there is no program {}", name)};
    throw Failure{Status::no_exec, fmt::format("{} is no program: a folder, or not executable (chmod +x)", name)};
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string whole = (folder.empty() ? "." : folder) + "/" + name;
    if (is_program(whole)) return whole;
  }
  throw Failure{Status::no_program, fmt::format("there is no program \"{}\" in PATH", name)};
}

void check_preloadable(const std::string& path) {
  std::string current = path;
  for (int i = 0; i <= most_interpreters; ++i) {
    struct stat status{};
    if (::stat(current.c_str(), &status) != 0) cannot(path, fmt::format("{} is not there", current));
    std::ifstream file(current, std::ios::binary);
    if (!file) return;  // executable, yet not readable: the kernel decides
    const auto magic = read_at<std::array<char, 4>>(file, 0);
    const bool script = magic && (*magic)[0] == '#' && (*magic)[1] == '!';
    // A script's own bits mean nothing to the kernel.
    const bool changes_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != ::geteuid();
    const bool changes_group = (status.st_mode & S_ISGID) != 0 && status.st_gid != ::getegid();
    if (!script && (changes_user || changes_group)) cannot(path, "it is setuid, and the system lets no library be put under such a program");
    if (!script && ::geteuid() != 0 && ::getxattr(current.c_str(), "security.capability", nullptr, 0) > 0) {
      cannot(path, "it has file capabilities, and the system lets no library be put under such a program");
    }
    if (magic && std::memcmp(magic->data(), ELFMAG, SELFMAG) == 0) return check_elf(current, file);
    if (!script) return;  // the kernel decides
    file.clear();
    file.seekg(2);
    std::string line;
    std::getline(file, line);
    std::istringstream words(line);
    std::string argument;
    words >> current >> argument;
    if (current.ends_with("/env") && !argument.empty() && argument[0] != '-') current = find_program(argument);
  }
}

}  // namespace gannet::cli
