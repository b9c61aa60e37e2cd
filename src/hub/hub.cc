#include "hub/hub.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "hub/sheet.h"
#include "socket/control.h"

namespace gannet::hub {
namespace {

using Clock = std::chrono::steady_clock;

// Until the next attempt to accept, where the system had no descriptor left for it.
constexpr std::chrono::milliseconds retry_accept{20};
// And to go, where somebody was about to come.
constexpr std::chrono::milliseconds retry_leave{20};
// Whoever connects without end keeps nobody else from being served.
constexpr int accepts_at_once = 64;

Result<SocketKey> make_key() {
  SocketKey key;
  if (::getrandom(key.words.data(), sizeof key.words, 0) != sizeof key.words) return Error{EAGAIN, "no randomness for the socket's key"};
  return key;
}

Reply refusal(const Error& error) {
  Reply reply;
  reply.error = error.code;
  return reply;
}

// It names a socket or a program by a key, which is checked later: so whoever knows that may ask it.
bool needs_key(const Request& request) {
  using Kind = Request::Kind;
  return request.kind == Kind::open || request.kind == Kind::control || request.kind == Kind::add_send_ring || request.kind == Kind::close;
}

// For captures and terminals.
ProcessName printable(ProcessName name) {
  for (char& c : name) {
    if (c != '\0' && (c < ' ' || c > '~')) c = '?';
  }
  return name;
}

}  // namespace

Result<std::unique_ptr<Hub>> Hub::create(Fd listener, const HubSetup& setup) {
  engine::EngineSetup shared = setup.engine;
  shared.sharing = stack::Sharing::processes;
  if (setup.via == Via::kernel) shared.stack = guest_config(shared.stack);
  auto engine = engine::Engine::create(shared);
  if (!engine) return engine.error();
  std::unique_ptr<Hub> hub(new Hub(std::move(listener), setup, std::move(*engine)));
  if (!hub->wakeup_) return Error{errno, "no descriptor left for the hub"};
  if (setup.via == Via::none) return hub;
  auto guest = Guest::create(*hub->engine_);
  if (!guest) return guest.error();
  hub->guest_ = std::move(*guest);
  return hub;
}

Hub::Hub(Fd listener, const HubSetup& setup, std::unique_ptr<engine::Engine> engine)
    : setup_(setup),
      listener_(std::move(listener)),
      programs_(*engine),
      engine_(std::move(engine)),
      wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      leaves_from_(Clock::now() + setup.linger) {}

Hub::~Hub() { engine_->stop(); }

void Hub::stop() {
  stopping_ = true;
  wake();
}

void Hub::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wakeup_.get(), &one, sizeof one);
}

Result<void> Hub::run() {
  if (!engine_->has_thread()) {
    if (const auto started = engine_->start(); !started) return started;
  }
  if (setup_.on_ready) setup_.on_ready();
  std::vector<pollfd> waits;
  while (!stopping_) {
    const auto now = Clock::now();
    const bool used = is_used();
    if (used) leaves_from_ = now + setup_.linger;
    if (setup_.linger.count() != 0 && now >= leaves_from_ && leave()) return {};
    waits.assign({{wakeup_.get(), POLLIN, 0}, {listener_.get(), now < accepts_from_ ? short{0} : short{POLLIN}, 0}});
    for (const Visitor& visitor : visitors_) waits.push_back({visitor.fd.get(), POLLIN, 0});
    for (const Member& member : members_) waits.push_back({member.fd.get(), POLLIN, 0});
    ::poll(waits.data(), waits.size(), patience());

    std::uint64_t count = 0;
    while (::read(wakeup_.get(), &count, sizeof count) > 0) {
    }
    const auto then = Clock::now();
    if (used) leaves_from_ = then + setup_.linger;  // from the end of the sleep, in which the last socket may have been closed
    std::erase_if(visitors_, [&](Visitor& visitor) { return !serve(visitor) || visitor.until <= then; });
    std::erase_if(members_, [&](const Member& member) { return !keep(member); });
    accept();
  }
  listener_.reset();
  return {};
}

bool Hub::leave() {
  Fd door;
  if (setup_.close_door) {
    auto closed = setup_.close_door();
    if (!closed && closed.error().code == EAGAIN) {
      leaves_from_ = Clock::now() + retry_leave;
      return false;
    }
    if (closed) door = std::move(*closed);
  }
  accept();
  if (is_used()) return false;
  listener_.reset();
  return true;
}

// Until the next moment at which something is due, in milliseconds.
int Hub::patience() const {
  auto next = Clock::time_point::max();
  for (const Visitor& visitor : visitors_) next = std::min(next, visitor.until);
  if (accepts_from_ > Clock::now()) next = std::min(next, accepts_from_);
  if (!is_used() && setup_.linger.count() != 0) next = std::min(next, leaves_from_);
  if (next == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
  return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, std::numeric_limits<int>::max()));
}

void Hub::accept() {
  for (int i = 0; i < accepts_at_once; ++i) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      // Whoever waits stays in the backlog, and the listener readable: it is not looked at for a while.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) accepts_from_ = Clock::now() + retry_accept;
      return;
    }
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) continue;
    const bool is_stranger = peer.uid != ::geteuid();
    // Strangers have a quarter of the places, and for a shorter time: so they cannot keep the others out.
    const auto strangers = static_cast<std::size_t>(std::ranges::count(visitors_, true, &Visitor::is_stranger));
    if (visitors_.size() >= setup_.connections || (is_stranger && strangers >= setup_.connections / 4)) {
      static_cast<void>(send(fd.get(), refusal({EAGAIN}), {}));
      continue;
    }
    const auto until = Clock::now() + (is_stranger ? setup_.request_patience / 10 : setup_.request_patience);
    Visitor visitor{.fd = std::move(fd), .process = peer.pid, .is_stranger = is_stranger, .incoming = {}, .until = until};
    if (serve(visitor)) visitors_.push_back(std::move(visitor));
  }
}

bool Hub::serve(Visitor& visitor) {
  Request request;
  const auto whole = receive(visitor.fd.get(), visitor.incoming, request);
  if (whole && !*whole) return true;
  if (!whole) {
    if (whole.error().code == EPROTO) static_cast<void>(send(visitor.fd.get(), refusal(whole.error()), {}));
    return false;
  }
  if (visitor.is_stranger && !needs_key(request)) {
    static_cast<void>(send(visitor.fd.get(), refusal({EPERM}), {}));
    return false;
  }
  leaves_from_ = Clock::now() + setup_.linger;
  switch (request.kind) {
    case Request::Kind::open:
      open(visitor, request);
      return false;
    case Request::Kind::open_program:
      open_program(visitor, request);
      return false;
    case Request::Kind::report_program:
      report_program(visitor, request);
      return false;
    default:
      break;
  }
  std::shared_ptr<stack::SendMemory> ring;
  auto reply = engine_->call([&] { return carry_out(request, ring); });
  if (!reply) reply = refusal(reply.error());
  const int fd = ring ? ring->memory().fd() : -1;
  reply->fds = ring ? 1 : 0;
  static_cast<void>(send(visitor.fd.get(), *reply, std::span(&fd, reply->fds)));
  if (ring) ring->memory().forget_fd();
  if (request.kind == Request::Kind::shut_down) stop();
  return false;
}

// The reply goes first: from the moment that the engine has the connection, what it writes there is the doorbell.
void Hub::open(Visitor& visitor, const Request& request) {
  const auto opened = engine_->call([&] { return open_socket(visitor, request); });
  if (!opened) {
    static_cast<void>(send(visitor.fd.get(), refusal(opened.error()), {}));
    return;
  }
  const std::array fds{opened->rings->memory().fd(), opened->send->memory().fd(), engine_->host_page().fd()};
  Reply reply;
  reply.fds = fds.size();
  reply.key = opened->key;
  const auto sent = send(visitor.fd.get(), reply, fds);
  opened->rings->memory().forget_fd();
  opened->send->memory().forget_fd();
  engine_->call([&] {
    const SocketKey key = opened->key;
    if (sent && engine_->adopt_bell(*tenants_.at(key).endpoint, std::move(visitor.fd), [this, key] { close_socket(key); })) return;
    close_socket(key);
  });
}

void Hub::open_program(Visitor& visitor, const Request& request) {
  if (members_.size() >= Programs::max_programs) {
    static_cast<void>(send(visitor.fd.get(), refusal({ENOBUFS}), {}));
    return;
  }
  const auto key = make_key();
  const auto opened = key ? engine_->call([&] { return programs_.open(*key, request.setup); }) : Result<void>(key.error());
  if (!opened) {
    static_cast<void>(send(visitor.fd.get(), refusal(opened.error()), {}));
    return;
  }
  const int fd = engine_->call([&] { return programs_.capture_fd(*key); });
  Reply reply;
  reply.key = *key;
  reply.fds = fd >= 0 ? 1 : 0;
  static_cast<void>(send(visitor.fd.get(), reply, std::span(&fd, reply.fds)));
  engine_->call([&] { programs_.forget_capture_fd(*key); });
  members_.push_back({std::move(visitor.fd), *key});  // where the reply did not arrive, it is gone by the next look
}

void Hub::report_program(const Visitor& visitor, const Request& request) {
  const auto report = engine_->call([&] { return programs_.report(request.program); });
  const auto sheet = report ? write_sheet(std::as_bytes(std::span(&*report, 1))) : Result<Fd>(report.error());
  if (!sheet) {
    static_cast<void>(send(visitor.fd.get(), refusal(sheet.error()), {}));
    return;
  }
  Reply reply;
  reply.fds = 1;
  const int fd = sheet->get();
  static_cast<void>(send(visitor.fd.get(), reply, std::span(&fd, 1)));
}

// It has nothing to say: whatever comes is its end.
bool Hub::keep(const Member& member) {
  char byte = 0;
  if (::recv(member.fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  engine_->call([&] { programs_.leave(member.program); });
  return false;
}

Result<Hub::Opened> Hub::open_socket(const Visitor& visitor, const Request& request) {
  const std::int32_t process = visitor.process;
  if (const auto good = socket::check(request.control); !good) return good.error();
  if (visitor.is_stranger && !programs_.knows(request.program)) return Error{EPERM, "the hub is another user's"};
  engine_->look_at_bells();
  const auto count = sockets_of_.find(process);
  if (count != sockets_of_.end() && count->second >= setup_.sockets_per_process) {
    return Error{EMFILE, "this process has as many sockets of the hub as it may have"};
  }
  const auto key = make_key();
  if (!key) return key.error();
  const auto endpoint = engine_->open_endpoint();
  if (!endpoint) return endpoint.error();
  auto send = (*endpoint)->add_send_ring();
  const ProcessName name = printable(request.name);
  auto done = send ? programs_.attach(request.program, **endpoint, {.process = static_cast<std::uint32_t>(process), .name = name}) : send.error();
  if (done) {
    const auto set = socket::carry_out(*engine_, **endpoint, request.control);
    if (!set) {
      programs_.detach(request.program);
      done = set.error();
    }
  }
  if (!done) {
    engine_->close_endpoint(**endpoint);
    return done.error();
  }
  tenants_[*key] = {.endpoint = *endpoint, .process = process, .program = request.program, .name = name};
  ++sockets_of_[process];
  ++sockets_;
  return Opened{.key = *key, .rings = (*endpoint)->memory(), .send = std::move(*send)};
}

void Hub::close_socket(const SocketKey& key) {
  const auto found = tenants_.find(key);
  if (found == tenants_.end()) return;
  const auto count = sockets_of_.find(found->second.process);
  if (--count->second == 0) sockets_of_.erase(count);
  engine_->close_endpoint(*found->second.endpoint);
  const ProgramKey program = found->second.program;
  tenants_.erase(found);
  programs_.detach(program);
  if (--sockets_ == 0) wake();
}

Result<Reply> Hub::carry_out(const Request& request, std::shared_ptr<stack::SendMemory>& send) {
  Reply reply;
  if (request.kind == Request::Kind::shut_down) return reply;
  if (request.kind == Request::Kind::status) {
    reply.status = status();
    return reply;
  }
  if (request.kind == Request::Kind::end_capture) {
    if (const auto ended = programs_.end_capture(request.program); !ended) return ended.error();
    return reply;
  }
  engine_->look_at_bells();
  const auto found = tenants_.find(request.key);
  if (found == tenants_.end()) return Error{EBADF, "the hub has no such socket"};
  stack::Endpoint& endpoint = *found->second.endpoint;
  if (request.kind == Request::Kind::close) {
    close_socket(request.key);
    return reply;
  }
  if (request.kind == Request::Kind::add_send_ring) {
    auto ring = endpoint.add_send_ring();
    if (!ring) return ring.error();
    send = std::move(*ring);
    return reply;
  }
  if (const auto good = socket::check(request.control); !good) return good.error();
  const auto answer = socket::carry_out(*engine_, endpoint, request.control);
  if (!answer) return answer.error();
  reply.answer = *answer;
  return reply;
}

Status Hub::status() {
  Status status;
  status.process = ::getpid();
  status.sockets = static_cast<std::uint32_t>(tenants_.size());
  const stack::UdpCounters& udp = engine_->stack().udp().counters();
  status.datagrams_in = udp.in_datagrams.value();
  status.datagrams_out = udp.out_datagrams.value();
  status.rounds = engine_->counters().rounds.value();
  status.sleeps = engine_->counters().sleeps.value();
  return status;
}

}  // namespace gannet::hub
