// DTLS 1.2: a Socket whose datagrams nobody else can read, change or forge. In the library gannet::dtls, which needs OpenSSL 3.
//
//   auto identity = gannet::DtlsIdentity::self_signed("robot-7").value();
//   auto socket = gannet::DtlsSocket::open(gannet::Socket::open().value(), {.identity = identity, .accept = true}).value();
//   socket.bind("127.0.0.1:4433").value();
//   std::array<std::byte, 2048> buffer;
//   while (auto datagram = socket.receive(buffer)) static_cast<void>(socket.send_to(datagram->data, datagram->peer));
//
// A DtlsSocket is a Socket, over any other: the kernel's, or one of a Host. The calls are the same, and mean this:
//   connect   shakes hands with a server, and returns when both have proved who they are. ETIMEDOUT, ECONNREFUSED, EACCES (who it is, is not whom
//             DtlsOptions trusts), ECONNABORTED (the other side refuses us).
//   send      to the connected peer; send_to to any peer with whom hands were shaken, whoever began. ENOTCONN: with none such; EMSGSIZE: more than
//             max_payload(), which follows from DtlsOptions::mtu; EINVAL: empty, which cannot be sealed. It goes from the address that the peer
//             knows.
//   receive   from all peers. A server does no more: hands are shaken inside. ECONNRESET, once: the connected peer is none any more.
//   close     says farewell to all peers; disconnect to the connected one.
// What is lost, doubled or overtakes stays so: DTLS keeps the datagrams' nature, but drops what came before. Groups, peek of errors and segments are
// not for it (EOPNOTSUPP).
//
// Timers run in who waits: somebody has to be in receive(), or to call it by next_wakeup(), for handshakes, keepalives and farewells to go on.
// Threads: as a Socket, any. Those who receive take turns.
// A peer is known by its address and port: who has them next, and proves himself, takes its place, and on_event tells of both.
// Bounds: most_peers; most_handshakes, of which a quarter with one address; 4 MiB of datagrams that wait for receive(). What a spoofed ClientHello
// costs is a hash and an answer shorter than itself (RFC 6347 4.2.1): no memory. Drops are counted by reason, see drops(), and `gannet explain`.
// Sources: RFC 6347 (DTLS 1.2), RFC 5246, RFC 7905, RFC 5487 (cipher suites), RFC 4279 (shared keys), RFC 8085 3.5 (keepalive), RFC 7525. Absent:
// connection ids (RFC 9146), DTLS 1.0 and 1.3, renegotiation, session tickets: OpenSSL 3.0 lacks the first, the rest is off on purpose.
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gannet/beacon.h>
#include <gannet/host.h>
#include <gannet/socket.h>

namespace gannet {

namespace dtls {
class Provider;
struct Credentials;
}  // namespace dtls

// The SHA-256 of a certificate, by which it can be known without anybody having signed it.
struct Fingerprint {
  std::array<std::byte, 32> bytes{};

  // 64 hexadecimal digits, with or without colons between the octets. EINVAL.
  static Result<Fingerprint> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;  // "3F:A0:..."
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

// A certificate and its private key. Copies share them.
class DtlsIdentity {
 public:
  DtlsIdentity() = default;  // none
  // PEM files: the certificate, perhaps with those that signed it behind it, and the key. ENOENT, EACCES; EINVAL: not PEM, or they do not belong
  // together.
  static Result<DtlsIdentity> from_files(const std::string& certificate_file, const std::string& key_file);
  // Made here and now (ECDSA on P-256, valid for ten years from yesterday): for peers that know its fingerprint. `name` is its common name.
  static Result<DtlsIdentity> self_signed(std::string_view name);

  [[nodiscard]] bool is_none() const { return credentials_ == nullptr; }
  // EINVAL where there is none.
  [[nodiscard]] Result<Fingerprint> fingerprint() const;
  // Both as PEM, to be kept; ENOTSUP, EINVAL as above.
  [[nodiscard]] Result<std::string> certificate_pem() const;
  [[nodiscard]] Result<std::string> key_pem() const;

 private:
  friend struct dtls::Credentials;
  std::shared_ptr<const dtls::Credentials> credentials_;
};

// A key that both sides know, and its name. A server may have one for each client.
struct PreSharedKey {
  std::string identity;        // 1-128 bytes
  std::vector<std::byte> key;  // 16-64 bytes, random: a password is not one
};

// Who is at the other end, once it has been proved.
struct DtlsPeer {
  Address address;
  std::string identity;                    // the shared key's, or the common name in the certificate; empty: it showed none
  std::optional<Fingerprint> fingerprint;  // of its certificate, if it showed one
  std::string cipher;                      // "ECDHE-ECDSA-AES128-GCM-SHA256"
  bool began = false;                      // it connected to us
  bool answers_keepalives = false;         // it is one of us, as far as that goes
};

struct DtlsEvent {
  enum class Kind : std::uint8_t {
    connected,  // hands were shaken
    closed,     // it was a peer and is none any more. Code 0: by a farewell; ETIMEDOUT: by silence; ECONNRESET: it began anew
    failed      // hands were not shaken, for the reason that connect() gives
  };
  Kind kind;
  DtlsPeer peer;
  Error why;
};

struct DtlsOptions {
  // Who we are. Who accepts needs one of them, who connects may need neither.
  DtlsIdentity identity{};
  std::vector<PreSharedKey> pre_shared_keys{};  // to connect, the first one is used

  // Whom we believe. Who knows a shared key is believed; a certificate is where it is one of these, or signed by one of these. Who begins, with us
  // who accept, must show one if one of these three is set; if none is, whoever knows a shared key comes in where there are such, and else everybody.
  std::vector<Fingerprint> fingerprints{};
  std::string authorities_file{};  // PEM
  bool trust_anyone = false;       // any certificate. Encrypted, but to whom? For trying things, and for peers who prove themselves in another way
  std::string server_name{};       // where an authority signed: the name the server's certificate must be for; also sent to it (SNI)

  bool accept = false;  // others may begin: we are a server, too

  // Packets, IP header included, are at most so large: 1280 passes everywhere over IPv6 and all but everywhere over IPv4. 320-65535.
  std::size_t mtu = 1280;
  std::string ciphers{};  // in OpenSSL's words; empty: those with forward secrecy and authenticated encryption, or for shared keys the latter

  std::size_t most_peers = 65'536;
  std::size_t most_handshakes = 1024;
  std::chrono::nanoseconds retransmit_after = std::chrono::seconds(1);  // at first; doubled up to a minute (RFC 6347 4.2.4.1). 10ms-60s
  std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(30);
  // A peer of whom nothing was heard for so long is none any more; zero: never.
  std::chrono::nanoseconds idle_timeout = std::chrono::minutes(10);
  // A peer of whom nothing was heard for so long is asked whether it is there, and after three silences is none any more. Peers that are no
  // DtlsSocket cannot be asked (DtlsPeer::answers_keepalives): for them there is idle_timeout. Zero: off; else 15 s or more (RFC 8085 3.5).
  std::chrono::nanoseconds keepalive{0};

  // Both are called in the thread that is inside a call, which they must not make another of.
  std::function<void(const DtlsEvent&)> on_event{};
  // Each line of a key log (SSLKEYLOGFILE), with which Wireshark can read everything; so can whoever else has it.
  std::function<void(std::string_view line)> on_secret{};
  std::uint64_t seed = 0;  // of the cookies' key; 0: from the system
};

class DtlsSocket : public Socket {
 public:
  // Takes the socket over, bound or not, not connected. EINVAL, with a sentence: the options contradict themselves, or are not enough.
  static Result<DtlsSocket> open(Socket under, DtlsOptions options);

  // ENOTCONN: not with this peer.
  [[nodiscard]] Result<DtlsPeer> peer(const Address& address) const;
  [[nodiscard]] std::vector<DtlsPeer> peers() const;
  [[nodiscard]] std::size_t peer_count() const;
  // Says farewell to one. ENOTCONN.
  Result<void> close_peer(const Address& address);
  // The most that one datagram to this peer carries: the MTU less the headers and what the cipher needs. ENOTCONN.
  [[nodiscard]] Result<std::size_t> max_payload(const Address& peer) const;
  // For who waits by himself on fd(): when receive(buffer, Deadline::now()) is to be called at the latest. Call it until it is EAGAIN.
  [[nodiscard]] Deadline next_wakeup() const;
  // Datagrams that died here, by reason.
  [[nodiscard]] std::vector<Count> drops() const;

 private:
  explicit DtlsSocket(std::unique_ptr<dtls::Provider> provider);
  [[nodiscard]] dtls::Provider& dtls() const;
};

// HMAC-SHA256 under a key (RFC 2104), for BeaconOptions::authenticator. The key is copied. EINVAL: it has fewer than 16 bytes.
Result<Authenticator> hmac_sha256(std::span<const std::byte> key);

}  // namespace gannet
