// The sound of a call: G.711 out every 20 ms, and in by a jitter buffer, with what is missing hidden. For voip.cc.
//
// Without a clock. An ear needs it even: a packet waits up to 60 ms, and then for the next tick, of 20; for what is not there then something is made
// up. What the other side sends back as it is, bears our own number: from it we know how long the way there and back takes.
#pragma once
#include <fstream>
#include <iomanip>
#include <iostream>
#include <numbers>
#include <stdexcept>

#include <gannet/socket.h>

#include "g711.h"
#include "rtp_session.h"
#include "sip.h"

class Leg {
 public:
  static constexpr std::size_t frame = 160;  // samples in a packet

  // `number` is ours in RTP; files may be none, of the ear and of the mouth.
  Leg(gannet::Socket& socket, const sip::Sound& peer, std::uint32_t number, const std::string& say, const std::string& hear)
      : socket_(socket), peer_(peer), law_(peer.types.front() == 0 ? g711::Law::mu : g711::Law::a), number_(number), say_(say, std::ios::binary) {
    if (!hear.empty()) hear_.open(hear, std::ios::binary);
    if ((!say.empty() && !say_) || (!hear.empty() && !hear_)) throw std::runtime_error("a file of sound cannot be opened");
  }

  void hear(const gannet::Datagram& datagram, rtp::Time now) {
    const auto packet = rtp::parse(datagram.data);
    const std::uint64_t ago = packet ? static_cast<std::uint16_t>(number_ + sent_ - 1 - packet->sequence) : 0;
    if (packet && packet->ssrc == number_ && ago < sent_at_.size() && ago < sent_)
      there_and_back_.add(now - sent_at_[(sent_ - 1 - ago) % sent_at_.size()]);
    if (datagram.peer.ip == peer_.at.ip) session_.push(datagram.data, datagram.peer, now);
    if (datagram.peer.ip != peer_.at.ip) ++strangers_;
  }
  void say(rtp::Time now) {
    std::array<std::int16_t, frame> samples{};
    if (say_.is_open()) say_.read(reinterpret_cast<char*>(samples.data()), sizeof samples);  // silence when it is over
    for (std::size_t i = 0; !say_.is_open() && i < frame; ++i) {
      const double at = static_cast<double>(sent_ * frame + i) / 8000, pitch = 2 * std::numbers::pi * (120 * at + 3 * std::sin(3 * at));
      samples[i] =
          static_cast<std::int16_t>(3000 * (1.5 + std::sin(20 * at)) * (std::sin(pitch) + std::sin(2 * pitch) / 2 + std::sin(5 * pitch) / 3));
    }
    const auto codes = g711::encode(law_, samples);
    const rtp::Packet packet{.type = static_cast<std::uint8_t>(law_),
                             .marker = sent_ == 0,
                             .sequence = static_cast<std::uint16_t>(number_ + sent_),
                             .timestamp = static_cast<std::uint32_t>(number_ + sent_ * frame),
                             .ssrc = number_,
                             .payload = codes};
    sent_at_[sent_++ % sent_at_.size()] = now;
    if (!socket_.send_to(rtp::emit(packet), peer_.at)) ++refused_;  // the other side may not listen yet, or no more
  }
  // What the ear gets in these 20 ms.
  void play(rtp::Time now) {
    while (auto next = session_.pop(now)) {
      if (next->is_lost) {
        owed_ >= last_size_ ? owed_ -= last_size_ : (append(concealer_.hide(last_size_)), concealed_ += last_size_);
      } else if (next->packet.type == static_cast<std::uint8_t>(law_) && next->packet.payload.size() <= 8 * frame) {
        std::vector<std::int16_t> samples = g711::decode(law_, next->packet.payload);
        concealer_.heard(samples);
        append(samples);
        last_size_ = samples.size(), owed_ = 0;
      }
    }
    if (const std::size_t missing = frame - std::min(frame, queue_.size()); missing > 0) {  // late, and perhaps lost: we cannot wait to know
      (owed_ < 3 * frame && session_.waited.count() > 0 ? concealed_ : silent_) += missing;
      append(concealer_.hide(missing));
      owed_ += missing;
    }
    if (queue_.size() > 6 * frame) skipped_ += frame, queue_.erase(queue_.begin(), queue_.begin() + frame);  // the other side's clock is faster
    if (hear_.is_open() && !hear_.write(reinterpret_cast<const char*>(queue_.data()), 2 * frame))
      throw std::runtime_error("what is heard cannot be written");
    queue_.erase(queue_.begin(), queue_.begin() + frame);
    played_ += frame;
  }
  void print(std::ostream& out) const {
    const auto& buffer = session_.buffer();
    const auto share = [&](std::uint64_t part) { return played_ == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(played_); };
    out << std::fixed << std::setprecision(1) << "said: " << sent_ << " packets, " << refused_ << " refused\nheard: " << buffer.delivered
        << " packets, " << buffer.lost << " lost, " << buffer.late << " late, " << buffer.duplicated << " duplicated; " << session_.counts.unreadable
        << " unreadable, " << session_.counts.unbelieved << " unbelieved, " << strangers_ + session_.counts.strangers
        << " of strangers\nplayed: " << static_cast<double>(played_) / 8000 << " s, concealed " << share(concealed_) << " %, silent "
        << share(silent_) << " %, skipped " << share(skipped_) << " %; waited p50 " << session_.waited.milliseconds(0.5) << " ms, p99 "
        << session_.waited.milliseconds(0.99) << " ms\nechoes: " << there_and_back_.count() << ", there and back p50 "
        << there_and_back_.milliseconds(0.5) << " ms, p99 " << there_and_back_.milliseconds(0.99) << " ms\n";
  }

 private:
  void append(const std::vector<std::int16_t>& samples) { queue_.insert(queue_.end(), samples.begin(), samples.end()); }

  gannet::Socket& socket_;
  sip::Sound peer_;
  g711::Law law_;
  std::uint32_t number_;
  std::ifstream say_;
  std::ofstream hear_;
  rtp::Session session_{{.rate = 8000, .budget = std::chrono::milliseconds(60), .paced = true, .most = 64}, number_, "gannet"};
  g711::Concealer concealer_{8000};
  std::vector<std::int16_t> queue_;
  std::array<rtp::Time, 512> sent_at_{};
  rtp::Durations there_and_back_;
  std::uint64_t sent_ = 0, refused_ = 0, strangers_ = 0, played_ = 0, concealed_ = 0, silent_ = 0, skipped_ = 0;
  std::size_t owed_ = 0, last_size_ = frame;  // what was hidden before it was known to be lost
};
