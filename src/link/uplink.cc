#include "link/uplink.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include "link/uplink_face.h"
#include "wire/checksum.h"
#include "wire/icmp4.h"
#include "wire/ipv4.h"
#include "wire/udp.h"

namespace gannet::link {
namespace {

constexpr std::uint32_t loopback = 1;
constexpr std::size_t headers_size = wire::ipv4_header_size + wire::udp_header_size;
constexpr std::size_t max_errors = 256;      // that wait to become packets
constexpr Duration remembered = 2s;          // what was sent to a group
constexpr std::size_t sockets_at_once = 64;  // of which datagrams are taken in one round

// A packet of the stack's as the kernel is to send it.
struct Departure {
  UplinkDatagram datagram;
  std::span<std::byte> payload;
  unsigned note = 0;
};

std::expected<Departure, Drop> parse(Frame& frame, std::uint32_t interface) {
  const auto ipv4 = wire::parse_ipv4(std::as_const(frame).bytes());
  if (!ipv4) return std::unexpected(ipv4.error());
  if (ipv4->protocol != wire::protocol_udp || ipv4->is_fragment()) return std::unexpected(Drop::ip_guest_protocol);
  if (ipv4->payload.size() < wire::udp_header_size) return std::unexpected(Drop::udp_header_truncated);
  const std::size_t header = ipv4->packet.size() - ipv4->payload.size();
  Departure departure{.datagram = {.src = {ipv4->src, wire::load_be16(ipv4->payload, 0)},
                                   .dst = {ipv4->dst, wire::load_be16(ipv4->payload, 2)},
                                   .interface = interface,
                                   .any_source = (ipv4->id & wire::guest_note::any_source) != 0,
                                   .ttl = ipv4->ttl,
                                   .tos = ipv4->tos,
                                   .options = ipv4->options},
                      .payload = frame.bytes().subspan(header + wire::udp_header_size, ipv4->payload.size() - wire::udp_header_size),
                      .note = ipv4->id & (wire::guest_note::discovery | unsigned{wire::guest_note::no_loop})};
  // To an own address the kernel finds the way itself, too.
  const bool to_own = interface == loopback && !ipv4->dst.is_multicast() && ipv4->dst != IpAddress::ipv4(127, 255, 255, 255);
  if (to_own || (ipv4->id & wire::guest_note::by_route) != 0) departure.datagram.interface = 0;
  return departure;
}

// The ICMP code (of unreachable) that says what the kernel said to a send.
std::optional<std::uint8_t> code_of(int error) {
  switch (error) {
    case ENETUNREACH:
    case ENETDOWN:
      return wire::unreachable_code::network;
    case EHOSTUNREACH:
      return wire::unreachable_code::host;
    case EPERM:
    case EACCES:
      return wire::unreachable_code::prohibited;
    default:
      return std::nullopt;
  }
}

// The datagram that an error is about, as far as it is quoted: an IPv4 and a UDP header, which tell of the whole, and the start of its payload.
void emit_quote(const UplinkError& error, std::span<std::byte> quote) {
  std::ranges::copy(std::span(error.quote).first(error.quoted), quote.subspan(headers_size).begin());
  wire::emit_udp_unchecked(error.src.port, error.dst.port, quote.subspan(wire::ipv4_header_size));
  wire::store_be16(quote, wire::ipv4_header_size + 4, static_cast<std::uint16_t>(wire::udp_header_size + error.size));
  wire::emit_ipv4({.src = error.src.ip, .dst = error.dst.ip, .protocol = wire::protocol_udp}, quote);
  const auto whole = static_cast<std::uint16_t>(headers_size + error.size);
  wire::store_be16(quote, 10, wire::update_checksum(wire::load_be16(quote, 10), wire::load_be16(quote, 2), whole));
  wire::store_be16(quote, 2, whole);
}

}  // namespace

Result<std::shared_ptr<Uplink>> Uplink::create(const UplinkSetup& setup) {
  std::shared_ptr<Uplink> uplink(new Uplink(setup));
  if (!uplink->epoll_ || !uplink->nudge_) return Error{errno, "no descriptor left for the way to the kernel"};
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(uplink->epoll_.get(), EPOLL_CTL_ADD, uplink->nudge_.get(), &event) != 0) return Error{errno, nullptr};
  return uplink;
}

Uplink::Uplink(const UplinkSetup& setup) : setup_(setup), epoll_(::epoll_create1(EPOLL_CLOEXEC)), nudge_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Uplink::~Uplink() = default;

Result<std::unique_ptr<Link>> Uplink::open_face(std::uint32_t interface, std::string name, std::size_t mtu) {
  if (faces_.empty() != (interface == loopback)) return Error{EINVAL, "the face of lo comes first, and once"};
  auto face = std::make_unique<UplinkFace>(shared_from_this(), interface,
                                           Caps{.name = std::move(name), .mtu = mtu, .ethernet = false, .waits_on_fd = interface == loopback},
                                           interface == loopback ? epoll_.get() : -1);
  faces_.push_back(face.get());
  return std::unique_ptr<Link>(std::move(face));
}

void Uplink::close_face(const UplinkFace& face) { std::erase(faces_, &face); }

UplinkFace& Uplink::face_of(std::uint32_t interface) {
  const auto found = std::ranges::find(faces_, interface, &UplinkFace::interface);
  return found == faces_.end() ? *faces_.front() : **found;
}

// Claims.

Result<void> Uplink::claim(const Address& local, bool reuse_address, bool reuse_port) {
  const Key key = key_of(local.ip, local.port);
  if (const auto found = claims_.find(key); found != claims_.end()) {
    Claim& claim = *found->second;
    claim.socket.set_reuse(reuse_address, reuse_port);
    claim.shared |= reuse_address || reuse_port;
    ++claim.count;
    return {};
  }
  auto socket = UplinkSocket::open(local, reuse_address, reuse_port);
  if (!socket) return socket.error();
  auto claim = std::make_unique<Claim>(Claim{.socket = std::move(*socket), .count = 1, .shared = reuse_address || reuse_port});
  if (auto watched = watch(*claim, EPOLLIN, false); !watched) return watched;
  if (!local.ip.is_any() && !is_own(local.ip)) of_groups_.push_back(claim.get());
  claims_.emplace(key, std::move(claim));
  return {};
}

void Uplink::release(const Address& local) {
  const auto found = claims_.find(key_of(local.ip, local.port));
  if (found == claims_.end() || --found->second->count != 0) return;
  std::erase(of_groups_, found->second.get());
  claims_.erase(found);
}

Result<void> Uplink::watch(Claim& claim, std::uint32_t events, bool change) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &claim;
  if (::epoll_ctl(epoll_.get(), change ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, claim.socket.fd(), &event) == 0) return {};
  return Error{errno, "the kernel's side of the port cannot be watched"};
}

Uplink::Claim* Uplink::find(const IpAddress& ip, std::uint16_t port) {
  auto found = claims_.find(key_of(ip, port));
  if (found == claims_.end()) found = claims_.find(key_of(IpAddress::any(Family::ipv4), port));
  return found == claims_.end() ? nullptr : found->second.get();
}

// Whose socket sends from there. One that is bound to a group or a broadcast address hears by that, and sends from another.
Uplink::Claim* Uplink::find_sender(const IpAddress& ip, std::uint16_t port) {
  if (Claim* claim = find(ip, port)) return claim;
  const auto found = std::ranges::find(of_groups_, port, [](const Claim* claim) { return claim->socket.local().port; });
  return found == of_groups_.end() ? nullptr : *found;
}

Result<void> Uplink::update_group(const IpAddress& group, std::uint32_t interface, bool exclude, std::span<const IpAddress> sources) {
  return groups_.update(group, interface, exclude, sources);
}

void Uplink::set_own_addresses(std::span<const IpAddress> addresses) {
  own_.clear();
  for (const IpAddress& ip : addresses) own_.push_back(ip.number());
  std::ranges::sort(own_);
}

bool Uplink::is_own(const IpAddress& ip) const {
  if (ip.is_loopback()) return ip != IpAddress::ipv4(127, 255, 255, 255);
  return std::ranges::binary_search(own_, ip.number());
}

// Out.

std::size_t Uplink::send(UplinkFace& face, std::span<Frame> frames, Time now) {
  std::size_t taken = 0;
  while (taken < frames.size()) {
    const std::size_t count = send_run(face, frames.subspan(taken), now);
    if (count == 0) break;
    taken += count;
  }
  return taken;
}

// The packets from the front that one socket sends alike; those that cannot be sent one by one.
std::size_t Uplink::send_run(UplinkFace& face, std::span<Frame> frames, Time now) {
  Claim* claim = nullptr;
  unsigned note = 0;
  std::size_t count = 0;
  batch_.clear();
  for (; count < std::min(frames.size(), uplink_batch); ++count) {
    const auto departure = parse(frames[count], face.interface());
    const UplinkDatagram* datagram = departure ? &departure->datagram : nullptr;
    Claim* own =
        datagram != nullptr ? find_sender(datagram->any_source ? IpAddress::any(Family::ipv4) : datagram->src.ip, datagram->src.port) : nullptr;
    const bool returns = own != nullptr && datagram->interface == 0 && find(datagram->dst.ip, datagram->dst.port) != nullptr;
    if (own == nullptr || returns) {
      if (count != 0) break;
      if (returns) tell(*datagram, departure->payload, wire::unreachable_code::port, 0, datagram->dst.ip);
      face.drop(returns ? Drop::uplink_held_port : datagram != nullptr ? Drop::uplink_no_claim : departure.error());
      frames[0].release();
      return 1;
    }
    if (count != 0 && (own != claim || note != departure->note)) break;
    claim = own;
    note = departure->note;
    batch_.append(*datagram, departure->payload, face.may_join(frames[count]));
    if (claim->shared && datagram->interface != 0) remember(hash_of(datagram->src, datagram->dst, departure->payload), now);
  }
  claim->socket.set_note(note);
  return transmit(face, *claim, frames.first(count));
}

// What the kernel says may be about a datagram that went before: then its error queue is the place to read it, and this one goes at the second try.
std::size_t Uplink::transmit(UplinkFace& face, Claim& claim, std::span<Frame> frames) {
  for (int attempt = 0;;) {
    const int sent = ::sendmmsg(claim.socket.fd(), batch_.headers.data(), static_cast<unsigned>(batch_.messages), MSG_DONTWAIT);
    if (sent > 0) {
      const auto messages = std::span(batch_.carried).first(static_cast<std::size_t>(sent));
      const std::size_t count = std::accumulate(messages.begin(), messages.end(), std::size_t{0});
      for (Frame& frame : frames.first(count)) face.sent(frame);
      // What stopped the batch is said again when its datagram is the first: once is enough.
      if (messages.size() < batch_.messages) take_errors(claim);
      return count;
    }
    const int code = errno;
    if (code == EINTR) continue;
    if (code == EAGAIN) {
      if (!std::exchange(claim.waits, true)) static_cast<void>(watch(claim, EPOLLIN | EPOLLOUT, true));
      return 0;
    }
    const std::uint32_t told = take_errors(claim);
    const std::uint32_t mtu = code == EMSGSIZE ? told : 0;
    if (mtu == 0 && attempt++ == 0) continue;
    if (batch_.carried[0] == 1) {
      refuse(face, frames[0], code, mtu);
      return 1;
    }
    // One by one they are fragmented where the path is narrower than the link, and summed where the device cannot (EIO).
    if (code == EIO) face.join_no_more();
    frames = frames.first(batch_.carried[0]);
    batch_.clear();
    for (Frame& frame : frames) {
      const auto departure = parse(frame, face.interface());
      batch_.append(departure->datagram, departure->payload, false);
    }
    attempt = 0;
  }
}

// A packet that the kernel does not send, for a reason of errno's; `mtu` where that is its size.
void Uplink::refuse(UplinkFace& face, Frame& frame, int code, std::uint32_t mtu) {
  const auto departure = parse(frame, face.interface());
  const auto unreachable = mtu != 0 ? wire::unreachable_code::fragmentation_needed : code_of(code);
  if (unreachable) tell(departure->datagram, departure->payload, *unreachable, mtu, IpAddress::any(Family::ipv4));
  face.drop(code == ENOBUFS || code == ENOMEM ? Drop::link_queue_full : Drop::uplink_refused);
  frame.release();
}

// Has the stack hear of a datagram that cannot be sent.
void Uplink::tell(const UplinkDatagram& datagram, std::span<const std::byte> payload, std::uint8_t code, std::uint32_t mtu,
                  const IpAddress& offender) {
  UplinkError error;
  error.code = code;
  error.mtu = mtu;
  error.offender = offender;
  error.src = datagram.src;
  error.dst = datagram.dst;
  error.interface = loopback;
  error.size = static_cast<std::uint16_t>(payload.size());
  error.quoted = static_cast<std::uint16_t>(std::min(payload.size(), error.quote.size()));
  std::ranges::copy(payload.first(error.quoted), error.quote.begin());
  hold(error);
}

// Empties the error queue. Returns the MTU that the datagram which was refused just now is too large for, or 0.
std::uint32_t Uplink::take_errors(Claim& claim) {
  std::uint32_t mtu = 0;
  // At most so many: each is one of a datagram that we sent, and the kernel keeps few.
  for (std::size_t i = 0; i < max_errors; ++i) {
    const auto error = claim.socket.next_error();
    if (!error) break;
    if (error->at_once) {
      mtu = error->mtu;
    } else {
      hold(*error);
    }
  }
  claim.socket.clear_error();
  return mtu;
}

// Until the engine asks, and the error becomes a packet.
void Uplink::hold(const UplinkError& error) {
  if (errors_.size() == max_errors) return faces_.front()->drop(Drop::link_queue_full);
  errors_.push_back(error);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(nudge_.get(), &one, sizeof one);
}

std::uint64_t Uplink::hash_of(const Address& src, const Address& dst, std::span<const std::byte> payload) const {
  SipHash hash(setup_.key);
  hash.add(key_of(src.ip, src.port));
  hash.add(key_of(dst.ip, dst.port));
  hash.add(payload.size());
  std::uint64_t word = 0;
  for (; payload.size() >= sizeof word; payload = payload.subspan(sizeof word)) {
    std::memcpy(&word, payload.data(), sizeof word);
    hash.add(word);
  }
  word = 0;
  std::memcpy(&word, payload.data(), payload.size());
  return hash.finish(word, payload.size());
}

// In.

// For all that one socket may bring.
bool Uplink::has_room() const {
  return std::ranges::all_of(faces_, [](const UplinkFace* face) { return face->room() >= uplink_batch; });
}

void Uplink::receive(FramePools& pools, Time now) {
  std::array<epoll_event, sockets_at_once> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    auto* claim = static_cast<Claim*>(events[static_cast<std::size_t>(i)].data.ptr);
    const std::uint32_t what = events[static_cast<std::size_t>(i)].events;
    if (claim == nullptr) {
      std::uint64_t nudges = 0;
      [[maybe_unused]] const ssize_t got = ::read(nudge_.get(), &nudges, sizeof nudges);
      continue;
    }
    if ((what & EPOLLOUT) != 0 && std::exchange(claim->waits, false)) static_cast<void>(watch(*claim, EPOLLIN, true));
    if ((what & EPOLLERR) != 0) take_errors(*claim);
    if ((what & EPOLLIN) != 0 && has_room()) receive(*claim, pools, now);
  }
  for (const UplinkError& error : errors_) hand_up(error, pools);
  errors_.clear();
}

void Uplink::receive(Claim& claim, FramePools& pools, Time now) {
  std::array<Frame, uplink_batch> frames;
  for (std::size_t slot = 0; slot < claim.ask; ++slot) {
    frames[slot] = pools.small->allocate();
    if (frames[slot]) frames[slot].resize(frames[slot].tailroom());
    batch_.prepare(slot, frames[slot] ? frames[slot].bytes().subspan(headers_size) : std::span<std::byte>());  // without: it is lost, and counted
  }
  const int count = ::recvmmsg(claim.socket.fd(), batch_.headers.data(), static_cast<unsigned>(claim.ask), MSG_DONTWAIT, nullptr);
  if (count < 0 && errno != EAGAIN && errno != EINTR) take_errors(claim);  // one of something that we sent
  claim.ask = std::clamp(2 * static_cast<std::size_t>(std::max(count, 0)), least_asked, uplink_batch);
  for (int slot = 0; slot < count; ++slot) hand_up(claim, static_cast<std::size_t>(slot), frames[static_cast<std::size_t>(slot)], pools, now);
}

// A datagram that stands in a slot of the batch, as a packet.
void Uplink::hand_up(Claim& claim, std::size_t slot, Frame& frame, FramePools& pools, Time now) {
  std::optional<std::uint32_t> overflow;
  const UplinkDatagram datagram = batch_.describe(slot, claim.socket.local().port, overflow);
  UplinkFace& lo = *faces_.front();
  if (overflow) lo.drop(Drop::uplink_overflow, claim.socket.overflow_growth(*overflow));

  const std::size_t size = batch_.headers[slot].msg_len;
  const std::size_t room = batch_.pieces[2 * slot].iov_len;
  if (frame && size > room) {
    Frame large = pools.allocate(headers_size + size);
    if (large) {
      large.resize(headers_size + size);
      std::memcpy(large.bytes().data() + headers_size, frame.bytes().data() + headers_size, room);
      std::memcpy(large.bytes().data() + headers_size + room, batch_.spill.get() + slot * UplinkBatch::spill_size, size - room);
    }
    frame = std::move(large);
  }
  if (!frame) return lo.drop(Drop::no_frame);
  frame.resize(headers_size + size);
  if (const auto reason = reason_to_cancel(claim, datagram, frame.bytes().subspan(headers_size), now)) return lo.drop(*reason);

  wire::emit_udp(datagram.src.ip, datagram.dst.ip, datagram.src.port, datagram.dst.port, frame.bytes().subspan(wire::ipv4_header_size));
  frame.prepend(datagram.options.size());
  wire::emit_ipv4({.src = datagram.src.ip,
                   .dst = datagram.dst.ip,
                   .protocol = wire::protocol_udp,
                   .ttl = datagram.ttl,
                   .tos = datagram.tos,
                   .options = datagram.options},
                  frame.bytes());
  const bool stays_here = is_own(datagram.src.ip) && is_own(datagram.dst.ip);
  face_of(stays_here ? loopback : datagram.interface).push(std::move(frame));
}

std::optional<Drop> Uplink::reason_to_cancel(const Claim& claim, const UplinkDatagram& datagram, std::span<const std::byte> payload, Time now) {
  if (is_own(datagram.dst.ip)) return std::nullopt;
  // Of what goes to a group the kernel gives every socket of the port its own.
  const bool is_wildcard = claim.socket.local().ip.is_any();
  if (!is_wildcard && claims_.contains(key_of(IpAddress::any(Family::ipv4), datagram.dst.port))) return Drop::uplink_own_copy;
  if (!is_own(datagram.src.ip)) return std::nullopt;
  const Claim* sender = find_sender(datagram.src.ip, datagram.src.port);
  if (sender == nullptr) return std::nullopt;
  if (!sender->shared) return Drop::uplink_own_copy;
  const std::uint64_t hash = hash_of(datagram.src, datagram.dst, payload);
  const Sent& sent = sent_[hash % sent_.size()];
  if (sent.hash == hash && now - sent.at < remembered) return Drop::uplink_own_copy;
  return std::nullopt;
}

void Uplink::remember(std::uint64_t hash, Time now) { sent_[hash % sent_.size()] = {hash, now}; }

// An error, as the ICMP message that says so.
void Uplink::hand_up(const UplinkError& error, FramePools& pools) {
  const std::size_t quote = headers_size + error.quoted;
  const std::size_t size = wire::ipv4_header_size + wire::icmp4_header_size + quote;
  UplinkFace& face = face_of(error.interface);
  Frame frame = pools.allocate(size);
  if (!frame) return face.drop(Drop::no_frame);
  frame.resize(size);
  const auto message = frame.bytes().subspan(wire::ipv4_header_size);
  emit_quote(error, message.subspan(wire::icmp4_header_size));
  const bool too_big =
      error.type == static_cast<std::uint8_t>(wire::Icmp4Type::unreachable) && error.code == wire::unreachable_code::fragmentation_needed;
  wire::emit_icmp4(static_cast<wire::Icmp4Type>(error.type), error.code, too_big ? std::min(error.mtu, 65535u) : 0, message);
  const IpAddress offender = error.offender.is_any() ? error.src.ip : error.offender;
  wire::emit_ipv4({.src = offender, .dst = error.src.ip, .protocol = wire::protocol_icmp}, frame.bytes());
  face.push(std::move(frame));
}

}  // namespace gannet::link
