// A whole host under any frames and any passing of time: nothing breaks, every frame ends exactly once, and the pools end full.
//
// The input is a program: a byte says what comes next, a byte how long its argument is, then the argument. Frames are handed over as they are, or
// with an Ethernet header, an IPv4 header and checksums that are right, so that what is behind them is reached.
#include "stack/stack.h"

#include <algorithm>
#include <array>
#include <utility>

#include "fuzz/fuzz.h"
#include "wire/arp.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"

using namespace gannet;
using namespace gannet::stack;

namespace {

constexpr wire::MacAddress our_mac{{std::byte{2}, {}, {}, {}, {}, std::byte{1}}};
constexpr wire::MacAddress other_mac{{std::byte{2}, {}, {}, {}, {}, std::byte{2}}};
constexpr IpAddress our_ip = IpAddress::ipv4(10, 0, 0, 1);
constexpr IpAddress other_ip = IpAddress::ipv4(10, 0, 0, 2);
constexpr std::uint16_t echo_port = 0x0a0a;
constexpr IpAddress group = IpAddress::ipv4(224, 0, 0, 251);

// In place of UDP: checks what IP promises, answers, and refuses every other port.
struct Sink {
  Stack& stack;

  void input(const wire::IpInfo& ip, Frame payload, Time now) {
    EXPECT(ip.packet.size() >= wire::ipv4_header_size + payload.size() && ip.packet.size() <= wire::ipv4_packet_max);
    EXPECT(!ip.src.is_multicast() && (!ip.src.is_loopback() || ip.interface == loopback_index));
    EXPECT(fuzz::within(std::as_const(payload).bytes(), ip.packet) && fuzz::within(ip.options, ip.packet));
    if (payload.size() % 2 == 0) {
      stack.ip().port_unreachable(ip, now);
      return stack.fates().drop(Drop::udp_no_socket);
    }
    stack.fates().delivered();
    const auto path = stack.ip().find_path(ip.src, IpAddress::any(Family::ipv4), 0);
    if (!path) return;
    const wire::IpInfo answer{.src = path->src, .dst = ip.src, .protocol = wire::protocol_udp, .options = ip.options};
    (void)stack.ip().output(std::move(payload), answer, *path, Fragmentation::want, now);
  }
  bool icmp_error(const IcmpError& error, Time) {
    EXPECT(error.quote.size() >= 8 && error.error != 0);
    return error.quote.size() % 2 == 0;
  }
  [[nodiscard]] std::optional<Drop> refuses(const IpAddress& ip, const IpAddress&, std::uint32_t, std::uint8_t) const {
    return ip == group ? std::nullopt : std::optional(Drop::group_not_joined);
  }
};

class World {
 public:
  explicit World(bool with_sink)
      : pools_(FramePools::create(64, 4).value()),
        rng_(1),
        stack_(pools_, rng_, small()),
        interface_(stack_.add_interface({.name = "eth0", .mac = our_mac, .mtu = 600}).value()) {
    if (with_sink) {
      stack_.context().upper.udp = UpperLayers::protocol_of(sink_);
      stack_.context().upper.groups = UpperLayers::groups_of(sink_);
    }
    stack_.add_address(interface_, our_ip, 24, now_).value();
    stack_.add_route({.network = IpAddress::any(Family::ipv4), .prefix = 0, .gateway = other_ip, .interface = interface_}).value();
    open_echo();
  }
  ~World() { check(); }

  void run(std::uint8_t what, std::span<const std::byte> argument) {
    switch (what % 6) {
      case 0:
        return input(argument);
      case 1:
        return input_packet(fuzz::with_checksum(argument, 10, wire::ipv4_header_size));
      case 2:
        return input_upper(what, argument);
      case 3:
        return input_arp(argument);
      case 4:
        now_ += 1ms * (1u << (argument.empty() ? 0 : std::to_integer<unsigned>(argument[0]) % 18));
        return stack_.advance(now_);
      case 5:
        return send(what, argument);
    }
  }
  void settle() {
    if (stack_.next_wakeup() <= now_) stack_.advance(now_);
    for (auto frames = stack_.output(interface_); !frames.empty(); frames = stack_.output(interface_)) {
      for (Frame& frame : frames) {
        EXPECT(frame.size() >= wire::ethernet_header_size && frame.size() <= wire::ethernet_header_size + 600);
        frame.release();
      }
      stack_.sent(interface_, frames.size());
    }
    check();
  }

 private:
  static Config small() {
    return {.output_queue = 16,
            .loopback_queue = 8,
            .neighbors = 8,
            .neighbors_unresolved = 4,
            .neighbor_queue = 4,
            .neighbor_queue_total = 8,
            .arp_probe = false,
            .reassembly_bytes = 32 * 2048,
            .reassembly_datagrams = 8,
            .reassembly_fragments = 32,
            .path_mtus = 4,
            .path_mtu_floor = 68};
  }
  // A socket whose handler answers, and which is a member of the group.
  void open_echo() {
    Endpoint& endpoint = *stack_.udp().open(endpoints_).value();
    endpoint.handler = {[](void* self, Endpoint& asked, Delivery& delivery) {
                          const std::size_t size = delivery.payload.size() / 2;
                          (void)static_cast<World*>(self)->stack_.udp().reply(asked, delivery, size);
                        },
                        this};
    stack_.udp().bind(endpoint, {IpAddress::any(Family::ipv4), echo_port}).value();
    stack_.multicast().join(stack_.udp().groups(endpoint), group, interface_, now_).value();
  }
  void input(std::span<const std::byte> bytes) {
    Frame frame = pools_.allocate(bytes.size());
    if (!frame) return;
    frame.resize(bytes.size());
    std::ranges::copy(bytes, frame.bytes().begin());
    stack_.input(interface_, std::move(frame), now_);
  }
  void input_packet(std::span<const std::byte> packet) {
    fuzz::Bytes frame(wire::ethernet_header_size + packet.size());
    wire::emit_ethernet(our_mac, other_mac, wire::ethertype_ipv4, frame);
    std::ranges::copy(packet, frame.begin() + wire::ethernet_header_size);
    input(frame);
  }
  // ICMP, IGMP, UDP or a fragment of one, from a neighbour to us; the first bytes choose.
  void input_upper(std::uint8_t what, std::span<const std::byte> argument) {
    if (argument.size() < 2) return;
    const auto flags = std::to_integer<unsigned>(argument[0]);
    constexpr std::array<std::uint8_t, 4> protocols = {wire::protocol_udp, wire::protocol_udp, wire::protocol_icmp, wire::protocol_igmp};
    const std::uint8_t protocol = protocols[what / 64];
    const wire::Ipv4Header header{.src = other_ip,
                                  .dst = (flags & 1) != 0 ? group : our_ip,
                                  .protocol = protocol,
                                  .tos = static_cast<std::uint8_t>(flags >> 1 & 3),
                                  .id = static_cast<std::uint16_t>(flags >> 3 & 3),
                                  .more_fragments = (flags & 32) != 0,
                                  .fragment_offset = static_cast<std::uint16_t>(std::to_integer<unsigned>(argument[1]) % 16 * 8)};
    const auto payload = fuzz::with_checksum(argument.subspan(2), 2, protocol == wire::protocol_udp ? 0 : argument.size() - 2);
    fuzz::Bytes packet(wire::ipv4_header_size + payload.size());
    std::ranges::copy(payload, packet.begin() + wire::ipv4_header_size);
    wire::emit_ipv4(header, packet);
    input_packet(packet);
  }
  void input_arp(std::span<const std::byte> argument) {
    fuzz::Bytes frame(wire::ethernet_header_size + wire::arp_size);
    wire::emit_arp({.sender_mac = other_mac, .sender_ip = other_ip, .target_ip = our_ip}, std::span(frame).subspan(wire::ethernet_header_size));
    std::ranges::copy(argument.first(std::min(argument.size(), wire::arp_size)), frame.begin() + wire::ethernet_header_size);
    wire::emit_ethernet(wire::MacAddress::broadcast(), other_mac, wire::ethertype_arp, frame);
    input(frame);
  }
  void send(std::uint8_t what, std::span<const std::byte> argument) {
    if (argument.size() < 4) return;
    const IpAddress dst = IpAddress::ipv4(wire::load_be32(argument, 0));
    const auto path = stack_.ip().find_path(dst, IpAddress::any(Family::ipv4), 0);
    Frame payload = pools_.allocate(argument.size() * 32);
    if (!path || !payload) return;
    payload.resize(argument.size() * 32);
    std::ranges::fill(payload.bytes(), argument[0]);
    const wire::IpInfo ip{.src = path->src, .dst = dst, .protocol = wire::protocol_udp, .hop_limit = what};
    (void)stack_.ip().output(std::move(payload), ip, *path, static_cast<Fragmentation>(what % 6), now_, true);
  }
  // frames_in + frames_made = frames_out + delivered + consumed + dropped + held
  void check() const {
    const IpCounters& counters = stack_.counters();
    const Fates& fates = stack_.fates();
    EXPECT(counters.frames_in.value() + counters.frames_made.value() ==
           counters.frames_out.value() + fates.delivered_count() + fates.consumed_count() + fates.dropped_total() + stack_.held());
  }

  FramePools pools_;  // whose destructor checks that all frames came back
  Rng rng_;
  EndpointGroup endpoints_;
  Stack stack_;
  Sink sink_{stack_};
  std::uint32_t interface_;
  Time now_ = Time(std::chrono::hours(1));
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto program = fuzz::input(data, size);
  if (program.empty()) return 0;
  World world((data[0] & 1) != 0);
  program = program.subspan(1);
  while (program.size() >= 2) {
    const auto what = std::to_integer<std::uint8_t>(program[0]);
    const std::size_t length = std::min(std::to_integer<std::size_t>(program[1]), program.size() - 2);
    world.run(what, program.subspan(2, length));
    world.settle();
    program = program.subspan(2 + length);
  }
  return 0;
}
