#include "socket/provider.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>

namespace gannet::socket {
namespace {

constexpr std::size_t slot_size = 64 * 1024;  // holds the largest datagram, and the largest coalesced run of them

}  // namespace

// One mapping of a slot for each datagram of a batch; pages that no datagram has touched cost nothing.
struct Provider::Loan {
  static Result<std::unique_ptr<Loan>> create() {
    void* memory = ::mmap(nullptr, max_batch * slot_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return Error{ENOMEM, "no memory for the datagrams that receive_borrowed() lends"};
    return std::make_unique<Loan>(static_cast<std::byte*>(memory));
  }
  explicit Loan(std::byte* start) : memory(start) {}
  ~Loan() { ::munmap(memory, max_batch * slot_size); }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;

  std::byte* memory;
  std::array<Datagram, max_batch> datagrams;
};

Provider::Provider() = default;
Provider::~Provider() = default;

Result<std::span<const Datagram>> Provider::receive_borrowed(std::size_t most, Deadline deadline) {
  if (lending_.test_and_set(std::memory_order_acquire)) return Error{EBUSY, "another thread is in receive_borrowed() of this socket"};
  struct Done {
    std::atomic_flag& flag;
    ~Done() { flag.clear(std::memory_order_release); }
  } const done{lending_};

  if (!loan_) {
    auto loan = Loan::create();
    if (!loan) return loan.error();
    loan_ = std::move(*loan);
  }
  const auto batch = std::span(loan_->datagrams).first(std::min(most, max_batch));
  for (std::size_t i = 0; i < batch.size(); ++i) batch[i].buffer = {loan_->memory + i * slot_size, slot_size};
  const auto count = receive(batch, deadline, Take::remove);
  if (!count) return count.error();
  return std::span<const Datagram>(batch.first(*count));
}

std::uint16_t Provider::segment_size_of(const Outgoing& datagram) const {
  const std::uint16_t size = datagram.segment_size != 0 ? datagram.segment_size : segment_size_.load(std::memory_order_relaxed);
  return datagram.data.size() > size ? size : std::uint16_t{0};
}

Result<std::size_t> Provider::send_pieces(const Outgoing& datagram, Deadline deadline) {
  Outgoing piece = datagram;
  piece.segment_size = segment_size_of(datagram);                               // no less than a piece, so that none is cut again
  if (piece.segment_size == 0) return send(std::span(&datagram, 1), deadline);  // another thread has changed the option
  segment_fallbacks_.fetch_add(1, std::memory_order_relaxed);
  for (std::span<const std::byte> rest = datagram.data; !rest.empty(); rest = rest.subspan(piece.data.size())) {
    piece.data = rest.first(std::min<std::size_t>(piece.segment_size, rest.size()));
    if (const auto sent = send(std::span(&piece, 1), deadline); !sent) return sent.error();
  }
  return std::size_t{1};
}

Result<void> check(const Outgoing& datagram, Family socket) {
  const Address& to = datagram.to;
  if (to.port == 0 && !to.ip.is_any()) return Error{EINVAL, "a datagram cannot be sent to port 0"};
  if (to.port != 0 && socket == Family::ipv4 && !to.ip.is_ipv4()) {
    return Error{EAFNOSUPPORT, "an IPv4 socket cannot send to an IPv6 address: open it with Family::ipv6"};
  }
  if (!datagram.source.ip.is_any() && to.port != 0 && datagram.source.ip.family != to.ip.family) {
    return Error{EINVAL, "the source address is of another family than the destination"};
  }
  if (datagram.ttl != -1 && (datagram.ttl < 1 || datagram.ttl > 255)) return Error{EINVAL, "a TTL is 1 to 255, or -1 for the socket's"};
  if (datagram.tos < -1 || datagram.tos > 255) return Error{EINVAL, "a TOS is 0 to 255, or -1 for the socket's"};
  if (datagram.data.size() > max_payload_ipv4 && (socket == Family::ipv4 || (to.port != 0 && to.ip.is_ipv4()))) {
    return Error{EMSGSIZE, "a datagram carries at most 65,507 bytes over IPv4"};
  }
  if (datagram.data.size() > max_payload_ipv6) return Error{EMSGSIZE, "a datagram carries at most 65,527 bytes over IPv6"};
  return {};
}

Error failure(Call call, int code) {
  const auto why = [&]() -> const char* {
    switch (code) {
      case EBADF:
        return "the socket is closed";
      case ENOTCONN:
        return "the socket has no peer: connect() it first";
      case EAFNOSUPPORT:
        return "an address of another family than the socket's, or a family that this host lacks";
      case EADDRINUSE:
        if (call == Call::membership) return "the socket has joined this group there already";
        return "another socket has this address and port: choose another port, or set reuse_address on both";
      case EADDRNOTAVAIL:
        if (call == Call::membership) return "the socket has not joined this group, or has this source already";
        return "no interface of this host has this address";
      case EACCES:
        if (call == Call::bind) return "ports this low are for privileged programs: choose one above 1023";
        return "this is a broadcast address: set Option::broadcast first";
      case EMSGSIZE:
        return "larger than the path's MTU, and Option::pmtu_discovery forbids fragments";
      case ENETUNREACH:
        return "no route leads to this address";
      case EHOSTUNREACH:
        return "the network says that this host cannot be reached";
      case ECONNREFUSED:
        return "nobody listens at the port of an earlier datagram (ICMP port unreachable)";
      case EDESTADDRREQ:
        return "the socket has no peer: connect() it, or say where to send";
      case ENODEV:
        return "no such interface, or no route to the group: name an interface";
      case ENOBUFS:
        if (call == Call::membership) return "too many groups, or too many sources in one group";
        return nullptr;
      case EAGAIN:
        if (call == Call::send) return "the send buffer stayed full until the deadline";
        return "nothing came before the deadline";
      case EINVAL:
        if (call == Call::bind) return "the socket is bound already, or the address is none to bind";
        if (call == Call::membership) return "not a group address, or a source filter that contradicts the one in place";
        return nullptr;
      default:
        return nullptr;
    }
  }();
  return {code, why};
}

}  // namespace gannet::socket
