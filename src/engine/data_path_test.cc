// No allocation, no lock and no system call per datagram: from a frame in, through the stack, a receive ring, an application, a send ring and the
// stack again, to a frame out; and through a handler.
#ifndef __SANITIZE_THREAD__  // which must itself see every allocation, lock and signal
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "stack/endpoint_client.h"
#include "stack/stack.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

namespace {

// Of this thread, while it is watched.
thread_local bool watching = false;
thread_local std::uint64_t allocations = 0;
thread_local std::uint64_t locks = 0;

void* count_and_allocate(std::size_t size, std::size_t alignment) {
  if (watching) ++allocations;
  void* memory =
      alignment <= alignof(std::max_align_t) ? std::malloc(size) : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return count_and_allocate(size, 0); }
void* operator new[](std::size_t size) { return count_and_allocate(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) { return count_and_allocate(size, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return count_and_allocate(size, static_cast<std::size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

// In front of the C library's, for every mutex of the program.
extern "C" int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  using Function = int (*)(pthread_mutex_t*);
  static std::atomic<Function> next = nullptr;
  if (next == nullptr) next = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  if (watching) ++locks;
  return next.load()(mutex);
}

namespace gannet::engine {
namespace {

// Linux hands each system call of the thread to a handler (Syscall User Dispatch) while the selector says so. The handler notes and fails
// it, and lets the rest through.
volatile char selector = 0;
volatile std::sig_atomic_t system_calls = 0;

void on_system_call(int, siginfo_t*, void* context) {
  selector = 0;
  system_calls = system_calls + 1;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}

class Watch {
 public:
  Watch() {
    struct sigaction action{};
    action.sa_sigaction = on_system_call;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSYS, &action, nullptr);
    can_count_ = prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0;
  }
  ~Watch() {
    if (can_count_) prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
  }
  [[nodiscard]] bool can_count() const { return can_count_; }

  template <class Work>
  void during(Work&& work) {
    allocations = locks = 0;
    system_calls = 0;
    watching = true;
    if (can_count_) selector = 1;
    work();
    selector = 0;
    watching = false;
  }

 private:
  bool can_count_ = false;
};

const IpAddress a_ip = IpAddress::ipv4(10, 0, 0, 1);
const IpAddress b_ip = IpAddress::ipv4(10, 0, 0, 2);

wire::MacAddress mac(std::uint8_t last) { return {{std::byte{2}, {}, {}, {}, {}, std::byte{last}}}; }

// Two hosts whose outputs are each other's inputs; the second echoes.
struct DataPathTest : testing::Test {
  FramePools pools = FramePools::create(512, 4).value();
  Rng rng{1};
  stack::Stack a{pools, rng}, b{pools, rng};
  stack::EndpointGroup group;
  Time now{1s};
  std::uint32_t link = 0;
  stack::Endpoint* client = nullptr;
  stack::Endpoint* server = nullptr;
  std::optional<stack::EndpointClient> client_app, server_app;
  std::array<std::byte, 2048> buffer{};

  void SetUp() override {
    link = a.add_interface({.name = "a", .mac = mac(1)}).value();
    ASSERT_EQ(b.add_interface({.name = "b", .mac = mac(2)}).value(), link);
    ASSERT_TRUE(a.add_address(link, a_ip, 24, now).has_value() && b.add_address(link, b_ip, 24, now).has_value());
    client = open(a, 0, client_app);
    server = open(b, 7, server_app);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(round_trip(64)) << "ARP, and the first use of everything";
  }
  void TearDown() override {
    a.udp().close(*client, now);
    b.udp().close(*server, now);
  }
  stack::Endpoint* open(stack::Stack& stack, std::uint16_t port, std::optional<stack::EndpointClient>& app) {
    stack::Endpoint* endpoint = stack.udp().open(group).value();
    EXPECT_TRUE(endpoint->open_rings().has_value());
    EXPECT_TRUE(stack.udp().bind(*endpoint, {IpAddress::any(Family::ipv4), port}).has_value());
    app.emplace(endpoint->memory());
    app->set_send_ring(endpoint->add_send_ring().value());
    return endpoint;
  }
  void carry(stack::Stack& from, stack::Stack& to) {
    for (auto frames = from.output(link); !frames.empty(); frames = from.output(link)) {
      const std::size_t count = frames.size();
      for (Frame& frame : frames) to.input(link, std::move(frame), now);
      from.sent(link, count);
    }
  }
  bool send(stack::EndpointClient& app, const Address& to, std::size_t size) {
    stack::SendSlot slot{.header = {}, .ip_options = {}, .payload = std::span(buffer).first(size)};
    slot.header.peer = to;
    return app.send({&slot, 1}) == 1;
  }
  bool receive(stack::EndpointClient& app, Address& from) {
    stack::ReceiveSlot slot;
    slot.buffer = buffer;
    const bool got = app.receive({&slot, 1}) == 1;
    from = slot.header.peer;
    return got;
  }
  bool round_trip(std::size_t size) {
    now += 1ms;
    Address from;
    if (!send(*client_app, {b_ip, 7}, size)) return false;
    a.udp().flush(*client, now, 64);
    exchange();
    if (server->handler.handle == nullptr) {
      if (!receive(*server_app, from) || !send(*server_app, from, size)) return false;
      b.udp().flush(*server, now, 64);
      exchange();
    }
    const bool got = receive(*client_app, from);
    while (stack::Endpoint* news = group.take_news()) news->rung();
    return got;
  }
  void exchange() {
    for (int i = 0; i < 4; ++i) {
      carry(a, b);
      carry(b, a);
    }
  }
};

TEST_F(DataPathTest, NothingIsAllocatedOrLockedAndTheKernelIsNotCalled) {
  Watch watch;
  for (const std::size_t size : {std::size_t{0}, std::size_t{64}, std::size_t{1400}}) {
    int done = 0;
    watch.during([&] {
      for (int i = 0; i < 1000; ++i) done += round_trip(size);
    });
    EXPECT_EQ(done, 1000);
    EXPECT_EQ(allocations, 0u);
    EXPECT_EQ(locks, 0u);
    EXPECT_EQ(system_calls, 0);
  }
  if (!watch.can_count()) GTEST_SKIP() << "system calls not counted: this kernel has no Syscall User Dispatch";
}

TEST_F(DataPathTest, NorThroughAHandler) {
  server->handler = {[](void* self, stack::Endpoint& endpoint, stack::Delivery& delivery) {
                       auto& test = *static_cast<DataPathTest*>(self);
                       EXPECT_TRUE(test.b.udp().reply(endpoint, delivery, delivery.payload.size()).has_value());
                     },
                     this};
  Watch watch;
  int done = 0;
  watch.during([&] {
    for (int i = 0; i < 1000; ++i) done += round_trip(64);
  });
  EXPECT_EQ(done, 1000);
  EXPECT_EQ(allocations, 0u);
  EXPECT_EQ(locks, 0u);
  EXPECT_EQ(system_calls, 0);
}

// The watch itself can say no.
TEST(DataPathWatch, CountsAllocationsLocksAndSystemCalls) {
  Watch watch;
  std::vector<int>* leaked = nullptr;
  std::mutex mutex;
  watch.during([&] {
    const std::lock_guard lock(mutex);
    leaked = new std::vector<int>(1);
    if (watch.can_count()) syscall(SYS_getppid);
  });
  delete leaked;
  EXPECT_EQ(allocations, 2u);
  EXPECT_EQ(locks, 1u);
  EXPECT_EQ(system_calls, watch.can_count() ? 1 : 0);
}

}  // namespace
}  // namespace gannet::engine
#endif
