// A socket on a host of a Net: what the engine and a program do together, done by hand and in virtual time.
//
//   App server(net, b);
//   server.bind("0.0.0.0:53").value();
//   App client(net, a);
//   client.send("hello", "10.0.0.2:53").value();
//   net.settle();
//   auto got = server.receive();
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "stack/endpoint_client.h"
#include "stack/udp.h"
#include "support/net.h"

namespace gannet::tests {

Address address(std::string_view text);  // "10.0.0.2:53"; "" is none

struct Received {
  std::string data;
  stack::RecordHeader header;
  Bytes ip_options;

  [[nodiscard]] std::string peer() const { return header.peer.to_string(); }
  [[nodiscard]] std::string local() const { return header.local.to_string(); }
};

// What a send may choose for its datagram.
struct Choice {
  std::string_view source = "";  // an address of the host's
  std::int16_t hop_limit = -1;
  std::int16_t tos = -1;
  std::uint16_t segment_size = 0;
};

class App {
 public:
  App(Net& net, Host& host);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  Result<void> bind(std::string_view local) { return udp().bind(endpoint_, address(local)); }
  Result<void> connect(std::string_view peer) { return udp().connect(endpoint_, address(peer)); }
  void disconnect() { udp().disconnect(endpoint_); }
  [[nodiscard]] std::string local() const { return endpoint_.local.to_string(); }

  // Sends at once.
  Result<void> send(std::string_view data, std::string_view to = "", const Choice& choice = {});
  // Puts it into the send ring, and has UDP empty the ring.
  void send_by_ring(std::string_view data, std::string_view to = "", const Choice& choice = {});
  // The one and the other by itself. False: the ring is full.
  bool offer(std::string_view data, std::string_view to = "", const Choice& choice = {});
  std::size_t flush() { return udp().flush(endpoint_, net_.now, 64); }

  std::optional<Received> receive();
  // The next error of the error queue.
  std::optional<stack::RecordHeader> receive_error();
  int take_error() { return client_->take_error(); }

  Result<void> join(std::string_view group, std::uint32_t interface = 0);
  Result<void> leave(std::string_view group, std::uint32_t interface = 0);
  Result<void> join_source(std::string_view group, std::string_view source, std::uint32_t interface = 0);

  [[nodiscard]] stack::Endpoint& endpoint() { return endpoint_; }
  [[nodiscard]] stack::EndpointOptions& options() { return endpoint_.options; }
  [[nodiscard]] stack::SocketGroups& groups() { return udp().groups(endpoint_); }
  [[nodiscard]] stack::Udp& udp() { return host_.stack.udp(); }

 private:
  Net& net_;
  Host& host_;
  stack::EndpointGroup group_;
  stack::Endpoint& endpoint_;
  std::optional<stack::EndpointClient> client_;
};

}  // namespace gannet::tests
