// Sends every datagram back to where it came from.  (The twin of the Python server that binds, then calls recvfrom and sendto for ever.)
#include <array>
#include <iostream>

#include <gannet/socket.h>

void serve(gannet::Socket socket) {
  socket.bind("127.0.0.1:65433").value();
  std::cout << "UDP server listening on 127.0.0.1:65433" << std::endl;
  std::array<std::byte, 1024> buffer;
  while (auto datagram = socket.receive(buffer)) {
    std::cout << "Received from " << datagram->peer.to_string() << ": " << gannet::text_of(datagram->data) << std::endl;
    socket.send_to(datagram->data, datagram->peer).value();
  }
}

int main() {
  // Over a host of our own instead of the kernel's: gannet::Socket::open(host), after gannet::Host::open("tap:gannet0,10.7.0.2/24").
  serve(gannet::Socket::open().value());
}
