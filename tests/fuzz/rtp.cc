// Streams and calls of anybody's: what examples/ makes of datagrams of RTP, RTCP and SIP, whatever is in them.
//
// The input is a program: each step is a byte that says what is to happen, how many bytes follow, and those. Time goes on with each, and the promises
// of the parts are kept: a number comes out once and in order, nobody waits longer than the budget, views stay within what they look at.
#include <map>
#include <string>
#include <utility>

#include <gannet/socket.h>

#include "../../examples/ogg.h"
#include "../../examples/rtp_session.h"
#include "../../examples/sip_call.h"

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::milliseconds budget{40};
const Address peers[] = {{IpAddress::ipv4(192, 0, 2, 1), 5004}, {IpAddress::ipv4(192, 0, 2, 2), 5004}};

// A consumer that believes what it is told, and checks it.
class Heard {
 public:
  explicit Heard(const char* format)
      : ingest_(*Format::parse(format), 16'000, 20ms,
                {.picture =
                     [](const h264::AccessUnit& unit) {
                       EXPECT(!unit.bytes.empty() && unit.bytes.size() <= h264::Depacketiser::largest && unit.bytes[3] == std::byte{1});
                     },
                 .sound = [](const audio::Window& window) { EXPECT(window.samples.size() == 320 && window.concealed <= 320); },
                 .opus =
                     [this](const OpusPacket& packet) {
                       EXPECT(packet.is_lost ? packet.samples <= 48'000 : packet.samples >= 120 && packet.samples <= 5760);
                       const auto pages = file_.append(packet);
                       EXPECT(packet.is_lost ? pages.empty() : pages.size() >= 28 + packet.bytes.size());
                     }}) {}
  void take(rtp::Session& session, rtp::Time now) {
    while (const auto next = session.pop(now)) {
      EXPECT(!last_ || next->number == *last_ + 1);
      last_ = next->number;
      if (!next->is_lost) {
        EXPECT(fuzz::within(next->packet.payload, next->bytes) && next->packet.payload.size() == next->bytes.size());
        // Who waited to be believed had done so before.
        EXPECT(now - next->arrival <= (session.counts.sources != sources_ ? 1s + budget : budget));
      }
      ingest_.add(*next);
    }
    EXPECT(session.next() > now);
    sources_ = session.counts.sources;
  }
  void finish() { ingest_.finish(); }

 private:
  OpusFile file_;
  Ingest ingest_;
  std::optional<std::int64_t> last_;
  std::uint64_t sources_ = 0;
};

void check_packet(rtp::Bytes datagram) {
  const auto packet = rtp::parse(datagram);
  if (!packet) return;
  EXPECT(fuzz::within(packet->payload, datagram));
  const auto emitted = rtp::emit(*packet);
  const auto again = rtp::parse(emitted);
  EXPECT(again && again->sequence == packet->sequence && again->ssrc == packet->ssrc && fuzz::same(again->payload, packet->payload));
}

void check_call(sip::Call& call, std::string_view text, const Address& from, rtp::Time now) {
  call.hear(text, from, now);
  call.tick(now);
  if (call.state() == sip::State::answered) EXPECT(!call.remote_sound().types.empty() && call.remote_sound().at.port != 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto rest = fuzz::input(data, size);
  if (rest.empty()) return 0;
  const auto kind = std::to_integer<unsigned>(rest[0]);
  rest = rest.subspan(1);
  constexpr const char* formats[] = {"h264", "opus", "pcmu", "l16/44100/2"};
  const char* const format = formats[kind & 3];
  rtp::Session session({.rate = Format::parse(format)->rate, .budget = budget, .paced = (kind & 4) != 0, .most = 16}, 1, "fuzz");
  Heard heard(format);
  const auto look = [&](std::string_view message,
                        const Address& to) {  // no line is smuggled in, and nobody's call is answered with much more than it
    EXPECT(message.find("\r\n\r\n") != message.npos && to.port != 0 && message.size() < 2000);
    for (std::size_t at = message.find('\n'); at != message.npos; at = message.find('\n', at + 1)) EXPECT(at > 0 && message[at - 1] == '\r');
  };
  sip::Call caller({peers[0].ip, 5060}, {peers[0], {0, 8}}, "0123456789abcdef", look),
      callee({peers[0].ip, 5060}, {peers[0], {0}}, "fedcba9876543210", look);
  rtp::Time now(1h);
  caller.invite(peers[1], now);
  std::uint16_t sequence = 0;
  for (std::size_t steps = 0; rest.size() >= 2 && steps < 2000; ++steps) {
    const auto what = std::to_integer<unsigned>(rest[0]);
    const auto bytes = rest.subspan(2).first(std::min<std::size_t>(std::to_integer<std::size_t>(rest[1]), rest.size() - 2));
    rest = rest.subspan(2 + bytes.size());
    const Address& from = peers[what >> 3 & 1];
    const rtp::Time until = now + ((what & 16) != 0 ? 100ms * (what >> 5) : 0ms);
    for (; session.next() <= until; heard.take(session, now)) now = std::max(now, session.next());
    now = until;
    switch (what & 7) {
      case 0:
        check_packet(bytes);
        session.push(bytes, from, now);
        break;
      case 1:
        session.control(bytes, from, now);
        break;
      case 2:
        check_call(callee, gannet::text_of(bytes), from, now);
        break;
      case 3:
        check_call(caller, gannet::text_of(bytes), from, now);
        break;
      default:  // a header that is believed, for a payload of the fuzzer's, mostly in sequence
        sequence = static_cast<std::uint16_t>(sequence + (what & 3) + ((what & 32) != 0 ? 0xfffeu : 1u));
        session.push(rtp::emit({.type = 96,
                                .marker = (what & 64) != 0,
                                .sequence = sequence,
                                .timestamp = sequence * 160u + (what >> 7) * 0x80000001,
                                .ssrc = 7,
                                .payload = bytes}),
                     from, now);
    }
    heard.take(session, now);
  }
  const auto report = session.report(now, true);
  EXPECT(report.empty() || rtp::parse_control(report, 1)->is_bye);
  heard.take(session, now + budget);
  heard.finish();
  return 0;
}
