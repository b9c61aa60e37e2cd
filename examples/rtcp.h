// What receivers and senders of RTP tell each other besides (RTCP, RFC 3550 6): reads a sender's report and its farewell, writes a receiver's report.
//
// For rtp_session.h. A report from us is a compound of three: how we receive (6.4.2), who we are (6.5), and, the last time, BYE (6.6).
#pragma once
#include <string_view>

#include "rtp.h"

namespace rtp {

// What a compound says of one source.
struct Control {
  std::optional<std::uint32_t> sent;  // the middle of the time at which it was sent, by the sender's clock (NTP, 1/65536 s)
  bool is_bye = false;
};

// Nothing where the bytes are no compound of RTCP's (A.2): the first must be a report, and the lengths of all must add up.
inline std::optional<Control> parse_control(Bytes datagram, std::uint32_t ssrc) {
  constexpr std::uint32_t sender_report = 200, receiver_report = 201, bye = 203;
  Control control;
  for (Bytes rest = datagram; !rest.empty() || rest.data() == datagram.data();) {
    if (rest.size() < 4 || number_at(rest, 0, 1) >> 6 != 2) return {};
    const std::uint32_t count = number_at(rest, 0, 1) & 31, kind = number_at(rest, 1, 1);
    const std::size_t size = 4 + 4 * std::size_t{number_at(rest, 2, 2)};
    if (size > rest.size() || (rest.data() == datagram.data() && kind != sender_report && kind != receiver_report)) return {};
    const Bytes one = rest.first(size);
    rest = rest.subspan(size);
    if (kind == sender_report && size >= 28 && number_at(one, 4, 4) == ssrc) control.sent = number_at(one, 10, 4);
    if (kind != bye) continue;
    for (std::size_t at = 4; at < 4 + 4 * count && at + 4 <= size; at += 4) control.is_bye = control.is_bye || number_at(one, at, 4) == ssrc;
  }
  return control;
}

// When we heard the source's last report: it can tell from ours how long the way there and back is.
struct Heard {
  std::uint32_t sent = 0;
  Time at{};
};

inline std::vector<std::byte> emit_report(std::uint32_t own, std::uint32_t source, const Reception& reception, const std::optional<Heard>& heard,
                                          Time now, std::string_view name, bool is_bye) {
  std::vector<std::byte> bytes;
  append(bytes, 0x81c9'0007, 4);  // version 2, one block, receiver's report, 8 words
  append(bytes, own, 4);
  append(bytes, source, 4);
  append(bytes, reception.fraction_lost, 1);
  append(bytes, static_cast<std::uint32_t>(reception.lost), 3);
  append(bytes, reception.highest, 4);
  append(bytes, reception.jitter, 4);
  append(bytes, heard ? heard->sent : 0, 4);
  const double since = heard ? std::chrono::duration<double>(now - heard->at).count() : 0;
  append(bytes, static_cast<std::uint32_t>(std::clamp(since, 0.0, 65535.0) * 65536), 4);

  const std::size_t size = std::min<std::size_t>(name.size(), 255), words = (4 + 2 + size + 1 + 3) / 4;  // a zero byte ends the list
  append(bytes, 0x81ca'0000 | static_cast<std::uint32_t>(words), 4);
  append(bytes, own, 4);
  append(bytes, 1, 1);  // CNAME
  append(bytes, static_cast<std::uint32_t>(size), 1);
  for (const char letter : name.substr(0, size)) append(bytes, static_cast<std::uint8_t>(letter), 1);
  append(bytes, 0, 4 * words - 4 - 2 - size);

  if (is_bye) append(bytes, 0x81cb'0001, 4), append(bytes, own, 4);
  return bytes;
}

}  // namespace rtp
