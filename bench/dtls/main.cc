// What DTLS costs, in memory: two endpoints, one after the other in one thread, each datagram handed over at once.
//
//   dtls seal CIPHER SIZE SECONDS     nanoseconds to seal a datagram, and to open it
//   dtls shake SECONDS                handshakes per second, both sides' work, with certificates (ECDSA on P-256)
//   dtls peers COUNT                  bytes per peer of a server with so many, each of which has sent and received
//
// Prints one JSON object.
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "dtls/endpoint.h"

namespace gannet::dtls {
namespace {

using Clock = std::chrono::steady_clock;

Time now() { return Time(std::chrono::duration_cast<Duration>(Clock::now().time_since_epoch())); }
Address client_at(unsigned number) { return {IpAddress::ipv4(0x0a00'0000 + number / 50'000), static_cast<std::uint16_t>(1024 + number % 50'000)}; }
const Address server_at{IpAddress::ipv4(192, 0, 2, 1), 4433};

struct Node {
  Address address;
  Endpoint endpoint;
  std::size_t heard = 0, bytes = 0;
  Node(const Address& at, DtlsOptions options) : address(at), endpoint(Context::create(std::move(options)).value(), HashKey{1, 2}, now()) {}
};

// Hands over what one has to send to the other; returns how many datagrams.
std::size_t carry(Node& from, Node& to) {
  const auto batch = from.endpoint.outbox().batch();
  const std::size_t count = batch.size();
  const Time at = now();
  for (const Outgoing& each : batch) {
    const std::vector<std::byte> copy(each.data.begin(), each.data.end());
    to.endpoint.input(
        Datagram{.data = {const_cast<std::byte*>(copy.data()), copy.size()}, .length = copy.size(), .peer = from.address, .local = to.address}, at);
  }
  from.endpoint.outbox().clear();
  std::array<std::byte, 17'000> buffer;
  while (!to.endpoint.inbox().is_empty()) {
    Datagram datagram{.buffer = buffer};
    to.endpoint.inbox().take(datagram, false);
    ++to.heard;
    to.bytes += datagram.data.size();
  }
  return count;
}

void shake(Node& client, Node& server) {
  client.endpoint.connect(server.address, now()).value();
  while (carry(client, server) + carry(server, client) > 0) {
  }
  client.endpoint.take_events();
  server.endpoint.take_events();
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int seal(const std::string& cipher, std::size_t size, double seconds) {
  const auto identity = DtlsIdentity::self_signed("bench").value();
  Node server(server_at, {.identity = identity, .accept = true, .mtu = 20'000, .ciphers = cipher});
  Node client(client_at(0), {.trust_anyone = true, .mtu = 20'000, .ciphers = cipher});
  shake(client, server);
  if (client.endpoint.find(server.address) == nullptr) return std::fprintf(stderr, "dtls: no hands were shaken with %s\n", cipher.c_str()), 1;
  const std::vector<std::byte> data(size, std::byte{0x5a});
  std::array<std::byte, 17'000> buffer;
  double sealing = 0, opening = 0;
  std::size_t count = 0;
  constexpr std::size_t batch = 64;
  std::vector<std::byte> record(20'000);
  while (sealing + opening < seconds) {
    auto start = Clock::now();
    for (std::size_t i = 0; i < batch; ++i) client.endpoint.send(server.address, {.data = data}, client.endpoint.outbox()).value();
    sealing += seconds_since(start);
    const auto sealed = client.endpoint.outbox().batch();
    const Time at = now();
    start = Clock::now();
    for (const Outgoing& each : sealed) {
      server.endpoint.input(Datagram{.data = {const_cast<std::byte*>(each.data.data()), each.data.size()},
                                     .length = each.data.size(),
                                     .peer = client.address,
                                     .local = server.address},
                            at);
    }
    Datagram datagram{.buffer = buffer};
    while (!server.endpoint.inbox().is_empty()) server.endpoint.inbox().take(datagram, false), ++server.heard;
    opening += seconds_since(start);
    client.endpoint.outbox().clear();
    count += batch;
  }
  if (server.heard != count) return std::fprintf(stderr, "dtls: %zu of %zu arrived\n", server.heard, count), 1;
  const double each = 1e9 / static_cast<double>(count);
  std::printf("{\"cipher\": \"%s\", \"size\": %zu, \"seal_ns\": %.1f, \"open_ns\": %.1f, \"lost\": 0}\n", cipher.c_str(), size, sealing * each,
              opening * each);
  return 0;
}

int shake_for(double seconds) {
  const auto identity = DtlsIdentity::self_signed("bench").value();
  Node server(server_at, {.identity = identity, .accept = true});
  unsigned count = 0;
  const auto start = Clock::now();
  while (seconds_since(start) < seconds) {
    Node client(client_at(count++), {.trust_anyone = true});
    shake(client, server);
    client.endpoint.close_all();
    carry(client, server);
  }
  std::printf("{\"handshakes_per_second\": %.0f}\n", count / seconds_since(start));
  return 0;
}

int peers(unsigned count) {
  const auto identity = DtlsIdentity::self_signed("bench").value();
  Node server(server_at, {.identity = identity, .accept = true});
  const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  std::size_t clients = 0;
  for (unsigned i = 0; i < count; ++i) {
    const std::size_t was = mallinfo2().uordblks + mallinfo2().hblkhd;
    {
      Node client(client_at(i), {.trust_anyone = true});
      shake(client, server);
      client.endpoint.send(server.address, {.data = bytes_of("hello")}, client.endpoint.outbox()).value();
      carry(client, server);
      server.endpoint.send(client.address, {.data = bytes_of("hello")}, server.endpoint.outbox()).value();
      carry(server, client);
    }
    clients += mallinfo2().uordblks + mallinfo2().hblkhd - was;
  }
  if (server.endpoint.peer_count() != count) return std::fprintf(stderr, "dtls: %zu of %u peers\n", server.endpoint.peer_count(), count), 1;
  std::printf("{\"peers\": %u, \"bytes_per_peer\": %zu}\n", count, (mallinfo2().uordblks + mallinfo2().hblkhd - before) / count);
  return 0;
}

}  // namespace
}  // namespace gannet::dtls

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "seal" && argc == 5) return gannet::dtls::seal(argv[2], std::strtoul(argv[3], nullptr, 10), std::strtod(argv[4], nullptr));
  if (what == "shake" && argc == 3) return gannet::dtls::shake_for(std::strtod(argv[2], nullptr));
  if (what == "peers" && argc == 3) return gannet::dtls::peers(static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10)));
  std::fputs("usage: dtls seal CIPHER SIZE SECONDS | dtls shake SECONDS | dtls peers COUNT\n", stderr);
  return 2;
}
