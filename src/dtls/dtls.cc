#include <gannet/dtls.h>

#include <openssl/rand.h>

#include "base/rng.h"
#include "dtls/context.h"
#include "dtls/provider.h"

namespace gannet {
namespace {

Result<HashKey> make_key(std::uint64_t seed) {
  HashKey key{splitmix64(seed), splitmix64(seed)};
  if (seed != 0) return key;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&key), sizeof key) != 1) return dtls::openssl_failure(EIO, "the system gives no random numbers");
  return key;
}

}  // namespace

DtlsSocket::DtlsSocket(std::unique_ptr<dtls::Provider> provider) : Socket(std::unique_ptr<socket::Provider>(std::move(provider))) {}

// The constructor, which is private, puts no other there.
dtls::Provider& DtlsSocket::dtls() const { return static_cast<dtls::Provider&>(*provider()); }

Result<DtlsSocket> DtlsSocket::open(Socket under, DtlsOptions options) {
  if (const auto peer = under.peer_address()) return Error{EINVAL, "the socket is connected: give one that is not, and connect the DtlsSocket"};
  const auto key = make_key(options.seed);
  if (!key) return key.error();
  auto context = dtls::Context::create(std::move(options));
  if (!context) return context.error();
  return DtlsSocket(std::make_unique<dtls::Provider>(std::move(under), std::move(*context), *key));
}

Result<DtlsPeer> DtlsSocket::peer(const Address& address) const { return dtls().peer(address); }
std::vector<DtlsPeer> DtlsSocket::peers() const { return dtls().peers(); }
std::size_t DtlsSocket::peer_count() const { return dtls().peer_count(); }
Result<void> DtlsSocket::close_peer(const Address& address) { return dtls().close_peer(address); }
Result<std::size_t> DtlsSocket::max_payload(const Address& peer) const { return dtls().max_payload(peer); }
Deadline DtlsSocket::next_wakeup() const { return dtls().next_wakeup(); }
std::vector<Count> DtlsSocket::drops() const { return dtls().drops(); }

}  // namespace gannet
