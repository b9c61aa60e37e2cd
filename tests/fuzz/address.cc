// Any text: whatever is an address means the same after it was written.
#include <gannet/address.h>

#include <string_view>

#include "fuzz/fuzz.h"
#include "wire/ethernet.h"

using namespace gannet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ip = IpAddress::parse(text);
  EXPECT(ip ? *IpAddress::parse(ip->to_string()) == *ip : ip.error().why != nullptr);
  const auto address = Address::parse(text);
  EXPECT(address ? *Address::parse(address->to_string()) == *address : address.error().why != nullptr);
  const auto mac = wire::MacAddress::parse(text);
  EXPECT(mac ? *wire::MacAddress::parse(mac->to_string()) == *mac : mac.error().why != nullptr);
  return 0;
}
