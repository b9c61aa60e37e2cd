#include "engine/interposers.h"

#include <cerrno>

#include "base/assert.h"
#include "link/flow.h"
#include "wire/ipv4.h"

namespace gannet::engine {

void Interposers::clear() {
  if (all_.empty()) return;
  stack_.fates().observer = {};
  all_.clear();
}

Result<Interposer*> Interposers::add(const InterposerSetup& setup) {
  stack::DropObserver& observer = stack_.fates().observer;
  if (all_.empty() && observer.dropped != nullptr) return Error{EBUSY, "somebody else watches what the stack drops"};
  auto interposer = Interposer::create(setup, senders_, stack_);
  if (!interposer) return interposer.error();
  observer = {on_drop, this};
  all_.push_back(std::move(*interposer));
  return all_.back().get();
}

void Interposers::remove(Interposer& interposer) {
  ASSERT(!interposer.has_endpoints());
  std::erase_if(all_, [&](const auto& each) { return each.get() == &interposer; });
  if (all_.empty()) stack_.fates().observer = {};
}

bool Interposers::advance(Time now) {
  bool any = false;
  for (const auto& each : all_) {
    if (each->next_wakeup() > now) continue;
    each->advance(now);
    any = true;
  }
  return any;
}

void Interposers::on_drop(void* self, std::span<const std::byte> bytes, Drop reason) {
  const auto& interposers = *static_cast<const Interposers*>(self);
  const auto packet = wire::begins_with_ipv4(bytes) ? bytes : link::packet_of_frame(bytes, true);
  const link::FlowKey flow = link::flow_of_packet(packet, link::Direction::in);
  if (flow.kind != wire::protocol_udp) return;
  const Senders::Sender sender = interposers.senders_.find({flow.remote, flow.remote_port});
  if (sender.interposer == nullptr) return;
  sender.interposer->lost({.endpoint = sender.endpoint, .dst = flow.local, .packet = packet, .reason = reason}, interposers.now_);
}

}  // namespace gannet::engine
