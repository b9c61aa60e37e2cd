#include "stack/endpoint.h"

#include <algorithm>

namespace gannet::stack {

Endpoint* EndpointGroup::take_news() {
  Endpoint* endpoint = first_;
  if (endpoint != nullptr) remove(*endpoint);
  return endpoint;
}

void EndpointGroup::append(Endpoint& endpoint) {
  endpoint.has_news_ = true;
  endpoint.previous_news_ = last_;
  endpoint.next_news_ = nullptr;
  (last_ != nullptr ? last_->next_news_ : first_) = &endpoint;
  last_ = &endpoint;
}

void EndpointGroup::remove(Endpoint& endpoint) {
  (endpoint.previous_news_ != nullptr ? endpoint.previous_news_->next_news_ : first_) = endpoint.next_news_;
  (endpoint.next_news_ != nullptr ? endpoint.next_news_->previous_news_ : last_) = endpoint.previous_news_;
  endpoint.has_news_ = false;
}

Endpoint::~Endpoint() {
  close();
  if (has_news_) group_.remove(*this);
}

Result<void> Endpoint::open_rings(Sharing sharing) {
  if (memory_) return {};
  auto memory = EndpointMemory::create(sharing);
  if (!memory) return memory.error();
  sharing_ = sharing;
  memory_ = std::move(*memory);
  receive_.emplace(memory_->control().receive, memory_->receive_ring());
  errors_.emplace(memory_->control().errors, memory_->error_ring());
  return {};
}

std::expected<void, Drop> Endpoint::enqueue(const Delivery& delivery) {
  if (!receive_) return std::unexpected(Drop::socket_closed);
  const std::size_t size = delivery.payload.size();
  const std::size_t segment = delivery.segment_size;
  RecordHeader header;
  header.kind = RecordKind::datagram;
  header.datagram_size = static_cast<std::uint32_t>(size);
  header.peer = delivery.peer();
  header.local = delivery.local();
  header.interface = delivery.ip.interface;
  header.hop_limit = delivery.ip.hop_limit;
  header.tos = delivery.ip.tos;
  if (options.timestamp) header.time = (delivery.now.time_since_epoch() + group_.real_time_offset).count();
  header.overflow = overflow_;
  header.segment_size = delivery.segment_size;
  header.segment_count = segment == 0 ? std::uint16_t{1} : static_cast<std::uint16_t>((size + segment - 1) / segment);
  const auto ip_options = options.receive_ip_options ? delivery.ip.options : std::span<const std::byte>{};

  announce();  // before the record shows, so that its reader knows that a bell is about to ring for it
  if (!receive_->write(header, ip_options, delivery.payload, charge_of(size), receive_limit_)) {
    ++overflow_;
    return std::unexpected(Drop::receive_queue_full);
  }
  ++arrivals_.datagrams;
  delivered.add();
  return {};
}

void Endpoint::report(const SocketError& error, bool hard, std::span<const std::byte> quote) {
  errors_reported.add();
  if (!errors_) return;
  const bool is_local = error.origin == SocketError::Origin::local;
  if (!options.receive_errors && !is_local && !(hard && is_connected())) return;
  announce();
  queue_error(error, quote);
  memory_->control().pending_error.store(error.code, std::memory_order_release);
  arrivals_.event = true;
}

void Endpoint::queue_error(const SocketError& error, std::span<const std::byte> quote) {
  if (!errors_ || !options.receive_errors) return;
  announce();
  constexpr std::size_t longest_quote = 576;  // what an ICMPv4 error carries (RFC 1812 4.3.2.3)
  quote = quote.first(std::min(quote.size(), longest_quote));
  RecordHeader header;
  header.kind = RecordKind::error;
  header.datagram_size = static_cast<std::uint32_t>(quote.size());
  header.peer = error.peer;
  header.local = local;
  header.error_code = error.code;
  header.error_origin = static_cast<std::uint8_t>(error.origin);
  header.error_type = error.type;
  header.error_icmp_code = error.icmp_code;
  header.error_mtu = error.mtu;
  header.error_offender = error.offender;
  if (!errors_->write(header, {}, quote, 1, max_errors - 1)) errors_lost.add();
  arrivals_.event = true;
}

std::expected<bool, Drop> Endpoint::next_send(SendRequest& request, Time now) {
  if (now < held_until_) return false;
  for (std::size_t tried = 0; tried < send_rings_.size();) {
    SendRing& ring = send_rings_[send_turn_];
    const auto next = ring.reader.next(request);
    if (next && *next && pacer_.is_on()) [[unlikely]]
      return pace(request, now);
    if (!next || *next) return next;
    if (ring.abandoned) [[unlikely]] {
      taken_before_ += ring.reader.tail();
      send_rings_.erase(send_rings_.begin() + static_cast<std::ptrdiff_t>(send_turn_));
    } else {
      ++send_turn_;
      ++tried;
    }
    if (send_turn_ >= send_rings_.size()) send_turn_ = 0;
  }
  return false;
}

// Whether the datagram may go now. One that must wait stays where it is, the next of its ring, and its ring the next in turn.
bool Endpoint::pace(const SendRequest& request, Time now) {
  constexpr std::size_t headers = 28;  // IPv4's and UDP's
  const std::size_t size = request.payload.size();
  const std::size_t segment = request.header.segment_size;
  const std::size_t datagrams = segment == 0 || size <= segment ? 1 : (size + segment - 1) / segment;
  const std::size_t bytes = size + datagrams * headers;
  held_until_ = pacer_.ready_at(now, bytes);
  if (held_until_ > now) return false;
  pacer_.spend(now, bytes);
  return true;
}

void Endpoint::set_pacing_rate(int rate, Time now) {
  if (rate == pacer_.rate()) return;
  pacer_.set_rate(rate, now);
  held_until_ = {};
}

void Endpoint::finish_send() {
  send_rings_[send_turn_].reader.finish();
  send_turn_ = (send_turn_ + 1) % send_rings_.size();
}

Result<std::shared_ptr<SendMemory>> Endpoint::add_send_ring() {
  if (send_rings_.size() == max_send_rings) return Error{ENOBUFS, "1,024 processes send on this socket already"};
  auto memory = SendMemory::create(send_limit_, sharing_);
  if (!memory) return memory.error();
  send_rings_.emplace_back(*memory);
  return memory;
}

void Endpoint::abandon_send_ring(const SendMemory& memory) {
  const auto found = std::ranges::find(send_rings_, &memory, [](const SendRing& ring) { return ring.memory.get(); });
  if (found != send_rings_.end()) found->abandoned = true;
}

std::uint64_t Endpoint::taken() const {
  std::uint64_t sum = taken_before_;
  for (const SendRing& ring : send_rings_) sum += ring.reader.tail();
  return sum;
}

bool Endpoint::has_sends() const {
  return std::ranges::any_of(send_rings_, [](const SendRing& ring) { return !ring.reader.is_empty(); });
}

// Both sides exchange the same word: whichever comes second sees what the other did before, so either the application finds the request, or the
// engine finds the record.
bool Endpoint::request_wakeup() {
  for (SendRing& ring : send_rings_) ring.memory->control().need_wakeup.exchange(1, std::memory_order_acq_rel);
  if (!has_sends()) return true;
  for (SendRing& ring : send_rings_) ring.memory->control().need_wakeup.store(0, std::memory_order_relaxed);
  return false;
}

bool Endpoint::SendRing::has_space() const {
  const SendControl& control = memory->control();
  const std::uint64_t used = control.charged.load(std::memory_order_acquire) - control.released.load(std::memory_order_relaxed);
  return used <= control.limit.load(std::memory_order_relaxed) / 2;
}

std::uint64_t Endpoint::send_used() const {
  std::uint64_t used = 0;
  for (const SendRing& ring : send_rings_) {
    const SendControl& control = ring.memory->control();
    used += control.charged.load(std::memory_order_acquire) - control.released.load(std::memory_order_relaxed);
  }
  return used;
}

void Endpoint::set_receive_limit(std::uint64_t limit) { receive_limit_ = std::clamp(limit, min_receive_limit, max_buffer_limit); }

void Endpoint::set_send_limit(std::uint64_t limit) {
  send_limit_ = std::clamp(limit, min_send_limit, max_buffer_limit);
  for (SendRing& ring : send_rings_) ring.memory->control().limit.store(send_limit_, std::memory_order_relaxed);
}

void Endpoint::close() {
  if (!memory_ || std::exchange(closed_, true)) return;
  memory_->control().closed.store(1, std::memory_order_release);
  arrivals_.event = true;
  announce();
  receive_.reset();
  errors_.reset();
}

bool Endpoint::has_receivable() {
  if (!memory_) return false;
  const bool has_queued = errors_ && errors_->head() != errors_->tail();
  return has_queued || receive_head() != receive_tail() || memory_->control().pending_error.load(std::memory_order_acquire) != 0;
}

bool Endpoint::has_send_space() const {
  return std::ranges::all_of(send_rings_, [](const SendRing& ring) { return ring.has_space(); });
}

void Endpoint::announce() {
  if (has_news_) return;
  memory_->control().bell.ringing.store(1, std::memory_order_relaxed);
  group_.append(*this);
}

}  // namespace gannet::stack
