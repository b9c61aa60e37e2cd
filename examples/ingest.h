// What a program behind the receiver is given: pictures and sound, with their times, and what is wrong with them. For rtp_receiver.cc.
//
// Video: access units of H.264, for a decoder. Sound: G.711 and L16 (RFC 3551) as windows at the rate that the consumer wants, one channel, gaps of
// up to a second concealed. Opus: its packets with their times and lengths, and the gaps between them, since a decoder of Opus conceals better than
// we could.
#pragma once
#include <charconv>
#include <string_view>

#include "audio.h"
#include "h264.h"

enum class Codec : std::uint8_t { h264, pcmu, pcma, l16, opus };

struct Format {
  Codec codec = Codec::h264;
  unsigned rate = 90'000, channels = 1;  // of the timestamps and, but for video, of the samples

  // "h264", "opus", "pcmu", "pcma", "l16/RATE/CHANNELS": as a session description names them (RFC 4566 6, rtpmap).
  static std::optional<Format> parse(std::string_view text) {
    if (text == "h264") return Format{};
    if (text == "opus") return Format{.codec = Codec::opus, .rate = 48'000, .channels = 2};
    if (text == "pcmu") return Format{.codec = Codec::pcmu, .rate = 8'000, .channels = 1};
    if (text == "pcma") return Format{.codec = Codec::pcma, .rate = 8'000, .channels = 1};
    Format format{.codec = Codec::l16, .rate = 0, .channels = 0};
    if (!text.starts_with("l16/")) return {};
    const char* const end = text.data() + text.size();
    const auto rate = std::from_chars(text.data() + 4, end, format.rate);
    if (rate.ptr == end || *rate.ptr != '/' || format.rate < 8'000 || format.rate > 192'000) return {};
    const auto channels = std::from_chars(rate.ptr + 1, end, format.channels);
    return channels.ptr == end && format.channels >= 1 && format.channels <= 8 ? std::optional(format) : std::nullopt;
  }
};

struct OpusPacket {
  std::int64_t timestamp = 0;  // 48 kHz, from the first one on; it does not wrap
  unsigned samples = 0, frames = 0;
  bool is_lost = false;  // then there are no bytes, and the decoder conceals so many samples
  rtp::Bytes bytes;
};

struct Consumer {
  std::function<void(const h264::AccessUnit&)> picture;
  std::function<void(const audio::Window&)> sound;
  std::function<void(const OpusPacket&)> opus;
};

class Ingest {
 public:
  struct Counts {
    std::uint64_t samples = 0, concealed = 0,
                  silent = 0;                          // concealed and silent ones are among the samples, which are the sender's, before resampling
    std::uint64_t jumps = 0, unusable = 0, other = 0;  // of the timestamps; packets that break the codec's rules; and of another type
  };

  // Windows of `length` at `rate` Hz.
  Ingest(const Format& format, unsigned rate, std::chrono::milliseconds length, Consumer consumer)
      : video(consumer.picture),
        format_(format),
        consumer_(std::move(consumer)),
        concealer_(format.rate),
        windows_(format.codec == Codec::h264 ? rate : format.rate, rate, std::size_t{rate} * static_cast<std::size_t>(length.count()) / 1000,
                 consumer_.sound) {}

  void add(const rtp::Delivered& delivered) {
    if (!delivered.is_lost && !type_) type_ = delivered.packet.type;  // the first says what the stream is
    if (!delivered.is_lost && type_ != delivered.packet.type) return static_cast<void>(++counts.other);
    if (format_.codec == Codec::h264) return video.add(delivered);
    if (delivered.is_lost) return static_cast<void>(is_lost_before_ = true);
    format_.codec == Codec::opus ? add_opus(delivered.packet) : add_sound(delivered.packet);
  }
  void finish() { video.finish(), windows_.finish(); }

  h264::Depacketiser video;
  Counts counts;

 private:
  // How much is missing between what came before and this, by its timestamp: nothing where it is more than a second, or less than nothing, which no
  // gap is but a jump, the sender's or a liar's. From then on time is counted from there.
  std::uint32_t gap_before(const rtp::Packet& packet) {
    if (!has_begun_) has_begun_ = true, expected_ = packet.timestamp;
    const auto gap = static_cast<std::int32_t>(packet.timestamp - expected_);
    expected_ = packet.timestamp;
    if (gap >= 0 && static_cast<std::uint32_t>(gap) <= format_.rate) return static_cast<std::uint32_t>(gap);
    ++counts.jumps;
    if (gap > 0) windows_.skip(static_cast<std::uint32_t>(gap)), time_ += gap;
    return 0;
  }

  void add_opus(const rtp::Packet& packet) {
    const auto length = audio::opus_length(packet.payload);
    if (!length) return static_cast<void>(++counts.unusable);
    const std::uint32_t gap = gap_before(packet);
    if (std::exchange(is_lost_before_, false) && gap > 0) {
      consumer_.opus({.timestamp = time_, .samples = gap, .frames = 0, .is_lost = true, .bytes = {}});
      counts.concealed += gap;
    } else {
      counts.silent += gap;
    }
    time_ += gap;
    consumer_.opus({.timestamp = time_, .samples = length->samples, .frames = length->frames, .is_lost = false, .bytes = packet.payload});
    time_ += length->samples, expected_ += length->samples;
    counts.samples += gap + length->samples;
  }

  void add_sound(const rtp::Packet& packet) {
    const std::size_t width = format_.codec == Codec::l16 ? 2 * format_.channels : 1;
    if (packet.payload.empty() || packet.payload.size() % width != 0) return static_cast<void>(++counts.unusable);
    std::vector<std::int16_t> samples = decode(packet.payload);
    const std::uint32_t gap = gap_before(packet);
    if (gap > 0 && is_lost_before_) windows_.add(concealer_.hide(gap), true), counts.concealed += gap;
    if (gap > 0 && !is_lost_before_) windows_.add(std::vector<std::int16_t>(gap), false), counts.silent += gap;  // the sender had nothing to say
    is_lost_before_ = false;
    concealer_.heard(samples);
    windows_.add(samples, false);
    expected_ += static_cast<std::uint32_t>(samples.size());
    counts.samples += gap + samples.size();
  }
  [[nodiscard]] std::vector<std::int16_t> decode(rtp::Bytes payload) const {
    if (format_.codec != Codec::l16) return g711::decode(format_.codec == Codec::pcmu ? g711::Law::mu : g711::Law::a, payload);
    std::vector<std::int16_t> samples;
    for (std::size_t at = 0; at < payload.size();) {
      int sum = 0;
      for (unsigned channel = 0; channel < format_.channels; ++channel, at += 2) sum += static_cast<std::int16_t>(rtp::number_at(payload, at, 2));
      samples.push_back(static_cast<std::int16_t>(sum / static_cast<int>(format_.channels)));
    }
    return samples;
  }

  Format format_;
  Consumer consumer_;
  g711::Concealer concealer_;
  audio::Windows windows_;
  std::optional<std::uint8_t> type_;
  bool has_begun_ = false, is_lost_before_ = false;
  std::uint32_t expected_ = 0;
  std::int64_t time_ = 0;
};
