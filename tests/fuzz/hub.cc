// What applications ask of a hub, any bytes at all: a request is refused or carried out, and the host lives on.
//
// The input is a row of requests, each for one of four sockets; a last one may be cut short.
#include <cstring>

#include "engine/engine.h"
#include "fuzz/fuzz.h"
#include "hub/protocol.h"
#include "socket/control.h"

using namespace gannet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  engine::EngineSetup setup;
  setup.small_frames = 64;
  setup.large_frames = 4;
  setup.seed = 1;
  auto engine = engine::Engine::create(setup).value();
  std::array<stack::Endpoint*, 4> sockets{};
  for (auto& socket : sockets) socket = engine->open_endpoint().value();
  while (size != 0) {
    hub::Request request;
    const std::size_t count = std::min(size, sizeof request);
    std::memcpy(&request, data, count);
    data += count;
    size -= count;
    if (!socket::check(request.control)) continue;
    stack::Endpoint& socket = *sockets[request.key.words[0] % sockets.size()];
    engine->call([&] {
      const auto answer = socket::carry_out(*engine, socket, request.control);
      EXPECT(answer || answer.error().code > 0);
    });
  }
  for (stack::Endpoint* socket : sockets) engine->call([&] { engine->close_endpoint(*socket); });
  EXPECT(engine->stack().held() == 0);
  return 0;
}
