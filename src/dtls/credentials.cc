#include "dtls/credentials.h"

#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <cstdio>

namespace gannet {

using dtls::BioPtr, dtls::CertificatePtr, dtls::Credentials, dtls::KeyPtr;

namespace dtls {

DtlsIdentity Credentials::identity_of(std::shared_ptr<const Credentials> credentials) {
  DtlsIdentity identity;
  identity.credentials_ = std::move(credentials);
  return identity;
}

Fingerprint fingerprint_of(const X509* certificate) {
  Fingerprint fingerprint;
  unsigned size = 0;
  X509_digest(certificate, EVP_sha256(), reinterpret_cast<unsigned char*>(fingerprint.bytes.data()), &size);
  return fingerprint;
}

std::string common_name(const X509* certificate) {
  std::array<char, 128> name{};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(), name.size());
  return size > 0 ? std::string(name.data(), static_cast<std::size_t>(size)) : std::string();
}

}  // namespace dtls

namespace {

// `pem` would ask for a password at the terminal: no.
int no_password(char* /*into*/, int /*size*/, int /*writing*/, void* /*unused*/) { return -1; }

Result<BioPtr> open_file(const std::string& path) {
  BioPtr file(BIO_new_file(path.c_str(), "r"));
  if (file) return file;
  const int code = errno != 0 ? errno : ENOENT;
  ERR_clear_error();
  return Error{code, nullptr};
}

Error not_pem(const char* why) {
  ERR_clear_error();
  return {EINVAL, why};
}

std::string text_in(BIO* memory) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory, &text);
  return {text, static_cast<std::size_t>(size)};
}

bool name_and_sign(X509* certificate, EVP_PKEY* key, std::string_view name) {
  std::array<unsigned char, 16> serial{};
  if (RAND_bytes(serial.data(), serial.size()) != 1) return false;
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial.data(), serial.size(), nullptr);
  const bool has_serial = number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  X509_NAME* subject = X509_get_subject_name(certificate);
  const auto* text = reinterpret_cast<const unsigned char*>(name.data());
  constexpr long day = 24 * 3600;
  return has_serial && X509_set_version(certificate, X509_VERSION_3) == 1 &&
         X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, text, static_cast<int>(name.size()), -1, 0) == 1 &&
         X509_set_issuer_name(certificate, subject) == 1 && X509_gmtime_adj(X509_getm_notBefore(certificate), -day) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), 3650 * day) != nullptr && X509_set_pubkey(certificate, key) == 1 &&
         X509_sign(certificate, key, EVP_sha256()) > 0;
}

}  // namespace

Result<Fingerprint> Fingerprint::parse(std::string_view text) {
  constexpr const char* why = "a fingerprint is the 64 hexadecimal digits of a SHA-256, with or without colons between the octets";
  Fingerprint fingerprint;
  std::size_t digits = 0;
  for (const char letter : text) {
    if (letter == ':' && digits % 2 == 0 && digits > 0 && digits < 64) continue;
    const int value = OPENSSL_hexchar2int(static_cast<unsigned char>(letter));
    if (value < 0 || digits == 64) return Error{EINVAL, why};
    std::byte& octet = fingerprint.bytes[digits++ / 2];
    octet = octet << 4 | static_cast<std::byte>(value);
  }
  ERR_clear_error();
  return digits == 64 ? fingerprint : Result<Fingerprint>(Error{EINVAL, why});
}

std::string Fingerprint::to_string() const {
  std::string text;
  for (const std::byte octet : bytes) {
    std::array<char, 4> digits{};
    std::snprintf(digits.data(), digits.size(), "%02X:", std::to_integer<unsigned>(octet));
    text += digits.data();
  }
  text.pop_back();
  return text;
}

Result<DtlsIdentity> DtlsIdentity::from_files(const std::string& certificate_file, const std::string& key_file) {
  const auto certificates = open_file(certificate_file), keys = open_file(key_file);
  if (!certificates) return certificates.error();
  if (!keys) return keys.error();
  auto credentials = std::make_shared<Credentials>();
  credentials->certificate.reset(PEM_read_bio_X509(certificates->get(), nullptr, no_password, nullptr));
  if (!credentials->certificate) return not_pem("the certificate's file has no certificate in PEM");
  while (CertificatePtr signer{PEM_read_bio_X509(certificates->get(), nullptr, no_password, nullptr)}) {
    credentials->signers.push_back(std::move(signer));
  }
  ERR_clear_error();  // where the file ended
  credentials->key.reset(PEM_read_bio_PrivateKey(keys->get(), nullptr, no_password, nullptr));
  if (!credentials->key) return not_pem("the key's file has no private key in PEM without a password");
  if (X509_check_private_key(credentials->certificate.get(), credentials->key.get()) != 1) {
    ERR_clear_error();
    return Error{EINVAL, "the private key is not the certificate's"};
  }
  return Credentials::identity_of(std::move(credentials));
}

Result<DtlsIdentity> DtlsIdentity::self_signed(std::string_view name) {
  if (name.empty() || name.size() > 64) return Error{EINVAL, "a common name has 1 to 64 letters"};
  auto credentials = std::make_shared<Credentials>();
  credentials->key.reset(EVP_EC_gen("P-256"));
  credentials->certificate.reset(X509_new());
  if (!credentials->key || !credentials->certificate || !name_and_sign(credentials->certificate.get(), credentials->key.get(), name)) {
    return dtls::openssl_failure(ENOMEM, "no certificate could be made");
  }
  return Credentials::identity_of(std::move(credentials));
}

Result<Fingerprint> DtlsIdentity::fingerprint() const {
  if (is_none()) return Error{EINVAL, "there is no certificate"};
  return dtls::fingerprint_of(credentials_->certificate.get());
}

Result<std::string> DtlsIdentity::certificate_pem() const {
  if (is_none()) return Error{EINVAL, "there is no certificate"};
  const BioPtr memory(BIO_new(BIO_s_mem()));
  bool good = memory && PEM_write_bio_X509(memory.get(), credentials_->certificate.get()) == 1;
  for (const CertificatePtr& signer : credentials_->signers) good = good && PEM_write_bio_X509(memory.get(), signer.get()) == 1;
  return good ? text_in(memory.get()) : Result<std::string>(dtls::openssl_failure(ENOMEM, "the certificate cannot be written"));
}

Result<std::string> DtlsIdentity::key_pem() const {
  if (is_none()) return Error{EINVAL, "there is no certificate, and so no key"};
  const BioPtr memory(BIO_new(BIO_s_mem()));
  const bool good = memory && PEM_write_bio_PrivateKey(memory.get(), credentials_->key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1;
  return good ? text_in(memory.get()) : Result<std::string>(dtls::openssl_failure(ENOTSUP, "the key cannot be written"));
}

Result<Authenticator> hmac_sha256(std::span<const std::byte> key) {
  if (key.size() < 16) return Error{EINVAL, "a key has 16 bytes or more"};
  return Authenticator([key = std::vector(key.begin(), key.end())](std::span<const std::byte> message) {
    BeaconTag tag;
    unsigned size = 0;
    const auto* bytes = reinterpret_cast<const unsigned char*>(message.data());
    const auto* done = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes, message.size(),
                            reinterpret_cast<unsigned char*>(tag.bytes.data()), &size);
    tag.size = done != nullptr ? size : 0;  // without memory there is no tag, which nobody takes for one
    return tag;
  });
}

}  // namespace gannet
