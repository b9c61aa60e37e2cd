#include "stack/endpoint_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <new>

namespace gannet::stack {
namespace {

// Locked for good at its size; and where others are only to read, nobody writes any more but by the mapping that its maker has.
int seals_of(SharedMemory::Access others) {
  constexpr int size = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  return others == SharedMemory::Access::read ? size | F_SEAL_FUTURE_WRITE : size;
}

Result<Fd> make_file(std::size_t size) {
  Fd fd(::memfd_create("gannet", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return Error{errno, "no descriptor left for the socket's rings: raise the limit (ulimit -n), or close some"};
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return Error{ENOBUFS, "no memory for the socket's rings"};
  return fd;
}

void* map(int fd, std::size_t size, int protection) {
  const int kind = fd < 0 ? MAP_ANONYMOUS : 0;
  return ::mmap(nullptr, size, protection, MAP_SHARED | MAP_NORESERVE | kind, fd, 0);
}

}  // namespace

static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(max_buffer_limit + 4 * max_record_size <= receive_ring_size && max_buffer_limit + 4 * max_record_size <= send_ring_size);

Result<SharedMemory> SharedMemory::create(std::size_t size, Sharing sharing, Access others) {
  Fd fd;
  if (sharing == Sharing::processes) {
    auto file = make_file(size);
    if (!file) return file.error();
    fd = std::move(*file);
  }
  void* memory = map(fd.get(), size, PROT_READ | PROT_WRITE);
  if (memory == MAP_FAILED) return Error{ENOBUFS, "no memory for the socket's rings"};
  SharedMemory shared({static_cast<std::byte*>(memory), size}, std::move(fd));
  if (shared.fd() >= 0 && ::fcntl(shared.fd(), F_ADD_SEALS, seals_of(others)) != 0) return Error{errno, "the socket's rings could not be sealed"};
  return shared;
}

Result<SharedMemory> SharedMemory::attach(Fd fd, std::size_t size, Access access) {
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0 || static_cast<std::size_t>(status.st_size) != size || ::fcntl(fd.get(), F_GET_SEALS) != seals_of(access)) {
    return Error{EINVAL, "these are not a socket's rings"};
  }
  void* memory = map(fd.get(), size, access == Access::read ? PROT_READ : PROT_READ | PROT_WRITE);
  if (memory == MAP_FAILED) return Error{ENOBUFS, "no memory for the socket's rings"};
  return SharedMemory({static_cast<std::byte*>(memory), size}, Fd{});
}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

Result<std::shared_ptr<EndpointMemory>> EndpointMemory::create(Sharing sharing) {
  auto memory = SharedMemory::create(size, sharing);
  if (!memory) return memory.error();
  auto* control = ::new (memory->bytes().data()) EndpointControl;
  return std::make_shared<EndpointMemory>(std::move(*memory), control);
}

Result<std::shared_ptr<EndpointMemory>> EndpointMemory::attach(Fd fd) {
  auto memory = SharedMemory::attach(std::move(fd), size, SharedMemory::Access::read_write);
  if (!memory) return memory.error();
  auto* control = std::launder(reinterpret_cast<EndpointControl*>(memory->bytes().data()));
  return std::make_shared<EndpointMemory>(std::move(*memory), control);
}

Result<std::shared_ptr<SendMemory>> SendMemory::create(std::uint64_t limit, Sharing sharing) {
  auto memory = SharedMemory::create(size, sharing);
  if (!memory) return memory.error();
  auto* control = ::new (memory->bytes().data()) SendControl;
  control->limit.store(limit, std::memory_order_relaxed);
  control->need_wakeup.store(1, std::memory_order_relaxed);
  return std::make_shared<SendMemory>(std::move(*memory), control);
}

Result<std::shared_ptr<SendMemory>> SendMemory::attach(Fd fd) {
  auto memory = SharedMemory::attach(std::move(fd), size, SharedMemory::Access::read_write);
  if (!memory) return memory.error();
  auto* control = std::launder(reinterpret_cast<SendControl*>(memory->bytes().data()));
  return std::make_shared<SendMemory>(std::move(*memory), control);
}

// A fresh mapping is all zeros, which is what the commit words start with: they are not touched here, so that their pages cost nothing.
SendMemory::SendMemory(SharedMemory memory, SendControl* control)
    : memory_(std::move(memory)),
      control_(control),
      commits_(reinterpret_cast<std::atomic<std::uint64_t>*>(memory_.bytes().data() + control_size), commit_words(send_ring_size)) {}

}  // namespace gannet::stack
