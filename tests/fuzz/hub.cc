// What applications ask of a hub and write into the memory that they share with it, any bytes at all: a request is refused or carried out, a record
// sent or dropped, and the host lives on.
//
// The input is a row of steps, each an octet that says which of four sockets and what to do, and what that needs; a last one may be cut short. Each
// socket can be of a program, with an impaired path and a capture, whose memory is written to as well.
#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/engine.h"
#include "fuzz/fuzz.h"
#include "hub/capture_memory.h"
#include "hub/programs.h"
#include "hub/protocol.h"
#include "socket/control.h"

using namespace gannet;

namespace {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}
  [[nodiscard]] bool is_empty() const { return rest_.empty(); }
  template <class T>
  T take() {
    T value{};
    const std::size_t count = std::min(rest_.size(), sizeof value);
    std::memcpy(static_cast<void*>(&value), rest_.data(), count);
    rest_ = rest_.subspan(count);
    return value;
  }
  std::span<const std::uint8_t> take(std::size_t size) {
    const auto taken = rest_.first(std::min(size, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

constexpr std::size_t first_port = 7000;  // of the sockets, each by its ordinal

Address on_loopback(std::uint16_t port) { return {IpAddress::ipv4(127, 0, 0, 1), port}; }

struct App {
  std::size_t ordinal = 0;
  stack::Endpoint* endpoint = nullptr;
  std::shared_ptr<stack::SendMemory> send;
  hub::ProgramKey program{};  // of all zeros: the socket is of none
  std::optional<hub::CaptureMemory> capture;
};

void write(Input& input, std::span<std::byte> memory) {
  const std::size_t at = input.take<std::uint32_t>() % memory.size();
  const auto bytes = input.take(std::min<std::size_t>(input.take<std::uint8_t>(), memory.size() - at));
  std::ranges::copy(std::as_bytes(bytes), memory.begin() + static_cast<std::ptrdiff_t>(at));
}

// A record where the engine looks next: any, or a datagram to somebody here.
void commit(Input& input, const stack::SendMemory& send) {
  const std::uint64_t tail = send.control().tail.load();
  const std::size_t place = tail % stack::send_ring_size;
  const auto what = input.take<std::uint8_t>();
  std::uint64_t size = what * std::uint64_t{8};
  auto header = input.take<stack::RecordHeader>();
  if (what % 2 != 0) {
    const Address peer = on_loopback(static_cast<std::uint16_t>(first_port + header.peer.port % 8));
    header = {};
    header.kind = stack::RecordKind::datagram;
    header.payload_size = header.datagram_size = what;
    header.peer = peer;
    size = (sizeof header + what + 63) / 64 * 64;
    header.size = static_cast<std::uint32_t>(size);
  }
  if (place % 64 != 0) return;
  std::memcpy(&send.ring()[place], &header, std::min(sizeof header, stack::send_ring_size - place));
  send.commits()[place / 64].store(tail + size);
}

void request(Input& input, engine::Engine& engine, App& app) {
  const auto request = input.take<hub::Request>();
  if (!socket::check(request.control)) return;
  engine.call([&] {
    const auto answer = socket::carry_out(engine, *app.endpoint, request.control);
    EXPECT(answer || answer.error().code > 0);
  });
}

void open(engine::Engine& engine, App& app) {
  app.endpoint = engine.open_endpoint().value();
  app.send = app.endpoint->add_send_ring().value();
  engine.call([&] {
    const auto port = static_cast<std::uint16_t>(first_port + app.ordinal);
    static_cast<void>(socket::carry_out(engine, *app.endpoint, {.kind = socket::ControlRequest::Kind::bind, .address = on_loopback(port)}));
  });
}

void close(engine::Engine& engine, hub::Programs& programs, App& app) {
  engine.call([&] {
    engine.close_endpoint(*app.endpoint);
    programs.detach(app.program);
    programs.leave(app.program);
  });
  app.program = {};
  app.capture.reset();
}

// Any bytes at all are hardly ever a path that the hub takes: most are made of numbers that can be.
hub::ProgramSetup describe(Input& input) {
  hub::ProgramSetup setup;
  const auto what = input.take<std::uint8_t>();
  if (what % 16 == 15) {
    setup = input.take<hub::ProgramSetup>();
    for (Impairment* each : {&setup.in, &setup.out}) each->held_packets %= 64;  // a run is not to be about memory that is reserved
  } else {
    for (Impairment* each : {&setup.in, &setup.out}) {
      for (double* chance : {&each->loss, &each->burst_start, &each->reorder, &each->duplicate, &each->corrupt})
        *chance = input.take<std::uint8_t>() % 128 / 127.0;
      each->delay = std::chrono::nanoseconds(input.take<std::uint16_t>());
      each->jitter = each->delay / 2;
      each->rate = input.take<std::uint32_t>();
      each->queue_bytes = 1 + input.take<std::uint16_t>();
      each->held_packets = 1 + input.take<std::uint8_t>() % 63;
    }
    setup.mtu = what & 1 ? input.take<std::uint16_t>() : 0;
    setup.capture = what >> 1 & 1;
    setup.report = what >> 2 & 1;
  }
  return setup;
}

// The socket once more, of a program of its own; of none where the hub refuses that.
void reopen(Input& input, engine::Engine& engine, hub::Programs& programs, App& app, std::uint64_t ordinal) {
  const hub::ProgramSetup setup = describe(input);
  close(engine, programs, app);
  open(engine, app);
  const hub::ProgramKey key{{ordinal, 1}};
  engine.call([&] {
    const auto opened = programs.open(key, setup);
    EXPECT(opened || opened.error().code > 0);
    if (!opened) return;
    if (const int fd = programs.capture_fd(key); fd >= 0) {
      app.capture.emplace(hub::CaptureMemory::attach(Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0))).value());
      programs.forget_capture_fd(key);
    }
    EXPECT(programs.attach(key, *app.endpoint, {.process = 1, .name = input.take<hub::ProcessName>()}));
    app.program = key;
  });
}

void ask(Input& input, engine::Engine& engine, hub::Programs& programs, const App& app) {
  const auto dst = input.take<std::uint32_t>();
  engine.call([&] {
    static_cast<void>(programs.path_mtu(app.program, IpAddress::ipv4(dst)));
    static_cast<void>(programs.report(app.program));
    const auto ended = programs.end_capture(app.program);
    EXPECT(ended || ended.error().code > 0);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  engine::EngineSetup setup;
  setup.small_frames = 64;
  setup.large_frames = 4;
  setup.seed = 1;
  auto engine = engine::Engine::create(setup).value();
  hub::Programs programs(*engine);
  std::array<App, 4> apps{};
  for (std::size_t i = 0; i < apps.size(); ++i) {
    apps[i].ordinal = i;
    open(*engine, apps[i]);
  }
  std::uint64_t ordinal = 0;
  for (Input input(data, size); !input.is_empty();) {
    const auto step = input.take<std::uint8_t>();
    App& app = apps[step % apps.size()];
    switch (step / apps.size() % 8) {
      case 0:
        request(input, *engine, app);
        break;
      case 1:
        write(input, app.send->memory().bytes());
        break;
      case 2:
        write(input, app.endpoint->memory()->memory().bytes());
        break;
      case 3:
        commit(input, *app.send);
        break;
      case 4:
        reopen(input, *engine, programs, app, ++ordinal);
        break;
      case 5:
        if (app.capture) write(input, app.capture->memory().bytes());
        break;
      case 6:
        ask(input, *engine, programs, app);
        break;
      default:
        engine->notify_sends(app.endpoint->slot);
        engine->run_once(engine::Moment{});
        break;
    }
  }
  for (App& app : apps) close(*engine, programs, app);
  for (int rounds = 0; rounds < 64 && engine->stack().held() != 0; ++rounds) engine->run_once(engine::Moment{});
  EXPECT(engine->stack().held() == 0 || engine->stack().udp().socket_count() != 0);
  engine.reset();  // before the programs, whose captures it writes
  return 0;
}
