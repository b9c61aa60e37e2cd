#include "hub/guest.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <utility>

#include "base/fd.h"

namespace gannet::hub {
namespace {

// The next number of a row of them; `text` goes on behind it.
std::optional<unsigned> take_number(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

// A setting of the kernel's, as text; nothing where it cannot be read.
std::string_view read_setting(const char* path, std::span<char> into) {
  const Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  const ssize_t size = file ? ::read(file.get(), into.data(), into.size()) : 0;
  return {into.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

// What the stack asks of the kernel is asked of the uplink.
stack::Claims claims_of(link::Uplink& uplink) {
  return {
      .self = &uplink,
      .claim = [](void* self, const Address& local, bool reuse_address,
                  bool reuse_port) { return static_cast<link::Uplink*>(self)->claim(local, reuse_address, reuse_port); },
      .release = [](void* self, const Address& local) { static_cast<link::Uplink*>(self)->release(local); },
      .update_group =
          [](void* self, const IpAddress& group, std::uint32_t interface, const stack::SourceFilter& sum) {
            return static_cast<link::Uplink*>(self)->update_group(group, interface, sum.mode == stack::FilterMode::exclude, sum.sources);
          },
  };
}

}  // namespace

void set_default_ttl(stack::Config& config, std::string_view ip_default_ttl) {
  const auto ttl = take_number(ip_default_ttl);
  if (ttl && *ttl >= 1 && *ttl <= 255) config.ttl = static_cast<std::uint8_t>(*ttl);
}

void set_port_range(stack::Config& config, std::string_view ip_local_port_range) {
  const auto low = take_number(ip_local_port_range);
  const auto high = take_number(ip_local_port_range);
  if (!low || !high || *low == 0 || *low > *high || *high > 65535) return;
  config.ephemeral_low = static_cast<std::uint16_t>(*low);
  config.ephemeral_high = static_cast<std::uint16_t>(*high);
}

stack::Config guest_config(stack::Config config) {
  std::array<char, 64> text;
  set_default_ttl(config, read_setting("/proc/sys/net/ipv4/ip_default_ttl", text));
  set_port_range(config, read_setting("/proc/sys/net/ipv4/ip_local_port_range", text));
  return config;
}

Result<std::unique_ptr<Guest>> Guest::create(engine::Engine& engine) {
  link::UplinkSetup setup;
  if (::getrandom(&setup.key, sizeof setup.key, 0) != sizeof setup.key) return Error{EAGAIN, "no randomness for the uplink"};
  auto uplink = link::Uplink::create(setup);
  if (!uplink) return uplink.error();
  std::unique_ptr<Guest> guest(new Guest(std::move(*uplink)));
  link::Uplink& up = *guest->uplink_;
  engine.stack().attach_claims(claims_of(up));
  auto mirror = engine::Mirror::create(
      engine, {.open_face = [&up](std::uint32_t interface, const std::string& name, std::size_t mtu) { return up.open_face(interface, name, mtu); },
               .own_addresses = [&up](std::span<const IpAddress> addresses) { up.set_own_addresses(addresses); }});
  if (!mirror) return mirror.error();
  guest->mirror_ = std::move(*mirror);
  return guest;
}

}  // namespace gannet::hub
