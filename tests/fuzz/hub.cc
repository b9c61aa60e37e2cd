// What applications ask of a hub and write into the memory that they share with it, any bytes at all: a request is refused or carried out, a record
// sent or dropped, and the host lives on.
//
// The input is a row of steps, each an octet that says which of four sockets and what to do, and what that needs; a last one may be cut short.
#include <algorithm>
#include <cstring>

#include "engine/engine.h"
#include "fuzz/fuzz.h"
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

struct App {
  stack::Endpoint* endpoint = nullptr;
  std::shared_ptr<stack::SendMemory> send;
};

void write(Input& input, std::span<std::byte> memory) {
  const std::size_t at = input.take<std::uint32_t>() % memory.size();
  const auto bytes = input.take(std::min<std::size_t>(input.take<std::uint8_t>(), memory.size() - at));
  std::ranges::copy(std::as_bytes(bytes), memory.begin() + static_cast<std::ptrdiff_t>(at));
}

// A record where the engine looks next.
void commit(Input& input, const stack::SendMemory& send) {
  const std::uint64_t tail = send.control().tail.load();
  const std::size_t place = tail % stack::send_ring_size;
  const std::uint64_t size = input.take<std::uint8_t>() * std::uint64_t{8};
  const auto header = input.take<stack::RecordHeader>();
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  engine::EngineSetup setup;
  setup.small_frames = 64;
  setup.large_frames = 4;
  setup.seed = 1;
  auto engine = engine::Engine::create(setup).value();
  std::array<App, 4> apps{};
  for (App& app : apps) {
    app.endpoint = engine->open_endpoint().value();
    app.send = app.endpoint->add_send_ring().value();
  }
  for (Input input(data, size); !input.is_empty();) {
    const auto step = input.take<std::uint8_t>();
    App& app = apps[step % apps.size()];
    switch (step / apps.size() % 5) {
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
      default:
        engine->notify_sends(app.endpoint->slot);
        engine->run_once(engine::Moment{});
        break;
    }
  }
  for (App& app : apps) engine->call([&] { engine->close_endpoint(*app.endpoint); });
  EXPECT(engine->stack().held() == 0 || engine->stack().udp().socket_count() != 0);
  return 0;
}
