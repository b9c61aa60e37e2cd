#include "hub/sheet.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace gannet::hub {

Result<Fd> write_sheet(std::span<const std::byte> bytes) {
  Fd fd(::memfd_create("gannet", MFD_CLOEXEC));
  if (!fd) return Error{errno, "no descriptor left for the answer"};
  if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return Error{ENOBUFS, "no memory for the answer"};
  return fd;
}

Result<std::vector<std::byte>> read_sheet(const Fd& fd) {
  struct stat status{};
  const bool known = ::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= static_cast<off_t>(max_sheet);
  if (!known) return Error{EPROTO, "the answer is no file, or too long"};
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  if (::pread(fd.get(), bytes.data(), bytes.size(), 0) != status.st_size) return Error{EPROTO, "the answer could not be read"};
  return bytes;
}

}  // namespace gannet::hub
