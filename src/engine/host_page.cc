#include "engine/host_page.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>

namespace gannet::engine {
namespace {

constexpr std::size_t largest_payload = 65507;
constexpr std::size_t ip_header_size = 20;
constexpr std::size_t udp_header_size = 8;

using Words = std::array<std::uint64_t, HostPage::entry_words>;

Words pack(const HostEntry& entry) {
  Words words{};
  std::memcpy(words.data(), entry.network.bytes.data(), 16);
  words[2] = static_cast<std::uint64_t>(entry.network.family) | std::uint64_t{entry.prefix} << 8 | static_cast<std::uint64_t>(entry.kind) << 16;
  words[3] = entry.interface | std::uint64_t{entry.mtu} << 32;
  words[4] = entry.metric;
  return words;
}

HostEntry unpack(const Words& words) {
  HostEntry entry;
  std::memcpy(entry.network.bytes.data(), words.data(), 16);
  entry.network.family = static_cast<Family>(words[2] & 0xff);
  entry.prefix = static_cast<std::uint8_t>(words[2] >> 8);
  entry.kind = static_cast<HostEntry::Kind>(words[2] >> 16 & 0xff);
  entry.interface = static_cast<std::uint32_t>(words[3]);
  entry.mtu = static_cast<std::uint32_t>(words[3] >> 32);
  entry.metric = static_cast<std::uint32_t>(words[4]);
  return entry;
}

std::array<std::uint64_t, HostPage::path_mtu_words> pack(const IpAddress& dst, std::uint32_t mtu) {
  std::array<std::uint64_t, HostPage::path_mtu_words> words{};
  std::memcpy(words.data(), dst.bytes.data(), 16);
  words[2] = static_cast<std::uint64_t>(dst.family) | std::uint64_t{mtu} << 32;
  return words;
}

bool contains(const HostEntry& entry, const IpAddress& ip) {
  if (entry.network.family != ip.family || entry.prefix > ip.size() * 8) return false;
  const std::size_t whole = entry.prefix / 8;
  if (std::memcmp(entry.network.bytes.data(), ip.bytes.data(), whole) != 0) return false;
  const unsigned rest = entry.prefix % 8;
  return rest == 0 || std::to_integer<unsigned>(entry.network.bytes[whole] ^ ip.bytes[whole]) >> (8 - rest) == 0;
}

}  // namespace

Result<std::unique_ptr<HostPage>> HostPage::create(stack::Sharing sharing) {
  auto memory = stack::SharedMemory::create(sizeof(Layout), sharing, stack::SharedMemory::Access::read);
  if (!memory) return memory.error();
  return std::unique_ptr<HostPage>(new HostPage(std::move(*memory)));
}

// A fresh mapping is all zeros, which is an empty page; it is not touched, so that what is never used costs nothing.
HostPage::HostPage(stack::SharedMemory memory)
    : memory_(std::move(memory)), page_(*std::launder(reinterpret_cast<Layout*>(memory_.bytes().data()))) {}

Result<HostPage::Attached> HostPage::attach(Fd fd) {
  auto memory = stack::SharedMemory::attach(std::move(fd), sizeof(Layout), stack::SharedMemory::Access::read);
  if (!memory) return memory.error();
  return Attached(std::make_shared<const stack::SharedMemory>(std::move(*memory)));
}

bool HostPage::publish(stack::Stack& stack) {
  if (stack.generation() == published_) return false;
  published_ = stack.generation();
  // The odd sequence goes before the words, and the even one behind them: exchange and release.
  page_.sequence.exchange(page_.sequence.load(std::memory_order_relaxed) + 1, std::memory_order_acq_rel);
  write(stack);
  page_.generation.store(published_, std::memory_order_release);
  page_.sequence.fetch_add(1, std::memory_order_release);
  return true;
}

void HostPage::write(stack::Stack& stack) {
  count_ = 0;
  for (const auto& interface : stack.interfaces().all()) {
    append({{}, 0, HostEntry::Kind::interface, interface->index(), interface->mtu(), 0});
    for (const stack::InterfaceAddress& address : interface->addresses()) {
      if (!address.usable) continue;
      const auto bits = static_cast<std::uint8_t>(address.ip.size() * 8);
      append({address.ip, bits, HostEntry::Kind::own, interface->index(), stack::loopback_mtu, 0});
      if (!interface->is_up()) continue;  // its addresses are ours all the same, as on Linux
      // All of 127/8 is ours, as on Linux, but for its last address.
      const auto kind = interface->is_loopback() ? HostEntry::Kind::own : HostEntry::Kind::network;
      // What leads to a guest's networks are its routes.
      const bool by_route = interface->is_guest() && !interface->is_loopback();
      if (!by_route) append({address.ip, address.prefix, kind, interface->index(), interface->mtu(), 0});
      if (address.has_broadcast() && !interface->is_loopback()) {
        append({address.broadcast(), bits, HostEntry::Kind::broadcast, interface->index(), interface->mtu(), 0});
        append({IpAddress::ipv4(address.ip.number() & address.mask()), bits, HostEntry::Kind::broadcast, interface->index(), interface->mtu(), 0});
      }
    }
    if (!interface->is_loopback() && interface->is_up()) {
      append({IpAddress::ipv4(255, 255, 255, 255), 32, HostEntry::Kind::broadcast, interface->index(), interface->mtu(), 0});
    }
  }
  for (const stack::Route& route : stack.routes().all()) {
    const stack::Interface* interface = stack.interfaces().find(route.interface);
    if (interface == nullptr || !interface->is_up()) continue;
    append({route.network, route.prefix, HostEntry::Kind::route, route.interface, interface->mtu(), route.metric});
  }
  page_.count.store(count_, std::memory_order_release);
  write_path_mtus(stack.path_mtus());
}

void HostPage::write_path_mtus(const stack::PathMtus& path_mtus) {
  const auto newest = path_mtus.all().last(std::min(path_mtus.all().size(), max_path_mtus));
  std::atomic<std::uint64_t>* at = page_.path_mtus;
  for (const stack::PathMtus::Entry& entry : newest) {
    for (const std::uint64_t word : pack(entry.dst, entry.known.mtu)) at++->store(word, std::memory_order_release);
  }
  page_.path_mtu_count.store(newest.size(), std::memory_order_release);
}

void HostPage::append(const HostEntry& entry) {
  if (count_ < max_entries) {
    const Words words = pack(entry);
    for (std::size_t i = 0; i < words.size(); ++i) page_.words[count_ * entry_words + i].store(words[i], std::memory_order_release);
  }
  ++count_;
}

// Every load acquires: one that sees a word of a later publication also sees the odd sequence before it.
HostEntry HostView::entry(std::uint64_t index) const {
  Words words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = page_.words[index * HostPage::entry_words + i].load(std::memory_order_acquire);
  return unpack(words);
}

HostView::HostView(HostPage::Attached page)
    : attached_(std::move(page)), page_(*std::launder(reinterpret_cast<const HostPage::Layout*>(attached_->bytes().data()))) {}

template <class Look>
auto HostView::read(Look&& look) const -> decltype(look()) {
  for (int attempts = 0; attempts < 1000; ++attempts) {
    const std::uint64_t before = page_.sequence.load(std::memory_order_acquire);
    if (before % 2 != 0) continue;
    if (before == 0) return std::nullopt;
    const auto found = look();
    if (page_.sequence.load(std::memory_order_relaxed) == before) return found;
  }
  return std::nullopt;  // the engine stopped in the middle of writing
}

std::optional<HostView::Destination> HostView::find(const IpAddress& dst, std::uint32_t interface) const {
  return read([&]() -> std::optional<Destination> {
    const std::uint64_t count = page_.count.load(std::memory_order_acquire);
    return count > HostPage::max_entries ? std::nullopt : look_up(dst, interface, count);
  });
}

std::optional<std::uint32_t> HostView::find_path_mtu(const IpAddress& dst) const {
  const auto wanted = pack(dst, 0);
  return read([&]() -> std::optional<std::uint32_t> {
    const std::size_t count = std::min<std::size_t>(page_.path_mtu_count.load(std::memory_order_acquire), HostPage::max_path_mtus);
    for (std::size_t i = 0; i < count; ++i) {
      const std::atomic<std::uint64_t>* const at = page_.path_mtus + i * HostPage::path_mtu_words;
      const std::uint64_t last = at[2].load(std::memory_order_acquire);
      if (at[0].load(std::memory_order_acquire) != wanted[0] || at[1].load(std::memory_order_acquire) != wanted[1]) continue;
      if (static_cast<std::uint32_t>(last) == static_cast<std::uint32_t>(wanted[2])) return static_cast<std::uint32_t>(last >> 32);
    }
    return std::nullopt;
  });
}

std::uint32_t HostView::interface_of(const IpAddress& own) const {
  const auto found = read([&]() -> std::optional<std::uint32_t> {
    const std::uint64_t count = std::min<std::uint64_t>(page_.count.load(std::memory_order_acquire), HostPage::max_entries);
    for (std::uint64_t i = 0; i < count; ++i) {
      const HostEntry entry = this->entry(i);
      if (entry.kind == HostEntry::Kind::own && contains(entry, own)) return entry.interface;
    }
    return 0;
  });
  return found.value_or(0);
}

IpAddress HostView::address_of(std::uint32_t interface) const {
  const auto found = read([&]() -> std::optional<IpAddress> {
    const std::uint64_t count = std::min<std::uint64_t>(page_.count.load(std::memory_order_acquire), HostPage::max_entries);
    for (std::uint64_t i = 0; i < count; ++i) {
      const HostEntry entry = this->entry(i);
      if (entry.kind == HostEntry::Kind::own && entry.interface == interface) return entry.network;
    }
    return IpAddress{};
  });
  return found.value_or(IpAddress{});
}

bool HostView::has_interface(std::uint32_t interface) const {
  const auto found = read([&]() -> std::optional<bool> {
    const std::uint64_t count = page_.count.load(std::memory_order_acquire);
    if (count > HostPage::max_entries) return std::nullopt;
    for (std::uint64_t i = 0; i < count; ++i) {
      const HostEntry entry = this->entry(i);
      if (entry.kind == HostEntry::Kind::interface && entry.interface == interface) return true;
    }
    return false;
  });
  return found.value_or(true);
}

// As IpLayer::find_path() decides, in its order: our own address, a broadcast address, then the longest prefix.
std::optional<HostView::Destination> HostView::look_up(const IpAddress& dst, std::uint32_t interface, std::uint64_t count) const {
  if (dst.is_any()) return std::nullopt;
  if (dst == stack::loopback_broadcast && (interface == 0 || interface == stack::loopback_index)) {
    return Destination{true, stack::PathKind::broadcast, stack::loopback_mtu};
  }
  if (dst.is_multicast() && interface == stack::loopback_index) return Destination{true, stack::PathKind::multicast, stack::loopback_mtu};
  HostEntry best;
  bool found = false;
  bool has_interface = false;
  std::uint32_t first_mtu = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const HostEntry entry = this->entry(i);
    if (entry.kind == HostEntry::Kind::own) {
      if (contains(entry, dst)) return Destination{true, stack::PathKind::local, stack::loopback_mtu};
      continue;
    }
    if (entry.kind == HostEntry::Kind::interface || (interface != 0 && entry.interface != interface)) continue;
    if (!has_interface) first_mtu = entry.mtu;
    has_interface = true;
    if (!contains(entry, dst)) continue;
    const auto rank = [](const HostEntry& e) { return (e.kind == HostEntry::Kind::broadcast ? 256u : 0u) + e.prefix; };
    if (!found || rank(entry) > rank(best) || (rank(entry) == rank(best) && entry.metric < best.metric)) best = entry;
    found = true;
  }
  if (dst.is_multicast()) return Destination{has_interface, stack::PathKind::multicast, found ? best.mtu : first_mtu};
  const bool broadcast = found && best.kind == HostEntry::Kind::broadcast;
  // On the link of an interface that was asked for there may be anything.
  const bool reachable = found || (interface != 0 && has_interface);
  return Destination{reachable, broadcast ? stack::PathKind::broadcast : stack::PathKind::unicast, found ? best.mtu : first_mtu};
}

Result<void> check_send(const HostView& host, const SendCheck& send) {
  if (send.to.port == 0) return Error{EINVAL, "the port to send to is 0"};
  const std::size_t datagram = send.segment_size != 0 && send.segment_size < send.payload_size ? send.segment_size : send.payload_size;
  if (send.ip_options_size + datagram > largest_payload) return Error{EMSGSIZE, "larger than a datagram can be: 65,507 bytes over IPv4"};
  if (send.interface != 0 && !host.has_interface(send.interface)) return Error{ENODEV, "no interface has this index"};
  const auto destination = host.find(send.to.ip, send.interface);
  if (!destination) return {};
  if (!destination->reachable) return Error{ENETUNREACH, "no route to the destination"};
  if (destination->kind == stack::PathKind::broadcast && !send.broadcast) {
    return Error{EACCES, "a broadcast address: set the option broadcast first"};
  }
  const bool whole = send.fragmentation == stack::Fragmentation::refuse || send.fragmentation == stack::Fragmentation::probe ||
                     send.fragmentation == stack::Fragmentation::interface || datagram < send.payload_size;
  if (!whole) return {};
  const std::size_t packet = ip_header_size + send.ip_options_size + udp_header_size + datagram;
  if (packet > destination->mtu) return Error{EMSGSIZE, "larger than the interface's MTU, and not to be fragmented"};
  if (!stack::uses_path_mtu(send.fragmentation) || destination->kind == stack::PathKind::local) return {};
  if (packet > host.find_path_mtu(send.to.ip).value_or(destination->mtu)) {
    return Error{EMSGSIZE, "larger than the path's MTU, as a router told it, and not to be fragmented"};
  }
  return {};
}

}  // namespace gannet::engine
