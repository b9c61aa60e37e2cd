// The engine's part of the readiness protocol, played by a test: one socket with its bell, and what a round of the loop does for them.
//
// Owner and thread: the test, one at a time; its application's end may be used from any.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "engine/doorbell.h"
#include "stack/endpoint.h"

namespace gannet::engine {

struct PlayedEngine {
  stack::EndpointGroup group;
  stack::Endpoint endpoint{1, group};
  Bell::Ends ends = open();

  // A datagram comes, as if by the interface of this number: by that tests tell them apart.
  void publish(std::uint32_t number = 0) {
    std::array<std::byte, 8> payload{};
    const wire::IpInfo ip{.interface = number};
    stack::Delivery delivery{.ip = ip, .payload = payload, .now = {}};
    ASSERT_TRUE(endpoint.deliver(delivery).has_value());
  }
  // What Engine::ring_bells() does after each batch.
  void ring() {
    while (stack::Endpoint* news = group.take_news()) {
      const auto arrivals = news->take_arrivals();
      ring_waiters(*news, arrivals);
      ends.bell.ring(*news, arrivals);
      news->rung();
    }
  }

 private:
  Bell::Ends open() {
    EXPECT_TRUE(endpoint.open_rings().has_value());
    return Bell::create().value();
  }
};

}  // namespace gannet::engine
