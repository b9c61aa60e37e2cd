#include "stack/endpoint_memory.h"

#include <sys/mman.h>

#include <new>

namespace gannet::stack {

static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(max_buffer_limit + 4 * max_record_size <= receive_ring_size && max_buffer_limit + 4 * max_record_size <= send_ring_size);

Result<SharedMemory> SharedMemory::create(std::size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return Error{ENOBUFS, "no memory for the socket's rings"};
  return SharedMemory({static_cast<std::byte*>(memory), size});
}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

Result<std::shared_ptr<EndpointMemory>> EndpointMemory::create() {
  auto memory = SharedMemory::create(control_size + receive_ring_size + error_ring_size);
  if (!memory) return memory.error();
  return std::make_shared<EndpointMemory>(std::move(*memory));
}

EndpointMemory::EndpointMemory(SharedMemory memory) : memory_(std::move(memory)), control_(::new(memory_.bytes().data()) EndpointControl) {}

Result<std::shared_ptr<SendMemory>> SendMemory::create(std::uint64_t limit) {
  auto memory = SharedMemory::create(control_size + commit_words(send_ring_size) * sizeof(std::uint64_t) + send_ring_size);
  if (!memory) return memory.error();
  auto send = std::make_shared<SendMemory>(std::move(*memory));
  send->control().limit.store(limit, std::memory_order_relaxed);
  return send;
}

// A fresh mapping is all zeros, which is what the commit words start with: they are not touched here, so that their pages cost nothing.
SendMemory::SendMemory(SharedMemory memory)
    : memory_(std::move(memory)),
      control_(::new(memory_.bytes().data()) SendControl),
      commits_(reinterpret_cast<std::atomic<std::uint64_t>*>(memory_.bytes().data() + control_size), commit_words(send_ring_size)) {
  control_->need_wakeup.store(1, std::memory_order_relaxed);
}

}  // namespace gannet::stack
