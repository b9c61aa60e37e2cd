// Two programs that know nothing of Gannet, only the C library: who runs them decides whose UDP they measure.
//
//   pair receive PORT BATCH                                    counts, and acknowledges every 32nd datagram; ends with the sender
//   pair send    PORT BATCH SIZE COUNT                         keeps at most 128 datagrams unacknowledged
//   pair answer  PORT block|spin                               sends each datagram back; ends with the asker
//   pair ask     PORT block|spin COUNT                         one datagram at a time, for five seconds at most
//   pair both    PORT COUNT                                    asks and answers, spinning, from one thread: needs no core for a second program
//
// BATCH 1 is sendto(2) and recvfrom(2); more is sendmmsg(2) and recvmmsg(2). Each prints one JSON object as it ends.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

constexpr std::uint64_t window = 128;
constexpr std::uint64_t acknowledge_every = 32;
constexpr std::uint64_t last = UINT64_MAX;  // the number of the datagram that ends it all
constexpr std::size_t largest = 2048;
constexpr unsigned most_at_once = 64;
constexpr double longest = 5;  // seconds that are spent on asking

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int open_socket() {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) fail("socket");
  const int buffer = 1 << 20;  // the kernel gives what net.core.rmem_max allows
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  const timeval patience{0, 200'000};  // an acknowledgement or an answer that does not come is lost
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

int open_server(int port) {
  const int fd = open_socket();
  const timeval patience{20, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const sockaddr_in local = loopback(port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) fail("bind");
  std::puts("ready");
  std::fflush(stdout);
  return fd;
}

ssize_t send_to(int fd, const void* data, std::size_t size, const sockaddr_in& to) {
  return sendto(fd, data, size, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

// Rows for sendmmsg and recvmmsg.
struct Batch {
  explicit Batch(unsigned count) : bytes(count), names(count), pieces(count), messages(count) {
    for (unsigned i = 0; i < count; ++i) {
      pieces[i] = {bytes[i].data(), bytes[i].size()};
      messages[i].msg_hdr.msg_iov = &pieces[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
  }
  void name(unsigned i, const sockaddr_in& address) {
    names[i] = address;
    messages[i].msg_hdr.msg_name = &names[i];
    messages[i].msg_hdr.msg_namelen = sizeof names[i];
  }
  std::vector<std::array<char, largest>> bytes;
  std::vector<sockaddr_in> names;
  std::vector<iovec> pieces;
  std::vector<mmsghdr> messages;
};

std::uint64_t number_of(const char* bytes) {
  std::uint64_t number = 0;
  std::memcpy(&number, bytes, sizeof number);
  return number;
}

class Receiver {
 public:
  explicit Receiver(int fd) : fd_(fd) {}

  // False: that was the last.
  bool take(const char* bytes, const sockaddr_in& from) {
    const std::uint64_t number = number_of(bytes);
    if (number == last) return false;
    if (count_ == 0) first_at_ = seconds();
    ++count_;
    if (number + 1 - acknowledged_ < acknowledge_every) return true;
    acknowledged_ = number + 1;
    last_at_ = seconds();
    send_to(fd_, &acknowledged_, sizeof acknowledged_, from);
    return true;
  }
  void print() const { std::printf("{\"received\": %" PRIu64 ", \"seconds\": %.6f, \"cpu\": %.6f}\n", count_, last_at_ - first_at_, cpu_seconds()); }

 private:
  int fd_;
  std::uint64_t count_ = 0, acknowledged_ = 0;
  double first_at_ = 0, last_at_ = 0;
};

int receive(int port, unsigned batch) {
  const int fd = open_server(port);
  Receiver receiver(fd);
  std::array<char, largest> bytes{};
  Batch rows(batch);
  for (bool more = true; more;) {
    sockaddr_in from{};
    if (batch == 1) {
      socklen_t size = sizeof from;
      if (recvfrom(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&from), &size) < 0) fail("recvfrom");
      more = receiver.take(bytes.data(), from);
      continue;
    }
    for (unsigned i = 0; i < batch; ++i) rows.name(i, from);
    const int count = recvmmsg(fd, rows.messages.data(), batch, MSG_WAITFORONE, nullptr);
    if (count < 0) fail("recvmmsg");
    for (unsigned i = 0; more && i < static_cast<unsigned>(count); ++i) more = receiver.take(rows.bytes[i].data(), rows.names[i]);
  }
  receiver.print();
  return 0;
}

int send(int port, unsigned batch, std::size_t size, std::uint64_t count) {
  const int fd = open_socket();
  const sockaddr_in to = loopback(port);
  std::array<char, largest> bytes{};
  Batch rows(batch);
  for (unsigned i = 0; i < batch; ++i) {
    rows.name(i, to);
    rows.pieces[i].iov_len = size;
  }
  std::uint64_t acknowledged = 0;
  for (std::uint64_t number = 0; number < count;) {
    while (number + batch - acknowledged > window) {
      std::uint64_t until = 0;
      const ssize_t got = recv(fd, &until, sizeof until, 0);
      if (got < 0 && errno != EAGAIN && errno != ECONNREFUSED) fail("recv");
      acknowledged = got < 0 ? number : std::max(acknowledged, until);
    }
    if (batch == 1) {
      std::memcpy(bytes.data(), &number, sizeof number);
      if (send_to(fd, bytes.data(), size, to) < 0) fail("sendto");
      ++number;
      continue;
    }
    for (unsigned i = 0; i < batch; ++i) {
      const std::uint64_t each = number + i;
      std::memcpy(rows.bytes[i].data(), &each, sizeof each);
    }
    const int sent = sendmmsg(fd, rows.messages.data(), batch, 0);
    if (sent < 0) fail("sendmmsg");
    number += static_cast<unsigned>(sent);
  }
  std::printf("{\"sent\": %" PRIu64 ", \"cpu\": %.6f}\n", count, cpu_seconds());
  usleep(50'000);  // what is under way comes first
  for (int i = 0; i < 3; ++i) {
    send_to(fd, &last, sizeof last, to);
    usleep(10'000);
  }
  return 0;
}

// One datagram, waited for as the program was told to.
ssize_t await(int fd, bool spin, void* data, std::size_t size, sockaddr_in* from) {
  const double end = seconds() + 2 * longest;
  for (;;) {
    socklen_t name_size = sizeof *from;
    const ssize_t got = recvfrom(fd, data, size, spin ? MSG_DONTWAIT : 0, reinterpret_cast<sockaddr*>(from), &name_size);
    if (got >= 0 || !spin || errno != EAGAIN || seconds() > end) return got;
  }
}

int answer(int port, bool spin) {
  const int fd = open_server(port);
  std::array<char, largest> bytes{};
  for (;;) {
    sockaddr_in from{};
    const ssize_t got = await(fd, spin, bytes.data(), bytes.size(), &from);
    if (got < 0 || number_of(bytes.data()) == last) break;
    send_to(fd, bytes.data(), static_cast<std::size_t>(got), from);
  }
  std::printf("{\"cpu\": %.6f}\n", cpu_seconds());
  return 0;
}

int print_trips(std::vector<double>& trips, std::uint64_t asked) {
  std::ranges::sort(trips);
  if (trips.empty()) trips.push_back(2 * longest);  // at the least
  const auto at = [&](std::size_t percent) { return trips[trips.size() * percent / 100] * 1e6; };
  std::printf("{\"sent\": %" PRIu64 ", \"received\": %zu, \"microseconds\": %.2f, \"p99\": %.2f, \"cpu\": %.6f}\n", asked, trips.size(), at(50),
              at(99), cpu_seconds());
  return 0;
}

int ask(int port, bool spin, std::uint64_t count) {
  const int fd = open_socket();
  const sockaddr_in to = loopback(port);
  std::vector<double> trips;
  trips.reserve(count);
  std::array<char, 64> bytes{};
  const double end = seconds() + longest;
  std::uint64_t asked = 0;
  for (; asked < count && seconds() < end; ++asked) {
    sockaddr_in from{};
    const double start = seconds();
    std::memcpy(bytes.data(), &asked, sizeof asked);
    send_to(fd, bytes.data(), bytes.size(), to);
    if (await(fd, spin, bytes.data(), bytes.size(), &from) > 0) trips.push_back(seconds() - start);
  }
  send_to(fd, &last, sizeof last, to);
  usleep(10'000);
  return print_trips(trips, asked);
}

int ask_and_answer(int port, std::uint64_t count) {
  const int server = open_server(port);
  const int client = open_socket();
  const sockaddr_in to = loopback(port);
  std::vector<double> trips;
  trips.reserve(count);
  std::array<char, 64> bytes{};
  const double end = seconds() + longest;
  std::uint64_t asked = 0;
  for (; asked < count && seconds() < end; ++asked) {
    sockaddr_in from{};
    const double start = seconds();
    send_to(client, bytes.data(), bytes.size(), to);
    if (await(server, true, bytes.data(), bytes.size(), &from) > 0) send_to(server, bytes.data(), bytes.size(), from);
    if (await(client, true, bytes.data(), bytes.size(), &from) > 0) trips.push_back(seconds() - start);
  }
  return print_trips(trips, asked);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  const auto number = [&](int i) { return std::strtoull(argv[i], nullptr, 10); };
  const auto batch = [&] { return static_cast<unsigned>(std::clamp<unsigned long long>(number(3), 1, most_at_once)); };
  if (what == "receive" && argc == 4) return receive(std::atoi(argv[2]), batch());
  if (what == "send" && argc == 6) return send(std::atoi(argv[2]), batch(), std::clamp<std::size_t>(number(4), 8, largest), number(5));
  if (what == "answer" && argc == 4) return answer(std::atoi(argv[2]), std::string_view(argv[3]) == "spin");
  if (what == "ask" && argc == 5) return ask(std::atoi(argv[2]), std::string_view(argv[3]) == "spin", number(4));
  if (what == "both" && argc == 4) return ask_and_answer(std::atoi(argv[2]), number(3));
  std::fputs("usage: pair receive PORT BATCH | send PORT BATCH SIZE COUNT | answer PORT block|spin | ask PORT block|spin COUNT | both PORT COUNT\n",
             stderr);
  return 2;
}
