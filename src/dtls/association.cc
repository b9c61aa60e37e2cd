#include "dtls/association.h"

#include <sys/time.h>

#include <algorithm>
#include <cstring>

#include "dtls/context.h"
#include "dtls/credentials.h"

namespace gannet::dtls {
namespace {

constexpr std::size_t largest_record = 16'384;
constexpr Duration longest_patience = 60s;
constexpr unsigned most_questions = 3;
// OpenSSL reckons without the nonce and tag of an encrypted handshake message, and would put it behind others where it does not fit any more.
constexpr std::size_t sealing = 8 + 16;
constexpr char keepalive_label[] = "EXPERIMENTAL gannet keepalive";

// What others left in this thread's queue of errors would be taken for ours. It is empty nearly always, and looking costs less than emptying.
void forget_errors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

std::size_t headers_of(const IpAddress& peer) { return (peer.is_ipv4() ? 20 : 40) + 8; }

// What a fatal alert of the other side's means to us.
const char* meaning_of_alert(int alert) {
  switch (alert) {
    case SSL_AD_HANDSHAKE_FAILURE:
      return "the other side refuses us: it may want a certificate, or a shared key, that we did not offer";
    case SSL_AD_UNKNOWN_PSK_IDENTITY:
      return "the other side knows no shared key of this name";
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
      return "the other side does not trust our certificate";
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_BAD_RECORD_MAC:
      return "the other side could not verify us: do both have the same key?";
    case SSL_AD_PROTOCOL_VERSION:
      return "the other side does not speak DTLS 1.2";
    default:
      return SSL_alert_desc_string_long(alert);
  }
}

const char* meaning_of_verification(long result) {
  switch (result) {
    case X509_V_ERR_CERT_UNTRUSTED:
      return "its certificate is none that was to be trusted: another fingerprint, or signed by nobody we know";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
      return "its certificate is signed by nobody among the authorities";
    case X509_V_ERR_HOSTNAME_MISMATCH:
      return "its certificate is for another name than the one that was to be its";
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "its certificate has expired";
    default:
      return X509_verify_cert_error_string(result);
  }
}

// What a handshake failed of, from OpenSSL's first error.
Error failure_of(const SSL* ssl) {
  const unsigned long error = ERR_peek_error();
  const int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
  const long verified = SSL_get_verify_result(ssl);
  const Error other = openssl_failure(EPROTO, "the handshake failed");
  if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) return {ECONNABORTED, meaning_of_alert(reason - SSL_AD_REASON_OFFSET)};
  if (reason == SSL_R_NO_SHARED_CIPHER)
    return {EPROTO, "it offers nothing that we could take: a shared key, where we want a certificate, or the reverse?"};
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) return {EACCES, "it showed no certificate, and one is demanded"};
  if (reason == SSL_R_PSK_IDENTITY_NOT_FOUND) return {EACCES, "it named a shared key that we do not have"};
  return verified != X509_V_OK ? Error{EACCES, meaning_of_verification(verified)} : other;
}

}  // namespace

std::unique_ptr<Association> Association::create(const Surroundings& surroundings, const Outgoing& route, bool is_server) {
  std::unique_ptr<Association> association(new Association(surroundings, route, is_server));
  BIO* bio = association->pipe_.bio();
  if (bio == nullptr) return nullptr;
  SSL* ssl = association->ssl_.get();
  if (ssl == nullptr) {
    BIO_free(bio);
    return nullptr;
  }
  SSL_set_bio(ssl, bio, bio);
  association->use_mtu(association->pipe_.payload - sealing);
  DTLS_set_timer_cb(ssl, next_timeout);
  return association;
}

Association::Association(const Surroundings& surroundings, const Outgoing& route, bool is_server)
    : surroundings_(surroundings), is_server_(is_server), ssl_(surroundings.context.make_ssl(*this, is_server)) {
  pipe_.out = &surroundings.outbox;
  pipe_.route = route;
  pipe_.headers = headers_of(route.to.ip);
  pipe_.payload = surroundings.context.options().mtu - pipe_.headers;
}

void Association::begin(Time now) {
  give_up_ = now + surroundings_.context.options().handshake_timeout;
  proceed(now);
  SSL_get_client_random(ssl_.get(), reinterpret_cast<unsigned char*>(random_.data()), random_.size());
  schedule(now);
}

void Association::begin(std::span<const std::byte> hello, std::span<const std::byte> random, Time now) {
  std::ranges::copy(random, random_.begin());
  give_up_ = now + surroundings_.context.options().handshake_timeout;
  pipe_.in = hello;
  pipe_.has_in = true;
  // Looks at the datagram, believes the cookie, and leaves the datagram to be read again by the handshake (peek).
  forget_errors();
  BIO_ADDR* nobody = BIO_ADDR_new();
  const int listened = nobody != nullptr ? DTLSv1_listen(ssl_.get(), nobody) : -1;
  BIO_ADDR_free(nobody);
  pipe_.peeks = false;
  if (listened != 1) {
    handshake_failed();
  } else {
    proceed(now);
  }
  pipe_.has_in = false;
  schedule(now);
}

void Association::input(const Datagram& datagram, Time now, Inbox& inbox) {
  if (state_ == State::ended) return;
  const std::size_t sent_before = surroundings_.outbox.size();
  pipe_.in = datagram.data;
  pipe_.has_in = true;
  const bool was_open = state_ == State::open;
  if (!was_open) proceed(now);
  const bool heard = state_ == State::open && read(datagram, now, inbox);
  pipe_.has_in = false;
  if (heard) {
    last_heard_ = now;
    asked_ = 0;
  } else if (was_open && state_ == State::open && surroundings_.outbox.size() == sent_before) {
    ++rejected_;
  }
  if (!was_open || state_ == State::ended) schedule(now);
}

void Association::proceed(Time now) {
  forget_errors();
  const int done = SSL_do_handshake(ssl_.get());
  if (done == 1) return opened(now);
  if (SSL_get_error(ssl_.get(), done) != SSL_ERROR_WANT_READ) return handshake_failed();
  set_retransmission(now);
}

// Each record of the datagram that is in the pipe. Whether there was an authentic one.
bool Association::read(const Datagram& datagram, Time now, Inbox& inbox) {
  bool heard = false;
  for (;;) {
    forget_errors();
    const std::span<std::byte> data = inbox.room(largest_record);
    const int size = SSL_read(ssl_.get(), data.data(), static_cast<int>(data.size()));
    if (size > 0) {
      heard = true;
      last_heard_ = now;
      const auto count = static_cast<std::size_t>(size);
      if (!consume_keepalive(data.first(count)) && !inbox.add(datagram, count)) ++unheard_;
      if (SSL_has_pending(ssl_.get()) == 0) return heard;
      continue;
    }
    switch (SSL_get_error(ssl_.get(), size)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return heard;
      case SSL_ERROR_ZERO_RETURN:
        SSL_shutdown(ssl_.get());
        fail({0, "the peer said farewell"});
        return true;
      default:
        fail(failure_of(ssl_.get()));
        return true;
    }
  }
}

void Association::opened(Time now) {
  state_ = State::open;
  opened_at_ = now;
  use_mtu(pipe_.payload);
  last_heard_ = now;
  give_up_ = retransmit_ = never;
  std::array<unsigned char, 2 * word_size> words{};
  if (SSL_export_keying_material(ssl_.get(), words.data(), words.size(), keepalive_label, sizeof keepalive_label - 1, nullptr, 0, 0) != 1) {
    peer_answers_ = false;
    return;
  }
  std::memcpy(question_.data(), words.data(), word_size);
  std::memcpy(answer_.data(), words.data() + word_size, word_size);
}

void Association::handshake_failed() { fail(failure_of(ssl_.get())); }

void Association::fail(Error why) {
  state_ = State::ended;
  end_ = why;
  cancel();
}

bool Association::consume_keepalive(std::span<const std::byte> data) {
  if (!peer_answers_ || data.size() != word_size) return false;
  if (std::ranges::equal(data, answer_)) return true;
  if (!std::ranges::equal(data, question_)) return false;
  static_cast<void>(send(answer_, pipe_.route, surroundings_.outbox));
  return true;
}

Result<void> Association::send(std::span<const std::byte> data, const Outgoing& how, Outbox& outbox) {
  if (state_ != State::open) return Error{ENOTCONN, "hands were not shaken with this peer"};
  if (data.empty()) return Error{EINVAL, "an empty datagram cannot be sealed: OpenSSL has no empty records"};
  if (data.size() > max_payload())
    return Error{EMSGSIZE, "more than one packet carries: DtlsSocket::max_payload() says how much, DtlsOptions::mtu why"};
  const Outgoing route = std::exchange(pipe_.route, how);
  pipe_.route.to = route.to;
  if (how.source.ip.is_any()) pipe_.route.source = route.source;  // from where it was addressed
  pipe_.out = &outbox;
  forget_errors();
  const std::uint64_t overflows = pipe_.overflows;
  const int written = SSL_write(ssl_.get(), data.data(), static_cast<int>(data.size()));
  pipe_.out = &surroundings_.outbox;
  pipe_.route = route;
  if (written <= 0) return openssl_failure(EIO, "OpenSSL could not seal the datagram");
  if (pipe_.overflows == overflows) return {};
  pipe_.overflows = overflows;
  return Error{ENOBUFS, "too much is waiting to be sent"};
}

void Association::close() {
  forget_errors();
  if (state_ == State::shaking_hands) return fail({ECANCELED, "it was closed before hands were shaken"});
  if (state_ == State::open) SSL_shutdown(ssl_.get());
  fail({0, "we said farewell"});
}

void Association::advance(Time now) {
  if (state_ == State::shaking_hands) {
    retransmit(now);
  } else if (state_ == State::open) {
    look_for_silence(now);
  }
  if (state_ != State::ended) schedule(now);
}

void Association::retransmit(Time now) {
  if (now >= give_up_) {
    // Who has another key cannot read our last flight, nor we his, and such records are dropped without a word.
    return fail({ETIMEDOUT, surroundings_.context.has_shared_keys() ? "no answer that could be read: is anybody there, and does he have the same key?"
                                                                    : "no answer: is anybody there, and does he speak DTLS 1.2?"});
  }
  if (now < retransmit_) return;
  has_repeated_ = true;
  forget_errors();
  if (DTLSv1_handle_timeout(ssl_.get()) < 0) return handshake_failed();
  set_retransmission(now);
}

// When OpenSSL will find that its timer has run out; by its clock, which may have been set.
void Association::set_retransmission(Time now) {
  timeval left{};
  const bool waits = DTLSv1_get_timeout(ssl_.get(), &left) == 1;
  const Duration wait = std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec) + 1ms;
  retransmit_ = waits ? now + std::min(wait, patience_ + 1ms) : never;
}

Duration Association::silence_allowed() const {
  const DtlsOptions& options = surroundings_.context.options();
  const Duration idle = options.idle_timeout == 0s ? Duration::max() : options.idle_timeout;
  return options.keepalive != 0s && peer_answers_ ? std::min(idle, (asked_ + 1) * options.keepalive) : idle;
}

void Association::look_for_silence(Time now) {
  if (now - last_heard_ < silence_allowed()) return;
  const DtlsOptions& options = surroundings_.context.options();
  const bool is_idle = options.idle_timeout != 0s && now - last_heard_ >= options.idle_timeout;
  if (is_idle || asked_ == most_questions) {
    close();
    return fail({ETIMEDOUT, is_idle ? "nothing was heard of it for longer than idle_timeout" : "it answered none of three keepalives"});
  }
  ++asked_;
  static_cast<void>(send(question_, pipe_.route, surroundings_.outbox));
}

// Once the association is open its timer is set anew only when it fires: what is heard meanwhile moves last_heard_ alone.
void Association::schedule(Time now) {
  Time due = never;
  if (state_ == State::shaking_hands) due = std::min(give_up_, retransmit_);
  if (state_ == State::open && silence_allowed() < never - last_heard_) due = last_heard_ + silence_allowed();
  if (due == never) return cancel();
  surroundings_.wheel.schedule(*this, std::max(due, now + 1ms));
}

// OpenSSL asks how long to wait, in microseconds; `previous` is 0 at first.
unsigned Association::next_timeout(SSL* ssl, unsigned previous) {
  Association& self = of(ssl);
  const Duration first = self.surroundings_.context.options().retransmit_after;
  self.patience_ = previous == 0 ? first : std::min<Duration>(2 * std::chrono::microseconds(previous), longest_patience);
  return static_cast<unsigned>(std::chrono::duration_cast<std::chrono::microseconds>(self.patience_).count());
}

DtlsPeer Association::peer() const {
  DtlsPeer peer{.address = address(), .identity = {}, .fingerprint = {}, .cipher = {}, .began = is_server_, .answers_keepalives = peer_answers_};
  if (const char* identity = SSL_get_psk_identity(ssl_.get())) peer.identity = identity;
  if (const X509* certificate = SSL_get0_peer_certificate(ssl_.get())) {
    peer.identity = common_name(certificate);
    peer.fingerprint = fingerprint_of(certificate);
  }
  if (const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl_.get())) peer.cipher = SSL_CIPHER_get_name(cipher);
  return peer;
}

std::size_t Association::max_payload() const { return std::min(DTLS_get_data_mtu(ssl_.get()), largest_record); }

}  // namespace gannet::dtls
