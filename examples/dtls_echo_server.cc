// The echo server, sealed: what passes is nobody else's to read, change or forge.
//
//   dtls_echo_server ADDRESS:PORT      prints its certificate's fingerprint, by which clients know it
#include <array>
#include <iostream>

#include <gannet/dtls.h>

void serve(gannet::Socket under, std::string_view local) {
  const auto identity = gannet::DtlsIdentity::self_signed("echo").value();  // a new one each time; from_files() takes one that is kept
  auto socket = gannet::DtlsSocket::open(std::move(under), {.identity = identity, .accept = true}).value();
  socket.bind(local).value();
  std::cout << "DTLS server listening on " << local << "\nfingerprint " << identity.fingerprint().value().to_string() << std::endl;
  std::array<std::byte, 2048> buffer;
  while (auto datagram = socket.receive(buffer)) {  // hands are shaken inside
    std::cout << "Received from " << datagram->peer.to_string() << ": " << gannet::text_of(datagram->data) << std::endl;
    static_cast<void>(socket.send_to(datagram->data, datagram->peer));  // who has gone meanwhile gets none
  }
}

int main(int count, char** arguments) {
  if (count != 2) return std::cerr << "usage: dtls_echo_server ADDRESS:PORT" << std::endl, 2;
  try {
    const auto local = gannet::Address::parse(arguments[1]).value();
    serve(gannet::Socket::open(local.ip.family).value(), arguments[1]);
  } catch (const std::exception& failure) {
    return std::cerr << "dtls_echo_server: " << failure.what() << std::endl, 1;
  }
}
