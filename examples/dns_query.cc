// Asks a name server, as every program does before it does anything else (RFC 1035): one datagram there, one back.
//
//   dns_query SERVER:PORT NAME [A|AAAA|TXT]
//
// Exit status: 0 with an answer, 1 without.
#include <iostream>
#include <random>
#include <vector>

#include <gannet/socket.h>

using gannet::Address, gannet::Socket;
using Bytes = std::span<const std::byte>;

constexpr unsigned type_a = 1, type_txt = 16, type_aaaa = 28, type_opt = 41, class_in = 1;
constexpr std::size_t header_size = 12;
constexpr unsigned largest_answer = 1232;  // passes in one packet nearly everywhere

struct Record {
  std::uint32_t seconds;  // for which it may be kept
  std::string text;
};
struct Answer {
  unsigned code;  // 0; 3: no such name; RFC 1035 4.1.1
  bool truncated;
  std::vector<Record> records;
};

void append(std::string& message, unsigned number) { message.append({static_cast<char>(number >> 8), static_cast<char>(number)}); }

std::string question_of(const std::string& name, unsigned type) {
  std::string question;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    if (dot == at || dot - at > 63) throw std::invalid_argument(name + " is no name: a part between dots has 1 to 63 letters");
    question.append(1, static_cast<char>(dot - at)).append(name, at, dot - at);
    at = dot + 1;
  }
  if (question.empty() || question.size() > 254) throw std::invalid_argument("a name has 1 to 253 letters");
  question.push_back('\0');
  append(question, type);
  append(question, class_in);
  return question;
}

// Reads a message whose every byte may be a lie: whatever is not there is an exception.
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
  // A name may end in a pointer to one that was written before (RFC 1035 4.1.4). Where it leads does not matter here.
  void skip_name() {
    for (unsigned length = byte(); length != 0; length = byte()) {
      if (length >= 0xc0) return static_cast<void>(byte());
      text(length);
    }
  }

 private:
  Bytes message_;
  std::size_t at_;
};

std::string text_of(unsigned type, const std::string& data) {
  if (type == type_txt) {
    std::string text;
    for (std::size_t at = 0; at < data.size(); at += 1 + static_cast<unsigned char>(data[at])) {
      text += (text.empty() ? "\"" : " \"") + data.substr(at + 1, static_cast<unsigned char>(data[at])) + '"';
    }
    return text;
  }
  gannet::IpAddress address = gannet::IpAddress::any(type == type_a ? gannet::Family::ipv4 : gannet::Family::ipv6);
  if (data.size() != address.size()) throw std::range_error("an address of the wrong size");
  for (std::size_t i = 0; i < data.size(); ++i) address.bytes[i] = static_cast<std::byte>(data[i]);
  return address.to_string();
}

Answer parse(Bytes message, std::size_t question_size, unsigned wanted) {
  Reader reader(message, 2);
  const unsigned flags = reader.number();
  static_cast<void>(reader.number());
  Answer answer{.code = flags & 15, .truncated = (flags & 0x200) != 0, .records = {}};
  Reader each(message, header_size + question_size);
  for (unsigned left = reader.number(); left > 0 && !answer.truncated; --left) {
    each.skip_name();
    const unsigned type = each.number();
    static_cast<void>(each.number());
    std::uint32_t seconds = each.number() << 16;
    seconds += each.number();
    const std::string data = each.text(each.number());
    if (type == wanted) answer.records.push_back({seconds, text_of(type, data)});
  }
  return answer;
}

// Whether this is the answer to what was asked: anybody may send us a datagram, and say that he is the server (RFC 5452).
bool is_answer(Bytes message, std::string_view query, std::size_t question_size) {
  const std::string_view text = gannet::text_of(message);
  return text.size() >= header_size + question_size && text.substr(0, 2) == query.substr(0, 2) && (text[2] & 0x80) != 0 &&
         text.substr(4, 2) == query.substr(4, 2) && text.substr(header_size, question_size) == query.substr(header_size, question_size);
}

Answer ask(Socket socket, const Address& server, const std::string& name, unsigned type) {
  const std::string question = question_of(name, type);
  std::random_device random;  // an unpredictable number, and the unpredictable port that the socket gets, are what a forger has to guess
  std::string query;
  for (const unsigned number : {random() & 0xffff, 0x100u, 1u, 0u, 0u, 1u}) append(query, number);  // recursion desired; one question, one addition
  query += question;
  query.push_back('\0');
  for (const unsigned number : {type_opt, largest_answer, 0u, 0u, 0u}) append(query, number);  // we take more than 512 bytes (RFC 6891)

  socket.connect(server).value();  // so that nobody else is heard, and a refusal is
  std::array<std::byte, largest_answer> buffer;
  for (std::chrono::milliseconds patience{1000}; patience < std::chrono::seconds(16); patience *= 2) {
    socket.send(gannet::bytes_of(query)).value();
    const gannet::Deadline deadline = std::chrono::steady_clock::now() + patience;
    for (auto heard = socket.receive(buffer, deadline); heard || heard.error().code != EAGAIN; heard = socket.receive(buffer, deadline)) {
      if (is_answer(heard.value().data, query, question.size())) return parse(heard->data, question.size(), type);
    }
    std::cerr << "no answer within " << patience.count() << " ms: asking again" << std::endl;
  }
  throw std::runtime_error("the server does not answer: it is not there, or all was lost");
}

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  const std::string kind = words.size() == 3 ? words[2] : "A";
  const unsigned type = kind == "A" ? type_a : kind == "AAAA" ? type_aaaa : kind == "TXT" ? type_txt : 0;
  if (words.size() < 2 || words.size() > 3 || type == 0) return std::cerr << "usage: dns_query SERVER:PORT NAME [A|AAAA|TXT]" << std::endl, 2;
  try {
    const Address server = Address::parse(words[0]).value();
    const Answer answer = ask(Socket::open(server.ip.family).value(), server, words[1], type);
    for (const Record& record : answer.records) std::cout << words[1] << ' ' << record.seconds << ' ' << kind << ' ' << record.text << std::endl;
    if (answer.truncated) throw std::runtime_error("the answer does not fit a datagram: ask over TCP");
    if (answer.code == 3) throw std::runtime_error("there is no such name");
    if (answer.code != 0) throw std::runtime_error("the server refuses: code " + std::to_string(answer.code));
    if (answer.records.empty()) throw std::runtime_error("the name has no such record");
  } catch (const std::exception& failure) {
    return std::cerr << "dns_query: " << failure.what() << std::endl, 1;
  }
}
