// What of DTLS must be read before there is an association: the head of a record, and the start of a ClientHello; and the answer that costs nothing.
//
//   record     +------+---------+-------+-----------------+--------+----------------
//   13 bytes   | type | version | epoch | sequence number | length |  fragment ...       one datagram carries one or several
//              +--1---+----2----+---2---+--------6--------+---2----+----------------
//   handshake  +------+--------+-------------+-----------------+-----------------+----
//   12 bytes   | type | length | message seq | fragment offset | fragment length | body, or a piece of it
//              +--1---+---3----+------2------+--------3--------+--------3--------+----
//   ClientHello: version 2 | random 32 | session id <0..32> | cookie <0..255> | cipher suites, compression, extensions: not read here
//
// A ClientHello may come in pieces. All up to its cookie is in the first, or it is refused: with a cookie of ours that is the message's first 77
// bytes at most. So a server decides by one datagram alone, and remembers nothing of it (RFC 6347 4.2.1). Thread: any; there is no state.  Allocates:
// never. Sources: RFC 6347 4.1, 4.2.1, 4.2.2; RFC 5246 7.4.1.2.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "wire/drop.h"

namespace gannet::wire {

inline constexpr std::size_t dtls_record_header_size = 13;
inline constexpr std::size_t dtls_handshake_header_size = 12;

enum class DtlsContent : std::uint8_t { change_cipher_spec = 20, alert = 21, handshake = 22, application_data = 23 };

struct DtlsRecord {
  DtlsContent content;
  std::uint16_t epoch;                  // 0: not encrypted
  std::uint64_t sequence;               // 48 bits
  std::span<const std::byte> fragment;  // inside the datagram that was parsed
  std::span<const std::byte> rest;      // further records
};

// Reads the record at the start of a datagram. What has another version than a DTLS 1.x is none.
[[nodiscard]] std::expected<DtlsRecord, Drop> parse_dtls_record(std::span<const std::byte> datagram);

struct ClientHello {
  std::uint64_t sequence;             // of its record
  std::uint16_t message_sequence;     // 0: the client's first; 1: the one that brings the cookie
  std::span<const std::byte> random;  // 32 bytes, inside the datagram
  std::span<const std::byte> session_id;
  std::span<const std::byte> cookie;  // empty: none
};

// Whether a handshake record's message is a ClientHello, or a piece of one.
[[nodiscard]] bool is_client_hello(const DtlsRecord& record);
// The ClientHello that a record of epoch 0 brings, or the first piece of it. dtls_hello_fragment: a later piece, which says nothing by itself;
// dtls_hello_malformed: not a ClientHello, or its lengths contradict each other.
[[nodiscard]] std::expected<ClientHello, Drop> parse_client_hello(const DtlsRecord& record);

inline constexpr std::size_t max_cookie = 32;
inline constexpr std::size_t hello_verify_request_max = dtls_record_header_size + dtls_handshake_header_size + 3 + max_cookie;

// The HelloVerifyRequest that answers a ClientHello, with its record; returns its size. A cookie has at most max_cookie bytes. It is shorter than any
// ClientHello, so whoever has it sent to somebody else gains nothing by it.
std::size_t emit_hello_verify_request(std::uint64_t sequence, std::span<const std::byte> cookie, std::span<std::byte, hello_verify_request_max> out);

}  // namespace gannet::wire
