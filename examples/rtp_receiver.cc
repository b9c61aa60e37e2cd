// Receives a stream of RTP, as FFmpeg and GStreamer send it, and hands it on in order and in time: access units of H.264, windows of sound, packets
// of Opus.
//
//   rtp_receiver ADDRESS:PORT h264|opus|pcmu|pcma|l16/RATE/CHANNELS [--budget MS] [--rate HERTZ] [--window MS] [--output FILE]
//
// What is missing is waited for --budget (100 ms), and then concealed or reported; what is in order does not wait. Sound comes in windows of --window
// (20 ms) at --rate (16000 Hz). --output has what the consumer gets: Annex B, or 16 bit samples of this machine's byte order, or Opus in Ogg.
// Control (RTCP) is on the port after it: reports go out every 2.5 to 7.5 s, and BYE. It ends 2 s after the last packet, and the budget, with a
// report of its own.
#include <fstream>
#include <iomanip>
#include <iostream>
#include <random>

#include <gannet/socket.h>

#include "ogg.h"
#include "rtp_session.h"

using gannet::Address, gannet::Socket;
using Clock = std::chrono::steady_clock;

struct Plan {
  Address local;
  Format format;
  unsigned budget = 100, rate = 16'000, window = 20;  // ms, Hz, ms
  std::string output;
};

// The consumer of this program counts, and writes to the file. A model or a decoder would do its work here; what takes long, in a thread of its own.
struct Taken {
  std::uint64_t windows = 0, concealed_windows = 0, packets = 0, frames = 0, gaps = 0;
  std::ofstream file;
  OpusFile opus;

  Consumer consumer() {
    return {.picture = [this](const h264::AccessUnit& unit) { write(unit.bytes); },
            .sound =
                [this](const audio::Window& window) {
                  ++windows, concealed_windows += window.concealed > 0 ? 1 : 0;
                  write(std::as_bytes(window.samples));
                },
            .opus = [this](const OpusPacket& packet) { ++(packet.is_lost ? gaps : packets), frames += packet.frames, write(opus.append(packet)); }};
  }
  void write(rtp::Bytes bytes) {
    if (!file.is_open()) return;
    if (!file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size())))
      throw std::runtime_error("the output cannot be written");
  }
};

void print(const rtp::Session& session, const Ingest& ingest, const Taken& taken, const Plan& plan) {
  const auto& counts = session.counts;
  const auto& buffer = session.buffer();
  const rtp::Source source = session.source().value_or(rtp::Source(plan.format.rate, 0));
  const auto share = [](std::uint64_t part, std::uint64_t all) {
    return all == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(all);
  };
  std::cout << std::fixed << std::setprecision(1) << counts.datagrams << " datagrams: " << counts.unreadable << " unreadable, " << counts.strangers
            << " of strangers, " << counts.unbelieved << " unbelieved; " << counts.sources << " sources, " << source.restarts() << " restarts, "
            << counts.control << " control, " << counts.control_unreadable << " of it unreadable, " << counts.goodbyes << " goodbyes\n"
            << buffer.delivered << " packets delivered, " << buffer.lost << " lost (" << share(buffer.lost, buffer.delivered + buffer.lost) << " %), "
            << buffer.late << " late, " << buffer.duplicated << " duplicated, " << buffer.hurried << " hurried; jitter " << 1000 * source.jitter()
            << " ms; waited p50 " << session.waited.milliseconds(0.5) << " ms, p99 " << session.waited.milliseconds(0.99) << " ms, most "
            << session.waited.milliseconds(1) << " ms\n";
  if (const auto& video = ingest.video.counts; plan.format.codec == Codec::h264) {
    std::cout << "video: " << video.units << " units, " << video.keys << " of them keys, " << video.damaged << " damaged, " << video.too_large
              << " too large; " << video.unusable << " packets unusable, " << ingest.counts.other << " of another type" << std::endl;
    return;
  }
  const auto& sound = ingest.counts;
  std::cout << "audio: " << static_cast<double>(sound.samples) / plan.format.rate << " s, concealed " << share(sound.concealed, sound.samples)
            << " %, silent " << share(sound.silent, sound.samples) << " %; " << sound.jumps << " jumps, " << sound.unusable << " packets unusable, "
            << sound.other << " of another type; " << taken.windows << " windows, " << taken.concealed_windows << " of them concealed; "
            << taken.packets << " packets of Opus, " << taken.frames << " frames, " << taken.gaps << " gaps" << std::endl;
}

void receive(Socket media, Socket control, const Plan& plan) {
  Taken taken;
  if (!plan.output.empty()) taken.file.open(plan.output, std::ios::binary);
  if (!plan.output.empty() && !taken.file) throw std::runtime_error(plan.output + " cannot be written");
  std::random_device random;
  rtp::Session session({.rate = plan.format.rate, .budget = std::chrono::milliseconds(plan.budget)}, random(), "gannet@" + plan.local.ip.to_string());
  Ingest ingest(plan.format, plan.rate, std::chrono::milliseconds(plan.window), taken.consumer());
  static_cast<void>(media.set(gannet::Option::receive_buffer, 4 << 20));  // a key picture comes at once: what a burst needs, where it is to be had
  media.bind(plan.local).value();
  Address beside = media.local_address().value();
  ++beside.port;
  control.bind(beside).value();
  std::cout << "Listening on " << media.local_address().value().to_string() << std::endl;

  const std::chrono::milliseconds patience(2'000 + plan.budget), look(100);
  const auto report_to_source = [&](Clock::time_point now, bool is_bye) {
    if (const auto report = session.report(now, is_bye); !report.empty()) static_cast<void>(control.send_to(report, session.control_peer()));
  };
  Clock::time_point now = Clock::now(), next_report = now + patience, next_look = now;
  std::array<std::byte, 2048> buffer;
  while (!session.last_heard() || now < *session.last_heard() + patience) {
    const auto datagrams = media.receive_borrowed(64, std::min(session.next(), next_look));
    now = Clock::now();
    if (!datagrams && datagrams.error().code != EAGAIN) datagrams.value();
    for (const gannet::Datagram& datagram : datagrams ? *datagrams : std::span<const gannet::Datagram>()) {
      session.push(datagram.truncated ? rtp::Bytes() : datagram.data, datagram.peer, now);
      while (auto next = session.pop(now)) ingest.add(*next);
    }
    while (auto next = session.pop(now)) ingest.add(*next);
    if (now < next_look) continue;
    next_look = now + look;
    for (int most = 64; most > 0; --most) {
      if (const auto heard = control.receive(buffer, gannet::Deadline::now())) session.control(heard->data, heard->peer, now);
    }
    if (now < next_report) continue;
    report_to_source(now, false);
    next_report = now + std::chrono::milliseconds(2'500 + random() % 5'000);  // RFC 3550 6.2: not all at once
  }
  report_to_source(Clock::now(), true);
  ingest.finish();
  print(session, ingest, taken, plan);
}

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  Plan plan;
  const auto format = Format::parse(words.size() < 2 ? "" : words[1]);
  bool good = format && words.size() % 2 == 0;
  plan.format = format.value_or(Format());
  for (std::size_t i = 2; good && i < words.size(); i += 2) {
    unsigned* const number = words[i] == "--budget"   ? &plan.budget
                             : words[i] == "--rate"   ? &plan.rate
                             : words[i] == "--window" ? &plan.window
                                                      : nullptr;
    const char* const end = words[i + 1].data() + words[i + 1].size();
    if (number != nullptr) good = std::from_chars(words[i + 1].data(), end, *number).ptr == end && *number <= 192'000;
    if (number == nullptr) good = words[i] == "--output", plan.output = words[i + 1];
  }
  if (!good || plan.budget > 10'000 || plan.rate < 1'000 || plan.window < 1 || plan.window > 10'000) {
    std::cerr << "usage: rtp_receiver ADDRESS:PORT h264|opus|pcmu|pcma|l16/RATE/CHANNELS [--budget MS] [--rate HERTZ] [--window MS] [--output FILE]"
              << std::endl;
    return 2;
  }
  try {
    plan.local = Address::parse(words[0]).value();
    receive(Socket::open(plan.local.ip.family).value(), Socket::open(plan.local.ip.family).value(), plan);
  } catch (const std::exception& failure) {
    return std::cerr << "rtp_receiver: " << failure.what() << std::endl, 1;
  }
}
