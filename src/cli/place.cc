#include "cli/place.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "cli/failure.h"
#include "cli/tap.h"

namespace gannet::cli {
namespace {

constexpr const char* memory_ours = "10.7.0.1/24";
constexpr const char* memory_opposite = "10.7.0.2/24";

void set(Socket& socket, Option option, int value, const char* flag) {
  if (const auto done = socket.set(option, value); !done) fail(fmt::format("cannot do {} {}", flag, value), done.error());
}

}  // namespace

Place::Place(const Settings& settings, Report& report) : settings_(settings), report_(report) {
  const std::string& via = settings.via;
  if (via == "kernel") {
    if (settings.needs_our_link.empty()) return;
    refuse(
        fmt::format("{} works on a link of ours, and --via kernel leaves the packets to the kernel, out of our reach; give --via "
                    "tap:NAME,ADDR/LEN{}",
                    settings.needs_our_link,
                    settings.needs_our_link == "--capture" || settings.needs_our_link == "--print" ? ", or use tcpdump" : ", or use tc-netem(8)"));
  }
  for (const auto& [impairment, direction] : {std::pair{&settings.in, "in"}, std::pair{&settings.out, "out"}}) {
    if (const auto good = impairment->check(); !good) refuse(fmt::format("the faults of what goes {}: {}", direction, good.error().message()));
  }
  if (via.starts_with("tap:")) {
    open_tap();
  } else if (via == "memory") {
    open_memory();
  } else {
    refuse(fmt::format("--via takes kernel or tap:NAME,ADDR/LEN[,gw=ADDR] (send: memory, too), not \"{}\"", via));
  }
}

Place::~Place() {
  host_.reset();
  if (loss_fd_ >= 0) close(loss_fd_);
}

bool Place::has_link() const { return !host_ || host_->link_status(); }

void Place::require_link() const {
  if (!host_) return;
  if (const auto status = host_->link_status(); !status) fail(fmt::format("{} is gone", settings_.via), status.error());
}

HostOptions Place::host_options() {
  HostOptions options;
  options.in = settings_.in;
  options.out = settings_.out;
  options.capture_file = settings_.capture;
  if (!settings_.capture.empty()) {
    // Tried here, where the sentence can name it: what opening the host fails of could be anything.
    const int file = open(settings_.capture.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0) fail(fmt::format("cannot write {}", settings_.capture), {errno, nullptr});
    close(file);
  }
  loss_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (loss_fd_ < 0) fail("cannot watch the link", {errno, nullptr});
  options.on_link_lost = [fd = loss_fd_](const Error&) { eventfd_write(fd, 1); };
  if (settings_.print) options.on_packet = [this](std::string_view line) { report_.packet(line); };
  return options;
}

void Place::open_tap() {
  auto host = Host::open(settings_.via, host_options());
  if (!host) cannot_open_tap(settings_.via, host.error());
  host_ = *std::move(host);
  if (const auto started = host_->start(); !started) fail("cannot start the host", started.error());
}

void Place::open_memory() {
  segment_.emplace();
  auto host = Host::open(*segment_, memory_ours, host_options());
  if (!host) fail("cannot open a host in memory", host.error());
  auto opposite = Host::open(*segment_, memory_opposite);
  if (!opposite) fail("cannot open a host in memory", opposite.error());
  host_ = *std::move(host);
  opposite_ = *std::move(opposite);
  for (Host* each : {&*host_, &*opposite_}) {
    if (const auto started = each->start(); !started) fail("cannot start the host", started.error());
  }
}

void Place::echo_opposite(const Address& at) {
  auto socket = Socket::open(*opposite_);
  if (!socket) fail("cannot open the echo's socket", socket.error());
  if (const auto bound = socket->bind({IpAddress::any(Family::ipv4), at.port}); !bound) fail("cannot bind the echo's socket", bound.error());
  if (at.ip.is_multicast()) {
    if (const auto joined = socket->join(at.ip); !joined) fail("the echo cannot join the group", joined.error());
  }
  echo_.reset(new Echo{*std::move(socket), {}});
  echo_->thread = std::jthread([&echo = echo_->socket] {
    std::vector<std::byte> buffer(65536);
    while (const auto datagram = echo.receive(buffer)) (void)echo.send_to(datagram->data, datagram->peer);
  });
}

Socket Place::socket(Family family) {
  auto socket = host_ ? Socket::open(*host_, family) : Socket::open(family);
  if (!socket) fail("cannot open a socket", socket.error());
  if (settings_.tos >= 0) set(*socket, Option::tos, settings_.tos, "--tos");
  if (settings_.ttl >= 0) {
    set(*socket, Option::ttl, settings_.ttl, "--ttl");
    set(*socket, Option::multicast_ttl, settings_.ttl, "--ttl");
  }
  if (settings_.broadcast) set(*socket, Option::broadcast, 1, "--broadcast");
  if (settings_.receive_buffer != 0) set(*socket, Option::receive_buffer, static_cast<int>(settings_.receive_buffer), "--receive-buffer");
  if (!settings_.interface.empty()) {
    if (const auto done = socket->set_multicast_interface(interface_index(settings_.interface)); !done) {
      fail(fmt::format("cannot send by interface {}", settings_.interface), done.error());
    }
  }
  set(*socket, Option::receive_errors, 1, "receive_errors");
  for (const Join& wanted : settings_.joins) join(*socket, wanted);
  return *std::move(socket);
}

void Place::join(Socket& socket, const Join& join) {
  const std::uint32_t interface = join.interface.empty() ? 0 : interface_index(join.interface);
  const auto done = join.source ? socket.join_source(join.group, *join.source, interface) : socket.join(join.group, interface);
  if (done) return;
  const std::string group = join.group.to_string();
  if (done.error().code == ENODEV && join.interface.empty()) {
    throw Failure{Status::failed, fmt::format("cannot join {}: no route leads to it, so name the interface: --join {}%IFACE", group, group)};
  }
  fail(fmt::format("cannot join {}", group), done.error());
}

void Place::bind(Socket& socket, const Address& local) {
  const auto done = socket.bind(local);
  if (done) return;
  const std::string what = fmt::format("cannot bind {}", local.to_string());
  switch (done.error().code) {
    case EADDRINUSE:
      throw Failure{Status::failed, fmt::format("{}: another socket has this port; choose another, or see who has it{}", what,
                                                is_ours() ? "" : fmt::format(": ss -ulnp sport = {}", local.port))};
    case EADDRNOTAVAIL:
      throw Failure{Status::failed, fmt::format("{}: {} is no address of this host, which has {}", what, local.ip.to_string(),
                                                is_ours() ? host_->address().to_string() : "those that `ip address` lists")};
    case EACCES:
    case EPERM:
      throw Failure{Status::permission, fmt::format("{}: ports below the system's limit are for root; choose one from 1024 up, or allow it with: "
                                                    "sudo sysctl net.ipv4.ip_unprivileged_port_start={}",
                                                    what, local.port)};
    default:
      fail(what, done.error());
  }
}

Address Place::resolve(const std::string& host, std::uint16_t port) {
  if (const auto number = IpAddress::parse(host)) {
    if (is_ours() && !number->is_ipv4()) refuse(fmt::format("{} is an IPv6 address, and a host of ours speaks IPv4; give an IPv4 address", host));
    return {*number, port};
  }
  addrinfo hints{};
  const bool ipv4 = is_ours() || settings_.family == Family::ipv4;
  hints.ai_family = ipv4 ? AF_INET : settings_.family ? AF_INET6 : AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0) {
    throw Failure{Status::failed, fmt::format("cannot find the host \"{}\": {}; check the name, or give its IP address", host, gai_strerror(error))};
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Address address;
  address.port = port;
  if (found->ai_family == AF_INET) {
    const auto* raw = reinterpret_cast<const sockaddr_in*>(found->ai_addr);
    address.ip = IpAddress::ipv4(ntohl(raw->sin_addr.s_addr));
  } else {
    const auto* raw = reinterpret_cast<const sockaddr_in6*>(found->ai_addr);
    address.ip.family = Family::ipv6;
    std::memcpy(address.ip.bytes.data(), &raw->sin6_addr, sizeof raw->sin6_addr);
    address.scope = raw->sin6_scope_id;
  }
  return address;
}

std::uint32_t Place::interface_index(const std::string& name) const {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_number = error == std::errc{} && end == name.data() + name.size();
  if (host_) {
    if ((is_number && number == host_->interface()) || (!is_memory() && name == tap_name(settings_.via))) return host_->interface();
    throw Failure{Status::failed, fmt::format("our host has no interface \"{}\"; its own is number {}", name, host_->interface())};
  }
  std::array<char, IF_NAMESIZE> known{};
  if (is_number && if_indextoname(number, known.data()) != nullptr) return number;
  if (const unsigned index = if_nametoindex(name.c_str()); index != 0) return index;
  throw Failure{Status::failed, fmt::format("there is no interface \"{}\"; `ip link` lists those there are", name)};
}

void Place::finish(Totals& totals, const Socket& socket) const {
  if (host_) {
    totals.drops = host_->drops();
    totals.counters = host_->counters();
    return;
  }
  const auto overflow = socket.get(Option::overflow_count);
  if (overflow && *overflow > 0) totals.drops.push_back({"receive_queue_full", static_cast<std::uint64_t>(*overflow)});
}

}  // namespace gannet::cli
