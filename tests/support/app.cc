#include "support/app.h"

#include <algorithm>
#include <array>
#include <vector>

namespace gannet::tests {
namespace {

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

stack::RecordHeader header_of(std::string_view to, const Choice& choice) {
  stack::RecordHeader header;
  header.peer = address(to);
  if (!choice.source.empty()) header.local.ip = ip(choice.source);
  header.hop_limit = choice.hop_limit;
  header.tos = choice.tos;
  header.segment_size = choice.segment_size;
  return header;
}

}  // namespace

Address address(std::string_view text) { return text.empty() ? Address{} : Address::parse(text).value(); }

App::App(Net& net, Host& host) : net_(net), host_(host), endpoint_(*host.stack.udp().open(group_).value()) {
  endpoint_.open_rings().value();
  client_.emplace(endpoint_.memory());
  client_->set_send_ring(endpoint_.add_send_ring().value());
}

App::~App() {
  client_.reset();
  udp().close(endpoint_, net_.now);
}

Result<void> App::send(std::string_view data, std::string_view to, const Choice& choice) {
  const Bytes payload = bytes_of(data);
  const stack::SendRequest request{.header = header_of(to, choice), .payload = payload};
  return udp().send(endpoint_, request, net_.now);
}

void App::send_by_ring(std::string_view data, std::string_view to, const Choice& choice) {
  offer(data, to, choice);
  flush();
}

bool App::offer(std::string_view data, std::string_view to, const Choice& choice) {
  const Bytes payload = bytes_of(data);
  const stack::SendSlot slot{.header = header_of(to, choice), .ip_options = {}, .payload = payload};
  return client_->send({&slot, 1}) == 1;
}

std::optional<Received> App::receive() {
  std::vector<std::byte> buffer(65536);
  stack::ReceiveSlot slot{.buffer = buffer};
  if (client_->receive({&slot, 1}) == 0) return std::nullopt;
  return Received{text_of(std::span(buffer).first(slot.size)),
                  slot.header,
                  {slot.ip_options.begin(), slot.ip_options.begin() + static_cast<std::ptrdiff_t>(slot.ip_options_size)}};
}

std::optional<stack::RecordHeader> App::receive_error() {
  std::array<std::byte, 1024> buffer;
  stack::ReceiveSlot slot{.buffer = buffer};
  if (!client_->receive_error(slot)) return std::nullopt;
  return slot.header;
}

Result<void> App::join(std::string_view group, std::uint32_t interface) {
  return host_.stack.multicast().join(groups(), ip(group), interface, net_.now);
}

Result<void> App::leave(std::string_view group, std::uint32_t interface) {
  return host_.stack.multicast().leave(groups(), ip(group), interface, net_.now);
}

Result<void> App::join_source(std::string_view group, std::string_view source, std::uint32_t interface) {
  return host_.stack.multicast().join_source(groups(), ip(group), ip(source), interface, net_.now);
}

}  // namespace gannet::tests
