// Prints what is broadcast on the link, and says to which address it was sent.
#include <array>
#include <iostream>

#include <gannet/socket.h>

void listen(gannet::Socket socket) {
  socket.set(gannet::Option::reuse_address, 1).value();
  socket.bind("0.0.0.0:65433").value();
  std::cout << "Listening on port 65433" << std::endl;
  std::array<std::byte, 1024> buffer;
  while (auto datagram = socket.receive(buffer)) {
    std::cout << "Received from " << datagram->peer.to_string() << ", sent to " << datagram->local.ip.to_string() << ": "
              << gannet::text_of(datagram->data) << std::endl;
  }
}

int main() { listen(gannet::Socket::open().value()); }
