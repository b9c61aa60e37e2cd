#include "link/fault_link.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace gannet::link {
namespace {

constexpr Duration retry_interval = 1ms;  // when the wrapped link was full: it cannot tell us when it has room

std::uint64_t bytes_of(std::span<const Frame> frames) {
  std::uint64_t bytes = 0;
  for (const Frame& frame : frames) bytes += frame.size();
  return bytes;
}

}  // namespace

Result<std::unique_ptr<FaultLink>> FaultLink::create(std::unique_ptr<Link> wrapped, const Impairment& in, const Impairment& out, FramePools& pools) {
  for (const Impairment* impairment : {&in, &out}) {
    if (const auto checked = impairment->check(); !checked) return checked.error();
  }
  return std::unique_ptr<FaultLink>(new FaultLink(std::move(wrapped), in, out, pools));
}

FaultLink::FaultLink(std::unique_ptr<Link> wrapped, const Impairment& in, const Impairment& out, FramePools& pools)
    : wrapped_(std::move(wrapped)), pools_(pools), in_(in, Direction::in), out_(out, Direction::out) {}

std::size_t FaultLink::receive(std::span<Frame> into, FramePools& pools, Time now) {
  pump(now);
  std::size_t count = take_due(into, now);
  const std::size_t end = count + wrapped_->receive(into.subspan(count), pools, now);
  if (in_.fault.is_none()) {
    count = end;
  } else {
    for (std::size_t next = count; next < end; ++next) {
      if (Frame frame = impair(in_, std::move(into[next]), now)) into[count++] = std::move(frame);
    }
    count += take_due(into.subspan(count), now);
  }
  counters_.frames_in.add(count);
  counters_.bytes_in.add(bytes_of(into.first(count)));
  return count;
}

std::size_t FaultLink::send(std::span<Frame> frames, Time now) {
  pump(now);
  for (std::size_t taken = 0; taken < frames.size(); ++taken) {
    if (ready_count_ == ready_.size()) flush(now);
    if (ready_count_ == ready_.size()) return taken;
    if (Frame frame = impair(out_, std::move(frames[taken]), now)) ready_[ready_count_++] = std::move(frame);
  }
  pump(now);
  return frames.size();
}

Time FaultLink::next_wakeup() const {
  const Time out = ready_count_ > 0 ? retry_at_ : out_.held.next();
  return std::min({in_.held.next(), out, wrapped_->next_wakeup()});
}

Frame FaultLink::impair(Side& side, Frame frame, Time now) {
  if (side.fault.is_none()) return frame;
  const std::span<const std::byte> packet = packet_of_frame(frame.bytes(), caps().ethernet);
  const Verdict verdict = side.fault.decide(flows_.find(flow_of_packet(packet, side.direction)), frame.size(), now);
  if (verdict.drop) {
    drop(side, frame, *verdict.drop, now);
    return {};
  }
  if (verdict.corrupt_bit && !packet.empty()) {
    const std::size_t bit = *verdict.corrupt_bit % (packet.size() * 8);
    const auto offset = static_cast<std::size_t>(packet.data() - frame.bytes().data());
    frame.bytes()[offset + bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  Frame twin = verdict.duplicate ? copy(frame) : Frame{};
  Frame at_once;
  if (verdict.release <= now && side.held.next() > now) {
    at_once = std::move(frame);
  } else {
    hold(side, std::move(frame), verdict.release, now);
  }
  if (twin) hold(side, std::move(twin), verdict.release, now);
  return at_once;
}

void FaultLink::hold(Side& side, Frame frame, Time release, Time now) {
  if (side.held.full()) return drop(side, frame, Drop::fault_held_full, now);
  side.held.push(release, std::move(frame));
}

void FaultLink::drop(const Side& side, const Frame& frame, Drop reason, Time now) {
  counters_.drop(reason);
  if (watcher_) watcher_(side.direction, frame.bytes(), reason, now);
}

Frame FaultLink::copy(const Frame& frame) {
  duplicates_.add();
  Frame twin = pools_.allocate(frame.size());
  if (!twin) {
    counters_.drop(Drop::no_frame);
    return twin;
  }
  twin.resize(frame.size());
  std::memcpy(twin.bytes().data(), frame.bytes().data(), frame.size());
  return twin;
}

std::size_t FaultLink::take_due(std::span<Frame> into, Time now) {
  std::size_t count = 0;
  while (count < into.size() && in_.held.next() <= now) into[count++] = in_.held.pop();
  return count;
}

void FaultLink::pump(Time now) {
  do {
    while (ready_count_ < ready_.size() && out_.held.next() <= now) ready_[ready_count_++] = out_.held.pop();
    flush(now);
  } while (ready_count_ == 0 && out_.held.next() <= now);
}

void FaultLink::flush(Time now) {
  const std::span ready = std::span(ready_).first(ready_count_);
  if (ready.empty()) return;
  const std::uint64_t bytes = bytes_of(ready);
  const std::size_t sent = wrapped_->send(ready, now);
  const std::span unsent = ready.subspan(sent);
  counters_.frames_out.add(sent);
  counters_.bytes_out.add(bytes - bytes_of(unsent));
  if (sent > 0) std::ranges::move(unsent, ready.begin());
  ready_count_ = unsent.size();
  if (ready_count_ > 0) retry_at_ = now + retry_interval;
}

}  // namespace gannet::link
