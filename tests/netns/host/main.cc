// A host of ours on a TAP device, whose sockets are driven line by line: what the tests of tests/netns run.
//
//   netns_host tap:NAME,ADDR/LEN
//
// It says "ok", or the error for which it cannot; its loop starts with the first line that comes in. Each line is a command and is answered by
// one: "ok", with words where there is something to tell, or "error ERRNO SENTENCE". S is a name for a socket, DATA is hexadecimal, "-" is none.
//   open S | close S | bind S ADDR:PORT | connect S ADDR:PORT | disconnect S | local S
//   set S OPTION VALUE | get S OPTION | options S DATA               options of the IP header, for all that S sends
//   join S GROUP [SOURCE] | leave S GROUP [SOURCE] | block S GROUP SOURCE | unblock S GROUP SOURCE
//   send S DATA [to=ADDR:PORT] [from=ADDR] [ttl=N] [tos=N]
//   receive S     -> DATA PEER LOCAL TTL TOS OPTIONS                 EAGAIN when nothing waits
//   failure S     -> ERRNO TYPE CODE MTU PEER OFFENDER               likewise; what the network reported
//   drops | counters -> NAME=VALUE ...
// There is one thread, and a command is answered after a round of the host's loop: by then what it sends is on the wire.
// It ends at the end of its input.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <gannet/host.h>
#include <gannet/socket.h>

namespace gannet::tests {
namespace {

using Words = std::vector<std::string>;

constexpr Error bad_words{EINVAL, "the words of this command make no sense"};

std::string hex_of(std::span<const std::byte> data) {
  static constexpr std::string_view digits = "0123456789abcdef";
  if (data.empty()) return "-";
  std::string text;
  for (const std::byte byte : data) {
    text += digits[std::to_integer<unsigned>(byte) >> 4];
    text += digits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

Result<std::vector<std::byte>> data_of(std::string_view hex) {
  std::vector<std::byte> data;
  if (hex == "-") return data;
  if (hex.size() % 2 != 0) return bad_words;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    unsigned byte = 0;
    const auto [end, bad] = std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    if (bad != std::errc{} || end != hex.data() + i + 2) return bad_words;
    data.push_back(static_cast<std::byte>(byte));
  }
  return data;
}

Result<int> number_of(std::string_view text) {
  int number = 0;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (bad != std::errc{} || end != text.data() + text.size()) return bad_words;
  return number;
}

Result<Option> option_of(std::string_view name) {
  static const std::map<std::string_view, Option> options = {
      {"broadcast", Option::broadcast},
      {"reuse_address", Option::reuse_address},
      {"ttl", Option::ttl},
      {"tos", Option::tos},
      {"multicast_ttl", Option::multicast_ttl},
      {"multicast_loop", Option::multicast_loop},
      {"multicast_all", Option::multicast_all},
      {"pmtu_discovery", Option::pmtu_discovery},
      {"no_checksum", Option::no_checksum},
      {"require_checksum", Option::require_checksum},
      {"receive_ip_options", Option::receive_ip_options},
      {"receive_errors", Option::receive_errors},
      {"mtu", Option::mtu},
      {"error", Option::error},
  };
  const auto known = options.find(name);
  if (known == options.end()) return bad_words;
  return known->second;
}

std::string answer(const Result<void>& done) { return done ? "ok" : "error " + std::to_string(done.error().code) + " " + done.error().message(); }
std::string answer(const Error& error) { return answer(Result<void>(error)); }

std::string answer(const std::vector<Count>& counts) {
  std::string text = "ok";
  for (const Count& count : counts) text += " " + count.name + "=" + std::to_string(count.value);
  return text;
}

class Session {
 public:
  explicit Session(Host& host) : host_(host) {}

  std::string obey(const Words& words) {
    const std::string& verb = words.front();
    if (verb == "drops") return answer(host_.drops());
    if (verb == "counters") return answer(host_.counters());
    if (words.size() < 2) return answer(bad_words);
    if (verb == "open") return open(words[1]);
    const auto socket = sockets_.find(words[1]);
    if (socket == sockets_.end()) return answer(bad_words);
    if (verb == "close") {
      const auto closed = socket->second.close();
      sockets_.erase(socket);
      return answer(closed);
    }
    return obey(socket->second, verb, Words(words.begin() + 2, words.end()));
  }

 private:
  std::string open(const std::string& name) {
    auto socket = Socket::open(host_);
    if (!socket) return answer(socket.error());
    sockets_.insert_or_assign(name, *std::move(socket));
    return "ok";
  }

  std::string obey(Socket& socket, std::string_view verb, const Words& words) {
    if (verb == "receive") return receive(socket);
    if (verb == "failure") return failure(socket);
    if (verb == "disconnect") return answer(socket.disconnect());
    if (verb == "local") {
      const auto local = socket.local_address();
      return local ? "ok " + local->to_string() : answer(local.error());
    }
    if (words.empty()) return answer(bad_words);
    if (verb == "bind") return answer(socket.bind(words[0]));
    if (verb == "connect") return answer(socket.connect(words[0]));
    if (verb == "send") return send(socket, words);
    if (verb == "options") {
      const auto options = data_of(words[0]);
      return options ? answer(socket.set_ip_options(*options)) : answer(options.error());
    }
    if (verb == "set" || verb == "get") return option(socket, words);
    return membership(socket, verb, words);
  }

  static std::string option(Socket& socket, const Words& words) {
    const auto option = option_of(words[0]);
    if (!option) return answer(option.error());
    if (words.size() == 1) {
      const auto value = socket.get(*option);
      return value ? "ok " + std::to_string(*value) : answer(value.error());
    }
    const auto value = number_of(words[1]);
    return value ? answer(socket.set(*option, *value)) : answer(value.error());
  }

  static std::string membership(Socket& socket, std::string_view verb, const Words& words) {
    const auto group = IpAddress::parse(words[0]);
    if (!group) return answer(group.error());
    if (words.size() == 1) {
      if (verb == "join") return answer(socket.join(*group));
      return verb == "leave" ? answer(socket.leave(*group)) : answer(bad_words);
    }
    const auto source = IpAddress::parse(words[1]);
    if (!source) return answer(source.error());
    if (verb == "join") return answer(socket.join_source(*group, *source));
    if (verb == "leave") return answer(socket.leave_source(*group, *source));
    if (verb == "block") return answer(socket.block_source(*group, *source));
    return verb == "unblock" ? answer(socket.unblock_source(*group, *source)) : answer(bad_words);
  }

  static std::string send(Socket& socket, const Words& words) {
    const auto data = data_of(words[0]);
    if (!data) return answer(data.error());
    Outgoing outgoing{.data = *data};
    for (std::size_t i = 1; i < words.size(); ++i) {
      const std::string_view word = words[i];
      const std::string_view value = word.substr(std::min(word.find('=') + 1, word.size()));
      if (word.starts_with("to=")) {
        const auto to = Address::parse(value);
        if (!to) return answer(to.error());
        outgoing.to = *to;
      } else if (word.starts_with("from=")) {
        const auto from = IpAddress::parse(value);
        if (!from) return answer(from.error());
        outgoing.source.ip = *from;
      } else {
        const auto number = number_of(value);
        if (!number) return answer(number.error());
        (word.starts_with("ttl=") ? outgoing.ttl : outgoing.tos) = *number;
      }
    }
    const auto sent = socket.send(outgoing);
    return sent ? "ok" : answer(sent.error());
  }

  std::string receive(Socket& socket) {
    const auto datagram = socket.receive(buffer_, Deadline::now());
    if (!datagram) return answer(datagram.error());
    return "ok " + hex_of(datagram->data) + " " + datagram->peer.to_string() + " " + datagram->local.to_string() + " " +
           std::to_string(datagram->ttl) + " " + std::to_string(datagram->tos) + " " + hex_of(datagram->ip_options.view());
  }

  static std::string failure(Socket& socket) {
    const auto error = socket.receive_error();
    if (!error) return answer(error.error());
    return "ok " + std::to_string(error->code) + " " + std::to_string(error->type) + " " + std::to_string(error->icmp_code) + " " +
           std::to_string(error->mtu) + " " + error->peer.to_string() + " " + error->offender.to_string();
  }

  Host& host_;
  std::map<std::string, Socket> sockets_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(65536);
};

// Lines of standard input, as they come.
class Lines {
 public:
  // Whether there is more to come. `take` is called with each line that is complete; milliseconds as for poll(2).
  bool read(int milliseconds, const std::function<void(const std::string&)>& take) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, milliseconds) <= 0) return true;
    std::array<char, 65536> buffer;
    const ssize_t size = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (size <= 0) return false;
    text_.append(buffer.data(), static_cast<std::size_t>(size));
    for (std::size_t end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
      take(text_.substr(0, end));
      text_.erase(0, end + 1);
    }
    return true;
  }

 private:
  std::string text_;
};

Words words_of(std::string_view line) {
  Words words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

void say(const std::string& line) {
  std::fputs((line + '\n').c_str(), stdout);
  std::fflush(stdout);
}

int run(const char* via) {
  auto host = Host::open(via);
  if (!host) {
    say(answer(host.error()));
    return 1;
  }
  Session session(*host);
  Lines lines;
  say("ok");
  const auto obey = [&](const std::string& line) {
    const Words words = words_of(line);
    const std::string answered = words.empty() ? answer(bad_words) : session.obey(words);
    host->run_once().value();
    say(answered);
  };
  for (bool more = lines.read(-1, obey); more; more = lines.read(0, obey)) host->run_once(std::chrono::milliseconds(1)).value();
  return 0;
}

}  // namespace
}  // namespace gannet::tests

int main(int count, char** arguments) {
  if (count == 2) return gannet::tests::run(arguments[1]);
  std::fputs("usage: netns_host tap:NAME,ADDR/LEN\n", stderr);
  return 2;
}
