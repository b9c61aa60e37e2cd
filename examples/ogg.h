// Packets of Opus as a file that players take: Ogg pages, one for each packet (RFC 3533, RFC 7845). For rtp_receiver.cc.
//
// A page says at which sample it ends: so a gap stays a gap of its length.
#pragma once
#include "ingest.h"

class OpusFile {
 public:
  // The bytes that a packet adds to the file, the first one also its beginning; nothing of one that is lost.
  std::vector<std::byte> append(const OpusPacket& packet) {
    std::vector<std::byte> file;
    if (packet.is_lost) return file;
    if (pages_ == 0) {
      append_page(file, bytes_of({"OpusHead\1\2\0\0\x80\xbb\0\0\0\0\0", 19}), 0,
                  true);  // version 1, 2 channels, no samples to skip, of 48000 Hz, as they are
      append_page(file, bytes_of({"OpusTags\6\0\0\0gannet\0\0\0\0", 22}), 0, false);
    }
    append_page(file, packet.bytes, packet.timestamp + packet.samples, false);
    return file;
  }

 private:
  static rtp::Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

  void append_page(std::vector<std::byte>& file, rtp::Bytes packet, std::int64_t end, bool is_first) {
    const std::size_t begin = file.size(), full = packet.size() / 255;  // segments of 255 bytes, and one that is shorter, which ends the packet
    const rtp::Bytes header = bytes_of({"OggS\0", 5});
    file.insert(file.end(), header.begin(), header.end());
    append_number(file, is_first ? 2 : 0, 1);
    append_number(file, static_cast<std::uint64_t>(end), 8);
    append_number(file, 1, 4);  // of the stream
    append_number(file, pages_++, 4);
    append_number(file, 0, 4);  // the checksum, of the page with zero in its place
    append_number(file, full + 1, 1);
    file.insert(file.end(), full, std::byte{255});
    append_number(file, packet.size() % 255, 1);
    file.insert(file.end(), packet.begin(), packet.end());
    std::uint32_t sum = 0;
    for (const std::byte octet : std::span(file).subspan(begin)) {
      sum ^= std::to_integer<std::uint32_t>(octet) << 24;
      for (int bit = 0; bit < 8; ++bit) sum = sum << 1 ^ ((sum >> 31) != 0 ? 0x04c11db7u : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) file[begin + 22 + i] = static_cast<std::byte>(sum >> 8 * i);
  }
  static void append_number(std::vector<std::byte>& file, std::uint64_t value, std::size_t size) {  // little-endian
    for (std::size_t i = 0; i < size; ++i) file.push_back(static_cast<std::byte>(value >> 8 * i));
  }

  std::uint32_t pages_ = 0;
};
