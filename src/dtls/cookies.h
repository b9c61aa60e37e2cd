// Cookies: what a client must have received at its address before a server remembers anything of it.
//
//   octet 0: the minute in which it was made, modulo 256 | octets 1-8: SipHash-2-4 of key, minute, address, port, client random, session id
//
// A cookie holds for the minute in which it was made and the one after. Nothing is stored, so nothing can be filled up; who has not received one has
// 1 chance in 2^64 for each that he tries.
// Thread: one.  Allocates: never.
// Sources: RFC 6347 4.2.1.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <gannet/address.h>

#include "base/hash.h"
#include "base/time.h"
#include "wire/dtls.h"

namespace gannet::dtls {

class Cookies {
 public:
  static constexpr std::size_t size = 9;
  using Cookie = std::array<std::byte, size>;

  explicit Cookies(const HashKey& key) : key_(key) {}

  [[nodiscard]] Cookie make(const Address& peer, const wire::ClientHello& hello, Time now) const { return make(peer, hello, minute_of(now)); }
  [[nodiscard]] bool is_good(const Address& peer, const wire::ClientHello& hello, Time now) const {
    if (hello.cookie.size() != size) return false;
    const std::uint64_t minute = minute_of(now);
    const bool is_this = hello.cookie[0] == static_cast<std::byte>(minute), is_last = hello.cookie[0] == static_cast<std::byte>(minute - 1);
    if (!is_this && !is_last) return false;
    const Cookie good = make(peer, hello, is_this ? minute : minute - 1);
    return std::memcmp(good.data(), hello.cookie.data(), size) == 0;
  }

 private:
  static std::uint64_t minute_of(Time now) {
    return static_cast<std::uint64_t>(std::chrono::floor<std::chrono::minutes>(now.time_since_epoch()).count());
  }
  [[nodiscard]] Cookie make(const Address& peer, const wire::ClientHello& hello, std::uint64_t minute) const {
    SipHash hash(key_);
    hash.add(minute);
    add_address(hash, peer.ip);
    hash.add(std::uint64_t{peer.port} << 32 | peer.scope);
    for (std::size_t at = 0; at < hello.random.size(); at += 8) hash.add(word_at(hello.random, at));
    hash.add(siphash(key_, hello.session_id));
    const std::uint64_t tag = hash.finish();
    Cookie cookie{static_cast<std::byte>(minute)};
    std::memcpy(cookie.data() + 1, &tag, sizeof tag);
    return cookie;
  }
  static std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t at) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    return word;
  }

  HashKey key_;
};

}  // namespace gannet::dtls
