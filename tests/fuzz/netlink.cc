// What a kernel may say of its network, any bytes at all: nothing is read beyond them, and what is found is of a possible size.
#include "engine/netlink.h"

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::engine;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::input(data, size);
  KernelHost host;
  const auto part = parse_netlink(bytes, 0x12, host);
  EXPECT(part.error >= 0);
  EXPECT(host.interfaces.size() + host.addresses.size() + host.routes.size() <= size / 16);
  for (const KernelInterface& interface : host.interfaces) EXPECT(interface.index != 0 && interface.name.size() <= 16);
  for (const KernelAddress& address : host.addresses) EXPECT(address.interface != 0 && address.prefix <= 32 && address.ip.is_ipv4());
  for (const stack::Route& route : host.routes) EXPECT(route.interface != 0 && route.prefix <= 32 && route.network.is_ipv4());
  return 0;
}
