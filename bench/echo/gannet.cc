// Our whole stack: frame in, Ethernet, IPv4 and UDP parsed and all checksums verified, the socket found, the echo out by route, neighbour and queue.
//
// Two doors: a handler that answers in the frame, and an endpoint whose application takes the datagram from the receive ring and puts its answer into
// the send ring (both sides in one thread; no wake-ups).
#include <array>
#include <cstring>
#include <optional>

#include "base/rng.h"
#include "contender.h"
#include "stack/endpoint_client.h"
#include "stack/stack.h"
#include "stack/udp.h"

namespace gannet::bench {
namespace {

constexpr std::uint16_t echo_port = 65433;

class GannetHost : public Contender {
 public:
  GannetHost() : pools_(FramePools::create(256, 4).value()), rng_(1), stack_(pools_, rng_) {
    const auto mac = wire::MacAddress::parse("02:00:00:00:00:02").value();
    interface_ = stack_.add_interface({.name = "bench", .mac = mac}).value();
    stack_.add_address(interface_, IpAddress::ipv4(10, 0, 0, 2), 24, now_).value();
    endpoint_ = stack_.udp().open(group_).value();
    carry(arp_request_frame());
    static_cast<void>(answer());
  }
  ~GannetHost() override { stack_.udp().close(*endpoint_, now_); }

 protected:
  // Gives the host a frame, as a link would.
  void carry(std::span<const std::byte> bytes) {
    take_answers();
    Frame frame = pools_.allocate(bytes.size());
    frame.resize(bytes.size());
    std::memcpy(frame.bytes().data(), bytes.data(), bytes.size());
    stack_.input(interface_, std::move(frame), now_);
  }
  // The first frame that waits to leave.
  std::span<const std::byte> answer() {
    answers_ = stack_.output(interface_);
    return answers_.empty() ? std::span<const std::byte>{} : answers_.front().bytes();
  }

  FramePools pools_;
  Rng rng_;
  stack::Stack stack_;
  stack::EndpointGroup group_;
  stack::Endpoint* endpoint_ = nullptr;
  std::uint32_t interface_ = 0;
  Time now_{1s};

 private:
  // The link has read them: the frames go back to their pool.
  void take_answers() {
    for (Frame& frame : answers_) frame.release();
    stack_.sent(interface_, answers_.size());
    answers_ = {};
  }

  std::span<Frame> answers_;
};

class HandlerEcho : public GannetHost {
 public:
  HandlerEcho() {
    endpoint_->handler = {[](void* self, stack::Endpoint& endpoint, stack::Delivery& delivery) {
                            static_cast<void>(static_cast<HandlerEcho*>(self)->stack_.udp().reply(endpoint, delivery, delivery.payload.size()));
                          },
                          this};
    stack_.udp().bind(*endpoint_, {IpAddress::any(Family::ipv4), echo_port}).value();
  }
  std::span<const std::byte> echo(std::span<const std::byte> request) override {
    carry(request);
    return answer();
  }
};

class EndpointEcho : public GannetHost {
 public:
  EndpointEcho() {
    endpoint_->open_rings().value();
    client_.emplace(endpoint_->memory());
    client_->set_send_ring(endpoint_->add_send_ring().value());
    stack_.udp().bind(*endpoint_, {IpAddress::any(Family::ipv4), echo_port}).value();
  }
  std::span<const std::byte> echo(std::span<const std::byte> request) override {
    carry(request);
    while (group_.take_news() != nullptr) {
    }
    slot_.buffer = buffer_;
    if (client_->receive({&slot_, 1}) == 1) {
      stack::SendSlot out{.header = {}, .ip_options = {}, .payload = std::span(buffer_).first(slot_.size)};
      out.header.peer = slot_.header.peer;
      client_->send({&out, 1});
      stack_.udp().flush(*endpoint_, now_, 64);
    }
    return answer();
  }

 private:
  std::optional<stack::EndpointClient> client_;
  std::array<std::byte, 2048> buffer_{};
  stack::ReceiveSlot slot_{};
};

}  // namespace

std::unique_ptr<Contender> make_gannet_handler() { return std::make_unique<HandlerEcho>(); }
std::unique_ptr<Contender> make_gannet_endpoint() { return std::make_unique<EndpointEcho>(); }

}  // namespace gannet::bench
