#include "stack/endpoint_client.h"

#include <utility>

namespace gannet::stack {

EndpointClient::EndpointClient(std::shared_ptr<EndpointMemory> memory, ClientHooks hooks)
    : memory_(std::move(memory)),
      receive_(memory_->control().receive, memory_->receive_ring()),
      errors_(memory_->control().errors, memory_->error_ring()),
      hooks_(hooks) {}

EndpointClient::~EndpointClient() {
  for (Sender* sender = sender_.load(); sender != nullptr;) delete std::exchange(sender, sender->previous);
}

void EndpointClient::set_send_ring(const std::shared_ptr<SendMemory>& send) {
  auto* sender = new Sender{send, SendRingWriter(send->control(), send->commits(), send->ring()), nullptr};
  sender->previous = sender_.load(std::memory_order_relaxed);
  while (!sender_.compare_exchange_weak(sender->previous, sender, std::memory_order_acq_rel, std::memory_order_relaxed)) {
  }
}

bool EndpointClient::read(RingReader& ring, ReceiveSlot& slot, bool peek, bool& emptied) {
  const auto record = ring.read(slot.buffer, slot.ip_options, peek);
  emptied = !record || record->emptied;
  if (!record) return false;
  slot.header = record->header;
  slot.size = record->payload_copied;
  slot.ip_options_size = record->options_copied;
  return true;
}

std::size_t EndpointClient::receive(std::span<ReceiveSlot> slots) {
  std::size_t count = 0;
  bool emptied = false;
  while (count < slots.size() && read(receive_, slots[count], false, emptied)) ++count;
  after_receive(emptied);
  return count;
}

void EndpointClient::after_receive(bool emptied) {
  if (hooks_.received == nullptr) return;
  if (emptied && !has_pending_error() && !has_queued_error()) {
    hooks_.received(hooks_.context, true);
  } else if (memory_->control().bell.tokens.load(std::memory_order_relaxed) > max_bell_tokens) {
    hooks_.received(hooks_.context, false);
  }
}

bool EndpointClient::peek(ReceiveSlot& slot) {
  bool emptied = false;
  if (read(receive_, slot, true, emptied)) return true;
  after_receive(true);
  return false;
}

std::size_t EndpointClient::send(std::span<const SendSlot> slots) {
  Sender* sender = this->sender();
  if (sender == nullptr) return 0;
  std::size_t count = 0;
  while (count < slots.size() && sender->ring.write(slots[count].header, slots[count].ip_options, slots[count].payload)) ++count;
  // See Endpoint::request_wakeup(). The exchange stands even where nothing was taken: the ring may be full because the engine sleeps.
  auto& need_wakeup = sender->memory->control().need_wakeup;
  if (need_wakeup.exchange(0, std::memory_order_acq_rel) != 0 && hooks_.wake_engine != nullptr) hooks_.wake_engine(hooks_.context);
  return count;
}

bool EndpointClient::receive_error(ReceiveSlot& slot) {
  bool emptied = false;
  if (!read(errors_, slot, false, emptied)) return false;
  std::int32_t pending = slot.header.error_code;
  const auto next = errors_.read({}, {}, true);
  memory_->control().pending_error.compare_exchange_strong(pending, next ? next->header.error_code : 0, std::memory_order_acq_rel);
  after_receive(!has_datagram());
  return true;
}

int EndpointClient::take_error() {
  const int error = memory_->control().pending_error.exchange(0, std::memory_order_acq_rel);
  if (error != 0) after_receive(!has_datagram());
  return error;
}

}  // namespace gannet::stack
