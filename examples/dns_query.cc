// Asks a name server, as every program does before it does anything else (RFC 1035): one datagram there, one back.
//
//   dns_query SERVER:PORT NAME [A|AAAA|TXT|PTR|SRV]
//
// Exit status: 0 with an answer, 1 without.
#include <iostream>
#include <random>

#include "dns_message.h"

using gannet::Address, gannet::Socket;

constexpr unsigned largest_answer = 1232;  // passes in one packet nearly everywhere

struct Answer {
  unsigned code;  // 0; 3: no such name; RFC 1035 4.1.1
  bool truncated;
  std::vector<Record> records;
};

Answer parse(Bytes message, std::size_t question_size, unsigned wanted) {
  Reader reader(message, 2);
  const unsigned flags = reader.number();
  static_cast<void>(reader.number());
  Answer answer{.code = flags & 15, .truncated = (flags & 0x200) != 0, .records = {}};
  Reader each(message, header_size + question_size);
  for (unsigned left = reader.number(); left > 0 && !answer.truncated; --left) {
    Record record = each.record();
    if (record.type == wanted && record.rr_class == class_in) answer.records.push_back(std::move(record));
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
  std::string question = name_of(name);
  append(question, type);
  append(question, class_in);
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
  const unsigned type = type_in(kind);
  if (words.size() < 2 || words.size() > 3 || type == 0) return std::cerr << "usage: dns_query SERVER:PORT NAME [A|AAAA|TXT|PTR|SRV]" << std::endl, 2;
  try {
    const Address server = Address::parse(words[0]).value();
    const Answer answer = ask(Socket::open(server.ip.family).value(), server, words[1], type);
    std::string said;
    for (const Record& record : answer.records) said += words[1] + ' ' + std::to_string(record.seconds) + ' ' + kind + ' ' + text_of(record) + '\n';
    std::cout << said << std::flush;
    if (answer.truncated) throw std::runtime_error("the answer does not fit a datagram: ask over TCP");
    if (answer.code == 3) throw std::runtime_error("there is no such name");
    if (answer.code != 0) throw std::runtime_error("the server refuses: code " + std::to_string(answer.code));
    if (answer.records.empty()) throw std::runtime_error("the name has no such record");
  } catch (const std::exception& failure) {
    return std::cerr << "dns_query: " << failure.what() << std::endl, 1;
  }
}
