#include <gannet/host.h>

#include <algorithm>
#include <cerrno>

#include "engine/engine.h"
#include "link/capture_file.h"
#include "link/capture_link.h"
#include "link/fault_link.h"
#include "link/memory_link.h"
#include "link/watch_link.h"
#include "socket/addressing.h"
#include "socket/host_state.h"
#include "socket/stack_socket.h"
#include "stack/counts.h"
#include "stack/udp.h"
#include "wire/ipv4.h"
#include "wire/print.h"

namespace gannet {

struct SegmentState {
  std::shared_ptr<link::MemorySegment> segment;
};

Segment::Segment(std::size_t mtu) : state_(std::make_shared<SegmentState>()) {
  if (auto made = link::MemorySegment::create(mtu)) state_->segment = std::move(*made);
}
Segment::~Segment() = default;
Segment::Segment(const Segment&) = default;
Segment& Segment::operator=(const Segment&) = default;

Host::State::~State() {
  if (engine) {
    engine->stop();
    engine->stack().fates().observer = {};
  }
  const Time end = engine ? engine->now() : Time{};
  engine.reset();
  served.clear();
  if (capture) static_cast<void>(capture->close(end));
}

void Host::State::packet_dropped(std::span<const std::byte> bytes, Drop reason) {
  if (capture && !bytes.empty()) {
    capture->capture().take(wire::begins_with_ipv4(bytes) ? capture_ip : capture_ethernet, bytes, engine->now(), {.drop = reason});
  }
  tell(bytes, reason);
}

void Host::State::frame_dropped(link::Direction direction, std::span<const std::byte> bytes, Drop reason, Time now) {
  if (capture) capture->capture().take(capture_ethernet, bytes, now, {.direction = direction, .drop = reason});
  tell(bytes, reason);
}

void Host::State::tell(std::span<const std::byte> bytes, std::optional<Drop> reason) {
  if (!options.on_packet) return;
  line.clear();
  if (wire::begins_with_ipv4(bytes)) {
    wire::print_packet(bytes, line);
  } else if (!bytes.empty()) {
    wire::print_frame(bytes, line);
  }
  if (reason) {
    line += line.empty() ? "dropped: " : " dropped: ";
    line += name_of(*reason);
  }
  options.on_packet(line);
}

// Builds, from the wire up: capture, faults, what people watch.
Result<std::unique_ptr<link::Link>> Host::State::dress(std::unique_ptr<link::Link> link) {
  if (!options.capture_file.empty()) {
    const auto real_time = std::chrono::system_clock::now().time_since_epoch();
    const auto offset = std::chrono::duration_cast<Duration>(real_time) - engine->now().time_since_epoch();
    auto file = link::CaptureFile::open(options.capture_file, offset);
    if (!file) return file.error();
    capture = std::move(*file);
    capture_ethernet = capture->capture().add_interface(link->caps().name, link->caps().ethernet);
    capture_ip = capture->capture().add_interface("dropped packets", false);
    link = std::make_unique<link::CaptureLink>(std::move(link), capture->capture(), capture_ethernet);
  }
  if (!options.in.is_none() || !options.out.is_none()) {
    auto faults = link::FaultLink::create(std::move(link), options.in, options.out, engine->pools());
    if (!faults) return faults.error();
    (*faults)->watch_drops(
        [this](link::Direction direction, std::span<const std::byte> frame, Drop reason, Time now) { frame_dropped(direction, frame, reason, now); });
    link = std::move(*faults);
  }
  if (options.on_packet) {
    auto watch = [this](link::Direction, std::span<const std::byte> frame, Time) { tell(frame, std::nullopt); };
    link = std::make_unique<link::WatchLink>(std::move(link), std::move(watch));
  }
  return link;
}

Result<std::unique_ptr<Host::State>> Host::State::create(HostOptions wanted, std::string_view addressing_text, const MakeLink& make_link) {
  const auto addressing = socket::parse_addressing(addressing_text);
  if (!addressing) return addressing.error();
  auto state = std::make_unique<State>();
  state->options = std::move(wanted);
  HostOptions& options = state->options;
  for (const Impairment* impairment : {&options.in, &options.out}) {
    if (const auto good = impairment->check(); !good) return good.error();
  }
  const auto held = (options.in.is_none() ? 0 : options.in.held_packets) + (options.out.is_none() ? 0 : options.out.held_packets);
  engine::EngineSetup setup;
  setup.small_frames = options.small_frames + held;
  setup.large_frames = options.large_frames;
  setup.stack.arp_probe = options.arp_probe;
  setup.seed = options.seed;
  setup.spin = options.spin;
  if (options.on_link_lost) setup.on_link_lost = [tell = options.on_link_lost](std::uint32_t, const Error& why) { tell(why); };
  auto engine = engine::Engine::create(setup);
  if (!engine) return engine.error();
  state->engine = std::move(*engine);

  auto link = make_link();
  if (!link) return link.error();
  auto dressed = state->dress(std::move(*link));
  if (!dressed) return dressed.error();
  const auto interface = state->engine->call([&] { return socket::configure(*state->engine, std::move(*dressed), *addressing); });
  if (!interface) return interface.error();
  if (state->capture || options.on_packet) {
    state->engine->stack().fates().observer = {
        [](void* self, std::span<const std::byte> bytes, Drop reason) { static_cast<State*>(self)->packet_dropped(bytes, reason); }, state.get()};
  }
  state->address = addressing->ip;
  state->interface = *interface;
  return state;
}

Result<Host> Host::open(std::string_view via, HostOptions options) {
  const auto place = socket::parse_tap(via);
  if (!place) return place.error();
  const std::string_view addressing = via.substr(via.find(',') + 1);
  auto state = State::create(std::move(options), addressing, [&] { return socket::open_tap(place->name); });
  if (!state) return state.error();
  return Host(std::move(*state));
}

Result<Host> Host::open(const Segment& segment, std::string_view address, HostOptions options) {
  if (!segment.state_->segment) return Error{EINVAL, "a segment's MTU is 68 to 65,535 bytes"};
  auto state = State::create(std::move(options), address, [&]() -> Result<std::unique_ptr<link::Link>> {
    auto port = segment.state_->segment->attach();
    if (!port) return port.error();
    return std::unique_ptr<link::Link>(std::move(*port));
  });
  if (!state) return state.error();
  return Host(std::move(*state));
}

Host::Host(std::unique_ptr<State> state) : state_(std::move(state)) {}
Host::Host(Host&&) noexcept = default;
Host& Host::operator=(Host&&) noexcept = default;
Host::~Host() = default;

Result<void> Host::start() { return state_->engine->start(); }
void Host::stop() { state_->engine->stop(); }

Result<void> Host::run_once(Deadline deadline) {
  if (state_->engine->has_thread()) return Error{EBUSY, "the host runs in a thread of its own: stop() it before running it here"};
  state_->engine->run_once(deadline.at());
  return state_->engine->link(state_->interface)->status();
}

Result<void> Host::link_status() const {
  engine::Engine& engine = *state_->engine;
  return engine.call([&] { return engine.link(state_->interface)->status(); });
}

Result<void> Host::add_capture_secrets(std::string_view key_log) {
  if (!state_->capture) return Error{EINVAL, "nothing is captured: HostOptions::capture_file names no file"};
  const bool done = state_->engine->call([&] { return state_->capture->capture().add_secrets(key_log); });
  return done ? Result<void>() : Error{ENOBUFS, "the capture's buffer is full"};
}

IpAddress Host::address() const { return state_->address; }
std::uint32_t Host::interface() const { return state_->interface; }

// Handlers.

struct RequestAccess {
  static Request make(stack::Delivery& delivery, void* context) {
    Request request;
    request.data = delivery.payload;
    request.peer = delivery.peer();
    request.local = delivery.local();
    request.interface = delivery.ip.interface;
    request.ttl = delivery.ip.hop_limit;
    request.tos = delivery.ip.tos;
    request.context_ = context;
    return request;
  }
};

namespace {

// What a Request needs to answer: alive while its handler runs.
struct Answering {
  stack::Udp& udp;
  stack::Endpoint& endpoint;
  stack::Delivery& delivery;
};

}  // namespace

void Request::reply(std::size_t size) {
  auto& to = *static_cast<Answering*>(context_);
  static_cast<void>(to.udp.reply(to.endpoint, to.delivery, std::min(size, to.delivery.payload.size())));
}

void Request::reply(std::span<const std::byte> bytes) {
  auto& to = *static_cast<Answering*>(context_);
  stack::Delivery& delivery = to.delivery;
  const bool is_answered = !*delivery.frame;
  if (!is_answered && bytes.size() > delivery.payload.size() + delivery.frame->tailroom()) {
    // Longer than the frame has room for: sent like any other datagram.
    stack::SendRequest request{.header = {}, .payload = bytes};
    request.header.peer = delivery.peer();
    if (!delivery.ip.to_group) request.header.local = delivery.local();
    [[maybe_unused]] const auto fate = to.udp.submit(to.endpoint, request, delivery.now);
    return;
  }
  if (!is_answered) std::copy(bytes.begin(), bytes.end(), delivery.payload.data());
  static_cast<void>(to.udp.reply(to.endpoint, to.delivery, bytes.size()));
}

Result<void> Host::serve(const Address& local, Handler handler) {
  engine::Engine& engine = *state_->engine;
  auto served = std::make_unique<State::Served>(State::Served{engine.stack().udp(), std::move(handler)});
  const auto bound = engine.call([&]() -> Result<void> {
    const auto endpoint = engine.open_endpoint();
    if (!endpoint) return endpoint.error();
    (*endpoint)->handler = {[](void* self, stack::Endpoint& e, stack::Delivery& delivery) {
                              auto& here = *static_cast<State::Served*>(self);
                              Answering answering{here.udp, e, delivery};
                              Request request = RequestAccess::make(delivery, &answering);
                              here.handler(request);
                            },
                            served.get()};
    auto done = engine.stack().udp().bind(**endpoint, local);
    if (done) {
      state_->served.push_back(std::move(served));
    } else {
      engine.close_endpoint(**endpoint);
    }
    return done;
  });
  if (!bound) return bound.error().why != nullptr ? bound.error() : socket::failure(socket::Call::bind, bound.error().code);
  return {};
}

// What is counted.

std::vector<Count> Host::counters() const {
  std::vector<Count> all;
  for (const stack::NamedCount& count : stack::counts_of(state_->engine->stack())) {
    if (count.value != 0) all.push_back({std::string(count.name), count.value});
  }
  return all;
}

std::vector<Count> Host::drops() const {
  std::vector<Count> all;
  for (std::size_t i = 0; i < drop_count; ++i) {
    const auto reason = static_cast<Drop>(i);
    std::uint64_t value = state_->engine->stack().fates().dropped_count(reason);
    for (const link::Link* link = state_->engine->link(state_->interface); link != nullptr; link = link->wrapped()) {
      value += link->counters().drops[i].value();
    }
    if (value != 0) all.push_back({std::string(name_of(reason)), value});
  }
  return all;
}

Result<Socket> Socket::open(Host& host, Family family) {
  if (family != Family::ipv4) return Error{EAFNOSUPPORT, "a host of ours speaks IPv4: open the socket with Family::ipv4"};
  auto provider = socket::StackSocket::open(*host.state_->engine);
  if (!provider) return provider.error();
  return Socket(std::move(*provider));
}

}  // namespace gannet
