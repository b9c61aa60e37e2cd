#include "beacon/session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace gannet {
namespace {

constexpr Duration scan_interval = 5s;  // interfaces come and go
constexpr auto longest_farewell = 1s;   // where the network takes nothing
constexpr auto at_once = std::chrono::steady_clock::time_point::min();

// Of a clock that nobody sets; the one that Deadline knows.
Time now() { return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch())); }

std::uint64_t random_number() {
  std::uint64_t number = 0;
  while (::getrandom(&number, sizeof number, 0) != sizeof number || number == 0) {
  }
  return number;
}

}  // namespace

Result<std::unique_ptr<Beacon::State>> Beacon::State::open(BeaconOptions options, Host* host) {
  if (const auto good = beacon::check_options(options); !good) return good.error();
  const HashKey secret = options.seed != 0 ? HashKey{options.seed, 0} : HashKey{random_number(), random_number()};
  auto ports = beacon::Ports::open(options, host);
  if (!ports) return ports.error();
  std::unique_ptr<State> state(new State(std::move(*ports), host));
  state->bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  state->news_bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->bell_ || !state->news_bell_) return Error{errno, nullptr};
  const auto links = state->ports_.join();
  if (!links) return links.error();
  state->node_ = std::make_unique<beacon::Node>(std::move(options), secret, state->ports_.own_port(), now());
  state->node_->set_links(*links, now());
  state->node_->set_networks(state->ports_.networks());
  state->next_scan_ = now() + scan_interval;
  return state;
}

Beacon::State::~State() {
  {
    const std::scoped_lock lock(mutex_);
    is_ending_ = true;
    wake();
  }
  if (thread_.joinable()) thread_.join();
  const std::scoped_lock lock(mutex_);
  if (node_ == nullptr || node_->has_left()) return;
  node_->leave(now());
  work();
  if (host_ != nullptr) (void)host_->run_once();
}

Result<void> Beacon::State::start() {
  const std::scoped_lock lock(mutex_);
  if (thread_.joinable()) return Error{EALREADY, "the beacon runs already"};
  if (host_ != nullptr && host_->run_once().error().code != EBUSY) return Error{EINVAL, "start() the host before a beacon over it"};
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    return Error{EAGAIN, "the system has no thread left for the beacon"};
  }
  is_running_ = true;
  return {};
}

void Beacon::State::run() {
  std::unique_lock lock(mutex_);
  while (!is_ending_ && !node_->has_left()) turn(lock, Clock::time_point::max());
  tell();
}

Result<PeerEvent> Beacon::State::next(Deadline deadline) {
  std::unique_lock lock(mutex_);
  for (bool is_first = true;; is_first = false) {
    // Whoever calls it for each of many events calls it often enough for the beacon to live.
    if (is_first && !is_running_) turn(lock, at_once);
    if (auto event = node_->take_news(now())) {
      eventfd_t rings;
      if (!node_->has_news() && !node_->has_left()) (void)::eventfd_read(news_bell_.get(), &rings);
      return *std::move(event);
    }
    if (node_->has_left()) return Error{ESHUTDOWN, "the beacon has left"};
    if (!is_first && (deadline.is_now() || (!deadline.is_forever() && Clock::now() >= deadline.at()))) break;
    if (!is_running_) {
      turn(lock, deadline.at());
    } else if (deadline.is_forever()) {
      changed_.wait(lock);
    } else if (!deadline.is_now()) {
      changed_.wait_until(lock, deadline.at());
    }
  }
  return Error{EAGAIN, "nothing has happened to a peer meanwhile"};
}

Result<void> Beacon::State::update(const Profile& profile) {
  const std::scoped_lock lock(mutex_);
  if (node_->options().name.empty()) return Error{EINVAL, "an observer announces nothing: open the beacon with a name"};
  const auto done = node_->update(profile, now());
  if (!done) return done;
  work();
  wake();
  return {};
}

Result<void> Beacon::State::leave() {
  std::unique_lock lock(mutex_);
  node_->leave(now());
  wake();
  for (const auto end = Clock::now() + longest_farewell; !node_->has_left() && Clock::now() < end;) {
    if (is_running_) {
      changed_.wait_until(lock, end);
    } else {
      turn(lock, end);
    }
  }
  tell();
  return {};
}

void Beacon::State::turn(std::unique_lock<std::mutex>& lock, Clock::time_point deadline) {
  work();
  if (node_->has_news() || node_->has_left()) {
    tell();
    if (!is_running_ || node_->has_left()) return;
  }
  const Time wakeup = node_->next_wakeup(now());
  const auto until =
      std::min(deadline, Clock::time_point(std::chrono::duration_cast<Clock::duration>(std::min(wakeup, next_scan_).time_since_epoch())));
  lock.unlock();
  sleep(until);
  lock.lock();
  work();
}

void Beacon::State::work() {
  const Time at = now();
  if (at >= next_scan_) {
    next_scan_ = at + scan_interval;
    if (const auto links = ports_.join()) node_->set_links(*links, at);
    node_->set_networks(ports_.networks());
  }
  ports_.receive([&](const beacon::Arrival& arrival) { node_->input(arrival, at); });
  ports_.receive_errors([&](const Address& peer, int code) { node_->failed(peer, code); });
  node_->advance(at);
  while (const auto out = node_->output(at)) node_->sent(*out, ports_.send(*out));
}

void Beacon::State::sleep(Clock::time_point until) {
  if (host_ != nullptr && host_->run_once(until).error().code != EBUSY) return;
  std::vector<pollfd> polled{{bell_.get(), POLLIN, 0}};
  for (const int fd : ports_.fds()) polled.push_back({fd, POLLIN, 0});
  const auto left = until == at_once ? Clock::duration::zero() : std::max(until - Clock::now(), Clock::duration::zero());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
  const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  if (::ppoll(polled.data(), polled.size(), &timeout, nullptr) <= 0) return;
  eventfd_t rings;
  if (polled[0].revents != 0) (void)::eventfd_read(bell_.get(), &rings);
}

std::vector<Peer> Beacon::State::peers() const {
  const std::scoped_lock lock(mutex_);
  return node_->peers(now());
}

std::vector<BeaconPath> Beacon::State::paths() const {
  const std::scoped_lock lock(mutex_);
  return node_->paths(now());
}

std::vector<Count> Beacon::State::drops() const {
  const std::scoped_lock lock(mutex_);
  std::vector<Count> all;
  for (std::size_t i = 0; i < beacon::drop_names.size(); ++i) {
    const std::uint64_t value = node_->drops()[static_cast<beacon::Drop>(i)];
    if (value != 0) all.push_back({std::string(beacon::drop_names[i]), value});
  }
  return all;
}

std::uint64_t Beacon::State::id() const {
  const std::scoped_lock lock(mutex_);
  return node_->id();
}

void Beacon::State::tell() {
  changed_.notify_all();
  (void)::eventfd_write(news_bell_.get(), 1);
}

void Beacon::State::wake() { (void)::eventfd_write(bell_.get(), 1); }

}  // namespace gannet
