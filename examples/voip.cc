// A telephone call over SIP and RTP: sound of G.711 both ways, 50 packets a second.
//
//   voip answer ADDRESS:PORT [--hear FILE] [--say FILE]           takes a call, and talks until the other side hangs up
//   voip call ADDRESS:PORT SECONDS [--hear FILE] [--say FILE]     calls, talks so long, and hangs up
//
// Files have samples of 16 bits in this machine's byte order, 8000 a second; --hear has all that the ear got, every 20 ms 160 of them, whatever came.
// Without --say it hums. At the end it tells what was lost, late and made up. Reports of RTCP it sends none: rtp_receiver.cc does.
#include <random>
#include <sstream>

#include "sip_call.h"
#include "voip_leg.h"

using gannet::Address, gannet::Socket;
using Clock = std::chrono::steady_clock;

struct Plan {
  bool calls = false;
  Address address;  // to be called, or ours
  std::chrono::seconds time{0};
  std::string hear, say;
};

// An unpredictable name for the call: who does not know it cannot end it.
std::string random_tag() {
  std::random_device random;
  std::string tag;
  while (tag.size() < 16) tag.push_back("0123456789abcdef"[random() & 15]);
  return tag;
}

void talk(Socket signals, Socket sound, const Plan& plan) {
  if (plan.address.ip.is_any()) throw std::invalid_argument("the other side is told this address, so it must be one of this machine's");
  plan.calls ? signals.connect(plan.address).value() : signals.bind(plan.address).value();
  const Address own = signals.local_address().value();
  sound.bind(Address{own.ip, 0, own.scope}).value();
  if (!plan.calls) std::cout << "Listening on " << own.to_string() << std::endl;

  sip::Call call(own, {sound.local_address().value(), {0, 8}}, random_tag(), [&](std::string_view message, const Address& to) {
    static_cast<void>(signals.send_to(gannet::bytes_of(message), to));  // what does not arrive is sent again
  });
  if (plan.calls) call.invite(plan.address, Clock::now());
  constexpr std::chrono::milliseconds tick{20}, linger{4000};
  std::optional<Leg> leg;
  std::random_device random;
  std::array<std::byte, 4096> buffer;
  Clock::time_point end = Clock::time_point::max(), over = end;
  for (Clock::time_point next = Clock::now(); next < over;) {
    const Clock::time_point now = Clock::now();
    for (int most = 64; most > 0; --most) {  // who sends more than that disturbs no talk
      const auto heard = signals.receive(buffer, gannet::Deadline::now());
      if (!heard && heard.error().code == EAGAIN) break;
      if (!heard && call.state() == sip::State::inviting) heard.value();
      if (heard && !heard->truncated) call.hear(gannet::text_of(heard->data), heard->peer, now);
    }
    call.tick(now);
    const bool talks = call.state() == sip::State::talking || call.state() == sip::State::answered;
    if (talks && !leg) leg.emplace(sound, call.remote_sound(), random(), plan.say, plan.hear), end = plan.calls ? now + plan.time : end;
    if (talks) leg->say(now), leg->play(now);
    if (now >= end) call.hang_up(now);
    if (call.state() == sip::State::ended && over == Clock::time_point::max()) {
      over = plan.calls ? now : now + linger;  // our 200 to the BYE may be lost: then it comes again
      std::ostringstream report;
      if (leg) leg->print(report);
      report << "SIP: " << call.again << " messages again, " << call.unreadable << " unreadable, " << call.strangers << " of strangers\n";
      std::cout << report.str() << std::flush;
    }
    for (next += tick; Clock::now() < next;) {
      const auto packet = sound.receive(buffer, next);
      if (packet && !packet->truncated && leg && talks) leg->hear(*packet, Clock::now());
    }
  }
  if (!call.why().empty()) throw std::runtime_error(call.why());
}

int main(int count, char** arguments) {
  std::vector<std::string> words(arguments + 1, arguments + count);
  Plan plan;
  for (; words.size() >= 4 && (words[words.size() - 2] == "--hear" || words[words.size() - 2] == "--say"); words.resize(words.size() - 2)) {
    (words[words.size() - 2] == "--hear" ? plan.hear : plan.say) = words.back();
  }
  plan.calls = words.size() == 3 && words[0] == "call";
  const auto seconds = sip::number_in(plan.calls ? words[2] : "0");
  if ((!plan.calls && (words.size() != 2 || words[0] != "answer")) || !seconds || *seconds > 86'400) {
    return std::cerr << "usage: voip answer ADDRESS:PORT | call ADDRESS:PORT SECONDS [--hear FILE] [--say FILE]" << std::endl, 2;
  }
  try {
    plan.address = Address::parse(words[1]).value(), plan.time = std::chrono::seconds(*seconds);
    talk(Socket::open(plan.address.ip.family).value(), Socket::open(plan.address.ip.family).value(), plan);
  } catch (const std::exception& failure) {
    return std::cerr << "voip: " << failure.what() << std::endl, 1;
  }
}
