// Any bytes as an answer to the examples' queries, and as a name that a person types: names come back as they were, what is shown is printable, and a
// query that has heard anything stays a message.
#include <iostream>
#include <random>
#include <set>

#include <net/if.h>

#include "../../examples/dns_message.h"
#include "fuzz/fuzz.h"

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wreturn-type"
namespace dns_query {
#include "../../examples/dns_query.cc"
}
namespace mdns_query {
#include "../../examples/mdns_query.cc"
}
#pragma clang diagnostic pop

using namespace gannet;

namespace {

bool printable(const std::string& text) {
  return std::ranges::all_of(text, [](char each) { return each >= ' ' && each <= '~'; });
}

// Whatever `read` says is there, or is an exception of the one kind that the programs expect.
template <class Read>
void tolerate(Read&& read) {
  try {
    read();
  } catch (const std::range_error&) {
  }
}

void check_name(const std::string& name) {
  const std::string text = text_of_name(name);
  EXPECT(!name.empty() && name.size() <= 255 && printable(text));
  EXPECT(name.size() == 1 || name_of(text) == name);
}

void check_records(Bytes message) {
  Reader reader(message, 0);
  for (;;) {
    const Record record = reader.record();
    check_name(record.name);
    if (record.type == type_ptr) check_name(record.data);
    EXPECT(record.data.size() <= 65535);
    tolerate([&] {
      if (!text_of_type(record.type).empty()) EXPECT(printable(text_of(record)));
    });
  }
}

void check_typed(const std::string& typed) {
  try {
    const std::string name = name_of(typed);
    EXPECT(name.size() <= 255 && Reader(bytes_of(name), 0).name() == name);
  } catch (const std::invalid_argument&) {
  }
}

// An answer to a query of ours, its number and its question as asked.
void check_answer(Bytes bytes, unsigned type) {
  const std::string question = name_of("a.test") + std::string("\0\1\0\1", 4), query = std::string("\1\2\1\0\0\1\0\0\0\0\0\0", 12) + question;
  const std::string_view tail = gannet::text_of(bytes);
  const std::string message = query.substr(0, 2) + "\x81\x80" + query.substr(4, 2) + std::string(tail.substr(0, 6)) + std::string(6, '\0');
  const std::string answer = message.substr(0, header_size) + question + std::string(tail.substr(std::min<std::size_t>(6, tail.size())));
  EXPECT(dns_query::is_answer(bytes_of(answer), query, question.size()));
  EXPECT(!dns_query::is_answer(bytes, query, question.size()) || bytes.size() >= query.size());
  tolerate([&] {
    for (const Record& record : dns_query::parse(bytes_of(answer), question.size(), type).records) EXPECT(record.type == type);
  });
}

void check_multicast(Bytes bytes, const mdns_query::Plan& plan) {
  std::ostream nowhere(nullptr);
  mdns_query::Query query(plan, nowhere);
  fuzz::Bytes copy(bytes.begin(), bytes.end());
  const std::string asked = query.emit();
  if (copy.size() > 3) copy[0] = std::byte(asked[0]), copy[1] = std::byte(asked[1]), copy[2] = std::byte{0x84}, copy[3] = std::byte{0};
  gannet::Datagram datagram{.data = copy, .length = copy.size(), .peer = {IpAddress::ipv4(10, 7, 0, 1), 5353}, .local = {plan.group.ip, 5353}};
  tolerate([&] { static_cast<void>(query.take(datagram)); });
  const std::string next = query.emit();
  EXPECT(next.size() <= 1500);
  Reader reader(bytes_of(next), 6);
  Reader known(bytes_of(next), header_size + plan.name.size() + 4);
  for (unsigned left = reader.number(); left > 0; --left) EXPECT(lower(known.record().name) == lower(plan.name));
  datagram.peer.port = 5354;
  EXPECT(!query.take(datagram));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 9000) return 0;
  const auto bytes = fuzz::input(data, size).subspan(1);
  const unsigned type = kinds[data[0] % kinds.size()].type;
  tolerate([&] { check_records(bytes); });
  check_typed(std::string(gannet::text_of(bytes)));
  check_answer(bytes, type);
  mdns_query::Plan plan;
  plan.name = name_of("a.local"), plan.type = type, plan.one_shot = (data[0] & 0x80) != 0;
  plan.group = Address::parse("224.0.0.251:5353").value();
  check_multicast(bytes, plan);
  return 0;
}
