// Applications that mean harm, against a hub whose every slip a sanitizer sees: they lose their own datagrams, and honest ones lose none.
//
// GANNET_HOSTILE_SECONDS is for how long: 2, or what is set.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "base/rng.h"
#include "hub/capture_memory.h"
#include "hub/hubs.h"
#include "hub/protocol.h"
#include "stack/endpoint_memory.h"
#include "stack/record.h"

namespace gannet::tests {
namespace {

constexpr std::uint16_t honest_port = 22000, hostile_port = 22001;

std::chrono::seconds hostile_time() {
  const char* wanted = std::getenv("GANNET_HOSTILE_SECONDS");
  return std::chrono::seconds(wanted != nullptr ? std::atoi(wanted) : 2);
}

// A socket of a hub, taken without the client that keeps to the rules.
class Scribbler {
 public:
  Scribbler(const hub::HubAddress& address, std::uint64_t seed) : address_(address), rng_(seed) {
    fd_ = hub::connect(address_).value();
    hub::Request request;
    request.kind = hub::Request::Kind::open;
    request.control = {.kind = socket::ControlRequest::Kind::bind, .address = on_loopback(0)};
    hub::send(fd_.get(), request).value();
    auto received = hub::receive_reply(fd_.get(), patience).value();
    key_ = received.reply.key;
    memory_ = stack::EndpointMemory::attach(std::move(received.fds[0])).value();
    send_ = stack::SendMemory::attach(std::move(received.fds[1])).value();
  }

  void run(std::chrono::steady_clock::time_point end) {
    while (std::chrono::steady_clock::now() < end) {
      for (int i = 0; i < 50; ++i) scribble();
      if (rng_.below(8) == 0) request();
      say_something();
    }
  }

 private:
  template <class T>
  T random() {
    return static_cast<T>(rng_.next());
  }
  // A number that might be believed, or none.
  std::uint64_t number() {
    static constexpr std::array<std::uint64_t, 12> edges{0, 1, 63, 64, 65, 192, 4096, 65535, 1 << 22, (1 << 22) - 64, UINT32_MAX, UINT64_MAX};
    const std::uint64_t near = send_->control().tail.load(std::memory_order_relaxed);
    switch (rng_.below(4)) {
      case 0:
        return edges[rng_.below(edges.size())];
      case 1:
        return near + 64 * rng_.below(100);
      case 2:
        return near + rng_.below(1 << 16);
      default:
        return rng_.next();
    }
  }
  // A record that is right in most of its fields.
  void commit_record() {
    stack::RecordHeader header;
    header.kind = rng_.below(8) == 0 ? random<stack::RecordKind>() : stack::RecordKind::datagram;
    header.payload_size = rng_.below(rng_.below(2) == 0 ? 64 : 70'000);
    header.datagram_size = header.payload_size;
    header.peer = on_loopback(rng_.below(2) == 0 ? hostile_port : random<std::uint16_t>());
    if (rng_.below(4) == 0) header.peer.ip = IpAddress::ipv4(random<std::uint32_t>());
    if (rng_.below(4) == 0) header.local = {IpAddress::ipv4(random<std::uint32_t>()), random<std::uint16_t>()};
    if (rng_.below(8) == 0) header.interface = random<std::uint32_t>();
    if (rng_.below(8) == 0) header.hop_limit = random<std::int16_t>();
    if (rng_.below(8) == 0) header.tos = random<std::int16_t>();
    if (rng_.below(4) == 0) header.segment_size = random<std::uint16_t>();
    if (rng_.below(8) == 0) header.ip_options_size = static_cast<std::uint16_t>(rng_.below(44));
    if (rng_.below(8) == 0) header.udp_options_size = static_cast<std::uint16_t>(rng_.below(1100));
    if (rng_.below(16) == 0) std::memset(static_cast<void*>(&header.peer), random<std::uint8_t>(), sizeof header.peer);
    if (rng_.below(16) == 0) std::memset(static_cast<void*>(&header.local), random<std::uint8_t>(), sizeof header.local);
    const std::uint64_t parts = sizeof header + header.payload_size + header.ip_options_size + header.udp_options_size;
    const std::uint64_t size = rng_.below(100) == 0 ? number() : (parts + 63) / 64 * 64;
    header.size = static_cast<std::uint32_t>(size);
    const std::uint64_t tail = send_->control().tail.load(std::memory_order_acquire);
    const std::size_t place = tail % stack::send_ring_size;
    if (place + sizeof header > stack::send_ring_size) {
      send_->commits()[place / 64].store((tail + stack::send_ring_size - place) | 1, std::memory_order_release);
      return;
    }
    std::memcpy(&send_->ring()[place], &header, sizeof header);
    send_->commits()[place / 64].store(tail + size, std::memory_order_release);
  }
  void scribble_over(std::span<std::byte> memory) {
    const std::size_t words = memory.size() / sizeof(std::uint64_t);
    const std::size_t at = rng_.below(4) == 0 ? rng_.below(static_cast<std::uint32_t>(words)) : rng_.below(512);
    std::atomic_ref(reinterpret_cast<std::uint64_t*>(memory.data())[at]).store(number(), std::memory_order_relaxed);
  }
  void scribble() {
    switch (rng_.below(8)) {
      case 0:
        return scribble_over(memory_->memory().bytes());
      case 1:
        return scribble_over(send_->memory().bytes());
      case 2:
        return scribble_over(capture_ ? capture_->memory().bytes() : memory_->memory().bytes());
      default:
        return commit_record();
    }
  }
  void say_something() {
    std::array<std::byte, 13'000> bytes{};
    memory_->control().bell.asked.fetch_or(random<std::uint32_t>());
    const std::size_t size = rng_.below(16) == 0 ? bytes.size() : 1 + rng_.below(4);
    static_cast<void>(::send(fd_.get(), bytes.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (rng_.below(2) == 0) static_cast<void>(::recv(fd_.get(), bytes.data(), rng_.below(64), MSG_DONTWAIT));
  }
  // Requests that are half right, on connections of their own that may not wait for an answer.
  void request() {
    auto fd = hub::connect(address_);
    if (!fd) return;
    hub::Request request;
    const auto bytes = std::as_writable_bytes(std::span(&request, 1));
    request.kind = static_cast<hub::Request::Kind>(rng_.below(static_cast<std::uint32_t>(hub::Request::Kind::list) + 1));
    if (request.kind == hub::Request::Kind::shut_down) return;  // which anybody may ask for
    if (rng_.below(4) != 0) request.key = key_;
    if (request.kind == hub::Request::Kind::close && request.key == key_) return;
    request.control.kind = static_cast<socket::ControlRequest::Kind>(rng_.below(12));
    request.control.option = static_cast<Option>(rng_.below(32));
    request.control.membership = static_cast<socket::Membership>(rng_.below(7));
    request.control.value = static_cast<std::int32_t>(number());
    request.control.address = on_loopback(static_cast<std::uint16_t>(hostile_port + rng_.below(4)));
    request.control.group = IpAddress::ipv4(239, 1, 1, static_cast<std::uint8_t>(rng_.below(8)));
    request.control.ip_options_size = random<std::uint8_t>() % 48;
    for (auto& each : request.control.ip_options) each = random<std::byte>();
    if (rng_.below(2) == 0) request.program = program_;
    for (auto& each : request.name) each = random<char>();
    describe(request.setup);
    for (std::uint32_t i = rng_.below(4); i != 0; --i) bytes[rng_.below(static_cast<std::uint32_t>(bytes.size()))] = random<std::byte>();
    if (request.kind == hub::Request::Kind::shut_down) return;
    const std::size_t size = rng_.below(8) == 0 ? rng_.below(static_cast<std::uint32_t>(bytes.size())) : bytes.size();
    if (size == bytes.size() && rng_.below(2) == 0) {
      const std::array carried{-1, fd_.get(), fd->get(), STDERR_FILENO};
      static_cast<void>(hub::send(fd->get(), request, carried[rng_.below(carried.size())]));
    } else {
      static_cast<void>(::send(fd->get(), bytes.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL));
    }
    if (size != bytes.size() || rng_.below(2) == 0) return;
    auto received = hub::receive_reply(fd->get(), 10ms);
    if (!received || received->reply.error != 0 || request.kind != hub::Request::Kind::open_program) return;
    program_ = received->reply.key;
    member_ = std::move(*fd);  // the one before is left
    capture_.reset();
    if (auto capture = hub::CaptureMemory::attach(std::move(received->fds[0]))) capture_.emplace(std::move(*capture));
  }
  // A path that is a bad one, or none at all.
  void describe(hub::ProgramSetup& setup) {
    for (Impairment* each : {&setup.in, &setup.out}) {
      if (rng_.below(2) == 0) each->loss = rng_.below(100) / 100.0;
      if (rng_.below(2) == 0) each->delay = std::chrono::microseconds(rng_.below(20'000));
      if (rng_.below(4) == 0) each->jitter = each->delay / 2;
      if (rng_.below(4) == 0) each->duplicate = each->corrupt = each->reorder = 0.5;
      if (rng_.below(8) == 0) each->rate = number();
      if (rng_.below(8) == 0) each->queue_bytes = number();
      each->held_packets = rng_.below(16) == 0 ? number() : rng_.below(64);
    }
    if (rng_.below(2) == 0) setup.mtu = rng_.below(70'000);
    setup.capture = rng_.below(2);
    setup.report = rng_.below(2);
  }

  const hub::HubAddress address_;
  Rng rng_;
  Fd fd_;
  hub::SocketKey key_;
  hub::ProgramKey program_;
  Fd member_;  // as long as it is open, the program lives
  std::optional<hub::CaptureMemory> capture_;
  std::shared_ptr<stack::EndpointMemory> memory_;
  std::shared_ptr<stack::SendMemory> send_;
};

TEST(Hostile, ApplicationsHurtThemselvesAlone) {
  const hub::HubAddress address{.name = "gannet-hostile-test-" + std::to_string(::getpid())};
  hub::HubSetup setup;
  setup.linger = 0ms;
  const pid_t hub = start_hub(address.name, setup);
  HonestPair honest(address, honest_port);
  ASSERT_TRUE(comes_true([&] { return honest.exchanged() > 100; }));
  const auto own = status_of(address).value().sockets;

  const auto end = std::chrono::steady_clock::now() + hostile_time();
  std::uint64_t seed = 0;
  std::uint64_t exchanged = honest.exchanged();
  while (std::chrono::steady_clock::now() < end) {
    // Three at once, since the hub gives a ring up for good that says what cannot be; then the next.
    std::array<pid_t, 3> hostile{};
    for (pid_t& each : hostile) {
      ++seed;
      each = in_child([&] {
        Scribbler(address, seed).run(std::chrono::steady_clock::now() + 50ms);
        return 0;
      });
    }
    for (const pid_t each : hostile) EXPECT_EQ(end_of(each), 0) << "seed " << seed;
    ASSERT_TRUE(comes_true([&] { return honest.exchanged() > exchanged; })) << "seed " << seed;
    exchanged = honest.exchanged();
  }
  EXPECT_TRUE(comes_true([&] { return status_of(address).value().sockets == own; }));
  EXPECT_FALSE(honest.has_lost_silently()) << honest.whereabouts();
  EXPECT_EQ(honest.end(), (std::array{0, 0}));
  EXPECT_EQ(shut_down(address, hub), 0);
}

}  // namespace
}  // namespace gannet::tests
