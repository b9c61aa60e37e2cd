#include "contender.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace gannet::bench {
namespace {

constexpr std::array<std::uint8_t, 6> peer_mac{2, 0, 0, 0, 0, 1};
constexpr std::array<std::uint8_t, 6> our_mac{2, 0, 0, 0, 0, 2};
constexpr std::array<std::uint8_t, 4> peer_ip{10, 0, 0, 1};
constexpr std::array<std::uint8_t, 4> our_ip{10, 0, 0, 2};

struct Writer {
  std::vector<std::byte> bytes;
  void u8(unsigned value) { bytes.push_back(static_cast<std::byte>(value)); }
  void u16(unsigned value) { u8(value >> 8 & 0xff), u8(value & 0xff); }
  template <std::size_t N>
  void all(const std::array<std::uint8_t, N>& values) {
    for (const auto value : values) u8(value);
  }
  void patch16(std::size_t at, unsigned value) {
    bytes[at] = static_cast<std::byte>(value >> 8);
    bytes[at + 1] = static_cast<std::byte>(value & 0xff);
  }
};

std::uint32_t at(std::span<const std::byte> bytes, std::size_t index) { return std::to_integer<std::uint32_t>(bytes[index]); }

// RFC 1071 as it is written, independent of the code under test.
std::uint32_t plain_sum(std::span<const std::byte> bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) sum += at(bytes, i) << (i % 2 == 0 ? 8 : 0);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

std::uint32_t udp_sum(std::span<const std::byte> packet) {
  const auto datagram = packet.subspan(20);
  return plain_sum(datagram, plain_sum(packet.subspan(12, 8), 17 + static_cast<std::uint32_t>(datagram.size())));
}

}  // namespace

std::vector<std::byte> request_frame(std::size_t size) {
  Writer out;
  out.all(our_mac), out.all(peer_mac), out.u16(0x0800);
  out.u8(0x45), out.u8(0), out.u16(static_cast<unsigned>(28 + size)), out.u16(0x1234), out.u16(0x4000), out.u8(64), out.u8(17), out.u16(0);
  out.all(peer_ip), out.all(our_ip);
  out.u16(40000), out.u16(65433), out.u16(static_cast<unsigned>(8 + size)), out.u16(0);
  for (std::size_t i = 0; i < size; ++i) out.u8(static_cast<unsigned>(i * 7 & 0xff));
  out.patch16(24, ~plain_sum(std::span(out.bytes).subspan(14, 20)) & 0xffff);
  out.patch16(40, ~udp_sum(std::span(out.bytes).subspan(14)) & 0xffff);
  return out.bytes;
}

std::vector<std::byte> arp_request_frame() {
  Writer out;
  for (int i = 0; i < 6; ++i) out.u8(0xff);
  out.all(peer_mac), out.u16(0x0806), out.u16(1), out.u16(0x0800), out.u8(6), out.u8(4), out.u16(1);
  out.all(peer_mac), out.all(peer_ip);
  for (int i = 0; i < 6; ++i) out.u8(0);
  out.all(our_ip);
  return out.bytes;
}

bool is_answer(std::span<const std::byte> request, std::span<const std::byte> reply) {
  if (reply.size() != request.size()) return false;
  const auto same = [&](std::size_t in_request, std::size_t in_reply, std::size_t count) {
    return std::ranges::equal(request.subspan(in_request, count), reply.subspan(in_reply, count));
  };
  const bool exchanged = same(0, 6, 6) && same(6, 0, 6) && same(26, 30, 4) && same(30, 26, 4) && same(34, 36, 2) && same(36, 34, 2);
  return exchanged && same(42, 42, request.size() - 42) && plain_sum(reply.subspan(14, 20)) == 0xffff && udp_sum(reply.subspan(14)) == 0xffff;
}

std::vector<std::string> contenders() {
  std::vector<std::string> names{"lower-bound", "gannet-handler", "gannet-endpoint"};
#ifdef GANNET_BENCH_LWIP
  names.emplace_back("lwip");
#endif
  return names;
}

std::unique_ptr<Contender> make_contender(const std::string& name) {
  if (name == "lower-bound") return make_lower_bound();
  if (name == "gannet-handler") return make_gannet_handler();
  if (name == "gannet-endpoint") return make_gannet_endpoint();
#ifdef GANNET_BENCH_LWIP
  if (name == "lwip") return make_lwip();
#endif
  return nullptr;
}

}  // namespace gannet::bench
