// Messages of SIP (RFC 3261) and the descriptions of sound in them (SDP, RFC 4566, as RFC 3264 has them offered and answered). For sip_call.h.
//
// Neither socket nor clock. What comes is anybody's text: a message has at most 64 headers, and where something is not as it should be, there is
// none.
#pragma once
#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/address.h>

namespace sip {

using gannet::Address;

inline bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char letter) { return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter; };
  return std::ranges::equal(a, b, {}, lower, lower);
}
inline std::string_view trimmed(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t"), text.size()), end = text.find_last_not_of(" \t");
  return text.substr(begin, end == text.npos ? 0 : end + 1 - begin);
}
// Cuts off what is before the mark, all where there is none.
inline std::string_view cut(std::string_view& text, std::string_view mark) {
  const std::size_t at = std::min(text.find(mark), text.size());
  const std::string_view before = text.substr(0, at);
  text.remove_prefix(std::min(at + mark.size(), text.size()));
  return before;
}
inline std::optional<unsigned> number_in(std::string_view text) {
  unsigned value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional(value) : std::nullopt;
}

struct Message {
  std::string method;   // of a request; of a response, the one in its CSeq
  unsigned status = 0;  // 0: a request
  unsigned number = 0;  // of the CSeq
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  [[nodiscard]] std::string_view header(std::string_view name) const {  // the first; empty: there is none
    const auto it = std::ranges::find_if(headers, [&](const auto& each) { return same_word(each.first, name); });
    return it == headers.end() ? std::string_view() : it->second;
  }
  // A parameter behind the address of a header: ";tag=" of To, ";branch=" of Via.
  [[nodiscard]] std::string_view parameter(std::string_view name, std::string_view key) const {
    std::string_view rest = header(name);
    rest.remove_prefix(std::min(rest.find('>') + 1, rest.size()));  // npos + 1 is 0
    for (cut(rest, ";"); !rest.empty();) {
      std::string_view value = cut(rest, ";");
      if (same_word(trimmed(cut(value, "=")), key)) return trimmed(value);
    }
    return {};
  }
};

inline std::optional<Message> parse(std::string_view text) {
  constexpr std::size_t most_headers = 64;
  constexpr std::pair<std::string_view, std::string_view> compact[] = {{"v", "Via"},     {"f", "From"},    {"t", "To"},
                                                                       {"i", "Call-ID"}, {"m", "Contact"}, {"l", "Content-Length"}};
  if (text.find("\r\n\r\n") == text.npos || text.find('\0') != text.npos) return {};
  Message message;
  std::string_view head = cut(text, "\r\n\r\n"), first = cut(head, "\r\n"), word = cut(first, " ");
  if (word == "SIP/2.0") {
    message.status = number_in(cut(first, " ")).value_or(0);
    if (message.status < 100 || message.status > 699) return {};
  } else if (!first.ends_with(" SIP/2.0")) {
    return {};
  }
  while (!head.empty()) {
    std::string_view value = cut(head, "\r\n");
    if (value.find_first_of("\r\n") != value.npos) return {};  // half an end of a line would be a whole one to somebody else
    if (value.starts_with(' ') || value.starts_with('\t')) {   // the one before goes on (7.3.1)
      if (message.headers.empty()) return {};
      message.headers.back().second.append(" ").append(trimmed(value));
      continue;
    }
    std::string_view name = trimmed(cut(value, ":"));
    for (const auto& [letter, full] : compact) name = same_word(name, letter) ? full : name;
    if (name.empty() || message.headers.size() == most_headers) return {};
    message.headers.emplace_back(name, trimmed(value));
  }
  std::string_view sequence = message.header("CSeq");
  const auto number = number_in(cut(sequence, " "));
  message.method = trimmed(sequence);
  for (const char* needed : {"Via", "From", "To", "Call-ID"}) {
    if (message.header(needed).empty()) return {};
  }
  if (!number || message.method.empty() || (message.status == 0 && message.method != word)) return {};
  message.number = *number;
  if (const std::string_view length = message.header("Content-Length"); !length.empty()) {
    const auto size = number_in(length);
    if (!size || *size > text.size()) return {};  // 18.3
    text = text.substr(0, *size);
  }
  message.body = text;
  return message;
}

// The first line and headers that are given, and those that every message of ours has.
inline std::string emit(const Address& own, std::string head, std::string_view body) {
  head += "Contact: <sip:gannet@" + own.to_string() + ">\r\n";
  if (!body.empty()) head += "Content-Type: application/sdp\r\n";
  return head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

// Sound as it is described: where it is taken, and in which of G.711's laws (0: µ, 8: A), the preferred first.
struct Sound {
  Address at;
  std::vector<unsigned> types;
};
inline std::optional<Sound> parse_sound(std::string_view body) {
  Sound sound;
  std::string_view host;
  for (bool is_ours = true; !body.empty();) {  // what is said before the first medium is said of all
    std::string_view line = cut(body, "\n");
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("m=")) is_ours = sound.types.empty() && line.starts_with("m=audio ");
    if (!is_ours) continue;
    if (line.starts_with("c=IN IP4 ") || line.starts_with("c=IN IP6 ")) host = line.substr(9);
    if (!line.starts_with("m=")) continue;
    cut(line, " ");
    const unsigned port = number_in(cut(line, " ")).value_or(0);
    if (port == 0 || port > 65535 || cut(line, " ") != "RTP/AVP") continue;
    sound.at.port = static_cast<std::uint16_t>(port);
    while (!line.empty()) {
      if (const auto type = number_in(cut(line, " ")); type == 0u || type == 8u) sound.types.push_back(*type);
    }
  }
  if (host.starts_with('[')) host = host.substr(1, host.find(']') - 1);  // SIPp writes it so
  const auto ip = gannet::IpAddress::parse(host.substr(0, host.find('/')));
  if (!ip || sound.types.empty() || sound.types.size() > 8) return {};
  sound.at.ip = *ip;
  return sound;
}
inline std::string emit_sound(const Sound& sound) {
  const std::string ip = (sound.at.ip.is_ipv4() ? "IN IP4 " : "IN IP6 ") + sound.at.ip.to_string();
  std::string lines = "v=0\r\no=- 1 1 " + ip + "\r\ns=-\r\nc=" + ip + "\r\nt=0 0\r\nm=audio " + std::to_string(sound.at.port) + " RTP/AVP";
  for (const unsigned type : sound.types) lines += ' ' + std::to_string(type);
  for (const unsigned type : sound.types) lines += "\r\na=rtpmap:" + std::to_string(type) + (type == 0 ? " PCMU/8000" : " PCMA/8000");
  return lines + "\r\na=ptime:20\r\n";
}

}  // namespace sip
