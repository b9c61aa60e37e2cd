// Joins a group and prints what is sent to it. (Any number of these may run on one machine.)
#include <array>
#include <iostream>

#include <gannet/socket.h>

void listen(gannet::Socket socket) {
  socket.set(gannet::Option::reuse_address, 1).value();
  socket.bind("239.255.65.43:65433").value();  // the group's address: nothing else that is sent to this port comes here
  socket.join("239.255.65.43").value();
  std::cout << "Listening to group 239.255.65.43, port 65433" << std::endl;
  std::array<std::byte, 1024> buffer;
  while (auto datagram = socket.receive(buffer)) {
    std::cout << "Received from " << datagram->peer.to_string() << ": " << gannet::text_of(datagram->data) << std::endl;
  }
}

int main() { listen(gannet::Socket::open().value()); }
