#include "dtls/context.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "dtls/association.h"
#include "dtls/credentials.h"

namespace gannet::dtls {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t shortest_key = 16, longest_key = 64;

const char* fault_of(const PreSharedKey& key) {
  if (key.identity.empty() || key.identity.size() > 128) return "the identity of a shared key has 1 to 128 bytes";
  if (key.identity.find('\0') != std::string::npos) return "the identity of a shared key has no zero bytes";
  if (key.key.size() < shortest_key || key.key.size() > longest_key) return "a shared key has 16 to 64 bytes";
  return nullptr;
}

// What is wrong with the options, in one sentence; nullptr: nothing.
const char* fault_of(const DtlsOptions& options) {
  for (const PreSharedKey& key : options.pre_shared_keys) {
    if (const char* fault = fault_of(key)) return fault;
  }
  const bool trusts = options.trust_anyone || !options.fingerprints.empty() || !options.authorities_file.empty();
  if (options.accept && options.identity.is_none() && options.pre_shared_keys.empty()) {
    return "who accepts must show who he is: give an identity (DtlsIdentity::self_signed makes one) or pre_shared_keys";
  }
  if (!options.accept && !trusts && options.pre_shared_keys.empty()) {
    return "whom is it to believe? Give the peer's fingerprints, an authorities_file, pre_shared_keys, or say trust_anyone";
  }
  if (options.mtu < 320 || options.mtu > 65'535) return "an MTU is 320 to 65535 bytes here: OpenSSL takes no smaller one";
  if (options.most_peers == 0 || options.most_handshakes == 0) return "at least one peer and one handshake";
  if (options.retransmit_after < 10ms || options.retransmit_after > 60s) return "retransmit_after is 10 ms to 60 s";
  if (options.handshake_timeout < options.retransmit_after || options.handshake_timeout > 1h)
    return "handshake_timeout is retransmit_after to an hour";
  if (options.idle_timeout < 0s || options.idle_timeout > 24h * 365) return "idle_timeout is zero, which is never, or up to a year";
  if (options.keepalive != 0s && (options.keepalive < 15s || options.keepalive > 24h))
    return "keepalive is zero, which is off, or 15 s (RFC 8085 3.5) to a day";
  return nullptr;
}

int add_keepalive(SSL* /*ssl*/, unsigned /*type*/, unsigned /*context*/, const unsigned char** out, std::size_t* size, X509* /*chain*/,
                  std::size_t /*index*/, int* /*alert*/, void* /*unused*/) {
  *out = nullptr;
  *size = 0;
  return 1;
}

int take_keepalive(SSL* ssl, unsigned /*type*/, unsigned /*context*/, const unsigned char* /*in*/, std::size_t /*size*/, X509* /*chain*/,
                   std::size_t /*index*/, int* /*alert*/, void* /*unused*/) {
  Association::of(ssl).knows_keepalives();
  return 1;
}

// Who comes to SSL with a cookie has shown it to us already.
int believe_cookie(SSL* /*ssl*/, const unsigned char* /*cookie*/, unsigned /*size*/) { return 1; }

}  // namespace

Result<std::unique_ptr<Context>> Context::create(DtlsOptions options) {
  if (const char* fault = fault_of(options)) return Error{EINVAL, fault};
  std::unique_ptr<Context> context(new Context(std::move(options)));
  for (const PreSharedKey& key : context->options_.pre_shared_keys) {
    if (!context->keys_.emplace(key.identity, &key).second) return Error{EINVAL, "two shared keys have the same identity"};
  }
  if (const auto done = context->configure(); !done) return done.error();
  return context;
}

Result<void> Context::configure() {
  context_.reset(SSL_CTX_new(DTLS_method()));
  SSL_CTX* context = context_.get();
  if (context == nullptr) return openssl_failure(ENOMEM, "OpenSSL has no room for a context");
  SSL_CTX_set_app_data(context, this);
  SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(context, DTLS1_2_VERSION);
  // No renegotiation, which nobody needs and attackers like; no sessions kept, since a server is to be bounded by its peers; the MTU is told, not
  // asked for.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_QUERY_MTU | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  // Each association has a buffer of this size: no more than a packet can carry.
  SSL_CTX_set_max_send_fragment(context, static_cast<long>(std::clamp<std::size_t>(options_.mtu, 512, 16'384)));
  SSL_CTX_set_cookie_verify_cb(context, believe_cookie);
  // The last one stays: of a socket that accepts, a server's.
  const auto knows = [&](bool is_server) { return SSL_CTX_set_cipher_list(context, ciphers(is_server).c_str()) == 1; };
  if ((may_connect() && !knows(false)) || (options_.accept && !knows(true))) {
    return openssl_failure(EINVAL, "DtlsOptions::ciphers has none that OpenSSL knows and that the credentials allow");
  }
  // Of a stranger's messages that come too early OpenSSL holds up to nine of this size in each handshake. Chains are shorter.
  SSL_CTX_set_max_cert_list(context, options_.authorities_file.empty() ? 17'000 : 32'768);
  if (SSL_CTX_add_custom_ext(context, keepalive_extension, SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO, add_keepalive, nullptr, nullptr,
                             take_keepalive, nullptr) != 1) {
    return openssl_failure(ENOMEM, "OpenSSL does not take the keepalive's extension");
  }
  if (has_shared_keys()) {
    SSL_CTX_set_psk_client_callback(context, give_key);
    SSL_CTX_set_psk_server_callback(context, find_key);
  }
  if (options_.on_secret) SSL_CTX_set_keylog_callback(context, tell_secret);
  if (const auto done = use_identity(); !done) return done;
  return use_trust();
}

// Those of RFC 9325 that Debian's OpenSSL has. With shared keys forward secrecy comes from one suite alone, which is tried first; the others are what
// small devices have. Who may prove himself by a certificate, and who by a key, is decided here: a server that has keys, and trusts no certificates,
// takes keys alone, and a client takes no certificate unless it trusts some.
std::string Context::ciphers(bool is_server) const {
  const bool by_certificate = is_server ? !options_.identity.is_none() && (!has_shared_keys() || trusts_certificates()) : trusts_certificates();
  std::string suites = options_.ciphers;
  if (suites.empty() && by_certificate) suites = "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20:!PSK";
  if (options_.ciphers.empty() && has_shared_keys()) {
    constexpr const char* keys = "ECDHE-PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-AES128-CCM";
    suites = by_certificate ? suites.substr(0, suites.rfind(':')) + ':' + keys : keys;
  }
  suites += ":!aNULL:!eNULL";
  if (!by_certificate) suites += ":!aRSA:!aECDSA";
  if (!has_shared_keys()) suites += ":!PSK";
  return suites;
}

Result<void> Context::use_identity() {
  if (options_.identity.is_none()) return {};
  const Credentials& ours = Credentials::of(options_.identity);
  if (SSL_CTX_use_certificate(context_.get(), ours.certificate.get()) != 1 || SSL_CTX_use_PrivateKey(context_.get(), ours.key.get()) != 1) {
    return openssl_failure(EINVAL, "OpenSSL does not take the certificate");
  }
  for (const CertificatePtr& signer : ours.signers) {
    if (SSL_CTX_add1_chain_cert(context_.get(), signer.get()) != 1) return openssl_failure(EINVAL, "OpenSSL does not take a signer's certificate");
  }
  return {};
}

Result<void> Context::use_trust() {
  SSL_CTX_set_cert_verify_callback(context_.get(), verify, this);
  if (options_.authorities_file.empty()) return {};
  const char* const path = options_.authorities_file.c_str();
  if (::access(path, R_OK) != 0) return Error{errno, nullptr};
  if (SSL_CTX_load_verify_file(context_.get(), path) == 1) return {};
  ERR_clear_error();
  return Error{EINVAL, "the authorities' file has no certificates in PEM"};
}

SslPtr Context::make_ssl(Association& owner, bool is_server) const {
  SslPtr ssl(SSL_new(context_.get()));
  if (!ssl) return ssl;
  SSL_set_app_data(ssl.get(), &owner);
  if (is_server != options_.accept && SSL_set_cipher_list(ssl.get(), ciphers(is_server).c_str()) != 1) return nullptr;
  if (is_server) {
    SSL_set_accept_state(ssl.get());
    SSL_set_verify(ssl.get(), trusts_certificates() ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, nullptr);
    return ssl;
  }
  SSL_set_connect_state(ssl.get());
  SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);
  const std::string& name = options_.server_name;
  if (!name.empty() && (SSL_set_tlsext_host_name(ssl.get(), name.c_str()) != 1 || SSL_set1_host(ssl.get(), name.c_str()) != 1)) ssl.reset();
  return ssl;
}

const Context& Context::of(const SSL* ssl) { return *static_cast<const Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))); }

// Instead of OpenSSL's own verification: a known fingerprint is enough, an authority's word is what it has always been.
int Context::verify(X509_STORE_CTX* chain, void* self) {
  const DtlsOptions& options = static_cast<const Context*>(self)->options_;
  const X509* certificate = X509_STORE_CTX_get0_cert(chain);
  if (options.trust_anyone) return 1;
  if (certificate != nullptr && std::ranges::find(options.fingerprints, fingerprint_of(certificate)) != options.fingerprints.end()) return 1;
  if (!options.authorities_file.empty()) return X509_verify_cert(chain);
  X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_UNTRUSTED);
  return 0;
}

unsigned Context::give_key(SSL* ssl, const char* /*hint*/, char* identity, unsigned identity_size, unsigned char* key, unsigned key_size) {
  const PreSharedKey& ours = of(ssl).options_.pre_shared_keys.front();
  if (ours.identity.size() + 1 > identity_size || ours.key.size() > key_size) return 0;
  std::memcpy(identity, ours.identity.c_str(), ours.identity.size() + 1);
  std::memcpy(key, ours.key.data(), ours.key.size());
  return static_cast<unsigned>(ours.key.size());
}

unsigned Context::find_key(SSL* ssl, const char* identity, unsigned char* key, unsigned key_size) {
  const auto& keys = of(ssl).keys_;
  const auto found = identity == nullptr ? keys.end() : keys.find(identity);
  if (found == keys.end() || found->second->key.size() > key_size) return 0;
  std::memcpy(key, found->second->key.data(), found->second->key.size());
  return static_cast<unsigned>(found->second->key.size());
}

void Context::tell_secret(const SSL* ssl, const char* line) { of(ssl).options_.on_secret(line); }

}  // namespace gannet::dtls
