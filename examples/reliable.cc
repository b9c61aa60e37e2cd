// What UDP leaves to the program, by hand: sequence numbers, acknowledgements, timeouts and retransmission. Standard input arrives at standard
// output.
//
//   reliable receive ADDRESS:PORT > copy        reliable send ADDRESS:PORT < original
//
// A window of packets is under way at once, each sent again until it is acknowledged. What is missing here, and a protocol for the open network must
// have: that the window follows what the path can take (congestion control), a connection that cannot be forged, and both directions at once.
#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <string>

#include <gannet/socket.h>

using gannet::Address, gannet::Socket, gannet::bytes_of;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::uint32_t window = 64;
constexpr std::size_t piece = 1200;  // with the headers it passes in one packet nearly everywhere (RFC 8085 3.2)

// A packet: its number (4 bytes), how often it was sent (1), and bytes of the stream; without any it is the end. An acknowledgement: the number of
// the first packet that is missing (4), a bit for each of the 64 after it that is there (8), and the first five bytes of the packet that it answers:
// so that who hears it knows how long the way there and back takes, whichever of several the answer is to.
constexpr std::size_t header_size = 5, acknowledgement_size = 17;

std::string number(std::uint64_t value, std::size_t size) {
  std::string text;
  while (text.size() < size) text.push_back(static_cast<char>(value >> 8 * (size - 1 - text.size())));
  return text;
}
std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  for (const char octet : text) value = value << 8 | static_cast<std::uint8_t>(octet);
  return value;
}

// How long to wait for an acknowledgement: what it took so far, and four times how much that varied (RFC 6298).
class Patience {
 public:
  void took(Clock::duration time) {
    deviation_ = is_first_ ? time / 2 : (3 * deviation_ + std::chrono::abs(smooth_ - time)) / 4;
    smooth_ = is_first_ ? time : (7 * smooth_ + time) / 8;
    is_first_ = false;
    limit_ = std::clamp<Clock::duration>(smooth_ + 4 * deviation_, 20ms, 2s);
  }
  void ran_out() { limit_ = std::min<Clock::duration>(2 * limit_, 2s); }
  [[nodiscard]] Clock::duration limit() const { return limit_; }

 private:
  Clock::duration smooth_{}, deviation_{}, limit_ = 200ms;
  bool is_first_ = true;
};

struct Sent {
  std::string packet;
  Clock::time_point last;
};

void send(Socket socket, const Address& peer, std::istream& input) {
  socket.connect(peer).value();
  std::map<std::uint32_t, Sent> under_way;
  Patience patience;
  std::uint32_t next = 0;
  std::size_t again = 0;
  for (bool at_end = false; !at_end || !under_way.empty();) {
    for (; !at_end && (under_way.empty() || next - under_way.begin()->first < window); ++next) {
      std::string bytes(piece, '\0');
      bytes.resize(static_cast<std::size_t>(input.read(bytes.data(), piece).gcount()));
      at_end = bytes.empty();
      const Sent& sent = under_way[next] = {number(next, 4) + '\1' + bytes, Clock::now()};
      socket.send(bytes_of(sent.packet)).value();
    }
    // The oldest decides how long to listen. What comes is asked for again only when its own time has run out.
    auto oldest = std::ranges::min_element(under_way, {}, [](const auto& each) { return each.second.last; });
    std::array<std::byte, 64> buffer;
    const auto heard = socket.receive(buffer, oldest->second.last + patience.limit());
    if (!heard && heard.error().code != EAGAIN) heard.value();
    if (heard && heard->data.size() == acknowledgement_size) {
      const std::string_view text = gannet::text_of(heard->data);
      const std::uint64_t missing = number_in(text.substr(0, 4)), beyond = number_in(text.substr(4, 8));
      if (missing > next) continue;  // of what was never sent
      const auto answered = under_way.find(static_cast<std::uint32_t>(number_in(text.substr(12, 4))));
      if (answered != under_way.end() && answered->second.packet[4] == text[16]) patience.took(Clock::now() - answered->second.last);
      std::erase_if(under_way, [&](const auto& each) {
        return each.first < missing || (each.first > missing && each.first - missing <= 64 && (beyond >> (each.first - missing - 1) & 1) != 0);
      });
      continue;
    }
    if (oldest->second.packet[4] == 50) throw std::runtime_error("no acknowledgement: the receiver is gone, or all is lost");
    patience.ran_out();
    const Clock::time_point overdue = oldest->second.last;
    for (auto& [sequence, sent] : under_way) {
      if (sent.last > overdue + 5ms) continue;
      ++sent.packet[4];
      sent.last = Clock::now();
      socket.send(bytes_of(sent.packet)).value();
      ++again;
    }
  }
  std::cerr << next << " packets, " << again << " of them again" << std::endl;
}

void receive(Socket socket, const Address& local, std::ostream& output) {
  socket.bind(local).value();
  std::cerr << "Listening on " << socket.local_address().value().to_string() << std::endl;
  std::map<std::uint32_t, std::string> early;  // at most a window of them
  std::uint32_t missing = 0;
  std::array<std::byte, 2048> buffer;
  for (bool knows_sender = false, at_end = false;;) {
    // After the end: as long as the sender may not have heard that we have all, and ask again.
    const auto heard = socket.receive(buffer, at_end ? gannet::Deadline(4s) : gannet::Deadline::forever());
    if (!heard && at_end) break;
    if (heard.value().data.size() < header_size || heard->truncated) continue;
    if (!knows_sender) socket.connect(heard->peer).value(), knows_sender = true;  // from now on nobody else is heard
    const std::string_view text = gannet::text_of(heard->data);
    const auto sequence = static_cast<std::uint32_t>(number_in(text.substr(0, 4)));
    if (!at_end && sequence >= missing && sequence - missing <= window) early.try_emplace(sequence, text.substr(header_size));
    for (auto first = early.begin(); !at_end && first != early.end() && first->first == missing; first = early.erase(first), ++missing) {
      output << first->second;
      at_end = first->second.empty();
    }
    if (at_end) early.clear();
    std::uint64_t beyond = 0;
    for (const auto& [each, bytes] : early) beyond |= std::uint64_t{1} << (each - missing - 1);
    const auto said = socket.send(bytes_of(number(missing, 4) + number(beyond, 8) + std::string(text.substr(0, header_size))));
    if (!said && !at_end) said.value();
  }
  output.flush();
}

int main(int count, char** arguments) {
  const std::string role = count == 3 ? arguments[1] : "";
  if (role != "send" && role != "receive") return std::cerr << "usage: reliable send|receive ADDRESS:PORT" << std::endl, 2;
  try {
    const Address address = Address::parse(arguments[2]).value();
    Socket socket = Socket::open(address.ip.family).value();
    role == "send" ? send(std::move(socket), address, std::cin) : receive(std::move(socket), address, std::cout);
  } catch (const std::exception& failure) {
    return std::cerr << "reliable: " << failure.what() << std::endl, 1;
  }
}
