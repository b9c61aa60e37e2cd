#include "engine/engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "link/memory_link.h"
#include "stack/endpoint_client.h"

namespace gannet::engine {
namespace {

using std::chrono::steady_clock;

EngineSetup small_setup(std::uint64_t seed = 1) {
  EngineSetup setup;
  setup.small_frames = 256;
  setup.large_frames = 4;
  setup.seed = seed;
  return setup;
}

// A host with one link on a segment, and one socket.
struct Host {
  Host(link::MemorySegment& segment, std::uint8_t last) : Host(segment, last, small_setup(last)) {}
  Host(link::MemorySegment& segment, std::uint8_t last, const EngineSetup& setup) : engine(Engine::create(setup).value()) {
    const auto interface = engine->add_link(segment.attach().value()).value();
    engine->stack().add_address(interface, IpAddress::ipv4(10, 0, 0, last), 24, engine->now()).value();
  }
  ~Host() {
    if (endpoint != nullptr) engine->call([&] { engine->close_endpoint(*endpoint); });
  }
  void open(std::uint16_t port) {
    engine->call([&] {
      endpoint = engine->open_endpoint().value();
      client.emplace(endpoint->memory(), stack::ClientHooks{this, nullptr, [](void* self) {
                                                              auto& host = *static_cast<Host*>(self);
                                                              host.engine->notify_sends(host.endpoint->slot);
                                                            }});
      client->set_send_ring(endpoint->add_send_ring().value());
      engine->stack().udp().bind(*endpoint, {IpAddress::any(Family::ipv4), port}).value();
    });
  }
  bool send(std::string_view text, const Address& to) {
    stack::SendSlot slot{.header = {}, .ip_options = {}, .payload = std::as_bytes(std::span(text))};
    slot.header.peer = to;
    return client->send({&slot, 1}) == 1;
  }
  std::optional<std::string> receive(stack::ReceiveSlot& slot) {
    slot.buffer = buffer;
    if (client->receive({&slot, 1}) == 0) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(buffer.data()), slot.size);
  }

  std::unique_ptr<Engine> engine;
  stack::Endpoint* endpoint = nullptr;
  std::optional<stack::EndpointClient> client;
  std::array<std::byte, 2048> buffer{};
};

Address at(std::uint8_t last, std::uint16_t port) { return {IpAddress::ipv4(10, 0, 0, last), port}; }
Moment soon() { return steady_clock::now() + std::chrono::seconds(10); }

TEST(Engine, CarriesDatagramsInACallersLoop) {
  const auto segment = link::MemorySegment::create().value();
  Host a(*segment, 1), b(*segment, 2);
  a.open(0);
  b.open(53);
  ASSERT_TRUE(a.send("hello", at(2, 53)));
  stack::ReceiveSlot slot;
  std::optional<std::string> got;
  for (int i = 0; i < 50 && !got; ++i) {
    a.engine->run_once(Moment::min());
    b.engine->run_once(Moment::min());
    got = b.receive(slot);
  }
  EXPECT_EQ(got, "hello");
  EXPECT_EQ(slot.header.peer.ip, IpAddress::ipv4(10, 0, 0, 1));
}

// Both engines sleep between the datagrams, so each step needs its wake-up: the send, the arrival at the link, the delivery, and all of it back.
TEST(Engine, WakesForEverySendAndArrival) {
  const auto segment = link::MemorySegment::create().value();
  Host a(*segment, 1), b(*segment, 2);
  a.open(0);
  b.open(53);
  a.engine->start().value();
  b.engine->start().value();
  std::thread echo([&] {
    stack::ReceiveSlot slot;
    for (int i = 0; i < 200;) {
      const auto got = b.receive(slot);
      if (!got) {
        if (!wait_readable(*b.client, soon())) return;
        continue;
      }
      b.send(*got, slot.header.peer);
      ++i;
    }
  });
  stack::ReceiveSlot slot;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(a.send(std::to_string(i), at(2, 53)));
    ASSERT_TRUE(wait_readable(*a.client, soon())) << "datagram " << i << " did not come back";
    ASSERT_EQ(a.receive(slot), std::to_string(i));
    if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  echo.join();
}

TEST(Engine, RunsCallsOfManyThreadsOneAfterTheOther) {
  const auto engine = Engine::create(small_setup()).value();
  engine->start().value();
  int count = 0;  // not atomic: only the engine's thread touches it
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto caller = std::this_thread::get_id();
      for (int k = 0; k < 250; ++k) {
        const bool inside = engine->call([&] {
          ++count;
          return engine->call([&] { return std::this_thread::get_id() != caller; });  // from its own thread: at once
        });
        EXPECT_TRUE(inside);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  engine->stop();
  EXPECT_EQ(count, 1000);
  EXPECT_EQ(engine->call([&] { return count; }), 1000);  // with no thread there, in the caller's
}

TEST(Engine, StopsWhileItSleepsAndStartsAgain) {
  const auto engine = Engine::create(small_setup()).value();
  for (int i = 0; i < 3; ++i) {
    engine->start().value();
    EXPECT_EQ(engine->start().error().code, EALREADY);
    engine->stop();
  }
  EXPECT_FALSE(engine->has_thread());
}

TEST(Engine, WaitsNoLongerThanItIsTold) {
  const auto engine = Engine::create(small_setup()).value();
  const auto before = steady_clock::now();
  engine->run_once(before + std::chrono::milliseconds(5));
  EXPECT_GE(steady_clock::now() - before, std::chrono::milliseconds(5));
}

// B2: the loop sleeps until a paced socket's next datagram comes due, and close() loses none; the port is free at once.
TEST(Engine, HoldsWhatAPacedSocketSendsUntilItsTime) {
  const auto segment = link::MemorySegment::create().value();
  Host a(*segment, 1), b(*segment, 2);
  a.open(53);
  b.open(53);
  a.engine->call([&] { a.endpoint->set_pacing_rate(50'000, a.engine->now()); });
  b.engine->start().value();
  a.engine->start().value();
  const auto before = steady_clock::now();
  const std::string data(972, 'x');
  constexpr int sent = 20;  // 3 at once, and the others 20 ms apart
  for (int i = 0; i < sent; ++i) ASSERT_TRUE(a.send(data, at(2, 53)));
  a.engine->call([&] { a.engine->close_endpoint(*a.endpoint); });
  a.client.reset();
  a.open(53);
  stack::ReceiveSlot slot;
  for (int i = 0; i < sent; ++i) {
    while (!b.receive(slot)) ASSERT_TRUE(wait_readable(*b.client, soon())) << "datagram " << i << " is lost";
    EXPECT_EQ(slot.header.peer, at(1, 53));
  }
  EXPECT_GE(steady_clock::now() - before, std::chrono::milliseconds(20) * (sent - 3));
  EXPECT_LT(a.engine->counters().rounds.value(), 1000u);
  a.engine->stop();
  EXPECT_EQ(a.engine->stack().udp().socket_count(), 1u);
}

// What is held back for longer than that is lost by its name, and neither time nor number is without a bound.
TEST(Engine, HoldsNothingOfAClosedSocketForEver) {
  const auto segment = link::MemorySegment::create().value();
  EngineSetup setup = small_setup();
  setup.retirement = std::chrono::milliseconds(20);
  Host a(*segment, 1, setup);
  constexpr int sockets = 300, sent = 5;  // of which the first leaves at once
  for (int i = 0; i < sockets; ++i) {
    a.open(53);
    a.engine->call([&] { a.endpoint->set_pacing_rate(1, a.engine->now()); });
    for (int k = 0; k < sent; ++k) ASSERT_TRUE(a.send(std::string(3000, 'x'), at(1, 9)));
    a.engine->call([&] { a.engine->close_endpoint(*a.endpoint); });
    a.client.reset();
    a.endpoint = nullptr;
    EXPECT_LE(a.engine->stack().udp().socket_count(), 256u);
  }
  const auto end = steady_clock::now() + std::chrono::seconds(10);
  while (a.engine->stack().udp().socket_count() != 0 && steady_clock::now() < end) a.engine->run_once(steady_clock::now() + std::chrono::seconds(5));
  EXPECT_EQ(a.engine->stack().udp().socket_count(), 0u);
  EXPECT_EQ(a.engine->stack().fates().dropped_count(Drop::socket_closed), std::uint64_t{sockets} * (sent - 1));
}

// A link that can break, as a TAP interface that is deleted: its descriptor is ready for ever, and nothing comes by it.
class BreakableLink final : public link::Link {
 public:
  BreakableLink() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    fd_ = Fd(ends[0]);
    device_ = Fd(ends[1]);
  }
  // In whatever thread.
  void break_it() {
    broken_ = true;
    device_ = Fd();
  }
  [[nodiscard]] const link::Caps& caps() const override { return caps_; }
  [[nodiscard]] const link::Counters& counters() const override { return counters_; }
  std::size_t receive(std::span<Frame>, FramePools&, Time) override { return 0; }
  std::size_t send(std::span<Frame> frames, Time) override {
    for (Frame& frame : frames) frame.release();
    return frames.size();
  }
  [[nodiscard]] int fd() const override { return fd_.get(); }
  [[nodiscard]] Result<void> status() const override {
    if (broken_) return Error{ENODEV, "it broke"};
    return {};
  }

 private:
  link::Caps caps_{.name = "breakable", .mac = link::MemorySegment::create().value()->attach().value()->caps().mac};
  link::Counters counters_;
  Fd fd_, device_;
  std::atomic<bool> broken_ = false;
};

TEST(Engine, TellsOnceOfALinkThatIsGoneAndSleepsOn) {
  std::atomic<int> told = 0;
  EngineSetup setup = small_setup();
  setup.on_link_lost = [&](std::uint32_t interface, const Error& why) {
    EXPECT_EQ(interface, 2u);
    EXPECT_EQ(why.code, ENODEV);
    ++told;
  };
  const auto engine = Engine::create(setup).value();
  auto owned = std::make_unique<BreakableLink>();
  BreakableLink& link = *owned;
  ASSERT_EQ(engine->add_link(std::move(owned)).value(), 2u);
  engine->stack().add_address(2, IpAddress::ipv4(10, 0, 0, 1), 24, engine->now()).value();
  engine->start().value();
  const HostView view(engine->host_page());
  EXPECT_TRUE(view.find(IpAddress::ipv4(10, 0, 0, 9), 0)->reachable);
  EXPECT_EQ(told, 0);

  link.break_it();
  for (const Moment end = soon(); told == 0 && steady_clock::now() < end;) std::this_thread::yield();
  ASSERT_EQ(told, 1);
  engine->call([&] { EXPECT_FALSE(engine->stack().interfaces().find(2)->is_up()); });
  EXPECT_FALSE(view.find(IpAddress::ipv4(10, 0, 0, 9), 0)->reachable);
  // What is left to do are the timers of the address that was announced.
  const std::uint64_t rounds = engine->counters().rounds.value();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LT(engine->counters().rounds.value() - rounds, 20u);
  engine->stop();
  for (int i = 0; i < 3; ++i) engine->run_once(Moment::min());
  EXPECT_EQ(told, 1);
}

// A link that cannot be waited for: its interface goes with it, and the next one is as if it had never been.
TEST(Engine, TakesBackWhatHasNoLink) {
  class Unwatchable : public link::Link {
   public:
    [[nodiscard]] const link::Caps& caps() const override { return caps_; }
    std::size_t receive(std::span<Frame>, FramePools&, Time) override { return 0; }
    std::size_t send(std::span<Frame>, Time) override { return 0; }
    [[nodiscard]] int fd() const override { return fd_.get(); }
    [[nodiscard]] const link::Counters& counters() const override { return counters_; }

   private:
    link::Caps caps_{.name = "unwatchable"};
    link::Counters counters_;
    Fd fd_{::memfd_create("no device", MFD_CLOEXEC)};  // epoll takes no files
  };
  const auto engine = Engine::create(small_setup()).value();
  const std::size_t before = engine->stack().interfaces().all().size();
  const auto refused = engine->add_link(std::make_unique<Unwatchable>());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EPERM);
  EXPECT_EQ(engine->stack().interfaces().all().size(), before);
  const auto segment = link::MemorySegment::create().value();
  const auto interface = engine->add_link(segment->attach().value());
  ASSERT_TRUE(interface);
  EXPECT_NE(engine->link(*interface), nullptr);
  EXPECT_EQ(engine->add_link(std::make_unique<Unwatchable>(), *interface).error().code, EEXIST);
  EXPECT_EQ(engine->add_link(std::make_unique<Unwatchable>(), 77).error().code, ENODEV);
}

// A socket that nobody looked at for long asks to be told; one that was closed meanwhile is no longer asked.
TEST(Engine, ForgetsAClosedSocketThatWasActive) {
  const auto segment = link::MemorySegment::create().value();
  Host a(*segment, 1);
  a.open(0);
  ASSERT_TRUE(a.send("to nobody", at(9, 9)));
  a.engine->run_once(Moment::min());
  const std::uint32_t slot = a.endpoint->slot;
  a.engine->close_endpoint(*a.endpoint);
  a.endpoint = nullptr;
  a.engine->notify_sends(slot);
  a.engine->run_once(Moment::min());
  a.client.reset();
  a.open(0);
  EXPECT_EQ(a.endpoint->slot, slot);
}

}  // namespace
}  // namespace gannet::engine
