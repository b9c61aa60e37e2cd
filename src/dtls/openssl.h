// OpenSSL's objects with owners, and what it says of its failures as an Error.
//
// Thread: as OpenSSL: an object belongs to one at a time; its queue of errors to each thread.
#pragma once
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>

#include <gannet/result.h>

namespace gannet::dtls {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};
using SslPtr = std::unique_ptr<SSL, Free<SSL_free>>;
using SslContextPtr = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using CertificatePtr = std::unique_ptr<X509, Free<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Free<BIO_free>>;

// `code` with what OpenSSL said first, or else with `why`. Empties its queue of errors.
inline Error openssl_failure(int code, const char* why) {
  const char* said = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
  return {code, said != nullptr ? said : why};
}

}  // namespace gannet::dtls
