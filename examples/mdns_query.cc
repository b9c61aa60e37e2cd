// Asks everybody on the link (RFC 6762), without a server: who has this name, who offers this service.
//
//   mdns_query [--one-shot|--unicast] [--ipv6] NAME [PTR|SRV|TXT|A|AAAA [INTERFACE [SECONDS]]]        mdns_query _ipp._tcp.local
//
// Asked from port 5353 in the group, the answers come to the group: all on the link hear them, and all of this machine who share the port.
// --unicast has them sent to us alone (the QU bit), which spares the others; but a unicast datagram goes to one of the sockets that share a port, so
// it is right only where no other program here has it (RFC 6762 15.1). --one-shot asks from a port of its own, as programs do that know only DNS: the
// answer comes as from a name server, once, to be kept for seconds (6.7). Exit status: 0 with an answer, 1 without.
#include <net/if.h>

#include <iostream>
#include <random>
#include <set>

#include "dns_message.h"

using gannet::Address, gannet::Option, gannet::Socket;
using Clock = std::chrono::steady_clock;

constexpr std::uint16_t mdns_port = 5353;
constexpr unsigned unicast_bit = 0x8000, flush_bit = 0x8000;
constexpr std::size_t most_records = 1'000, room_for_known = 1'200;

struct Plan {
  std::string name;  // as on the wire
  unsigned type = type_ptr;
  Address group;
  std::uint32_t interface = 0;  // 0: the one that the route to the group names
  bool one_shot = false, unicast = false;
  std::chrono::seconds time{3};
};

class Query {
 public:
  Query(const Plan& plan, std::ostream& output) : plan_(plan), output_(output), id_(plan.one_shot ? std::random_device()() & 0xffff : 0) {
    append(question_, plan.type);
    append(question_, class_in | (plan.unicast ? unicast_bit : 0));
    question_.insert(0, plan.name);
  }
  // Asked again, it says what it has heard already, and nobody says that again (RFC 6762 7.1).
  [[nodiscard]] std::string emit() const {
    std::string message, known;
    unsigned count = 0;
    for (const Record& record : heard_) {
      const std::size_t size = record.name.size() + 10 + record.data.size();
      if (plan_.one_shot || !is_answer(record) || known.size() + size > room_for_known) continue;
      known += record.name;
      for (const unsigned number : {record.type, class_in, record.seconds >> 16, record.seconds & 0xffff}) append(known, number);
      append(known, static_cast<unsigned>(record.data.size()));
      known += record.data;
      ++count;
    }
    for (const unsigned number : {id_, 0u, 1u, count, 0u, 0u}) append(message, number);
    return message + question_ + known;
  }
  // Whether the datagram has answers; prints those that are new, and what came along with them.
  bool take(const gannet::Datagram& datagram) {
    if (!is_from_the_link(datagram)) return false;
    Reader reader(datagram.data, 0);
    const unsigned id = reader.number(), flags = reader.number(), questions = reader.number();
    unsigned left = reader.number() + reader.number();
    left += reader.number();
    // No answer: a query, or what this version does not know (18.3, 18.11). To a group it has no number; to one who knows only DNS it has his.
    if ((flags & 0xf80f) != 0x8000 || (plan_.one_shot && id != id_)) return false;
    for (unsigned i = 0; i < questions; ++i) {
      const std::string name = reader.name();
      if (plan_.one_shot && lower(name) != lower(plan_.name)) return false;
      static_cast<void>(reader.text(4));
    }
    std::vector<Record> records;
    for (; left > 0; --left) records.push_back(reader.record());
    if (std::ranges::none_of(records, [&](const Record& record) { return is_answer(record); })) return false;
    for (Record& record : records) keep(std::move(record));
    return true;
  }

 private:
  [[nodiscard]] bool is_answer(const Record& record) const {
    return record.type == plan_.type && (record.rr_class & ~flush_bit) == class_in && lower(record.name) == lower(plan_.name);
  }
  // From the one port that answers come from (6), and not from beyond a router (11): none passes on a datagram to the group, and behind one the TTL
  // is less than the 255 that all answers begin with, which nobody further away can forge, as he can an address.
  [[nodiscard]] bool is_from_the_link(const gannet::Datagram& datagram) const {
    return datagram.peer.port == mdns_port && !datagram.truncated && (datagram.local.ip == plan_.group.ip || datagram.ttl == 255) &&
           (plan_.interface == 0 || datagram.interface == plan_.interface);
  }
  void keep(Record record) {
    if (record.seconds == 0 || text_of_type(record.type).empty()) return;  // 0: it is withdrawn (10.1)
    const std::string said = text_of_name(record.name) + ' ' + std::string(text_of_type(record.type)) + ' ' + text_of(record);
    if (said_.contains(said) || heard_.size() == most_records) return;
    said_.insert(said);
    output_ << text_of_name(record.name) << ' ' << record.seconds << said.substr(text_of_name(record.name).size()) << std::endl;
    heard_.push_back(std::move(record));
  }

  const Plan& plan_;
  std::ostream& output_;
  unsigned id_;
  std::string question_;
  std::vector<Record> heard_;
  std::set<std::string> said_;
};

bool ask(Socket socket, const Plan& plan, std::ostream& output) {
  if (plan.interface != 0) socket.set_multicast_interface(plan.interface).value();
  socket.set(Option::multicast_ttl, 255).value();
  if (!plan.one_shot) {
    socket.set(Option::reuse_address, 1).value();
    socket.bind(Address{gannet::IpAddress::any(plan.group.ip.family), mdns_port}).value();
    socket.join(plan.group.ip, plan.interface).value();
  }
  Query query(plan, output);
  bool answered = false;
  std::array<std::byte, 9'000> buffer;  // the longest message (17)
  const Clock::time_point end = Clock::now() + plan.time;
  for (Clock::duration patience = std::chrono::seconds(1); Clock::now() < end; patience *= 2) {
    const gannet::Deadline deadline = std::min(end, Clock::now() + patience);
    socket.send_to(gannet::bytes_of(query.emit()), plan.group).value();
    for (auto heard = socket.receive(buffer, deadline); heard || heard.error().code != EAGAIN; heard = socket.receive(buffer, deadline)) {
      try {
        answered = query.take(heard.value()) || answered;
      } catch (const std::range_error& lie) {
        std::cerr << "from " << heard->peer.to_string() << ": " << lie.what() << std::endl;
      }
      if (answered && plan.type != type_ptr) return true;  // of a service there are several, and who comes later is as good
    }
  }
  return answered;
}

int main(int count, char** arguments) {
  std::vector<std::string> words(arguments + 1, arguments + count);
  const auto take_flag = [&](std::string_view flag) { return std::erase(words, flag) != 0; };
  Plan plan;
  plan.one_shot = take_flag("--one-shot"), plan.unicast = take_flag("--unicast");
  plan.group = Address::parse(take_flag("--ipv6") ? "[ff02::fb]:5353" : "224.0.0.251:5353").value();
  if (words.size() > 1) plan.type = type_in(words[1]);
  if (words.size() > 2) plan.interface = if_nametoindex(words[2].c_str());
  if (!plan.group.ip.is_ipv4()) plan.group.scope = plan.interface;
  if (words.size() > 3) plan.time = std::chrono::seconds(std::strtoul(words[3].substr(0, 4).c_str(), nullptr, 10));
  try {
    if (words.empty() || words.size() > 4 || plan.type == 0 || plan.time.count() == 0 || (plan.one_shot && plan.unicast))
      return std::cerr << "usage: mdns_query [--one-shot|--unicast] [--ipv6] NAME [PTR|SRV|TXT|A|AAAA [INTERFACE [SECONDS]]]" << std::endl, 2;
    if (words.size() > 2 && plan.interface == 0) throw std::runtime_error(words[2] + " is no interface here");
    plan.name = name_of(words[0]);
    if (!ask(Socket::open(plan.group.ip.family).value(), plan, std::cout)) throw std::runtime_error("nobody on the link answers");
  } catch (const std::exception& failure) {
    return std::cerr << "mdns_query: " << failure.what() << std::endl, 1;
  }
}
