// A certificate, those that signed it, and its private key, as OpenSSL has them: what a DtlsIdentity holds.
//
// Thread: any, once made; nothing changes it.
#pragma once
#include <vector>

#include <gannet/dtls.h>

#include "dtls/openssl.h"

namespace gannet::dtls {

struct Credentials {
  CertificatePtr certificate;
  std::vector<CertificatePtr> signers;
  KeyPtr key;

  // Of an identity that is not none.
  static const Credentials& of(const DtlsIdentity& identity) { return *identity.credentials_; }
  static DtlsIdentity identity_of(std::shared_ptr<const Credentials> credentials);
};

[[nodiscard]] Fingerprint fingerprint_of(const X509* certificate);
// Its subject's common name; empty where there is none.
[[nodiscard]] std::string common_name(const X509* certificate);

}  // namespace gannet::dtls
