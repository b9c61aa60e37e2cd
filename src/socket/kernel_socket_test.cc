// What only the kernel's provider has to do; what it has in common with the others is the suite's, in tests/socket.
#include "socket/kernel_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <thread>

#include "base/fd.h"

namespace gannet::socket {
namespace {

using namespace std::chrono_literals;

Socket bound() {
  Socket socket = Socket::open().value();
  socket.bind("127.0.0.1:0").value();
  return socket;
}

// The kernel refuses to segment without a checksum; the datagrams go out all the same, and that it was not the kernel who cut them is told.
TEST(KernelSocket, CutsByItselfWhatTheKernelDoesNot) {
  Socket server = bound();
  Socket client = Socket::open().value();
  const std::vector<std::byte> bytes(2500, std::byte{7});
  const Outgoing datagram{.data = bytes, .to = server.local_address().value(), .segment_size = 1000};
  ASSERT_TRUE(client.send(datagram));
  EXPECT_EQ(client.get(Option::segment_fallbacks).value(), 0);
  ASSERT_TRUE(client.set(Option::no_checksum, 1));
  EXPECT_EQ(client.send(datagram).value(), bytes.size());
  EXPECT_EQ(client.get(Option::segment_fallbacks).value(), 1);

  std::array<std::byte, 2500> buffer;
  for (int round = 0; round < 2; ++round) {
    for (const std::size_t size : {1000u, 1000u, 500u}) EXPECT_EQ(server.receive(buffer, 5s).value().length, size);
  }
}

// A datagram that must be cut waits for its turn in a batch: nothing overtakes, nothing is lost.
TEST(KernelSocket, KeepsTheOrderOfABatchAroundAFallback) {
  Socket server = bound();
  Socket client = Socket::open().value();
  const Address to = server.local_address().value();
  ASSERT_TRUE(client.set(Option::no_checksum, 1));
  const std::array<Outgoing, 3> batch{
      {{.data = bytes_of("one"), .to = to}, {.data = bytes_of("twothree"), .to = to, .segment_size = 3}, {.data = bytes_of("four"), .to = to}}};
  for (std::size_t sent = 0; sent < batch.size();) sent += client.send_batch(std::span(batch).subspan(sent)).value();
  std::array<std::byte, 16> buffer;
  for (const char* text : {"one", "two", "thr", "ee", "four"}) EXPECT_EQ(text_of(server.receive(buffer, 5s).value().data), text);
}

// Datagrams that GRO has put together say so.
TEST(KernelSocket, SaysHowACoalescedBufferIsCut) {
  Socket server = bound();
  ASSERT_TRUE(server.set(Option::segment_coalescing, 1));
  Socket client = Socket::open().value();
  const std::vector<std::byte> bytes(2500, std::byte{7});
  ASSERT_TRUE(client.send(Outgoing{.data = bytes, .to = server.local_address().value(), .segment_size = 1000}));
  std::array<std::byte, 4096> buffer;
  const auto datagram = server.receive(buffer, 5s).value();
  EXPECT_EQ(datagram.length, 2500u);
  EXPECT_EQ(datagram.segment_size, 1000);
  ASSERT_TRUE(client.send_to(std::span(bytes).first(10), server.local_address().value()));
  EXPECT_EQ(server.receive(buffer, 5s).value().segment_size, 0);
}

// The descriptor's number stays taken while a call is inside, so that it cannot become another file under it, and is given back when the call has
// left.
TEST(KernelSocket, ClosesItsDescriptorOnce) {
  Socket socket = bound();
  const int number = socket.fd().value();
  std::thread waiting([&] {
    std::array<std::byte, 16> buffer;
    EXPECT_EQ(socket.receive(buffer).error().code, EBADF);
  });
  std::this_thread::sleep_for(20ms);
  ASSERT_TRUE(socket.close());
  waiting.join();
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
  const Fd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(other.get(), number);  // the lowest free number is ours again
  {
    const Socket dying = std::move(socket);
  }
  EXPECT_NE(::fcntl(number, F_GETFD), -1);  // and the dead socket has no hand on it
}

// poll() on fd() in a program's own loop ends when the socket is closed.
TEST(KernelSocket, WakesPollersWhenClosed) {
  Socket socket = bound();
  const int number = socket.fd().value();
  std::thread polling([&] {
    pollfd ready{.fd = number, .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ready, 1, 5000), 1);
  });
  std::this_thread::sleep_for(20ms);
  ASSERT_TRUE(socket.close());
  polling.join();
}

}  // namespace
}  // namespace gannet::socket
