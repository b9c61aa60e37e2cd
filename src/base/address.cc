#include <gannet/address.h>

#include <arpa/inet.h>

#include <charconv>
#include <limits>
#include <optional>

namespace gannet {
namespace {

constexpr const char* not_an_ip = "not an IP address: write it as 192.0.2.1 or 2001:db8::1";
constexpr const char* not_an_address = "not an address with a port: write it as 192.0.2.1:65433 or [2001:db8::1]:65433";

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<IpAddress> IpAddress::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> copy{};  // inet_pton wants a terminated string
  if (text.size() >= copy.size() || text.find('\0') != text.npos) return Error{EINVAL, not_an_ip};
  text.copy(copy.data(), text.size());
  IpAddress ip;
  if (::inet_pton(AF_INET, copy.data(), ip.bytes.data()) == 1) return ip;
  ip.family = Family::ipv6;
  if (::inet_pton(AF_INET6, copy.data(), ip.bytes.data()) == 1) return ip;
  return Error{EINVAL, not_an_ip};
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(is_ipv4() ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
  return text.data();
}

Result<Address> Address::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Error{EINVAL, not_an_address};
  const auto port = number<std::uint16_t>(text.substr(colon + 1));
  if (!port) return Error{EINVAL, "not a port: it is a number from 0 to 65535"};
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);

  Address address;
  address.port = *port;
  if (const std::size_t percent = host.find('%'); brackets && percent != std::string_view::npos) {
    const auto scope = number<std::uint32_t>(host.substr(percent + 1));
    if (!scope) return Error{EINVAL, "not a scope: it is the number of an interface, as in [fe80::1%2]:65433"};
    address.scope = *scope;
    host = host.substr(0, percent);
  }
  const auto ip = IpAddress::parse(host);
  if (!ip || ip->is_ipv4() == brackets) return Error{EINVAL, not_an_address};
  address.ip = *ip;
  return address;
}

std::string Address::to_string() const {
  if (ip.is_ipv4()) return ip.to_string() + ":" + std::to_string(port);
  return "[" + ip.to_string() + (scope != 0 ? "%" + std::to_string(scope) : "") + "]:" + std::to_string(port);
}

}  // namespace gannet
