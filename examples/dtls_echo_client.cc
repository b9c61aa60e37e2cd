// The echo client, sealed.
//
//   dtls_echo_client ADDRESS:PORT FINGERPRINT [TEXT]      FINGERPRINT: as the server prints it
#include <array>
#include <iostream>

#include <gannet/dtls.h>

void ask(gannet::Socket under, std::string_view server, const gannet::Fingerprint& fingerprint, std::string_view text) {
  auto socket = gannet::DtlsSocket::open(std::move(under), {.fingerprints = {fingerprint}}).value();
  socket.connect(server).value();  // shakes hands: it is the one with this certificate, or this fails
  std::array<std::byte, 2048> buffer;
  for (int tries = 0; tries < 5; ++tries) {  // sealed datagrams are lost as any are
    socket.send(gannet::bytes_of(text)).value();
    const auto datagram = socket.receive(buffer, std::chrono::seconds(1));
    if (!datagram && datagram.error().code == EAGAIN) continue;
    std::cout << "Received from server " << datagram.value().peer.to_string() << ": " << gannet::text_of(datagram->data) << std::endl;
    return;
  }
  throw std::runtime_error("no answer");
}

int main(int count, char** arguments) {
  if (count < 3 || count > 4) return std::cerr << "usage: dtls_echo_client ADDRESS:PORT FINGERPRINT [TEXT]" << std::endl, 2;
  try {
    const auto server = gannet::Address::parse(arguments[1]).value();
    const auto fingerprint = gannet::Fingerprint::parse(arguments[2]).value();
    ask(gannet::Socket::open(server.ip.family).value(), arguments[1], fingerprint, count == 4 ? arguments[3] : "Hello, DTLS server!");
  } catch (const std::exception& failure) {
    return std::cerr << "dtls_echo_client: " << failure.what() << std::endl, 1;
  }
}
