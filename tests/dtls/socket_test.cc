// DtlsSocket over the kernel's sockets and over hosts of ours, with threads, and with a network that loses.
#include <gannet/dtls.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include <gannet/host.h>

namespace gannet::tests {
namespace {

using namespace std::chrono_literals;

const DtlsIdentity& identity() {
  static const DtlsIdentity made = DtlsIdentity::self_signed("server").value();
  return made;
}
DtlsOptions server_options() { return {.identity = identity(), .accept = true}; }
DtlsOptions client_options() { return {.fingerprints = {identity().fingerprint().value()}}; }

// An echo server in a thread, until it is closed.
class EchoServer {
 public:
  EchoServer(Socket under, const char* local, DtlsOptions options = server_options())
      : socket(DtlsSocket::open(std::move(under), std::move(options)).value()) {
    socket.bind(local).value();
    address = socket.local_address().value();
    thread_ = std::thread([this] {
      std::array<std::byte, 20'000> buffer;
      for (;;) {
        const auto datagram = socket.receive(buffer);
        if (!datagram && datagram.error().code == EBADF) return;
        if (datagram) static_cast<void>(socket.send_to(datagram->data, datagram->peer));
      }
    });
  }
  ~EchoServer() {
    static_cast<void>(socket.close());
    thread_.join();
  }
  DtlsSocket socket;
  Address address;

 private:
  std::thread thread_;
};

std::string ask(DtlsSocket& socket, std::string_view text, Deadline deadline = 30s) {
  socket.send(bytes_of(text)).value();
  std::array<std::byte, 2048> buffer;
  const auto datagram = socket.receive(buffer, deadline);
  return datagram ? std::string(text_of(datagram->data)) : datagram.error().message();
}

TEST(DtlsSocket, EchoesOverTheKernel) {
  EchoServer server(Socket::open().value(), "127.0.0.1:0");
  DtlsSocket client = DtlsSocket::open(Socket::open().value(), client_options()).value();
  client.connect(server.address).value();
  EXPECT_EQ(ask(client, "sealed"), "sealed");
  EXPECT_EQ(client.peer(server.address).value().identity, "server");
  EXPECT_EQ(client.peer_address().value(), server.address);
  EXPECT_EQ(client.max_payload(server.address).value(), 1215);
  EXPECT_EQ(client.get(Option::mtu).value(), 1280);
  EXPECT_EQ(server.socket.peer_count(), 1);
  client.disconnect().value();
  EXPECT_EQ(client.send(bytes_of("x")).error().code, EDESTADDRREQ);
  for (int i = 0; i < 500 && server.socket.peer_count() != 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(server.socket.peer_count(), 0) << "it heard our farewell";
}

TEST(DtlsSocket, EchoesOverTheKernelsIpv6) {
  EchoServer server(Socket::open(Family::ipv6).value(), "[::1]:0");
  DtlsSocket client = DtlsSocket::open(Socket::open(Family::ipv6).value(), client_options()).value();
  client.connect(server.address).value();
  EXPECT_EQ(ask(client, "six"), "six");
  EXPECT_EQ(client.max_payload(server.address).value(), 1195);
}

// What a Socket is given to, it can be given to sealed.
TEST(DtlsSocket, IsASocket) {
  EchoServer server(Socket::open().value(), "127.0.0.1:0");
  Socket socket = DtlsSocket::open(Socket::open().value(), client_options()).value();
  socket.connect(server.address).value();
  const std::array batch{Outgoing{.data = bytes_of("one")}, Outgoing{.data = bytes_of("two")}};
  EXPECT_EQ(socket.send_batch(batch).value(), 2);
  std::size_t heard = 0;
  while (heard < 2) heard += socket.receive_borrowed(64, 30s).value().size();
  EXPECT_EQ(socket.receive_borrowed(64, Deadline::now()).error().code, EAGAIN);
  EXPECT_EQ(socket.join("239.1.2.3").error().code, EOPNOTSUPP);
  EXPECT_EQ(socket.set(Option::segment_size, 100).error().code, ENOPROTOOPT);
  const std::string large(1300, 'x');
  EXPECT_EQ(socket.send(bytes_of(large)).error().code, EMSGSIZE);
  EXPECT_EQ(socket.send_to(bytes_of("x"), "127.0.0.1:9").error().code, ENOTCONN);
  socket.close().value();
  std::array<std::byte, 10> buffer;
  EXPECT_EQ(socket.receive(buffer).error().code, EBADF);
}

TEST(DtlsSocket, PeeksAndTruncates) {
  EchoServer server(Socket::open().value(), "127.0.0.1:0");
  DtlsSocket client = DtlsSocket::open(Socket::open().value(), client_options()).value();
  client.connect(server.address).value();
  client.send(bytes_of("0123456789")).value();
  std::array<std::byte, 4> buffer;
  EXPECT_EQ(text_of(client.peek(buffer, 30s).value().data), "0123");
  const auto datagram = client.receive(buffer, 30s).value();
  EXPECT_EQ(text_of(datagram.data), "0123");
  EXPECT_TRUE(datagram.truncated);
  EXPECT_EQ(datagram.length, 10);
  EXPECT_EQ(datagram.peer, server.address);
}

TEST(DtlsSocket, WhyNoHandsWereShaken) {
  DtlsSocket nobody = DtlsSocket::open(Socket::open().value(), client_options()).value();
  Socket taken = Socket::open().value();
  taken.bind("127.0.0.1:0").value();
  const Address free = taken.local_address().value();
  taken.close().value();
  EXPECT_EQ(nobody.connect(free).error().code, ECONNREFUSED);

  Socket silent = Socket::open().value();
  silent.bind("127.0.0.1:0").value();
  DtlsOptions brief = client_options();
  brief.retransmit_after = 20ms;
  brief.handshake_timeout = 200ms;
  DtlsSocket patient = DtlsSocket::open(Socket::open().value(), brief).value();
  EXPECT_EQ(patient.connect(silent.local_address().value()).error().code, ETIMEDOUT);

  EchoServer server(Socket::open().value(), "127.0.0.1:0");
  DtlsOptions other = client_options();
  other.fingerprints[0].bytes[0] ^= std::byte{1};
  DtlsSocket wary = DtlsSocket::open(Socket::open().value(), other).value();
  EXPECT_EQ(wary.connect(server.address).error().code, EACCES);
}

// A server at every address answers from the one that was asked (B3).
TEST(DtlsSocket, AnswersFromTheAddressThatWasAsked) {
  EchoServer server(Socket::open().value(), "0.0.0.0:0");
  DtlsSocket client = DtlsSocket::open(Socket::open().value(), client_options()).value();
  client.connect({IpAddress::ipv4(127, 0, 0, 2), server.address.port}).value();
  EXPECT_EQ(ask(client, "second"), "second");
}

// What is for nobody here hides nothing that is.
TEST(DtlsSocket, LooksBehindRubbish) {
  EchoServer server(Socket::open().value(), "127.0.0.1:0");
  DtlsSocket client = DtlsSocket::open(Socket::open().value(), client_options()).value();
  client.connect(server.address).value();
  Socket stranger = Socket::open().value();
  for (int i = 0; i < 150; ++i) stranger.send_to(bytes_of("rubbish"), {IpAddress::ipv4(127, 0, 0, 1), client.local_address().value().port}).value();
  client.send(bytes_of("hidden")).value();
  std::this_thread::sleep_for(300ms);
  std::array<std::byte, 64> buffer;
  const auto datagram = client.receive(buffer, Deadline::now());
  ASSERT_TRUE(datagram) << datagram.error().message();
  EXPECT_EQ(text_of(datagram->data), "hidden");
}

TEST(DtlsSocket, IsClosedWhileItConnects) {
  Socket silent = Socket::open().value();
  silent.bind("127.0.0.1:0").value();
  DtlsSocket client = DtlsSocket::open(Socket::open().value(), client_options()).value();
  std::thread other([&] {
    std::this_thread::sleep_for(50ms);
    client.close().value();
  });
  EXPECT_EQ(client.connect(silent.local_address().value()).error().code, EBADF);
  other.join();
}

TEST(DtlsSocket, TheConnectedPeerGoes) {
  std::optional<EchoServer> server;
  server.emplace(Socket::open().value(), "127.0.0.1:0");
  DtlsSocket client = DtlsSocket::open(Socket::open().value(), client_options()).value();
  client.connect(server->address).value();
  EXPECT_EQ(ask(client, "here"), "here");
  server.reset();
  std::array<std::byte, 10> buffer;
  EXPECT_EQ(client.receive(buffer, 30s).error().code, ECONNRESET);
  EXPECT_EQ(client.receive(buffer, 10ms).error().code, EAGAIN);
  EXPECT_EQ(client.send(bytes_of("x")).error().code, EDESTADDRREQ);
}

// Many threads send and receive on one socket, others shake hands meanwhile, and close() wakes them all.
TEST(DtlsSocket, ThreadsShareIt) {
  EchoServer server(Socket::open().value(), "127.0.0.1:0");
  DtlsSocket client = DtlsSocket::open(Socket::open().value(), client_options()).value();
  client.connect(server.address).value();
  std::atomic<int> heard = 0;
  std::vector<std::thread> receivers, senders;
  for (int i = 0; i < 3; ++i) {
    receivers.emplace_back([&] {
      std::array<std::byte, 64> buffer;
      for (;;) {
        const auto datagram = client.receive(buffer);
        if (!datagram) {
          EXPECT_EQ(datagram.error().code, EBADF);
          return;
        }
        ++heard;
      }
    });
    senders.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        EXPECT_TRUE(client.send(bytes_of("x")));
        if (n % 10 == 0) std::this_thread::sleep_for(1ms);
      }
    });
  }
  EchoServer second(Socket::open().value(), "127.0.0.1:0");
  const auto also = client.connect(second.address);  // while others receive
  EXPECT_TRUE(also) << also.error().message();
  EXPECT_EQ(client.peers().size(), 2);
  for (std::thread& sender : senders) sender.join();
  for (int i = 0; i < 1000 && heard < 300; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_GE(heard, 300);
  client.close().value();
  for (std::thread& receiver : receivers) receiver.join();
}

struct Sides {
  Segment segment;
  Host client, server;
  explicit Sides(double loss)
      : client(
            Host::open(segment, "10.9.0.1/24", {.in = {.loss = loss}, .out = {.loss = loss, .delay = 1ms, .jitter = 1ms, .reorder = 0.1}, .seed = 1})
                .value()),
        server(Host::open(segment, "10.9.0.2/24").value()) {
    client.start().value();
    server.start().value();
  }
};

// A fifth of the packets lost each way, at an MTU of 1280, on our own stack.
TEST(DtlsSocket, OverHostsOfOursThatLose) {
  Sides sides(0.2);
  DtlsOptions quick = server_options(), eager = client_options();
  quick.retransmit_after = eager.retransmit_after = 50ms;
  EchoServer server(Socket::open(sides.server).value(), "10.9.0.2:4433", quick);
  for (int round = 0; round < 5; ++round) {
    DtlsSocket client = DtlsSocket::open(Socket::open(sides.client).value(), eager).value();
    const auto connected = client.connect(server.address);
    ASSERT_TRUE(connected) << connected.error().message();
    int answered = 0;
    for (int i = 0; i < 20; ++i) answered += ask(client, "again", 50ms) == "again" ? 1 : 0;
    EXPECT_GE(answered, 3);
  }
}

// The capture has the keys: what is sealed on the wire can be read there, and nowhere without them (src/link/capture_test.cc looks at the block).
TEST(DtlsSocket, KeysForTheCapture) {
  Sides sides(0);
  std::string log;
  DtlsOptions telling = client_options();
  telling.on_secret = [&](std::string_view line) { log += std::string(line) + '\n'; };
  EchoServer server(Socket::open(sides.server).value(), "10.9.0.2:4433");
  DtlsSocket client = DtlsSocket::open(Socket::open(sides.client).value(), telling).value();
  client.connect(server.address).value();
  EXPECT_TRUE(log.starts_with("CLIENT_RANDOM ")) << log;
  EXPECT_EQ(sides.client.add_capture_secrets(log).error().code, EINVAL) << "nothing is captured";
}

TEST(DtlsSocket, ManyPeersOfOneServer) {
  constexpr int count = 1000;
  EchoServer server(Socket::open().value(), "127.0.0.1:0");
  std::vector<DtlsSocket> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(DtlsSocket::open(Socket::open().value(), client_options()).value());
    clients.back().connect(server.address).value();
  }
  EXPECT_EQ(server.socket.peer_count(), count);
  for (int i = 0; i < count; i += 50) EXPECT_EQ(ask(clients[static_cast<std::size_t>(i)], std::to_string(i)), std::to_string(i));
}

}  // namespace
}  // namespace gannet::tests
