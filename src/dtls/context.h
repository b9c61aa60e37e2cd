// What all associations of a socket share: the options, checked, and the SSL_CTX that follows from them.
//
// Owner: an endpoint, which it outlives not.  Thread: one at a time.  Allocates: at creation.
// Sources: RFC 7525 and RFC 9325 (which versions and ciphers), RFC 4279, RFC 5705 (exported keys).
#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <gannet/dtls.h>

#include "dtls/openssl.h"

namespace gannet::dtls {

class Association;

class Context {
 public:
  // EINVAL with a sentence: the options contradict themselves, or are not enough; ENOENT, EACCES: of authorities_file.
  static Result<std::unique_ptr<Context>> create(DtlsOptions options);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // An SSL that is a part of `owner`, which its callbacks find. Null: no memory.
  [[nodiscard]] SslPtr make_ssl(Association& owner, bool is_server) const;
  [[nodiscard]] const DtlsOptions& options() const { return options_; }
  // Whether there is anybody whom it would believe as a client.
  [[nodiscard]] bool may_connect() const { return trusts_certificates() || has_shared_keys(); }
  [[nodiscard]] bool has_shared_keys() const { return !options_.pre_shared_keys.empty(); }

  // The extension by which the two say that they answer keepalives: empty, under a number for private use.
  static constexpr unsigned keepalive_extension = 65'351;

 private:
  explicit Context(DtlsOptions options) : options_(std::move(options)) {}
  Result<void> configure();
  Result<void> use_identity();
  Result<void> use_trust();
  // The cipher suites of a role, in OpenSSL's words.
  [[nodiscard]] std::string ciphers(bool is_server) const;
  [[nodiscard]] bool trusts_certificates() const {
    return options_.trust_anyone || !options_.fingerprints.empty() || !options_.authorities_file.empty();
  }

  static const Context& of(const SSL* ssl);
  static int verify(X509_STORE_CTX* chain, void* self);
  static unsigned give_key(SSL* ssl, const char* hint, char* identity, unsigned identity_size, unsigned char* key, unsigned key_size);
  static unsigned find_key(SSL* ssl, const char* identity, unsigned char* key, unsigned key_size);
  static void tell_secret(const SSL* ssl, const char* line);

  DtlsOptions options_;
  std::map<std::string_view, const PreSharedKey*> keys_;  // by identity
  SslContextPtr context_;
};

}  // namespace gannet::dtls
