#include "link/capture_file.h"

#include <fcntl.h>

#include <cerrno>

namespace gannet::link {

Result<std::unique_ptr<CaptureFile>> CaptureFile::open(const std::string& path, Duration real_time_offset, std::size_t buffer) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return Error{errno, nullptr};
  std::unique_ptr<CaptureFile> file(new CaptureFile(real_time_offset, buffer));
  auto spool = Spool::open(std::move(fd), file->ring_);
  if (!spool) return spool.error();
  file->spool_ = std::move(*spool);
  return file;
}

Result<void> CaptureFile::close(Time now) {
  if (!spool_->is_running()) return Error{EBADF, "the capture is closed already"};
  spool_->stop();
  capture_.finish(now);
  return spool_->flush();
}

}  // namespace gannet::link
