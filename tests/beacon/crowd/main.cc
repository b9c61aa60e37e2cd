// A crowd of beacons in one process, for tests of those who have to bear it: COUNT of them on INTERFACE, each at a port of its own at one of the
// ADDRESSes.
//
//   beacon_crowd COUNT INTERFACE ADDRESS...
//
// They announce themselves by multicast and answer who asks them; they join no group, and so hear nothing of one another. Prints "ready" when all are
// there.
#include <net/if.h>
#include <poll.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>

#include "beacon/node.h"

namespace gannet {
namespace {

struct One {
  Socket socket;
  Address local;
  std::unique_ptr<beacon::Node> node;
};

Time now() { return Time(std::chrono::steady_clock::now().time_since_epoch()); }

void work(One& one, std::uint32_t interface, bool is_readable) {
  if (is_readable) {
    const auto batch = one.socket.receive_borrowed(64, Deadline::now());
    if (batch) {
      for (const Datagram& datagram : *batch) {
        one.node->input({.data = datagram.data, .route = {datagram.peer, datagram.local.ip, datagram.interface, beacon::Door::own}}, now());
      }
    }
  }
  one.node->advance(now());
  while (const auto out = one.node->output(now())) {
    const bool to_group = out->route.peer.ip.is_multicast();
    const auto sent =
        one.socket.send({.data = out->data, .to = out->route.peer, .source = one.local, .interface = to_group ? interface : 0}, Deadline::now());
    one.node->sent(*out, sent ? 0 : sent.error().code);
  }
  while (one.node->take_news(now())) {
  }
}

void run(std::size_t count, const char* name, const std::vector<IpAddress>& addresses) {
  const std::uint32_t interface = ::if_nametoindex(name);
  std::deque<One> crowd;
  std::vector<pollfd> polled;
  const beacon::Link link{.group = IpAddress::ipv4(239, 255, 71, 66), .interface = interface, .name = name};
  for (std::size_t i = 0; i < count; ++i) {
    One& one = crowd.emplace_back(One{Socket::open().value(), {}, {}});
    one.socket.set(Option::receive_errors, 0).value();
    one.socket.bind(Address{addresses[i % addresses.size()], 0}).value();
    one.local = one.socket.local_address().value();
    BeaconOptions options{.name = "peer" + std::to_string(i), .roles = {"crowd"}, .most_peers = 8};
    one.node = std::make_unique<beacon::Node>(std::move(options), HashKey{i, 99}, one.local.port, now());
    one.node->set_links({&link, 1}, now());
    polled.push_back({one.socket.fd().value(), POLLIN, 0});
  }
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    Time wakeup = never;
    for (const One& one : crowd) wakeup = std::min(wakeup, one.node->next_wakeup(now()));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::clamp<Duration>(wakeup - now(), 0s, 100ms));
    ::poll(polled.data(), polled.size(), static_cast<int>(left.count()));
    for (std::size_t i = 0; i < crowd.size(); ++i) {
      const bool is_readable = polled[i].revents != 0;
      if (is_readable || crowd[i].node->next_wakeup(now()) <= now()) work(crowd[i], interface, is_readable);
    }
  }
}

}  // namespace
}  // namespace gannet

int main(int count, char** arguments) {
  if (count < 4) return std::fputs("usage: beacon_crowd COUNT INTERFACE ADDRESS...\n", stderr), 2;
  std::vector<gannet::IpAddress> addresses;
  for (int i = 3; i < count; ++i) addresses.push_back(gannet::IpAddress::parse(arguments[i]).value());
  gannet::run(std::strtoul(arguments[1], nullptr, 10), arguments[2], addresses);
}
