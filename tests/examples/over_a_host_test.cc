// The example programs, word for word, over hosts of ours on a wire in memory: what their functions say of a Socket holds for any Socket.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <iostream>
#include <sstream>
#include <thread>

#include <gannet/host.h>
#include <gannet/socket.h>

// Their main() is a function like any other here, and is not called.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
namespace echo_server {
#include "../../examples/echo_server.cc"
}
namespace echo_client {
#include "../../examples/echo_client.cc"
}
namespace multicast_receiver {
#include "../../examples/multicast_receiver.cc"
}
namespace multicast_sender {
#include "../../examples/multicast_sender.cc"
}
namespace broadcast_receiver {
#include "../../examples/broadcast_receiver.cc"
}
namespace broadcast_sender {
#include "../../examples/broadcast_sender.cc"
}
#pragma GCC diagnostic pop

namespace gannet::tests {
namespace {

struct Enough {};  // what ends a program that receives for ever

// Standard output, kept; a line that says "enough" ends whoever prints it. The two programs of a pair never print at once: one waits for the other.
class Transcript final : public std::stringbuf {
 public:
  Transcript() : before_(std::cout.rdbuf(this)) { std::cout.exceptions(std::ios::badbit); }
  Transcript(const Transcript&) = delete;
  Transcript& operator=(const Transcript&) = delete;
  ~Transcript() override {
    std::cout.exceptions(std::ios::goodbit);
    std::cout.rdbuf(before_);
  }
  void await_first_line() const { has_line_.wait(false); }
  [[nodiscard]] bool has(const char* text) const { return str().find(text) != std::string::npos; }

 protected:
  int sync() override {
    has_line_ = true;
    has_line_.notify_all();
    if (has("enough")) throw Enough();
    return 0;
  }

 private:
  std::streambuf* before_;
  std::atomic<bool> has_line_ = false;
};

class Examples : public ::testing::Test {
 protected:
  Examples() : a(Host::open(segment, "10.9.0.1/24").value()), b(Host::open(segment, "10.9.0.2/24").value()) {
    a.start().value();
    b.start().value();
  }

  // Runs the receiver on `host` here, and then the sender and the last word in a thread.
  template <class Receive, class Send>
  void run(Host& host, Receive&& receive, Send&& send) {
    std::thread sender([&] {
      output.await_first_line();
      send();
    });
    EXPECT_THROW(receive(Socket::open(host).value()), Enough);
    sender.join();
  }
  static void end(Host& from, std::string_view to) {
    Socket socket = Socket::open(from).value();
    socket.set(Option::broadcast, 1).value();
    socket.send_to(bytes_of("enough"), to).value();
  }

  Segment segment;
  Host a, b;
  Transcript output;
};

TEST_F(Examples, Echo) {
  run(a, echo_server::serve, [&] {
    echo_client::ask(Socket::open(a).value());
    end(a, "127.0.0.1:65433");
  });
  EXPECT_TRUE(output.has("UDP server listening on 127.0.0.1:65433\n")) << output.str();
  EXPECT_TRUE(output.has("Received from server 127.0.0.1:65433: Hello, UDP server!\n")) << output.str();
}

TEST_F(Examples, Multicast) {
  run(b, multicast_receiver::listen, [&] {
    multicast_sender::send(Socket::open(a).value());
    end(a, "239.255.65.43:65433");
  });
  EXPECT_TRUE(output.has("Received from 10.9.0.1:")) << output.str();
  EXPECT_TRUE(output.has(": Hello, group!\n")) << output.str();
}

TEST_F(Examples, Broadcast) {
  run(b, broadcast_receiver::listen, [&] {
    broadcast_sender::send(Socket::open(a).value());
    end(a, "255.255.255.255:65433");
  });
  EXPECT_TRUE(output.has(", sent to 255.255.255.255: Hello, everybody!\n")) << output.str();
}

}  // namespace
}  // namespace gannet::tests
