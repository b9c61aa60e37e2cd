#include <gannet/socket.h>

#include "socket/kernel_socket.h"
#include "socket/provider.h"

namespace gannet {

using socket::Membership;
using socket::Take;

namespace {

Result<void> change(socket::Provider& provider, Membership kind, const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  if (!group.is_multicast()) return Error{EINVAL, "not a group address: those are 224.0.0.0 to 239.255.255.255, and ff00::/8"};
  const bool has_source = kind != Membership::join && kind != Membership::leave;
  if (has_source && (source.family != group.family || source.is_any() || source.is_multicast())) {
    return Error{EINVAL, "a source is one host's address, of the same family as the group"};
  }
  return provider.change_membership(kind, group, source, interface);
}

}  // namespace

Socket::Socket(std::unique_ptr<socket::Provider> provider) : provider_(std::move(provider)) {}
Socket::Socket(Socket&&) noexcept = default;
Socket& Socket::operator=(Socket&&) noexcept = default;
Socket::~Socket() = default;

Result<Socket> Socket::open(Family family) {
  auto provider = socket::KernelSocket::open(family);
  if (!provider) return provider.error();
  return Socket(std::move(*provider));
}

Result<void> Socket::bind(const Address& local) { return provider_->bind(local); }

Result<void> Socket::bind(std::string_view local) {
  const auto address = Address::parse(local);
  return address ? bind(*address) : address.error();
}

Result<void> Socket::connect(const Address& peer) {
  if (peer.port == 0) return Error{EINVAL, "no peer has port 0"};
  return provider_->connect(peer);
}

Result<void> Socket::connect(std::string_view peer) {
  const auto address = Address::parse(peer);
  return address ? connect(*address) : address.error();
}

Result<void> Socket::disconnect() { return provider_->disconnect(); }
Result<void> Socket::close() { return provider_->close(); }
Result<Address> Socket::local_address() const { return provider_->local_address(); }
Result<Address> Socket::peer_address() const { return provider_->peer_address(); }

Result<std::size_t> Socket::send(std::span<const std::byte> data, Deadline deadline) { return send(Outgoing{.data = data}, deadline); }

Result<std::size_t> Socket::send_to(std::span<const std::byte> data, const Address& to, Deadline deadline) {
  if (to.port == 0) return Error{EINVAL, "a datagram cannot be sent to port 0"};
  return send(Outgoing{.data = data, .to = to}, deadline);
}

Result<std::size_t> Socket::send_to(std::span<const std::byte> data, std::string_view to, Deadline deadline) {
  const auto address = Address::parse(to);
  return address ? send_to(data, *address, deadline) : address.error();
}

Result<std::size_t> Socket::send(const Outgoing& datagram, Deadline deadline) {
  const auto sent = provider_->send(std::span(&datagram, 1), deadline);
  return sent ? datagram.data.size() : Result<std::size_t>(sent.error());
}

Result<std::size_t> Socket::send_batch(std::span<const Outgoing> batch, Deadline deadline) {
  if (batch.empty()) return std::size_t{0};
  return provider_->send(batch, deadline);
}

Result<Datagram> Socket::receive(std::span<std::byte> buffer, Deadline deadline) {
  Datagram datagram{.buffer = buffer};
  const auto count = provider_->receive(std::span(&datagram, 1), deadline, Take::remove);
  return count ? datagram : Result<Datagram>(count.error());
}

Result<std::size_t> Socket::receive_batch(std::span<Datagram> batch, Deadline deadline) {
  if (batch.empty()) return std::size_t{0};
  return provider_->receive(batch, deadline, Take::remove);
}

Result<std::span<const Datagram>> Socket::receive_borrowed(std::size_t most, Deadline deadline) {
  if (most == 0) return std::span<const Datagram>{};
  return provider_->receive_borrowed(most, deadline);
}

Result<Datagram> Socket::peek(std::span<std::byte> buffer, Deadline deadline) {
  Datagram datagram{.buffer = buffer};
  const auto count = provider_->receive(std::span(&datagram, 1), deadline, Take::peek);
  return count ? datagram : Result<Datagram>(count.error());
}

Result<SocketError> Socket::receive_error() { return provider_->receive_error(); }

Result<void> Socket::set(Option option, int value) { return provider_->set(option, value); }
Result<int> Socket::get(Option option) const { return provider_->get(option); }

Result<void> Socket::set_ip_options(std::span<const std::byte> options) {
  if (options.size() > 40) return Error{EINVAL, "an IPv4 header has room for 40 bytes of options"};
  return provider_->set_ip_options(options);
}

Result<void> Socket::join(const IpAddress& group, std::uint32_t interface) { return change(*provider_, Membership::join, group, {}, interface); }

Result<void> Socket::join(std::string_view group, std::uint32_t interface) {
  const auto address = IpAddress::parse(group);
  return address ? join(*address, interface) : address.error();
}

Result<void> Socket::leave(const IpAddress& group, std::uint32_t interface) { return change(*provider_, Membership::leave, group, {}, interface); }

Result<void> Socket::join_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  return change(*provider_, Membership::join_source, group, source, interface);
}

Result<void> Socket::leave_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  return change(*provider_, Membership::leave_source, group, source, interface);
}

Result<void> Socket::block_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  return change(*provider_, Membership::block_source, group, source, interface);
}

Result<void> Socket::unblock_source(const IpAddress& group, const IpAddress& source, std::uint32_t interface) {
  return change(*provider_, Membership::unblock_source, group, source, interface);
}

Result<void> Socket::set_multicast_interface(std::uint32_t interface) { return provider_->set_multicast_interface(interface); }
Result<int> Socket::fd() { return provider_->fd(); }

}  // namespace gannet
