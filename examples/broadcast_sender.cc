// Sends one datagram to every host on the link.
#include <iostream>

#include <gannet/socket.h>

void send(gannet::Socket socket) {
  socket.set(gannet::Option::broadcast, 1).value();  // without it: EACCES, so that nobody broadcasts by mistake
  socket.send_to(gannet::bytes_of("Hello, everybody!"), "255.255.255.255:65433").value();
  std::cout << "Sent to 255.255.255.255:65433" << std::endl;
}

int main() { send(gannet::Socket::open().value()); }
