#include "hub/hub.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "hub/census.h"
#include "hub/privileges.h"
#include "hub/sheet.h"
#include "socket/addressing.h"
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

// That the hub may have, without its own.
std::size_t descriptors_left() {
  constexpr std::size_t own = 24;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 2 * own) return own;
  return static_cast<std::size_t>(limit.rlim_cur) - own;
}

// The kernel's own number of a socket, which no other ever has; 0: this is no socket.
std::uint64_t cookie_of(const Fd& fd) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return fd && ::getsockopt(fd.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

Reply refusal(const Error& error) {
  Reply reply;
  reply.error = error.code;
  return reply;
}

// It names a socket or a program by a key, which is checked later: so whoever knows that may ask it.
bool needs_key(const Request& request) {
  using Kind = Request::Kind;
  switch (request.kind) {
    case Kind::open:
    case Kind::adopt:
    case Kind::control:
    case Kind::add_send_ring:
    case Kind::close:
      return true;
    default:
      return false;
  }
}

// For captures and terminals.
ProcessName printable(ProcessName name) {
  for (char& c : name) {
    if (c != '\0' && (c < ' ' || c > '~')) c = '?';
  }
  return name;
}

Result<void> link_tap(engine::Engine& engine, std::string_view tap) {
  const auto place = socket::parse_tap(tap);
  if (!place) return place.error();
  auto link = socket::open_tap(place->name);
  if (!link) return link.error();
  const auto interface = socket::configure(engine, std::move(*link), place->addressing);
  return interface ? Result<void>() : interface.error();
}

}  // namespace

Result<void> check_tap(std::string_view tap) {
  const auto place = socket::parse_tap(tap);
  return place ? Result<void>() : place.error();
}

Result<std::unique_ptr<Hub>> Hub::create(Fd listener, const HubSetup& setup) {
  engine::EngineSetup shared = setup.engine;
  shared.sharing = stack::Sharing::processes;
  if (setup.via == Via::kernel) shared.stack = guest_config(shared.stack);
  const auto owner = std::make_shared<Hub*>(nullptr);
  if (setup.via == Via::tap) shared.on_link_lost = [owner](std::uint32_t, const Error&) { (*owner)->stop(); };
  auto engine = engine::Engine::create(shared);
  if (!engine) return engine.error();
  auto lives = Lives::create();
  if (!lives) return lives.error();
  std::unique_ptr<Hub> hub(new Hub(std::move(listener), setup, std::move(*engine), std::move(*lives)));
  if (!hub->wakeup_) return Error{errno, "no descriptor left for the hub"};
  *owner = hub.get();
  if (setup.via == Via::none) return hub;
  if (setup.via == Via::tap) {
    if (const auto linked = link_tap(*hub->engine_, setup.tap); !linked) return linked.error();
    return hub;
  }
  auto guest = Guest::create(*hub->engine_);
  if (!guest) return guest.error();
  hub->guest_ = std::move(*guest);
  return hub;
}

// A socket costs a descriptor here. An eighth of what the hub may have is for visitors, and another for programs and processes that share sockets.
Hub::Hub(Fd listener, const HubSetup& setup, std::unique_ptr<engine::Engine> engine, Lives lives)
    : setup_(setup),
      listener_(std::move(listener)),
      programs_(*engine),
      engine_(std::move(engine)),
      wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      accounts_(setup.limits),
      lives_(std::move(lives)),
      leaves_from_(Clock::now() + setup.linger) {
  const std::size_t descriptors = descriptors_left();
  max_visitors_ = std::min(setup.connections, std::max<std::size_t>(descriptors / 8, 1));
  max_sockets_ = (descriptors - descriptors / 4) / (setup.via == Via::kernel ? 3 : 2);  // doorbell and rings; the uplink has one more for each port
}

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
    const short accepts = now < accepts_from_ ? 0 : POLLIN;
    waits.assign({{wakeup_.get(), POLLIN, 0}, {lives_.fd(), POLLIN, 0}, {listener_.get(), accepts, 0}});
    for (const Visitor& visitor : visitors_) waits.push_back({visitor.fd.get(), POLLIN, 0});
    for (const Member& member : members_) waits.push_back({member.fd.get(), POLLIN, 0});
    ::poll(waits.data(), waits.size(), patience());

    std::uint64_t count = 0;
    while (::read(wakeup_.get(), &count, sizeof count) > 0) {
    }
    if (waits[1].revents != 0) engine_->call([&] { take_back(); });
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
    if (is_stranger && strangers >= max_visitors_ / 4) {
      static_cast<void>(send(fd.get(), refusal({ENOBUFS}), {}));
      continue;
    }
    if (visitors_.size() >= max_visitors_) show_one_out();
    const auto until = Clock::now() + (is_stranger ? setup_.request_patience / 10 : setup_.request_patience);
    Visitor visitor{.fd = std::move(fd), .process = peer.pid, .is_stranger = is_stranger, .incoming = {}, .until = until};
    if (serve(visitor)) visitors_.push_back(std::move(visitor));
  }
}

// The one that has been silent for longest, of the process that has most of them.
void Hub::show_one_out() {
  std::unordered_map<std::int32_t, std::size_t> count;
  for (const Visitor& visitor : visitors_) ++count[visitor.process];
  const auto most = std::ranges::max_element(count, {}, [](const auto& each) { return each.second; })->first;
  const auto oldest = std::ranges::find(visitors_, most, &Visitor::process);
  static_cast<void>(send(oldest->fd.get(), refusal({ENOBUFS}), {}));
  visitors_.erase(oldest);
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
  // Of the kernel's ports those that this user may have, and not the hub's.
  const bool binds =
      (request.kind == Request::Kind::open || request.kind == Request::Kind::control) && request.control.kind == socket::ControlRequest::Kind::bind;
  if (guest_ && visitor.is_stranger && binds && !may_bind(visitor.process, request.control.address.port)) {
    static_cast<void>(send(visitor.fd.get(), refusal({EACCES}), {}));
    return false;
  }
  leaves_from_ = Clock::now() + setup_.linger;
  switch (request.kind) {
    case Request::Kind::open:
      open(visitor, request);
      return false;
    case Request::Kind::adopt:
      adopt(visitor);
      return false;
    case Request::Kind::open_program:
      open_program(visitor, request);
      return false;
    case Request::Kind::report_program: {
      const auto report = engine_->call([&] { return programs_.report(request.program); });
      answer(visitor, report ? write_sheet(std::as_bytes(std::span(&*report, 1))) : Result<Fd>(report.error()));
      return false;
    }
    case Request::Kind::list:
      answer(visitor, write_sheet(engine_->call([&] { return list(); }).emit()));
      return false;
    default:
      break;
  }
  std::shared_ptr<stack::SendMemory> ring;
  auto reply = engine_->call([&] { return carry_out(visitor, request, ring); });
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
  visitor.incoming.carried.reset();
  if (!opened) {
    static_cast<void>(send(visitor.fd.get(), refusal(opened.error()), {}));
    return;
  }
  const std::array fds{opened->rings->memory().fd(), opened->send->memory().fd(), engine_->host_page().fd()};
  Reply reply;
  reply.fds = fds.size();
  reply.key = opened->key;
  const auto sent = send(visitor.fd.get(), reply, fds);
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
  reply.status = engine_->call([&] { return status(); });
  reply.fds = fd >= 0 ? 1 : 0;
  static_cast<void>(send(visitor.fd.get(), reply, std::span(&fd, reply.fds)));
  engine_->call([&] { programs_.forget_capture_fd(*key); });
  members_.push_back({std::move(visitor.fd), *key});  // where the reply did not arrive, it is gone by the next look
}

void Hub::answer(const Visitor& visitor, const Result<Fd>& sheet) {
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

// Whoever holds a socket's descriptor may have what its opener got; that he holds it, he shows by sending it.
void Hub::adopt(const Visitor& visitor) {
  const auto found = engine_->call([&] { return adopt_socket(visitor); });
  if (!found) {
    static_cast<void>(send(visitor.fd.get(), refusal(found.error()), {}));
    return;
  }
  const std::array fds{found->rings->memory().fd(), found->send->memory().fd(), engine_->host_page().fd()};
  Reply reply;
  reply.fds = fds.size();
  reply.key = found->key;
  static_cast<void>(send(visitor.fd.get(), reply, fds));
  found->send->memory().forget_fd();
}

Result<Hub::Opened> Hub::adopt_socket(const Visitor& visitor) {
  engine_->look_at_bells();
  const std::uint64_t cookie = cookie_of(visitor.incoming.carried);
  const auto found = std::ranges::find_if(tenants_, [&](const auto& each) { return cookie != 0 && each.second.cookie == cookie; });
  if (found == tenants_.end()) return Error{EBADF, "this is no socket of the hub"};
  auto send = add_send_ring(found->second, visitor.process);
  if (!send) return send.error();
  return Opened{.key = found->first, .rings = found->second.endpoint->memory(), .send = std::move(*send)};
}

Result<Hub::Opened> Hub::open_socket(const Visitor& visitor, const Request& request) {
  const std::int32_t process = visitor.process;
  if (const auto good = socket::check(request.control); !good) return good.error();
  if (visitor.is_stranger && !programs_.knows(request.program)) return Error{EPERM, "the hub is another user's"};
  engine_->look_at_bells();
  if (tenants_.size() >= max_sockets_)
    return Error{EMFILE, "the hub has as many sockets as it may have descriptors: raise its hard limit (ulimit -Hn)"};
  if (const auto may = accounts_.may_open(process); !may) return may.error();
  if (const auto may = accounts_.may_add(process, {.memory = 2 * stack::default_buffer_limit}); !may) return may.error();
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
  Tenant& tenant = tenants_[*key];
  tenant = {.endpoint = *endpoint,
            .process = process,
            .program = request.program,
            .name = name,
            .senders = {{process, *send}},
            .cookie = cookie_of(visitor.incoming.carried)};
  accounts_.open(process);
  settle(tenant);
  ++sockets_;
  return Opened{.key = *key, .rings = (*endpoint)->memory(), .send = std::move(*send)};
}

void Hub::close_socket(const SocketKey& key) {
  const auto found = tenants_.find(key);
  if (found == tenants_.end()) return;
  accounts_.close(found->second.process, found->second.held);
  engine_->close_endpoint(*found->second.endpoint);
  const ProgramKey program = found->second.program;
  tenants_.erase(found);
  programs_.detach(program);
  if (--sockets_ == 0) wake();
}

// What its buffers may grow to, and its groups.
void Hub::settle(Tenant& tenant) {
  const stack::Endpoint& endpoint = *tenant.endpoint;
  accounts_.settle(tenant.process, tenant.held,
                   {.memory = endpoint.receive_limit() + endpoint.send_limit() * tenant.senders.size(),
                    .memberships = engine_->stack().udp().groups(*tenant.endpoint).all().size()});
}

// Only who shares a socket needs to be watched: what one process has ends with the socket.
Result<std::shared_ptr<stack::SendMemory>> Hub::add_send_ring(Tenant& tenant, std::int32_t process) {
  if (const auto may = accounts_.may_add(tenant.process, {.memory = tenant.endpoint->send_limit()}); !may) return may.error();
  std::vector<std::int32_t> dead;
  for (const Tenant::Sender& sender : tenant.senders) {
    const auto watched = lives_.watch(sender.process);
    if (!watched && watched.error().code == ESRCH) dead.push_back(sender.process);
  }
  take_back(tenant, dead);
  if (const auto watched = lives_.watch(process); !watched) return watched.error();
  auto ring = tenant.endpoint->add_send_ring();
  if (!ring) return ring;
  tenant.senders.push_back({process, *ring});
  settle(tenant);
  return ring;
}

void Hub::take_back() {
  const auto dead = lives_.take_dead();
  for (auto& [key, tenant] : tenants_) take_back(tenant, dead);
}

void Hub::take_back(Tenant& tenant, std::span<const std::int32_t> dead) {
  const auto gone = std::erase_if(tenant.senders, [&](const Tenant::Sender& sender) {
    if (std::ranges::find(dead, sender.process) == dead.end()) return false;
    tenant.endpoint->abandon_send_ring(*sender.ring);
    return true;
  });
  if (gone == 0) return;
  engine_->send_waiting(*tenant.endpoint);
  engine_->notify_sends(tenant.endpoint->slot);  // where something is left, which nobody will tell of any more
  settle(tenant);
}

Result<socket::ControlAnswer> Hub::control(Tenant& tenant, const socket::ControlRequest& request) {
  using Kind = socket::ControlRequest::Kind;
  using socket::Membership;
  if (const auto good = socket::check(request); !good) return good.error();
  stack::Endpoint& endpoint = *tenant.endpoint;
  const bool joins = request.kind == Kind::membership && (request.membership == Membership::join || request.membership == Membership::join_source);
  if (const auto may = accounts_.may_add(tenant.process, {.memberships = joins ? 1u : 0u}); !may) return may.error();
  const std::uint64_t receive_limit = endpoint.receive_limit(), send_limit = endpoint.send_limit();
  auto answer = socket::carry_out(*engine_, endpoint, request);
  if (answer && request.kind == Kind::get && request.option == Option::mtu) {
    const auto told = static_cast<std::int32_t>(programs_.path_mtu(tenant.program, endpoint.peer.ip));
    if (told != 0) answer->value = std::min(answer->value, told);
  }
  settle(tenant);
  if (const auto may = accounts_.may_add(tenant.process, {}); !may) {  // larger buffers
    endpoint.set_receive_limit(receive_limit);
    endpoint.set_send_limit(send_limit);
    settle(tenant);
    return may.error();
  }
  return answer;
}

Result<Reply> Hub::carry_out(const Visitor& visitor, const Request& request, std::shared_ptr<stack::SendMemory>& send) {
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
  if (request.kind == Request::Kind::close) {
    close_socket(request.key);
    return reply;
  }
  if (request.kind == Request::Kind::add_send_ring) {
    auto ring = add_send_ring(found->second, visitor.process);
    if (!ring) return ring.error();
    send = std::move(*ring);
    return reply;
  }
  const auto answer = control(found->second, request.control);
  if (!answer) return answer.error();
  reply.answer = *answer;
  return reply;
}

Status Hub::status() {
  Status status;
  status.process = ::getpid();
  status.sockets = static_cast<std::uint32_t>(tenants_.size());
  status.programs = static_cast<std::uint32_t>(programs_.size());
  const stack::UdpCounters& udp = engine_->stack().udp().counters();
  status.datagrams_in = udp.in_datagrams.value();
  status.datagrams_out = udp.out_datagrams.value();
  status.rounds = engine_->counters().rounds.value();
  status.sleeps = engine_->counters().sleeps.value();
  if (guest_) {
    const engine::Omitted& omitted = guest_->mirror().omitted();
    status.omitted_interfaces = omitted.interfaces;
    status.omitted_addresses = omitted.addresses;
    status.omitted_routes = omitted.routes;
  }
  return status;
}

Listing Hub::list() {
  Listing listing;
  listing.status = status();
  list_host(*engine_, listing);
  for (const auto& [key, tenant] : tenants_) {
    const std::string_view name(tenant.name.data(), ::strnlen(tenant.name.data(), tenant.name.size()));
    list_socket(*engine_, *tenant.endpoint, tenant.process, name, listing);
  }
  std::ranges::sort(listing.sockets, {}, &ListedSocket::id);
  return listing;
}

}  // namespace gannet::hub
