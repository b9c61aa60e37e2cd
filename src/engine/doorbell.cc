#include "engine/doorbell.h"

#include <linux/futex.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

namespace gannet::engine {
namespace {

// A message that takes more than a quarter of the send buffer makes a stream socket unwritable, and must leave room for requests behind it.
// Linux doubles it; a size that nobody else asks for, and the next one for the other mark.
constexpr int send_buffer = 16 * 1024 + 79;
constexpr std::size_t plug_size = 12 * 1024;
constexpr int max_requests_behind_plug = 12;
constexpr std::array<std::byte, plug_size> plug_bytes{};
constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;

}  // namespace

bool futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, Moment until) {
  const auto since_boot = until.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
  const timespec deadline{static_cast<time_t>(seconds.count()), static_cast<long>(std::chrono::nanoseconds(since_boot - seconds).count())};
  const timespec* limit = until == Moment::max() ? nullptr : &deadline;
  if (limit != nullptr && deadline.tv_sec < 0) return false;  // the past
  const long result = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, value, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
  return result == 0 || errno != ETIMEDOUT;
}

void futex_wake(std::atomic<std::uint32_t>& word, std::uint32_t most) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, most > INT_MAX ? INT_MAX : static_cast<int>(most), nullptr, nullptr, 0);
}

void ring_waiters(stack::Endpoint& endpoint, const stack::Endpoint::Arrivals& arrivals) {
  if (!endpoint.memory()) return;
  stack::BellControl& bell = endpoint.memory()->control().bell;
  // Both sides change `epoch` in one step, so one of them comes second: either a waiter sees the datagram, or we see the waiter.
  bell.epoch.fetch_add(1, std::memory_order_acq_rel);
  if (bell.waiters.load(std::memory_order_acquire) != 0) futex_wake(bell.epoch, arrivals.event ? INT_MAX : arrivals.datagrams);
}

void wake_senders(stack::Endpoint& endpoint) {
  endpoint.wake_senders([](stack::SendControl& control) { futex_wake(control.space_epoch, INT_MAX); });
}

bool wait_readable(const stack::EndpointClient& client, Moment until, Intent intent) {
  stack::BellControl& bell = client.control().bell;
  bool ready = true;
  bell.waiters.fetch_add(1, std::memory_order_acq_rel);
  for (;;) {
    const std::uint32_t epoch = bell.epoch.fetch_add(0, std::memory_order_acq_rel);
    if (client.has_news() || client.is_closed()) break;
    if (!futex_wait(bell.epoch, epoch, until)) {
      ready = client.has_news() || client.is_closed();
      break;
    }
  }
  const bool others = bell.waiters.fetch_sub(1, std::memory_order_acq_rel) > 1;
  if (others && intent == Intent::look && ready) futex_wake(bell.epoch, 1);
  return ready;
}

bool wait_writable(const stack::EndpointClient& client, Moment until) {
  stack::SendControl* send = client.send_control();
  if (send == nullptr) return true;
  bool ready = true;
  send->space_waiters.fetch_add(1, std::memory_order_acq_rel);
  for (;;) {
    const std::uint32_t epoch = send->space_epoch.fetch_add(0, std::memory_order_acq_rel);
    if (client.has_send_space() || client.is_closed()) break;
    if (!futex_wait(send->space_epoch, epoch, until)) {
      ready = client.has_send_space() || client.is_closed();
      break;
    }
  }
  send->space_waiters.fetch_sub(1, std::memory_order_acq_rel);
  return ready;
}

Result<Bell::Ends> Bell::create() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return Error{errno, "no descriptor left for the socket"};
  }
  Fd engine(ends[0]), application(ends[1]);
  prepare(application.get());
  return Ends{Bell(std::move(engine)), std::move(application)};
}

void Bell::prepare(int application, int mark) {
  const int size = send_buffer + mark;
  setsockopt(application, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

std::optional<int> Bell::mark_of(int application) {
  int size = 0;
  socklen_t length = sizeof size;
  if (getsockopt(application, SOL_SOCKET, SO_SNDBUF, &size, &length) != 0 || (size / 2 != send_buffer && size / 2 != send_buffer + 1)) return {};
  return size / 2 - send_buffer;
}

void Bell::put_token(stack::Endpoint& endpoint) {
  rung_tail_ = endpoint.receive_tail();
  has_rung_ = rung_tail_ != endpoint.receive_head();
  constexpr std::byte token{1};
  // A socket that takes no more tokens is full of them, and readable.
  if (send(fd_.get(), &token, sizeof token, flags) == 1) {
    endpoint.memory()->control().bell.tokens.fetch_add(1, std::memory_order_release);
  } else if (errno == EPIPE || errno == ECONNRESET) {
    // Or the program has shut it for reading, and still holds it.
    std::byte byte{};
    const ssize_t count = recv(fd_.get(), &byte, sizeof byte, flags | MSG_PEEK);
    hung_up_ = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
  }
}

void Bell::ring(stack::Endpoint& endpoint, const stack::Endpoint::Arrivals& arrivals) {
  // ring_waiters() moved `epoch` after the records were published: whoever emptied the ring before that is seen here, and who empties it later sees
  // them. Where nobody took anything since the last token, that token is there, or its taker is about to look again.
  // Likewise who is about to sleep: seen here, or sees them.
  const std::uint32_t listeners = endpoint.memory()->control().bell.listeners.load(std::memory_order_acquire);
  const bool moved = !has_rung_ || endpoint.receive_tail() != rung_tail_;
  const bool edges = (listeners & stack::bell_edges) != 0;
  if (listeners != 0 && (arrivals.event || ((moved || edges) && endpoint.has_receivable()))) put_token(endpoint);
}

void Bell::recheck(stack::Endpoint& endpoint) {
  // As with an arrival: who empties the ring from now on waits until the token, if any, is there to be taken. The exchange of `epoch` is the other
  // side of the one in received(): either we see the ring empty, or they see us ringing.
  stack::BellControl& bell = endpoint.memory()->control().bell;
  bell.ringing.store(1, std::memory_order_relaxed);
  bell.epoch.fetch_add(0, std::memory_order_acq_rel);
  int unread = 0;
  const bool wanted = bell.listeners.load(std::memory_order_acquire) != 0;
  if (wanted && endpoint.has_receivable() && ioctl(fd_.get(), SIOCOUTQ, &unread) == 0 && unread == 0) put_token(endpoint);
  bell.ringing.store(0, std::memory_order_release);
}

std::size_t Bell::drain() {
  std::array<std::byte, 16 * 1024> bytes;
  std::size_t total = 0;
  for (;;) {
    const ssize_t count = recv(fd_.get(), bytes.data(), bytes.size(), flags);
    if (count > 0) {
      total += static_cast<std::size_t>(count);
      // A short read emptied the stream: what comes later makes an event. A peer that never stops writing waits for the next one, too.
      if (static_cast<std::size_t>(count) == bytes.size() && total < 8 * bytes.size()) continue;
      return total;
    }
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) hung_up_ = true;
    return total;
  }
}

void Bell::unplug(stack::BellControl& control) {
  // In this order: a plug that comes in between is unread and makes an event; the other way round it would be read, and believed to be there.
  drain();
  control.plugged.store(0, std::memory_order_release);
}

Bell::Requests Bell::handle(stack::Endpoint& endpoint) {
  stack::BellControl& control = endpoint.memory()->control().bell;
  const std::uint32_t asked = control.asked.exchange(0, std::memory_order_acq_rel);
  if (control.plugged.load(std::memory_order_acquire) == 0) {
    // A plug that came at this moment is gone with the rest, and must not be counted on.
    if (drain() >= plug_size) control.plugged.store(0, std::memory_order_release);
  } else {
    int unread = 0;
    const bool crowded = ioctl(fd_.get(), FIONREAD, &unread) == 0 && unread > static_cast<int>(plug_size) + max_requests_behind_plug;
    if (crowded || endpoint.has_send_space()) unplug(control);
  }
  if (hung_up_) return {.hung_up = true, .sends = false, .share = false};
  recheck(endpoint);
  return {.hung_up = false, .sends = (asked & stack::bell_request_sends) != 0, .share = (asked & stack::bell_request_shared) != 0};
}

void Bell::sent(stack::Endpoint& endpoint) {
  stack::BellControl& control = endpoint.memory()->control().bell;
  if (control.plugged.load(std::memory_order_acquire) != 0 && endpoint.has_send_space()) unplug(control);
}

void BellClient::received(bool emptied) {
  const bool owes = owes_token_.load(std::memory_order_relaxed) && owes_token_.exchange(false, std::memory_order_relaxed);
  const bool watched = (control().listeners.load(std::memory_order_relaxed) & stack::bell_watched) != 0;
  const std::uint32_t tokens = control().tokens.load(std::memory_order_relaxed);
  if (emptied && (watched || tokens != 0)) return silence();
  const bool surplus = !emptied && tokens > 1;
  if (surplus) {
    control().tokens.store(1, std::memory_order_relaxed);
    take_tokens(tokens - 1);
  }
  if (owes || surplus) ask_if_needed(false);
}

// Takes the tokens of an empty ring. Who polls is shown an error in the queue; a call that sleeps does not wake for it.
void BellClient::silence(bool for_queued_errors) {
  stack::BellControl& bell = control();
  bell.epoch.fetch_add(0, std::memory_order_acq_rel);
  // A token that comes after this wakes a call in wait() for nothing, which silences it; but it would stay readable for who polls.
  if ((bell.listeners.load(std::memory_order_acquire) & stack::bell_watched) != 0) await_ring();
  bell.tokens.store(0, std::memory_order_relaxed);
  take_tokens(UINT32_MAX);
  ask_if_needed(for_queued_errors);
}

// After tokens were taken. See Bell::ring(): this is the other side of it. Who comes to wait() later looks by himself.
void BellClient::ask_if_needed(bool for_queued_errors) {
  control().epoch.fetch_add(0, std::memory_order_acq_rel);
  const bool has_something = client_.has_news() || (for_queued_errors && client_.has_queued_error());
  if (!has_something || control().listeners.load(std::memory_order_acquire) == 0) return;
  std::byte token{};
  if (recv(fd_, &token, sizeof token, flags | MSG_PEEK) < 0 && errno == EAGAIN) request(stack::bell_request_token);
}

void BellClient::watch() {
  if ((control().listeners.load(std::memory_order_relaxed) & stack::bell_watched) != 0) return;
  if ((control().listeners.fetch_or(stack::bell_watched, std::memory_order_acq_rel) & stack::bell_watched) == 0) silence();
}

void BellClient::watch_edges() {
  watch();
  control().listeners.fetch_or(stack::bell_edges, std::memory_order_acq_rel);
}

// A thread that is cancelled in its sleep counts as one that sleeps for ever: tokens are put that nobody needs.
int BellClient::wait(int fd) {
  stack::BellControl& bell = control();
  const std::uint32_t listeners = bell.listeners.fetch_add(1, std::memory_order_acq_rel);
  bell.epoch.fetch_add(0, std::memory_order_acq_rel);
  int code = 0;
  if (!client_.has_news() && !client_.is_closed()) {
    const bool takes = (listeners & stack::bell_watched) == 0;
    std::byte token{};
    const ssize_t count = recv(fd, &token, sizeof token, takes ? 0 : MSG_PEEK);
    if (count == 1 && takes) {
      bell.tokens.fetch_sub(1, std::memory_order_relaxed);
      owes_token_.store(true, std::memory_order_relaxed);
    }
    if (count < 0) code = errno;
    if (count <= 0) notice_death(count);
    if (is_hung_up()) code = 0;
  }
  bell.listeners.fetch_sub(1, std::memory_order_acq_rel);
  // A token without a datagram would end the next sleep too.
  if (code == 0 && !is_hung_up() && !client_.has_news()) silence(false);
  return code;
}

// The engine has published what we took, and is about to write the token for it: silencing the bell now would leave it ringing over an empty ring.
// The wait is short, and bounded in case the engine is not running: then a poll finds the socket readable once too often.
void BellClient::await_ring() {
  const std::atomic<std::uint32_t>& ringing = client_.control().bell.ringing;
  for (int spins = 0; spins < 2000; ++spins) {
    if (ringing.load(std::memory_order_acquire) == 0) return;
    __builtin_ia32_pause();
  }
  for (int naps = 0; naps < 20 && ringing.load(std::memory_order_acquire) != 0; ++naps) {
    const timespec nap{0, 100'000};
    nanosleep(&nap, nullptr);
  }
}

void BellClient::take_tokens(std::uint32_t most) {
  std::array<std::byte, 512> tokens;
  while (most != 0) {
    const ssize_t count = recv(fd_, tokens.data(), std::min<std::size_t>(tokens.size(), most), flags);
    if (count <= 0) return notice_death(count);
    if (static_cast<std::size_t>(count) < tokens.size()) return;
    most -= static_cast<std::uint32_t>(count);
  }
}

void BellClient::request(std::uint32_t what) {
  client_.control().bell.asked.fetch_or(what, std::memory_order_acq_rel);
  // Each request is a byte of its own: one that is left out because another is under way would be lost with a process killed between the two steps.
  // Where the socket is full, the engine has an event to handle yet, and will see the request then.
  constexpr std::byte look{1};
  if (send(fd_, &look, sizeof look, flags) < 0) notice_death(-1);
}

// A dead engine closes nothing in the memory that it shared: whoever learns of its death does. The end of what can be read is no death where a
// process of ours has shut the descriptor for reading.
void BellClient::notice_death(ssize_t result) {
  if (result == 0 ? (client_.shut() & stack::shut_receive) != 0 : errno != EPIPE && errno != ECONNRESET) return;
  hung_up_.store(true, std::memory_order_relaxed);
  std::uint32_t open = 0;
  client_.control().closed.compare_exchange_strong(open, stack::closed_by_death, std::memory_order_acq_rel);
}

bool BellClient::look_for_death() {
  std::byte token{};
  const ssize_t count = recv(fd_, &token, sizeof token, flags | MSG_PEEK);
  if (count <= 0) notice_death(count);
  return is_hung_up();
}

void BellClient::plug() {
  stack::BellControl& bell = client_.control().bell;
  if (bell.plugged.exchange(1, std::memory_order_acq_rel) == 0) {
    // The engine looks for space when it comes, so nobody waits for space that is there.
    if (send(fd_, plug_bytes.data(), plug_bytes.size(), flags) < 0) notice_death(-1);
  }
}

}  // namespace gannet::engine
