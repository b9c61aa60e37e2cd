// A transfer of TFTP: a file, a block and its acknowledgement at a time (RFC 1350; options: RFC 2347-2349). For tftp.cc, the program.
//
// What UDP lacks is made up for here: a packet that is not answered in time is sent again, and one that came twice is known by its number.
#pragma once
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gannet/socket.h>

using gannet::Address, gannet::Socket, gannet::bytes_of;
using Options = std::map<std::string, std::size_t>;

enum : unsigned { read_request = 1, write_request, data, acknowledgement, error, accepted_options };
struct Failure : std::runtime_error {
  Failure(unsigned code, const std::string& why) : std::runtime_error(why), code(code) {}
  unsigned code;  // RFC 1350 5: 1 not found, 2 no access, 3 disk full, 4 illegal, 5 not your transfer, 6 exists, 8 options
};

std::string number(unsigned value) { return {static_cast<char>(value >> 8), static_cast<char>(value)}; }
unsigned number_at(std::string_view text, std::size_t at) {
  return static_cast<std::uint8_t>(text[at]) * 256u + static_cast<std::uint8_t>(text[at + 1]);
}
std::string packet(unsigned kind, unsigned block, std::string_view rest = "") { return number(kind).append(number(block)).append(rest); }
std::string request(unsigned kind, std::initializer_list<std::string> fields, const Options& options = {}) {
  std::string text = number(kind);
  for (const std::string& field : fields) text.append(field).push_back('\0');
  for (const auto& [name, value] : options) text.append(name).append(1, '\0').append(std::to_string(value)).push_back('\0');
  return text;
}
// The texts of a request, each ended by a zero byte; and the options among them that we know. What is no number is as if it were not there (RFC
// 2347).
std::vector<std::string> fields_of(std::string_view text) {
  std::vector<std::string> fields;
  for (std::size_t end = 0; (end = text.find('\0')) != text.npos; text.remove_prefix(end + 1)) fields.emplace_back(text.substr(0, end));
  return fields;
}
// What the other side says, without what would command a terminal.
std::string plain(std::string text) {
  std::ranges::replace_if(text, [](unsigned char each) { return each < ' ' || each > '~'; }, '?');
  return text;
}
std::string lower(std::string text) {
  for (char& letter : text) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return text;
}
Options options_in(const std::vector<std::string>& fields, std::size_t first) {
  Options options;
  for (std::size_t i = first; i + 1 < fields.size(); i += 2) {
    if (fields[i + 1].empty() || fields[i + 1].size() > 12 || fields[i + 1].find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string name = lower(fields[i]);
    const std::size_t value = std::stoull(fields[i + 1]);
    if (name == "blksize" && value >= 8) options[name] = std::min<std::size_t>(value, 1428);  // fits an Ethernet packet with tunnels around it
    if (name == "tsize" || (name == "timeout" && value >= 1 && value <= 255)) options[name] = value;
  }
  return options;
}

class Transfer {
 public:
  // A client does not know the server's port for this transfer until the first answer comes from it.
  Transfer(Socket socket, const Address& peer, bool is_server)
      : socket_(std::move(socket)), peer_(peer), is_server_(is_server), knows_port_(is_server) {}

  void use(const Options& options) {
    if (auto it = options.find("blksize"); it != options.end()) block_size_ = it->second;
    if (auto it = options.find("timeout"); it != options.end()) patience_ = std::chrono::seconds(it->second);
  }
  // `first`, unless it is empty, is answered by an acknowledgement of block 0 or by the options that the other side takes.
  void send_file(std::istream& file, const std::string& first) {
    if (!first.empty()) ask(first, acknowledgement, 0);
    for (unsigned block = 1;; ++block) {
      std::string bytes(block_size_, '\0');
      bytes.resize(static_cast<std::size_t>(file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())).gcount()));
      ask(packet(data, block, bytes), acknowledgement, block & 0xffff);
      if (bytes.size() < block_size_) return;
    }
  }
  // Writes beside `path`, which is there only when all of it is. `last` is answered by block 1 or by the options.
  void receive_file(const std::filesystem::path& path, std::string last) {
    const std::filesystem::path part = path.string() + '.' + std::to_string(peer_.port) + ".part";
    const std::unique_ptr<const std::filesystem::path, void (*)(const std::filesystem::path*)> guard(
        &part, [](auto* left) { std::filesystem::remove(*left); });
    std::ofstream file(part, std::ios::binary);
    for (std::size_t block = 1, size = block_size_; size == block_size_;) {
      const std::string answer = ask(last, data, block & 0xffff);
      const bool is_data = number_at(answer, 0) == data;
      last = packet(acknowledgement, is_data ? static_cast<unsigned>(block++ & 0xffff) : 0);
      size = is_data ? answer.size() - 4 : block_size_;
      if (size > block_size_) throw std::runtime_error("the other side sends larger blocks than agreed");
      if (is_data && !file.write(answer.data() + 4, static_cast<std::streamsize>(size))) throw Failure(3, "the file cannot be written");
    }
    file.close();
    std::filesystem::rename(part, path);
    do say(last);  // again when the other side repeats itself, because this one was lost (RFC 1350 6)
    while (!hear(is_server_ ? 6 * patience_ : patience_).empty());
  }
  void fail(unsigned code, std::string_view why) { say(packet(error, code, why).append(1, '\0')); }

 private:
  void say(std::string_view packet) { socket_.send_to(bytes_of(packet), peer_).value(); }
  // The next packet of this transfer; empty: none came in time. Anybody else who sends here is told so (RFC 1350 4).
  std::string hear(gannet::Deadline deadline) {
    for (std::array<std::byte, 2048> buffer;;) {
      const auto heard = socket_.receive(buffer, deadline);
      if (!heard) return "";
      if (!knows_port_ && heard->peer.ip == peer_.ip) peer_ = heard->peer, knows_port_ = true;
      if (heard->peer == peer_ && heard->data.size() >= 4 && !heard->truncated) return std::string(gannet::text_of(heard->data));
      if (heard->peer != peer_) static_cast<void>(socket_.send_to(bytes_of(packet(error, 5, "not your transfer").append(1, '\0')), heard->peer));
    }
  }
  // Sends `what` until it is answered, each time with more patience. Another answer is an old one: to send again for it would double all that follows
  // (RFC 1123 4.2.3.1).
  std::string ask(const std::string& what, unsigned kind, unsigned block) {
    for (auto patience = patience_; patience < 64 * patience_; patience *= 2) {
      say(what);
      const gannet::Deadline deadline = std::chrono::steady_clock::now() + patience;
      for (std::string answer; !(answer = hear(deadline)).empty();) {
        if (number_at(answer, 0) == error) throw std::runtime_error("the other side says: " + plain(answer.substr(4, answer.find('\0', 4) - 4)));
        if (number_at(answer, 0) == kind && number_at(answer, 2) == block) return answer;
        if (number_at(answer, 0) != accepted_options || number_at(what, 0) > write_request) continue;
        use(options_in(fields_of(answer.substr(2)), 0));
        return answer;
      }
    }
    throw Failure(0, "no answer");
  }

  Socket socket_;
  Address peer_;
  bool is_server_, knows_port_;
  std::size_t block_size_ = 512;
  std::chrono::milliseconds patience_ = std::chrono::seconds(1);
};
