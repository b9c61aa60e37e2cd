// Sends one datagram to everybody who has joined a group.
#include <iostream>

#include <gannet/socket.h>

void send(gannet::Socket socket) {
  socket.set(gannet::Option::multicast_ttl, 1).value();  // as far as the link goes; each router on the way takes one
  socket.send_to(gannet::bytes_of("Hello, group!"), "239.255.65.43:65433").value();
  std::cout << "Sent to 239.255.65.43:65433" << std::endl;
}

int main() { send(gannet::Socket::open().value()); }
