// ICMP for IPv4: answering echoes, telling senders of errors, and taking the errors that others tell us to the socket concerned.
//
// An error that came in means something only if it quotes a packet that a live socket of ours sent lately: the upper layer says so. Only then is a
// path's MTU lowered. Owner: Stack.  Thread: the engine's. Bounds: errors are limited in rate (IcmpLimit), quotes to 576 bytes of packet. Sources:
// RFC 792; RFC 1122 3.2.2; RFC 1812 4.3.2.3 (quote), 4.3.2.5 (TOS); RFC 1191; RFC 6633 (source quench is ignored); RFC 6918 (so are information and
// address mask); RFC 8085 5.2.
#pragma once
#include <cstdint>
#include <span>

#include "base/frame.h"
#include "stack/context.h"
#include "stack/icmp_limit.h"
#include "stack/interface.h"
#include "stack/ip_layer.h"
#include "stack/pmtu.h"
#include "wire/icmp4.h"
#include "wire/ip.h"

namespace gannet::stack {

// Reports to the socket that sent `packet` (from its IP header on) that the next hop does not answer, as Linux does: EHOSTUNREACH.
void report_unreachable(const Context& context, std::span<const std::byte> packet, std::uint32_t interface, Time now);

class Icmp4 {
 public:
  Icmp4(Context& context, IpLayer& ip, Interfaces& interfaces, PathMtus& path_mtus);

  void input(const wire::IpInfo& ip, Frame message, Time now);

  // Tells the sender of a packet about it, where RFC 1122 3.2.2 allows that and the limits do. `ip.packet` is quoted.
  void send_error(wire::Icmp4Type type, std::uint8_t code, std::uint32_t word, const wire::IpInfo& ip, Time now);

 private:
  void answer_echo(const wire::IpInfo& ip, Frame message, Time now);
  void input_error(const wire::IpInfo& ip, const wire::Icmp4& icmp, Time now);
  void send(Frame message, const wire::IpInfo& ip, const Path& path, Time now);
  [[nodiscard]] bool may_be_told(const wire::IpInfo& ip) const;

  Context& context_;
  IpLayer& ip_;
  Interfaces& interfaces_;
  PathMtus& path_mtus_;
  IcmpLimit limit_;
};

}  // namespace gannet::stack
