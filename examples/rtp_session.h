// One end of RTP: takes datagrams from anybody, believes one source, and gives its packets in order (RFC 3550). For rtp_receiver.cc and voip.cc.
//
// Neither socket nor clock: push(datagram, from, now), then pop(now) until nothing comes, and again at next(). A source is a number and an address.
// Another one takes over when two of its packets came in sequence and the one before has been silent for a second; until then it is a stranger,
// whatever number it bears (8.2). One stranger at a time is listened to.
#pragma once
#include <string>
#include <utility>

#include <gannet/address.h>

#include "jitter_buffer.h"
#include "rtcp.h"

namespace rtp {

// How long something took: a count for each tenth of a millisecond up to a second, so that a day takes no more memory than a minute.
class Durations {
 public:
  void add(std::chrono::nanoseconds time) {
    ++counts_[static_cast<std::size_t>(std::clamp<std::int64_t>(time.count() / 100'000, 0, static_cast<std::int64_t>(counts_.size()) - 1))];
    ++total_;
  }
  [[nodiscard]] double milliseconds(double share) const {  // that this share of them did not exceed
    auto below = static_cast<std::uint64_t>(share * static_cast<double>(total_ == 0 ? 0 : total_ - 1));
    std::size_t at = 0;
    for (; at + 1 < counts_.size() && counts_[at] <= below; ++at) below -= counts_[at];
    return total_ == 0 ? 0 : static_cast<double>(at) / 10;
  }
  [[nodiscard]] std::uint64_t count() const { return total_; }

 private:
  std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(10'000);
  std::uint64_t total_ = 0;
};

class Session {
 public:
  struct Counts {
    std::uint64_t datagrams = 0, unreadable = 0, strangers = 0, unbelieved = 0, sources = 0, control = 0, control_unreadable = 0, goodbyes = 0;
  };

  // `own` is our number; `name` ours for the reports.
  Session(const Settings& settings, std::uint32_t own, std::string name)
      : settings_(settings), own_(own), name_(std::move(name)), buffer_(settings) {}

  void push(Bytes datagram, const gannet::Address& from, Time now) {
    ++counts.datagrams;
    const auto packet = parse(datagram);
    if (!packet) return static_cast<void>(++counts.unreadable);
    if (current_.source && packet->ssrc == current_.ssrc && from == current_.from) {
      if (deliver(*packet, now)) last_heard_ = now;
    } else if (current_.source && now - *last_heard_ <= silence) {
      ++counts.strangers;
    } else {
      meet(*packet, from, now);
    }
  }

  std::optional<Delivered> pop(Time now) {
    auto out = buffer_.pop(now);
    if (out && !out->is_lost) waited.add(now - out->arrival);
    return out;
  }
  [[nodiscard]] Time next() const { return buffer_.next(); }

  // What came for the port of control, from whomever: only the source's own address is heard.
  void control(Bytes datagram, const gannet::Address& from, Time now) {
    const auto control = parse_control(datagram, current_.ssrc);
    if (!control) return static_cast<void>(++counts.control_unreadable);
    if (!current_.source || from.ip != current_.from.ip) return static_cast<void>(++counts.strangers);
    ++counts.control;
    if (control->sent) heard_report_ = Heard{*control->sent, now}, control_peer_ = from;
    counts.goodbyes += control->is_bye ? 1 : 0;
  }
  // A report on the source, and where it goes: from where its own came, or to the port after that of its packets (11). Empty without a source.
  std::vector<std::byte> report(Time now, bool is_bye) {
    if (!current_.source) return {};
    return emit_report(own_, current_.ssrc, current_.source->report(), heard_report_, now, name_, is_bye);
  }
  [[nodiscard]] gannet::Address control_peer() const {
    gannet::Address peer = current_.from;
    ++peer.port;
    return heard_report_ ? control_peer_ : peer;
  }

  [[nodiscard]] std::optional<Time> last_heard() const { return last_heard_; }
  [[nodiscard]] const std::optional<Source>& source() const { return current_.source; }
  [[nodiscard]] const JitterBuffer::Counts& buffer() const { return buffer_.counts; }

  Counts counts;
  Durations waited;  // in the buffer, by the packets delivered: the latency that it added

 private:
  struct Waiting {
    Packet packet;  // its payload is in `bytes`
    std::vector<std::byte> bytes;
    Time arrival;
  };
  struct Party {
    std::uint32_t ssrc = 0;
    gannet::Address from;
    std::optional<Source> source;  // once it is believed
    std::vector<Waiting> waiting;  // until then
  };
  static constexpr std::chrono::seconds silence{1};
  static constexpr std::size_t most_waiting = 16;

  // A packet of somebody who is not believed yet (A.1). It is kept, since what is lost of a beginning a decoder misses for long.
  void meet(const Packet& packet, const gannet::Address& from, Time now) {
    if (candidate_.ssrc != packet.ssrc || candidate_.from != from) candidate_ = {.ssrc = packet.ssrc, .from = from, .source = {}, .waiting = {}};
    auto& waiting = candidate_.waiting;
    const auto distance = [&](const Waiting& each) { return static_cast<std::int16_t>(each.packet.sequence - packet.sequence); };
    std::erase_if(waiting, [&](const Waiting& each) { return now - each.arrival > silence; });
    const bool follows = std::ranges::any_of(waiting, [&](const Waiting& each) { return std::abs(distance(each)) == 1; });
    if (waiting.size() == most_waiting) waiting.erase(waiting.begin());
    waiting.push_back({packet, {packet.payload.begin(), packet.payload.end()}, now});
    waiting.back().packet.payload = waiting.back().bytes;
    ++counts.unbelieved;
    if (!follows) return;
    std::erase_if(waiting, [&](const Waiting& each) { return std::abs(distance(each)) > static_cast<int>(most_waiting); });
    base_ = newest_ + 1;
    candidate_.source.emplace(settings_.rate, std::ranges::min_element(waiting, {}, distance)->packet.sequence);
    current_ = std::exchange(candidate_, {});
    counts.unbelieved -= current_.waiting.size(), ++counts.sources;
    heard_report_.reset();
    last_heard_ = now;
    for (const Waiting& each : std::exchange(current_.waiting, {})) deliver(each.packet, each.arrival);
  }
  bool deliver(const Packet& packet, Time now) {
    const auto number = current_.source->take(packet, now);
    if (!number) return ++counts.unbelieved, false;
    newest_ = std::max(newest_, base_ + *number);  // the numbers of the next source go on where those of this one end
    return buffer_.push(base_ + *number, packet, now), true;
  }

  Settings settings_;
  std::uint32_t own_;
  std::string name_;
  JitterBuffer buffer_;
  Party current_, candidate_;
  std::int64_t base_ = 0, newest_ = -1;
  std::optional<Time> last_heard_;
  std::optional<Heard> heard_report_;
  gannet::Address control_peer_;
};

}  // namespace rtp
