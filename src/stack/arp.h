// ARP: answering for our addresses, learning those of others, and claiming an address before and while it is ours.
//
// Claiming (RFC 5227), where Config::arp_probe asks for it: three probes 1-2 s apart, two seconds of silence, then the address is usable. A conflict
// on the way makes it unusable for good. Without it the address is usable at once. Either way it is announced twice, and defended against others, at
// most once in ten seconds; it is never given up once it is in use. Owner: Stack.  Thread: the engine's.  Bounds: one claim for each address.
// Sources: RFC 826; RFC 5227 sections 1.1, 2.1-2.4; RFC 1122 2.3.2.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <gannet/address.h>

#include "base/frame.h"
#include "stack/context.h"
#include "stack/interface.h"
#include "wire/arp.h"

namespace gannet::stack {

class Neighbors;

// Sends one ARP packet; to the link's broadcast address unless told otherwise.
void send_arp(Context& context, Interface& interface, const wire::Arp& arp, const wire::MacAddress& to = wire::MacAddress::broadcast());
// Asks where `target` is; from the interface's address that is on its network.
void send_arp_request(Context& context, Interface& interface, const IpAddress& target, const wire::MacAddress& to = wire::MacAddress::broadcast());

class Arp {
 public:
  Arp(Context& context, Interfaces& interfaces, Neighbors& neighbors) : context_(context), interfaces_(interfaces), neighbors_(neighbors) {}

  // A frame of type ARP, whose link header has `header_size` bytes.
  void input(Interface& interface, Frame frame, std::size_t header_size, Time now);

  // Starts to claim an address that the interface has: it is usable when this returns, or when nobody objects (Config::arp_probe).
  void claim(Interface& interface, const IpAddress& ip, Time now);
  void release(std::uint32_t interface, const IpAddress& ip);

  [[nodiscard]] Time next_wakeup() const;
  void advance(Time now);

 private:
  enum class Phase : std::uint8_t { probing, announcing, held, lost };
  struct Claim {
    std::uint32_t interface;
    IpAddress ip;
    Phase phase;
    unsigned sent;  // probes or announcements
    Time next;
    Time may_defend;  // not before
  };

  // Whether a host says or probes what is ours.
  bool defend(Interface& interface, const wire::Arp& arp, Time now);
  void step(Interface& interface, Claim& claim, Time now);
  void announce(Interface& interface, const IpAddress& ip);
  [[nodiscard]] Duration random_between(Duration low, Duration high);

  Context& context_;
  Interfaces& interfaces_;
  Neighbors& neighbors_;
  std::vector<Claim> claims_;
};

}  // namespace gannet::stack
