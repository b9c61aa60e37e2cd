#include "engine/engine.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <system_error>

namespace gannet::engine {
namespace {

// What an epoll event is about: a kind, and the port or seat.
enum class Tag : std::uint32_t { wakeup, port, bell, watcher };
constexpr std::uint64_t tag_of(Tag tag, std::size_t index) { return std::uint64_t{static_cast<std::uint32_t>(tag)} << 32 | index; }

// While the loop does not sleep, a send ring is polled for so long after its last datagram, before the application is asked to say when there is
// more.
constexpr Duration idle_time = 200us;
// While the loop does not sleep, it asks after what it waits on once in so long.
constexpr Duration poll_interval = 25us;
// While it finds nothing to do, it offers its core to others, at once and then every so many rounds: whom it woke, or polls for, may have to
// run there.
constexpr int rounds_before_yield = 16;
// Closed sockets that have something left to send.
constexpr std::size_t max_retired = 256;
constexpr std::size_t events_at_once = 64;
// Until the next attempt at a link that took less than it was given and has no descriptor to say when it has room.
constexpr Duration retry_blind = 1ms;

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  while (::getrandom(&seed, sizeof seed, 0) != sizeof seed || seed == 0) {
  }
  return seed;
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(const EngineSetup& setup) {
  auto pools = FramePools::create(setup.small_frames, setup.large_frames);
  if (!pools) return pools.error();
  auto host_page = HostPage::create(setup.sharing);
  if (!host_page) return host_page.error();
  std::unique_ptr<Engine> engine(new Engine(setup, std::move(*pools), std::move(*host_page)));
  if (const auto opened = engine->open_descriptors(); !opened) return opened.error();
  return engine;
}

Engine::Engine(const EngineSetup& setup, FramePools pools, std::unique_ptr<HostPage> host_page)
    : sharing_(setup.sharing),
      spin_(setup.spin),
      retirement_(setup.retirement),
      spin_now_(setup.spin),
      on_link_lost_(setup.on_link_lost),
      pools_(std::move(pools)),
      rng_(setup.seed != 0 ? setup.seed : random_seed()),
      stack_(std::make_unique<stack::Stack>(pools_, rng_, setup.stack)),
      notified_(4096),
      host_page_(std::move(host_page)) {
  refresh_clock();
  host_page_->publish(*stack_);
}

Result<void> Engine::open_descriptors() {
  epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_ || !wakeup_.is_open()) return Error{errno, "no descriptor left for the host's loop: raise the limit (ulimit -n), or close some"};
  return watch(wakeup_.fd(), tag_of(Tag::wakeup, 0), EPOLLIN | EPOLLET);
}

Engine::~Engine() {
  stop();
  for (Seat& seat : seats_) {
    if (seat.endpoint != nullptr) close_endpoint(*seat.endpoint);
  }
  interposers_.clear();
  stack_.reset();  // gives its frames back
  ports_.clear();
}

Result<void> Engine::start() {
  if (has_thread()) return Error{EALREADY, "the host runs already"};
  stopping_ = false;
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error&) {
    return Error{EAGAIN, "the system has no thread left for the host"};
  }
  running_.wait(false);  // from here on calls are the thread's
  return {};
}

void Engine::stop() {
  if (!has_thread()) return;
  stopping_ = true;
  wakeup_.wake();
  thread_.join();
  running_ = false;
}

void Engine::loop() {
  mailbox_.enter();
  if (sharing_ == stack::Sharing::processes) host_page_->stand();
  running_ = true;
  running_.notify_one();
  while (!stopping_) run_once(Moment::max());
  mailbox_.leave();
}

void Engine::run_once(Moment until) {
  if (round()) return;
  const Time idle_from = now_;
  if (spin(until)) return;
  sleep(until);
  round();
  if (now_ - idle_from < spin_) spin_now_ = spin_;
}

// Polls with nothing to do, for as long as that pays: half as long each time that it found nothing, and as long as it may once it would have.
bool Engine::spin(Moment until) {
  if (spin_ == Duration::zero()) return false;
  const Time end = std::min(Time(until.time_since_epoch()), now_ + spin_now_);
  for (int rounds = 0; now_ < end; ++rounds) {
    if (rounds % rounds_before_yield == 0) ::sched_yield();
    if (round()) return true;
  }
  spin_now_ = std::max(spin_now_ / 2, spin_ / 16);
  return false;
}

void Engine::refresh_clock() {
  using namespace std::chrono;
  now_ = Time(steady_clock::now().time_since_epoch());
  group_.real_time_offset = duration_cast<Duration>(system_clock::now().time_since_epoch()) - now_.time_since_epoch();
}

// Whether there was anything to do.
bool Engine::round() {
  counters_.rounds.add();
  refresh_clock();
  if (bells_ + waiting_ports_ != 0 && now_ - polled_at_ >= poll_interval) wait(now_);
  bool busy = wakeup_.clear();
  if (busy) mailbox_.run();
  for (Port& port : ports_) busy |= receive(port);
  busy |= advance();
  busy |= take_notified();
  busy |= send_datagrams();
  let_go();
  busy |= ring_bells();
  for (Port& port : ports_) busy |= send_frames(port);
  host_page_->publish(*stack_);
  return busy;
}

bool Engine::receive(Port& port) {
  if (!port.ready) return false;
  std::array<Frame, link::batch_size> frames;
  const std::size_t count = port.link->receive(frames, pools_, now_);
  for (Frame& frame : std::span(frames).first(count)) stack_->input(port.interface, std::move(frame), now_);
  if (count == 0 && port.link->caps().waits_on_fd) port.ready = false;
  if (count == 0 && !port.lost) {
    if (const auto status = port.link->status(); !status) lose(port, status.error());
  }
  return count != 0;
}

// A descriptor without a device is ready for ever, so nobody waits on it any more. The link stays, with its counters and what it has held back.
void Engine::lose(Port& port, const Error& why) {
  port.lost = true;
  if (port.fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, std::exchange(port.fd, -1), nullptr);
  static_cast<void>(stack_->set_up(port.interface, false, now_));
  if (on_link_lost_) on_link_lost_(port.interface, why);
}

// What has come due.
bool Engine::advance() {
  const bool any = interposers_.advance(now_);
  if (stack_->next_wakeup() > now_) return any;
  stack_->advance(now_);
  return true;
}

// Sockets whose applications said that they have something to send.
bool Engine::take_notified() {
  bool any = false;
  while (const auto slot = notified_.pop()) {
    activate(*slot);
    any = true;
  }
  if (notified_overflow_.load(std::memory_order_relaxed) && notified_overflow_.exchange(false, std::memory_order_acq_rel)) {
    for (std::uint32_t slot = 0; slot < seats_.size(); ++slot) activate(slot);
    any = true;
  }
  return any;
}

void Engine::activate(std::uint32_t slot) {
  if (slot >= seats_.size() || seats_[slot].endpoint == nullptr) return;  // closed meanwhile
  seats_[slot].sent_at = now_;
  if (std::exchange(seats_[slot].active, true)) return;
  active_.push_back(slot);
}

void Engine::deactivate(std::size_t place) {
  seats_[active_[place]].active = false;
  active_[place] = active_.back();
  active_.pop_back();
}

bool Engine::send_datagrams() {
  bool any = false;
  for (std::size_t i = 0; i < active_.size() && has_output_room();) {
    const std::uint32_t slot = active_[i];
    Seat& seat = seats_[slot];
    stack::Endpoint& endpoint = *seat.endpoint;
    if (flush(seat) != 0) {
      seat.sent_at = now_;
      wake_senders(endpoint);
      if (seat.bell) seat.bell->sent(endpoint);
      any = true;
    } else if (endpoint.held_until() <= now_ && now_ - seat.sent_at >= idle_time && endpoint.request_wakeup()) {
      deactivate(i);
      continue;
    }
    ++i;
  }
  return any;
}

bool Engine::has_unsent(const Seat& seat) {
  return seat.endpoint->has_sends() || (seat.interposer != nullptr && seat.interposer->has_departing(*seat.endpoint));
}

// Closed sockets that have nothing left to send, or had time enough.
void Engine::let_go() {
  for (std::size_t i = 0; i < retired_.size();) {
    const std::uint32_t slot = retired_[i];
    if (!has_unsent(seats_[slot]) || seats_[slot].gone_at <= now_) {
      release(slot);
    } else {
      ++i;
    }
  }
}

std::size_t Engine::flush(Seat& seat) {
  if (seat.interposer != nullptr) return seat.interposer->flush(*seat.endpoint, now_, link::batch_size);
  return stack_->udp().flush(*seat.endpoint, now_, link::batch_size);
}

// While a link takes less than is sent, datagrams wait in the send rings, where SO_SNDBUF holds their senders back, rather than die in a full queue.
bool Engine::has_output_room() const {
  const std::size_t half = stack_->config().output_queue / 2;
  return std::ranges::all_of(ports_, [&](const Port& port) { return stack_->interfaces().find(port.interface)->output().size() < half; });
}

bool Engine::ring_bells() {
  bool any = false;
  while (stack::Endpoint* endpoint = group_.take_news()) {
    const auto arrivals = endpoint->take_arrivals();
    ring_waiters(*endpoint, arrivals);
    if (Seat& seat = seats_[endpoint->slot]; seat.bell) seat.bell->ring(*endpoint, arrivals);
    endpoint->rung();
    any = true;
  }
  return any;
}

bool Engine::send_frames(Port& port) {
  bool any = false;
  for (auto frames = stack_->output(port.interface); !frames.empty(); frames = stack_->output(port.interface)) {
    const std::size_t count = port.link->send(frames, now_);
    stack_->sent(port.interface, count);
    any |= count != 0;
    const bool waits = count < frames.size();
    if (std::exchange(port.waits_for_room, waits) != waits && port.fd >= 0) {
      const auto index = static_cast<std::size_t>(&port - ports_.data());
      static_cast<void>(watch(port.fd, tag_of(Tag::port, index), waits ? EPOLLIN | EPOLLOUT : EPOLLIN, true));
    }
    if (waits) break;
  }
  return any;
}

Time Engine::next_wakeup() const {
  Time next = stack_->next_wakeup();
  for (const std::uint32_t slot : active_) {
    const Time held_until = seats_[slot].endpoint->held_until();
    if (held_until > now_) next = std::min(next, held_until);
  }
  for (const std::uint32_t slot : retired_) next = std::min(next, seats_[slot].gone_at);
  next = std::min(next, interposers_.next_wakeup());
  for (const Port& port : ports_) {
    next = std::min(next, port.link->next_wakeup());
    if (port.waits_for_room && port.fd < 0) next = std::min(next, now_ + retry_blind);
  }
  return next;
}

// Asks all senders to say so from now on, but for those of whom something is held: their time will come. False: one has sent meanwhile.
bool Engine::may_sleep() {
  for (std::size_t i = 0; i < active_.size();) {
    stack::Endpoint& endpoint = *seats_[active_[i]].endpoint;
    if (endpoint.held_until() > now_) {
      ++i;
    } else if (endpoint.request_wakeup()) {
      deactivate(i);
    } else {
      return false;
    }
  }
  return true;
}

// Whoever wants something leaves word and then calls Wakeup::wake(): if that was after this round's Wakeup::clear(), its edge ends the wait at once.
void Engine::sleep(Moment until) {
  // Where a link has no room, what was sent stays in its ring: the link says when to go on.
  counters_.sleeps.add();
  if (!has_output_room() || may_sleep()) wait(std::min(Time(until.time_since_epoch()), next_wakeup()));
}

// A process that closed a descriptor before it asked for something finds it closed.
void Engine::look_at_bells() {
  for (std::size_t i = 0; i <= bells_ / events_at_once && wait(now_) == events_at_once; ++i) {
  }
}

// Sleeps until something can be read, or the moment. Returns how much can.
std::size_t Engine::wait(Time until) {
  polled_at_ = now_;
  std::array<epoll_event, events_at_once> events;
  timespec limit{};
  const Duration left = until > now_ ? until - now_ : Duration::zero();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  limit.tv_sec = static_cast<time_t>(seconds.count());
  limit.tv_nsec = static_cast<long>((left - seconds).count());
  long count =
      ::syscall(SYS_epoll_pwait2, epoll_.get(), events.data(), static_cast<int>(events.size()), until == never ? nullptr : &limit, nullptr, 0);
  if (count < 0 && errno == ENOSYS) {  // before Linux 5.11: whole milliseconds, rounded up
    const auto milliseconds = std::min<Duration::rep>((left.count() + 999'999) / 1'000'000, 60'000);
    count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), static_cast<int>(milliseconds));
  }
  for (long i = 0; i < count; ++i) {
    const auto tag = static_cast<Tag>(events[static_cast<std::size_t>(i)].data.u64 >> 32);
    const auto index = static_cast<std::uint32_t>(events[static_cast<std::size_t>(i)].data.u64);
    if (tag == Tag::port && index < ports_.size()) ports_[index].ready = true;  // one may have gone in this batch
    if (tag == Tag::watcher) watchers_[index]();
    if (tag == Tag::bell) handle_bell(index, events[static_cast<std::size_t>(i)].events);
  }
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

Result<void> Engine::watch(int fd, std::uint64_t tag, std::uint32_t events, bool change) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (::epoll_ctl(epoll_.get(), change ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return Error{errno, "the host's loop cannot watch this descriptor"};
}

// Watched first: an interface that is ours alone cannot be removed again.
Result<std::uint32_t> Engine::add_link(std::unique_ptr<link::Link> link) {
  if (auto watched = watch_next_port(link->fd()); !watched) return watched.error();
  const link::Caps& caps = link->caps();
  const auto interface =
      stack_->add_interface({.name = caps.name, .mac = caps.mac, .mtu = static_cast<std::uint32_t>(caps.mtu), .ethernet = caps.ethernet});
  if (!interface) {
    if (link->fd() >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, link->fd(), nullptr);
    return interface.error();
  }
  add_port(std::move(link), *interface);
  return *interface;
}

Result<void> Engine::add_link(std::unique_ptr<link::Link> link, std::uint32_t interface) {
  if (stack_->interfaces().find(interface) == nullptr) return Error{ENODEV, "no interface has this index"};
  if (this->link(interface) != nullptr) return Error{EEXIST, "the interface has a link already"};
  if (auto watched = watch_next_port(link->fd()); !watched) return watched;
  add_port(std::move(link), interface);
  return {};
}

Result<void> Engine::watch_next_port(int fd) {
  if (fd < 0) return {};
  return watch(fd, tag_of(Tag::port, ports_.size()), EPOLLIN);
}

void Engine::add_port(std::unique_ptr<link::Link> link, std::uint32_t interface) {
  if (link->caps().waits_on_fd) ++waiting_ports_;
  const int fd = link->fd();
  ports_.push_back({.interface = interface, .link = std::move(link), .fd = fd});
}

void Engine::remove_link(std::uint32_t interface) {
  const auto port = std::ranges::find(ports_, interface, &Port::interface);
  if (port == ports_.end()) return;
  if (port->fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, port->fd, nullptr);
  if (port->link->caps().waits_on_fd) --waiting_ports_;
  // The others behind it move up, and so do their tags.
  for (auto next = ports_.erase(port); next != ports_.end(); ++next) {
    const auto index = static_cast<std::size_t>(next - ports_.begin());
    if (next->fd >= 0) static_cast<void>(watch(next->fd, tag_of(Tag::port, index), next->waits_for_room ? EPOLLIN | EPOLLOUT : EPOLLIN, true));
    next->ready = true;
  }
}

Result<void> Engine::watch_readable(int fd, std::function<void()> ready) {
  if (auto watched = watch(fd, tag_of(Tag::watcher, watchers_.size()), EPOLLIN); !watched) return watched;
  watchers_.push_back(std::move(ready));
  return {};
}

const link::Link* Engine::link(std::uint32_t interface) const {
  const auto found = std::ranges::find(ports_, interface, &Port::interface);
  return found == ports_.end() ? nullptr : found->link.get();
}

Result<stack::Endpoint*> Engine::open_endpoint() {
  const auto opened = stack_->udp().open(group_);
  if (!opened) return opened.error();
  stack::Endpoint* endpoint = *opened;
  if (const auto rings = endpoint->open_rings(sharing_); !rings) {
    stack_->udp().close(*endpoint, now_);
    return rings.error();
  }
  if (free_seats_.empty()) {
    free_seats_.push_back(static_cast<std::uint32_t>(seats_.size()));
    seats_.emplace_back();
    active_.reserve(seats_.size());
  }
  endpoint->slot = free_seats_.back();
  free_seats_.pop_back();
  seats_[endpoint->slot].endpoint = endpoint;
  return endpoint;
}

void Engine::close_endpoint(stack::Endpoint& endpoint) {
  const std::uint32_t slot = endpoint.slot;
  Seat& seat = seats_[slot];
  // What the application sent before it closed still goes out, as on Linux.
  send_waiting(seat);
  endpoint.close();
  ring_bells();
  wake_senders(endpoint);
  close_bell(seat);
  if (!has_unsent(seat) || retired_.size() == max_retired) return release(slot);
  stack_->udp().retire(endpoint, now_);
  if (!std::exchange(seat.retired, true)) retired_.push_back(slot);
  seat.gone_at = now_ + retirement_;
  activate(slot);
}

void Engine::release(std::uint32_t slot) {
  Seat& seat = seats_[slot];
  if (seat.interposer != nullptr) seat.interposer->detach(*seat.endpoint);
  stack_->udp().discard(*seat.endpoint, now_);
  stack_->udp().close(*seat.endpoint, now_);
  seat = {};
  std::erase(active_, slot);
  std::erase(retired_, slot);
  free_seats_.push_back(slot);
}

void Engine::send_waiting(stack::Endpoint& endpoint) {
  Seat& seat = seats_[endpoint.slot];
  send_waiting(seat);
  wake_senders(endpoint);
  if (seat.bell) seat.bell->sent(endpoint);
}

// No more than the ring held: whoever goes on sending meanwhile is not waited for.
void Engine::send_waiting(Seat& seat) {
  const std::uint64_t start = seat.endpoint->taken();
  while (has_output_room() && seat.endpoint->taken() - start < stack::send_ring_size && flush(seat) != 0) {
    for (Port& port : ports_) send_frames(port);
  }
}

Result<Fd> Engine::open_bell(stack::Endpoint& endpoint) {
  Seat& seat = seats_[endpoint.slot];
  if (seat.bell) return Error{EEXIST, "the socket has a descriptor already"};
  auto ends = Bell::create();
  if (!ends) return ends.error();
  if (const auto installed = install_bell(seat, std::move(ends->bell)); !installed) return installed.error();
  return std::move(ends->application);
}

Result<void> Engine::adopt_bell(stack::Endpoint& endpoint, Fd fd, Gone gone) {
  Seat& seat = seats_[endpoint.slot];
  if (seat.bell) return Error{EEXIST, "the socket has a descriptor already"};
  if (auto installed = install_bell(seat, Bell(std::move(fd))); !installed) return installed;
  seat.gone = std::move(gone);
  return {};
}

Result<void> Engine::install_bell(Seat& seat, Bell bell) {
  // Edge-triggered: a plug stays unread until there is room.
  if (auto watched = watch(bell.fd(), tag_of(Tag::bell, seat.endpoint->slot), EPOLLIN | EPOLLET); !watched) return watched;
  seat.bell.emplace(std::move(bell));
  ++bells_;
  seat.bell->recheck(*seat.endpoint);
  return {};
}

void Engine::close_bell(Seat& seat) {
  if (!seat.bell) return;
  seat.bell.reset();
  --bells_;
}

void Engine::handle_bell(std::uint32_t slot, std::uint32_t events) {
  Seat& seat = seats_[slot];
  if (seat.endpoint == nullptr || !seat.bell) return;
  const Bell::Requests requests = seat.bell->handle(*seat.endpoint);
  if (requests.sends) activate(slot);
  // EPOLLHUP says so even behind a plug.
  if (requests.hung_up || (events & EPOLLHUP) != 0) {
    if (seat.gone) return std::exchange(seat.gone, {})();
    return close_bell(seat);  // nobody polls any more; the socket itself lives on until it is closed
  }
  if (requests.share && !std::exchange(seat.shared_bell, true)) {
    static_cast<void>(watch(seat.bell->fd(), tag_of(Tag::bell, slot), EPOLLIN | EPOLLOUT | EPOLLET, true));
    seat.bell->recheck(*seat.endpoint);  // for what was taken before
  }
}

Result<void> Engine::interpose(stack::Endpoint& endpoint, Interposer& interposer, const Owner& owner) {
  if (auto attached = interposer.attach(endpoint, owner); !attached) return attached;
  seats_[endpoint.slot].interposer = &interposer;
  return {};
}

void Engine::notify_sends(std::uint32_t slot) {
  if (!notified_.push(slot)) notified_overflow_.store(true, std::memory_order_release);
  wakeup_.wake();
}

}  // namespace gannet::engine
