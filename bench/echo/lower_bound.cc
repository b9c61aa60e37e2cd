// The least that any host must do: parse and verify, swap addresses and ports, sum anew. No tables, no sockets, no ARP.
#include <array>
#include <cstring>

#include "contender.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::bench {
namespace {

class LowerBound : public Contender {
 public:
  std::span<const std::byte> echo(std::span<const std::byte> request) override {
    std::memcpy(frame_.data(), request.data(), request.size());
    const auto frame = std::span(frame_).first(request.size());
    const auto ethernet = wire::parse_ethernet(frame);
    if (!ethernet) return {};
    const auto ipv4 = wire::parse_ipv4(ethernet->payload);
    if (!ipv4) return {};
    const auto udp = wire::parse_udp(ipv4->info(), ipv4->payload, wire::ZeroChecksum::refused);
    if (!udp || udp->dst_port != 65433) return {};

    wire::emit_ethernet(ethernet->src, ethernet->dst, ethernet->type, frame);
    const wire::Ipv4Header header{.src = ipv4->dst, .dst = ipv4->src, .protocol = wire::protocol_udp, .dont_fragment = true, .options = {}};
    const auto packet = frame.subspan(wire::ethernet_header_size, ipv4->packet.size());
    wire::emit_udp(ipv4->dst, ipv4->src, udp->dst_port, udp->src_port, packet.subspan(wire::ipv4_header_size));
    wire::emit_ipv4(header, packet);
    return frame;
  }

 private:
  std::array<std::byte, 2048> frame_{};
};

}  // namespace

std::unique_ptr<Contender> make_lower_bound() { return std::make_unique<LowerBound>(); }

}  // namespace gannet::bench
