// Sends one datagram and prints the answer.
#include <array>
#include <iostream>

#include <gannet/socket.h>

using namespace std::chrono_literals;

void ask(gannet::Socket socket) {
  socket.send_to(gannet::bytes_of("Hello, UDP server!"), "127.0.0.1:65433").value();
  std::array<std::byte, 1024> buffer;
  const auto answer = socket.receive(buffer, 5s).value();
  std::cout << "Received from server " << answer.peer.to_string() << ": " << gannet::text_of(answer.data) << std::endl;
}

int main() {
  // Over a host of our own instead of the kernel's: gannet::Socket::open(host), after gannet::Host::open("tap:gannet0,10.7.0.2/24").
  ask(gannet::Socket::open().value());
}
