// gannet send HOST PORT: sends datagrams, waits for the answers, and tells how long they took.
#include <fmt/format.h>

#include <limits>
#include <thread>

#include "cli/commands.h"
#include "cli/exchange.h"
#include "cli/flags.h"
#include "cli/payloads.h"
#include "cli/place.h"
#include "cli/port.h"
#include "cli/waiter.h"

namespace gannet::cli {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::size_t ipv4_headers = 20 + 8, ipv6_headers = 40 + 8;
constexpr std::size_t most_ipv4 = 65535 - ipv4_headers, most_ipv6 = 65535 - 8;

constexpr const char* examples = R"(Without --data, --file, --size or --ping each line of standard input is one datagram (without its newline).
Replies go to standard output, all else to standard error. The exit status is 1 when nothing but errors came back, or with --ping no reply at all.

Examples:
  gannet send --data "Hello, UDP server!" 127.0.0.1 65433
  seq 1000 | gannet send 127.0.0.1 65433
  gannet send --ping -n 5 127.0.0.1 65433      one a second, with the round trip of each
  gannet send --size mtu -D 192.0.2.1 65433    the largest that passes in one packet
  gannet send -b --data ping 192.0.2.255 65433 everybody on the network
  gannet send --data ping -i eth0 239.1.2.3 65433
                                               a multicast group, by one interface
  gannet send --size 1000 -n 500 --pace 1Mbit --via tap:gannet0,10.7.0.2/24 10.7.0.1 65433
                                               no faster than that
  gannet send --dtls --fingerprint 3F:A0:... --data "for you alone" 192.0.2.1 4433
                                               sealed, to whom has this certificate: gannet echo --dtls tells it
  gannet send --via memory --ping -n 20 --interval 10ms --loss 20% --delay 5ms --print 10.7.0.2 65433
                                               no network at all: two hosts of ours, the other of which echoes, on a wire in memory that
                                               you spoil as you like)";

struct SendFlags {
  std::string host;
  std::uint16_t port = 0;
  std::vector<std::string> data;
  std::string file;
  std::optional<std::size_t> size;
  bool size_of_path = false;  // --size mtu
  bool ping = false;
  bool dont_fragment = false;
  std::string source;
  std::uint16_t local_port = 0;
  std::optional<std::chrono::nanoseconds> interval;
  int pace = 0;  // bytes per second; 0: none
};

class Send {
 public:
  Send(const Settings& settings, const SendFlags& flags, Report& report)
      : settings_(settings),
        flags_(flags),
        report_(report),
        place_(settings, report),
        to_(place_.resolve(flags.host, flags.port)),
        many_answer_(to_.ip.is_multicast() || settings.broadcast),
        socket_(settings, report, place_, to_.ip.family, false),
        exchange_(many_answer_),
        interval_(flags.interval.value_or(flags.ping ? 1s : 0s)),
        patience_(settings.timeout.value_or(1s)) {
    prepare();
    payloads_ = payloads();
  }

  Status run() {
    const auto fd = socket_->fd();
    if (!fd) fail("cannot wait for replies", fd.error());
    next_ = Clock::now();
    while (!waiter_.interrupted() && !is_done() && place_.has_link()) {
      const bool may_send = payloads_->state() == Payloads::State::ready;
      if (may_send && Clock::now() >= next_) send_one();
      waiter_.wait({*fd, payloads_->fd(), place_.loss_fd()}, std::min(wait_until(), socket_.wakeup()));
      if (waiter_.is_readable(payloads_->fd())) payloads_->read();
      if (waiter_.is_readable(*fd) || socket_.is_sealed()) receive();
      take_errors();
    }
    totals_.replies = patience_ > 0s ? std::optional(exchange_.answered()) : std::nullopt;
    place_.finish(totals_, *socket_);
    socket_.add_drops(totals_);
    report_.summary(totals_);
    place_.require_link();
    const bool nothing_came = totals_.datagrams_in == 0;
    return nothing_came && (flags_.ping || totals_.errors > 0) ? Status::failed : Status::ok;
  }

 private:
  void prepare() {
    if (to_.ip.is_limited_broadcast() && !settings_.broadcast) refuse("255.255.255.255 is everybody on the network; say so with -b");
    if (flags_.dont_fragment) {
      const auto set = socket_->set(Option::pmtu_discovery, static_cast<int>(PmtuDiscovery::always));
      if (!set) fail("cannot forbid fragments", set.error());
    }
    if (flags_.pace != 0) pace(*socket_);
    if (!flags_.source.empty() || flags_.local_port != 0) {
      const IpAddress source = flags_.source.empty() ? IpAddress::any(to_.ip.family) : place_.resolve(flags_.source, 0).ip;
      place_.bind(*socket_, {source, flags_.local_port});
    }
    if (place_.is_memory()) place_.echo_opposite(to_);
    socket_.shake_hands(to_);
  }

  void pace(Socket& socket) {
    const auto set = socket.set(Option::max_pacing_rate, flags_.pace);
    if (!set) fail("cannot pace the socket", set.error());
    if (place_.is_ours()) return;
    report_.note("the kernel paces only on interfaces whose queueing discipline is fq: tc qdisc replace dev IFACE root fq");
  }

  Payloads payloads() {
    const std::size_t most = to_.ip.is_ipv4() ? most_ipv4 : most_ipv6;
    if (!flags_.data.empty()) return Payloads::texts(flags_.data, settings_.count.value_or(flags_.data.size()));
    if (!flags_.file.empty()) return Payloads::texts({read_file(flags_.file, most)}, settings_.count.value_or(1));
    if (flags_.ping) return Payloads::generated(size(56), settings_.count);
    if (flags_.size || flags_.size_of_path) return Payloads::generated(size(0), settings_.count.value_or(1));
    return Payloads::standard_input(settings_.count);
  }

  std::size_t size(std::size_t otherwise) {
    if (!flags_.size_of_path) return flags_.size.value_or(otherwise);
    if (const auto most = socket_.max_payload(to_)) {
      report_.note(fmt::format("{} bytes of data fit into a sealed datagram", *most));
      return *most;
    }
    const auto mtu = path_mtu();
    if (!mtu) fail(fmt::format("cannot learn the path's MTU to {}", to_.to_string()), mtu.error());
    const std::size_t largest = static_cast<std::size_t>(*mtu) - (to_.ip.is_ipv4() ? ipv4_headers : ipv6_headers);
    report_.note(fmt::format("the path's MTU is {}: {} bytes of data", *mtu, largest));
    return std::min(largest, to_.ip.is_ipv4() ? most_ipv4 : most_ipv6);
  }

  Result<int> path_mtu() {
    Socket probe = place_.socket(to_.ip.family);
    if (const auto connected = probe.connect(to_); !connected) return connected.error();
    return probe.get(Option::mtu);
  }

  void send_one() {
    const std::span<const std::byte> data = payloads_->next();
    for (;;) {
      const auto now = Clock::now();
      const auto sent = socket_->send_to(data, to_, 100ms);
      if (sent) {
        exchange_.sent(text_of(data), now);
        break;
      }
      if (sent.error().code != EAGAIN) explain(sent.error(), data.size());
      waiter_.wait({}, now);
      if (waiter_.interrupted()) return;
    }
    report_.sent(++totals_.datagrams_out, to_, data.size());
    totals_.bytes_out += data.size();
    const auto now = Clock::now();
    next_ = std::max(next_ + interval_, now - interval_);  // late ones are not made up for in a burst
    last_sent_ = std::max(last_sent_, now) + time_to_leave(data.size());
  }

  // Until a paced datagram leaves our host, which must not end before.
  [[nodiscard]] std::chrono::nanoseconds time_to_leave(std::size_t size) const {
    if (flags_.pace == 0 || !place_.is_ours()) return 0ns;
    return std::chrono::nanoseconds(1s) * static_cast<std::int64_t>(size + ipv4_headers) / flags_.pace;
  }

  // Why a datagram of this size could not be sent, and what to do.
  [[noreturn]] void explain(const Error& error, std::size_t bytes) {
    const std::string to = to_.to_string();
    const std::size_t most = to_.ip.is_ipv4() ? most_ipv4 : most_ipv6;
    if (error.code == EMSGSIZE && bytes > most) {
      throw Failure{Status::failed,
                    fmt::format("{} bytes do not fit into one datagram: the length fields of {} leave {} at most; send less, or in several", bytes,
                                to_.ip.is_ipv4() ? "IPv4 and UDP (65535, less 28 of headers)" : "UDP (65535, less 8 of its header)", most)};
    }
    if (const auto most_sealed = socket_.max_payload(to_); error.code == EMSGSIZE && most_sealed) {
      throw Failure{Status::failed, fmt::format("{} bytes do not fit into one packet to {}: of {} (--dtls-mtu), headers and seal leave {}; send less",
                                                bytes, to, settings_.sealing.mtu, *most_sealed)};
    }
    if (error.code == EMSGSIZE) {
      const auto mtu = path_mtu();
      const std::size_t headers = to_.ip.is_ipv4() ? ipv4_headers : ipv6_headers;
      throw Failure{Status::failed,
                    mtu ? fmt::format("{} bytes do not fit into one packet to {}: the path's MTU is {}, less {} of headers leaves {}; send less{}",
                                      bytes, to, *mtu, headers, static_cast<std::size_t>(*mtu) - headers,
                                      flags_.dont_fragment ? ", or let IP fragment it (without -D)" : "")
                        : fmt::format("{} bytes are too large for the path to {}: {}", bytes, to, error.message())};
    }
    if (error.code == EACCES && !settings_.broadcast) refuse(fmt::format("{} is a broadcast address; say that everybody is meant with -b", to));
    if (error.code == ENETUNREACH) {
      throw Failure{Status::failed,
                    fmt::format("no route leads to {}; {}", to,
                                place_.is_ours() ? "give our host a gateway: --via tap:NAME,ADDR/LEN,gw=ADDR" : "`ip route` lists those there are")};
    }
    fail(fmt::format("cannot send to {}", to), error);
  }

  void receive() {
    for (int round = 0; round < 64; ++round) {
      const auto datagram = socket_->receive(buffer_, Deadline::now());
      if (!datagram) return;
      const auto answer = exchange_.received(text_of(datagram->data), Clock::now());
      ++totals_.datagrams_in;
      totals_.bytes_in += datagram->data.size();
      if (answer) totals_.round_trips.add(answer->round_trip);
      if (!many_answer_ && datagram->peer != to_) {
        report_.note(fmt::format("from {}, whom we did not ask:", datagram->peer.to_string()));
      }
      report_.received(*datagram, answer, flags_.ping ? ping_line(*datagram, answer) : "");
    }
  }

  static std::string ping_line(const Datagram& datagram, const std::optional<Answer>& answer) {
    std::string line = fmt::format("{} bytes from {}", datagram.data.size(), datagram.peer.to_string());
    if (datagram.ttl >= 0) line += fmt::format(", ttl {}", datagram.ttl);
    return line + (answer ? fmt::format(", number {}, {}", answer->number, human(answer->round_trip)) : ", answers nothing of ours");
  }

  void take_errors() {
    while (const auto error = socket_->receive_error()) {
      ++totals_.errors;
      const std::string sentence = sentence_of(*error);
      if (report_.json() || flags_.ping || sentence != last_error_) report_.error(*error, sentence);
      last_error_ = sentence;
    }
  }

  std::string sentence_of(const SocketError& error) {
    const std::string peer = (error.peer.port != 0 ? error.peer : to_).to_string();
    const std::string from = error.offender.is_any() ? "" : fmt::format(" (says {})", error.offender.to_string());
    switch (error.code) {
      case ECONNREFUSED:
        return fmt::format("{}: refused, no program has this port{}", peer, from);
      case EHOSTUNREACH:
        return fmt::format("{}: the host does not answer, or cannot be reached{}", peer, from);
      case ENETUNREACH:
        return fmt::format("{}: the network cannot be reached{}", peer, from);
      case EMSGSIZE:
        return fmt::format("{}: too large for the path, whose MTU is {}{}", peer, error.mtu, from);
      default:
        return fmt::format("{}: {}{}", peer, std::generic_category().message(error.code), from);
    }
  }

  [[nodiscard]] bool is_done() const {
    if (payloads_->state() != Payloads::State::ended) return false;
    if (totals_.datagrams_out == 0) return true;
    const bool all_settled = patience_ > 0s && !many_answer_ && exchange_.answered() + totals_.errors >= totals_.datagrams_out;
    return all_settled || Clock::now() >= last_sent_ + patience_;
  }

  [[nodiscard]] Clock::time_point wait_until() const {
    switch (payloads_->state()) {
      case Payloads::State::ready:
        return next_;
      case Payloads::State::waiting:
        return Clock::time_point::max();
      case Payloads::State::ended:
        return last_sent_ + patience_;
    }
    return next_;
  }

  const Settings& settings_;
  const SendFlags& flags_;
  Report& report_;
  Waiter waiter_;  // before the place, whose threads inherit the blocked signals
  Place place_;
  Address to_;
  bool many_answer_;
  Port socket_;
  std::optional<Payloads> payloads_;
  Exchange exchange_;
  std::chrono::nanoseconds interval_, patience_;
  Clock::time_point next_;
  Clock::time_point last_sent_{};  // when the last datagram left, or will
  Totals totals_;
  std::string last_error_;  // people are told once of what repeats itself; the summary counts it
  std::vector<std::byte> buffer_ = std::vector<std::byte>(65536);
};

void add_payload_flags(Command& command, const std::shared_ptr<SendFlags>& flags) {
  command.value(
      "--data", "TEXT", "send this text as one datagram; may be given again",
      [flags](std::string_view, std::string_view text) { flags->data.emplace_back(text); }, true);
  command.text("--file", "FILE", "send the bytes of this file as one datagram", flags->file);
  command.value("--size", "BYTES", "send this many bytes, which begin with the datagram's number; mtu: as many as pass in one packet",
                [flags](std::string_view flag, std::string_view text) {
                  flags->size_of_path = text == "mtu";
                  if (!flags->size_of_path) flags->size = parse_bytes(flag, text);
                  if (flags->size.value_or(0) > (1u << 20)) refuse(fmt::format("{} {}: a datagram has 65507 bytes at most", flag, text));
                });
  command.flag("--ping", "send one a second until Ctrl-C (-n: so many), and tell each one's round trip", flags->ping);
}

int parse_pace(std::string_view flag, std::string_view text) {
  const std::uint64_t bytes = parse_rate(flag, text) / 8;
  if (bytes == 0 || bytes > std::numeric_limits<int>::max()) refuse(fmt::format("{} takes from 8bit to 17Gbit, not \"{}\"", flag, text));
  return static_cast<int>(bytes);
}

void check(const SendFlags& flags) {
  const bool generated = flags.ping || flags.size || flags.size_of_path;
  if ((flags.data.empty() ? 0 : 1) + (flags.file.empty() ? 0 : 1) + (generated ? 1 : 0) > 1) {
    refuse("what is to be sent? give one of --data, --file and --size (or --ping)");
  }
}

}  // namespace

void add_send(CommandLine& line) {
  Command command = line.command("send", "send datagrams and wait for the answers");
  command.examples(examples);
  Settings& settings = command.settings();
  const auto flags = std::make_shared<SendFlags>();
  command.argument("HOST", "a name, an address, a group or (with -b) a broadcast address",
                   [flags](std::string_view, std::string_view text) { flags->host = text; });
  command.argument("PORT", "where the datagrams go", [flags](std::string_view flag, std::string_view text) { flags->port = parse_port(flag, text); });

  add_payload_flags(command, flags);
  add_count_flag(command, "send so many datagrams in all");
  command.value("--interval", "TIME", "between two datagrams (0; --ping: 1s)",
                [flags](std::string_view flag, std::string_view text) { flags->interval = parse_duration(flag, text); });
  command.value("--pace", "BITS", "send no more than this many bits per second, headers included: 1Mbit",
                [flags](std::string_view flag, std::string_view text) { flags->pace = parse_pace(flag, text); });
  add_timeout_flag(command, "wait this long for the last replies (1s); 0: for none");
  command.text("-s,--source", "ADDRESS", "send from this address of this host", flags->source);
  command.value("-p,--port", "PORT", "send from this port",
                [flags](std::string_view flag, std::string_view text) { flags->local_port = parse_port(flag, text); });
  command.flag("-D,--dont-fragment", "forbid fragments: refuse what does not pass in one packet", flags->dont_fragment);
  add_send_flags(command);
  add_receive_flags(command);
  command.flag("--raw", "write replies as they are, with no newlines added", settings.raw);
  add_report_flags(command);
  add_dtls_flags(command);
  add_link_flags(command);
  command.run([&settings, flags](Report& report) { return Send(settings, *flags, report).run(); }, [flags] { check(*flags); });
}

}  // namespace gannet::cli
