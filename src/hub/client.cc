#include "hub/client.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hub/listener.h"

namespace gannet::hub {
namespace {

using namespace std::chrono_literals;
constexpr auto answer_time = 5s;  // that the hub has

// Until the descriptor shows one of `events`, or the deadline. False: it has passed.
bool wait_for(int fd, short events, Deadline deadline) {
  pollfd wait{fd, events, 0};
  timespec left{};
  if (!deadline.is_forever()) {
    const auto rest = std::max<std::chrono::nanoseconds>(deadline.at() - std::chrono::steady_clock::now(), 0ns);
    left.tv_sec = static_cast<time_t>(rest.count() / 1'000'000'000);
    left.tv_nsec = static_cast<long>(rest.count() % 1'000'000'000);
  }
  return ::ppoll(&wait, 1, deadline.is_forever() ? nullptr : &left, nullptr) != 0;
}

// What is set for waiting to send, while a connect waits no longer than the hub has to answer.
class ConnectTime {
 public:
  explicit ConnectTime(int fd) : fd_(fd) {
    socklen_t size = sizeof own_;
    ::getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &own_, &size);
    constexpr timeval limit{std::chrono::seconds(answer_time).count(), 0};
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  ConnectTime(const ConnectTime&) = delete;
  ConnectTime& operator=(const ConnectTime&) = delete;
  ~ConnectTime() { ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &own_, sizeof own_); }

 private:
  const int fd_;
  timeval own_{};
};

// While the hub's backlog is full a descriptor waits, or, where it does not block, is refused; then it asks again.
Result<void> connect(const HubAddress& hub, int fd) {
  const auto name = UnixName::abstract(hub.name);
  if (!name) return name.error();
  const ConnectTime bounded(fd);
  const auto end = std::chrono::steady_clock::now() + answer_time;
  int code = 0;
  do {
    code = ::connect(fd, &name->any, name->size) == 0 ? 0 : errno;
    if (code == EAGAIN) ::poll(nullptr, 0, 1);
  } while (code == EINTR || (code == EAGAIN && std::chrono::steady_clock::now() < end));
  if (code == EAGAIN) return Error{ETIMEDOUT, "the hub does not answer"};
  if (code != 0) return Error{code, "no hub of yours runs here"};
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != hub.user.value_or(::geteuid())) {
    return Error{EPERM, "another user has taken the name of your hub"};
  }
  return {};
}

// What a hub gave for a new socket, over the connection that is to be its descriptor.
struct Opened {
  SocketKey key;
  socket::StackSocket::Parts parts;
};

ProcessName own_name() {
  ProcessName name{};
  ::prctl(PR_GET_NAME, name.data());
  return name;
}

// `connection` is where to ask, and `doorbell` what the socket is known by.
Result<Opened> ask_for_socket(int connection, int doorbell, const Request& request) {
  if (const auto sent = send(connection, request, doorbell); !sent) return Error{ENETDOWN, "the hub is gone"};
  auto received = receive_reply(connection, answer_time);
  if (!received) return received.error();
  const int code = received->reply.error;
  if (request.program != ProgramKey{} && (code == EACCES || code == EPERM))
    return Error{ENETDOWN, "the hub that this program was started under is gone"};
  if (code != 0) return Error{code, "the hub opens no socket for this process"};
  if (received->reply.fds != max_reply_fds) return Error{EPROTO, "what answered is no hub of this version of Gannet"};

  auto rings = stack::EndpointMemory::attach(std::move(received->fds[0]));
  if (!rings) return rings.error();
  auto ring = stack::SendMemory::attach(std::move(received->fds[1]));
  if (!ring) return ring.error();
  auto page = engine::HostPage::attach(std::move(received->fds[2]));
  if (!page) return page.error();
  return Opened{.key = received->reply.key,
                .parts = {.attachment = nullptr, .host = engine::HostView(std::move(*page)), .memory = std::move(*rings), .send = std::move(*ring)}};
}

Result<Opened> open(const HubAddress& hub, int fd, int receive_errors) {
  Request request;
  request.kind = Request::Kind::open;
  request.program = hub.program;
  request.name = own_name();
  request.control = {.kind = socket::ControlRequest::Kind::set, .option = Option::receive_errors, .value = receive_errors};
  return ask_for_socket(fd, fd, request);
}

Result<Opened> adopt(const HubAddress& hub, int fd) {
  const auto connection = connect(hub);
  if (!connection) return connection.error();
  Request request;
  request.kind = Request::Kind::adopt;
  auto adopted = ask_for_socket(connection->get(), fd, request);
  if (!adopted && adopted.error().code == EBADF) return Error{ENETDOWN, "the hub that had this socket is gone"};
  return adopted;
}

}  // namespace

Result<Fd> connect(const HubAddress& hub) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error{errno, "no descriptor left for the hub"};
  if (const auto connected = connect(hub, fd.get()); !connected) return connected.error();
  return fd;
}

Result<ReceivedReply> ask(const HubAddress& hub, const Request& request, Fd& connection) {
  auto fd = connect(hub);
  if (!fd) return fd.error();
  if (const auto sent = send(fd->get(), request); !sent) return Error{ENETDOWN, "the hub is gone"};
  auto received = receive_reply(fd->get(), answer_time);
  if (received && received->reply.error != 0) return Error{received->reply.error};
  connection = std::move(*fd);
  return received;
}

namespace {

// Of one that has a socket there.
Result<ReceivedReply> ask_as_member(const HubAddress& hub, const Request& request) {
  Fd connection;
  auto received = ask(hub, request, connection);
  if (!received && received.error().code == ECONNREFUSED) return Error{ENETDOWN, "the hub is gone"};
  return received;
}

}  // namespace

Result<Reply> ask(const HubAddress& hub, const Request& request) {
  Fd connection;
  const auto received = ask(hub, request, connection);
  if (!received) return received.error();
  return received->reply;
}

Result<std::unique_ptr<socket::StackSocket>> open_socket(const HubAddress& hub) {
  auto fd = connect(hub);
  if (!fd) return fd.error();
  engine::Bell::prepare(fd->get());
  auto opened = open(hub, fd->get(), 1);  // as the table of options starts
  if (!opened) return opened.error();
  opened->parts.attachment = std::make_unique<HubAttachment>(hub, opened->key, std::move(*fd));
  auto socket = std::make_unique<socket::StackSocket>(std::move(opened->parts));
  if (const auto bell = socket->fd(); !bell) return bell.error();
  return socket;
}

Result<std::unique_ptr<socket::StackSocket>> open_socket(const HubAddress& hub, int fd) {
  const auto connected = connect(hub, fd);
  const bool somebody_has = !connected && connected.error().code == EISCONN;
  if (!connected && !somebody_has) return connected.error();
  auto opened = somebody_has ? adopt(hub, fd) : open(hub, fd, 0);  // as Linux starts
  if (!opened) return opened.error();
  opened->parts.attachment = std::make_unique<HubAttachment>(hub, opened->key);
  opened->parts.descriptor = fd;
  auto socket = std::make_unique<socket::StackSocket>(std::move(opened->parts));
  if (somebody_has) socket->share();
  return socket;
}

Fd make_doorbell(int flags, Family family) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | flags, 0));
  if (fd) engine::Bell::prepare(fd.get(), family == Family::ipv6 ? 1 : 0);
  return fd;
}

// Connected to the hub or to nothing, and with the buffer that nothing else has.
std::optional<Family> family_of_doorbell(const HubAddress& hub, int fd) {
  int domain = 0, type = 0;
  socklen_t size = sizeof(int);
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX) return {};
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return {};
  const auto mark = engine::Bell::mark_of(fd);
  if (!mark) return {};
  const Family family = *mark != 0 ? Family::ipv6 : Family::ipv4;
  const auto name = UnixName::abstract(hub.name);
  UnixName peer{};
  peer.size = sizeof peer.local;
  if (::getpeername(fd, &peer.any, &peer.size) != 0) return errno == ENOTCONN ? std::optional(family) : std::nullopt;
  const bool same = name && peer.size == name->size && std::memcmp(&peer.local, &name->local, name->size) == 0;
  return same ? std::optional(family) : std::nullopt;
}

Result<socket::ControlAnswer> HubAttachment::control(const socket::ControlRequest& request) {
  Request whole;
  whole.kind = Request::Kind::control;
  whole.key = key_;
  whole.control = request;
  const auto received = ask_as_member(hub_, whole);
  if (!received) return received.error();
  return received->reply.answer;
}

Result<void> HubAttachment::close() {
  if (fd_ < 0) return {};
  if (closed_.exchange(true)) return Error{EBADF};
  Request request;
  request.kind = Request::Kind::close;
  request.key = key_;
  const auto received = ask_as_member(hub_, request);
  if (!received) return received.error();
  return {};
}

Result<Fd> HubAttachment::open_bell() {
  if (!doorbell_) return Error{EEXIST, "the socket has a descriptor already"};
  return std::move(doorbell_);
}

Result<std::shared_ptr<stack::SendMemory>> HubAttachment::open_send_ring() {
  Request request;
  request.kind = Request::Kind::add_send_ring;
  request.key = key_;
  auto received = ask_as_member(hub_, request);
  if (!received) return received.error();
  if (received->reply.fds != 1) return Error{EPROTO, "what answered is no hub of this version of Gannet"};
  return stack::SendMemory::attach(std::move(received->fds[0]));
}

void HubAttachment::wake_engine(engine::BellClient* bell) {
  if (bell != nullptr) bell->wake_engine();
}

bool HubAttachment::wait_readable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline, engine::Intent) {
  if (client.has_news() || client.is_closed()) return true;
  if (deadline.is_now() || !wait_for(fd_, POLLIN, deadline)) return false;
  // A token without a datagram is silenced, or the next wait would not be one.
  if (bell != nullptr && !bell->look_for_death() && !client.has_news()) bell->received(true);
  return true;
}

bool HubAttachment::wait_writable(const stack::EndpointClient& client, engine::BellClient* bell, Deadline deadline) {
  if (client.has_send_space() || client.is_closed()) return true;
  if (deadline.is_now() || !wait_for(fd_, POLLOUT, deadline)) return false;
  if (bell != nullptr) bell->look_for_death();
  return true;
}

}  // namespace gannet::hub
