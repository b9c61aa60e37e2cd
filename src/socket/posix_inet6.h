// What an AF_INET6 socket is besides an AF_INET one.
//
// By v4-mapped addresses, and by all of them when it is bound to `::`, it is an endpoint of our IPv4 host. Towards native IPv6 it is a socket of a
// host that has no IPv6 address. The options here are about native IPv6 alone: they are kept and shown, with Linux's ranges. An IPV6_V6ONLY socket is
// none of ours: PosixSocket::ipv6_only() makes one of the kernel's of it.
// Thread: any.  Allocates: never.  Sources: RFC 4291 2.5.5.2, RFC 3493 3.7 and 5.3; Linux's ipv6(7).
#pragma once
#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <gannet/address.h>
#include <gannet/result.h>

namespace gannet::socket {

// A sockaddr_in6 of the program's; a v4-mapped address is the IPv4 address that it means. EINVAL: too short; EAFNOSUPPORT: of another family.
Result<Address> parse_inet6_address(const sockaddr* raw, socklen_t size);

class Inet6Options {
 public:
  static constexpr std::size_t count = 9;
  // Where they are kept, each zero as it began.
  using Words = std::span<std::atomic<std::uint64_t>, count>;
  explicit Inet6Options(Words words) : words_(words) {}

  // EINVAL: out of range; ENODEV, EADDRNOTAVAIL: an IPv6 group to join or to leave, on a host that can be in none; ENOPROTOOPT: not known.
  Result<void> set(int name, std::span<const std::byte> value);
  [[nodiscard]] Result<int> get(int name) const;
  // What is not as it began, to a socket of the kernel's.
  void apply_to(int fd) const;

 private:
  [[nodiscard]] int value_at(std::size_t index) const;

  Words words_;
};

}  // namespace gannet::socket
