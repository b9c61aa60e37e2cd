#include "support/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <thread>

#include "wire/icmp4.h"
#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::tests {
namespace {

bool write_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd == -1) return false;
  const bool done = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return done;
}

// `lo` up, and every ICMP error sent at once: tests provoke more of them than a host of the Internet should send.
std::string furnish() {
  write_file("/proc/sys/net/ipv4/icmp_ratelimit", "0");
  return run_ip("link set lo up");
}

std::string move_into_private_network() {
  const auto user = ::geteuid();
  const auto group = ::getegid();
  if (::unshare(user == 0 ? CLONE_NEWNET : CLONE_NEWNET | CLONE_NEWUSER) == -1) {
    return std::string("no network namespace to be had here: ") + std::strerror(errno);
  }
  if (user != 0) {
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
    write_file("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
  }
  return furnish();
}

}  // namespace

const std::string& enter_private_network() {
  static const std::string why_not = move_into_private_network();
  return why_not;
}

std::string SecondNetwork::open(SecondNetwork& network) {
  network.home_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  std::string why_not;
  // In a thread of its own, so that the process stays where it is.
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == -1) {
      why_not = std::string("no second network namespace to be had here: ") + std::strerror(errno);
      return;
    }
    network.fd_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    why_not = furnish();
  }).join();
  return why_not;
}

void SecondNetwork::inside(const std::function<void()>& work) const {
  if (::setns(fd_, CLONE_NEWNET) == -1) std::abort();
  work();
  if (::setns(home_, CLONE_NEWNET) == -1) std::abort();
}

SecondNetwork::~SecondNetwork() {
  if (fd_ != -1) ::close(fd_);
  if (home_ != -1) ::close(home_);
}

std::string send_fragmentation_needed(const Address& src, const Address& dst, std::uint16_t mtu) {
  std::array<std::byte, wire::icmp4_header_size + wire::ipv4_header_size + wire::udp_header_size> message{};
  const auto about = std::span(message).subspan(wire::icmp4_header_size);
  wire::emit_udp(src.ip, dst.ip, src.port, dst.port, about.subspan(wire::ipv4_header_size));
  wire::emit_ipv4({.src = src.ip, .dst = dst.ip, .protocol = wire::protocol_udp, .ttl = 64, .dont_fragment = true}, about);
  wire::store_be16(about, 2, 1500);  // it was as large
  wire::emit_icmp4(wire::Icmp4Type::unreachable, wire::unreachable_code::fragmentation_needed, mtu, message);

  const int fd = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
  sockaddr_in to{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(src.ip.number())}, .sin_zero = {}};
  const bool sent = fd != -1 && ::sendto(fd, message.data(), message.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) != -1;
  std::string why_not = sent ? "" : std::string("no ICMP message of ours can be sent here: ") + std::strerror(errno);
  if (fd != -1) ::close(fd);
  return why_not;
}

std::string run_ip(const std::string& arguments) {
  const std::string command = "ip " + arguments + " 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "cannot run " + command;
  std::string said;
  std::array<char, 256> line{};
  while (std::fgets(line.data(), line.size(), pipe) != nullptr) said += line.data();
  if (::pclose(pipe) == 0) return {};
  return "`" + command + "`: " + said;
}

}  // namespace gannet::tests
