// Messages of DNS as bytes (RFC 1035 4.1): for dns_query.cc, which asks a server, and mdns_query.cc, which asks everybody on the link.
//
// Every byte that comes from the network may be a lie: what is not there, or leads in circles, is an exception.
#pragma once
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include <gannet/socket.h>

using Bytes = std::span<const std::byte>;

constexpr unsigned type_a = 1, type_ptr = 12, type_txt = 16, type_aaaa = 28, type_srv = 33, type_opt = 41, class_in = 1;
constexpr std::size_t header_size = 12;
struct Kind {
  std::string_view text;
  unsigned type;
};
constexpr std::array<Kind, 5> kinds{{{"A", type_a}, {"AAAA", type_aaaa}, {"TXT", type_txt}, {"PTR", type_ptr}, {"SRV", type_srv}}};

// 0, or nothing: none of these.
unsigned type_in(std::string_view text) {
  const auto* const found = std::ranges::find(kinds, text, &Kind::text);
  return found != kinds.end() ? found->type : 0;
}
std::string_view text_of_type(unsigned type) {
  const auto* const found = std::ranges::find(kinds, type, &Kind::type);
  return found != kinds.end() ? found->text : "";
}

void append(std::string& message, unsigned number) { message.append({static_cast<char>(number >> 8), static_cast<char>(number)}); }

// Bytes as people may see them: what would command a terminal, or mean something else here, as \046 (RFC 1035 5.1).
std::string plain(std::string_view bytes, std::string_view special) {
  std::string text;
  for (const char each : bytes) {
    const auto octet = static_cast<unsigned char>(each);
    if (octet >= ' ' && octet <= '~' && special.find(each) == special.npos && each != '\\') {
      text += each;
    } else {
      text += {'\\', static_cast<char>('0' + octet / 100), static_cast<char>('0' + octet / 10 % 10), static_cast<char>('0' + octet % 10)};
    }
  }
  return text;
}

// A name on the wire is its labels, each with its length before it, and an empty one. As text it has dots between them.
std::string text_of_name(std::string_view name) {
  std::string text;
  for (std::size_t at = 0; at < name.size() && name[at] != 0; at += 1 + static_cast<unsigned char>(name[at])) {
    text += (text.empty() ? "" : ".") + plain(name.substr(at + 1, static_cast<unsigned char>(name[at])), ".");
  }
  return text;
}
std::string name_of(std::string_view text) {
  std::string name, label;
  if (text.size() > 1 && text.ends_with('.')) text.remove_suffix(1);
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (at == text.size() || text[at] == '.') {
      if (label.empty() || label.size() > 63) throw std::invalid_argument(std::string(text) + " is no name: a part between dots has 1 to 63 letters");
      name += static_cast<char>(label.size()) + label;
      label.clear();
    } else if (text[at] == '\\' && at + 3 < text.size() && text.substr(at + 1, 3).find_first_not_of("0123456789") == text.npos) {
      label += static_cast<char>((text[at + 1] - '0') * 100 + (text[at + 2] - '0') * 10 + text[at + 3] - '0');
      at += 3;
    } else {
      label += text[at];
    }
  }
  if (name.size() > 254) throw std::invalid_argument("a name has 1 to 253 letters");
  return name + '\0';
}
// Letters of either case are the same in a name (RFC 1035 2.3.3).
std::string lower(std::string name) {
  for (char& letter : name) letter = static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter + 32 : letter);
  return name;
}

struct Record {
  std::string name;  // as on the wire, never compressed
  unsigned type, rr_class;
  std::uint32_t seconds;  // for which it may be kept
  std::string data;       // as on the wire, with no name in it compressed
};

class Reader {
 public:
  Reader(Bytes message, std::size_t at) : message_(message), at_(at) {}
  unsigned byte() { return at_ < message_.size() ? std::to_integer<unsigned>(message_[at_++]) : throw std::range_error("the answer ends too early"); }
  unsigned number() {
    const unsigned high = byte();
    return high << 8 | byte();
  }
  std::string text(std::size_t size) {
    std::string text;
    while (text.size() < size) text.push_back(static_cast<char>(byte()));
    return text;
  }
  // A name may end in a pointer to one that was written before (RFC 1035 4.1.4), and so on, each further to the front.
  std::string name() {
    std::string name;
    std::size_t begin = at_, after = 0;
    for (unsigned length = byte(); length != 0; length = byte()) {
      if (length >= 0xc0) {
        const std::size_t target = (length & 0x3f) << 8 | byte();
        if (target >= begin) throw std::range_error("a name in the answer leads in circles");
        if (after == 0) after = at_;
        begin = at_ = target;
        continue;
      }
      name += static_cast<char>(length) + text(length);
      if (length > 63 || name.size() > 254) throw std::range_error("a name in the answer is too long");
    }
    if (after != 0) at_ = after;
    return name + '\0';
  }
  Record record() {
    Record record{.name = name(), .type = number(), .rr_class = number(), .seconds = number() << 16, .data = {}};
    record.seconds += number();
    const std::size_t size = number(), end = at_ + size;
    if (record.type == type_srv) record.data = text(6);
    record.data += record.type == type_srv || record.type == type_ptr ? name() : text(size);
    if (at_ != end) throw std::range_error("a record lies about its length");
    return record;
  }

 private:
  Bytes message_;
  std::size_t at_;
};

std::string text_of(const Record& record) {
  const std::string& data = record.data;
  const auto octet = [&](std::size_t at) { return static_cast<unsigned char>(data[at]); };
  if (record.type == type_ptr) return text_of_name(data);
  if (record.type == type_srv) return std::to_string(octet(4) << 8 | octet(5)) + ' ' + text_of_name(std::string_view(data).substr(6));
  if (record.type == type_txt) {
    std::string text;
    for (std::size_t at = 0; at < data.size(); at += 1 + octet(at))
      text += (at == 0 ? "\"" : " \"") + plain(data.substr(at + 1, octet(at)), "\"") + '"';
    return text;
  }
  gannet::IpAddress address = gannet::IpAddress::any(record.type == type_a ? gannet::Family::ipv4 : gannet::Family::ipv6);
  if (data.size() != address.size()) throw std::range_error("an address of the wrong size");
  for (std::size_t i = 0; i < data.size(); ++i) address.bytes[i] = static_cast<std::byte>(data[i]);
  return address.to_string();
}
