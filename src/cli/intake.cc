#include "cli/intake.h"

#include "cli/failure.h"

namespace gannet::cli {

void Intake::open(const std::string& host, std::uint16_t port) {
  const Address local = host.empty() ? Address{IpAddress::any(settings_.family.value_or(Family::ipv4)), port} : place_.resolve(host, port);
  port_.emplace(settings_, report_, place_, local.ip.family, true);
  place_.bind(socket(), local);
  const auto fd = socket().fd();
  if (!fd) fail("cannot wait for datagrams", fd.error());
  fd_ = *fd;
  until_ = end_of_quiet();
  report_.listening(settings_.via, local);
}

void Intake::connect(const Address& peer) {
  if (port_->is_sealed()) return;
  if (const auto connected = socket().connect(peer); !connected) fail("cannot answer " + peer.to_string(), connected.error());
  is_connected_ = true;
}

bool Intake::wait(int other) {
  if (waiter_.interrupted() || has_enough() || std::chrono::steady_clock::now() >= until_ || !place_.has_link()) return false;
  waiter_.wait({fd_, other, place_.loss_fd()}, std::min(until_, port_->wakeup()));
  while (socket().receive_error()) ++totals_.errors;
  left_ = 64;
  return true;
}

std::optional<Datagram> Intake::next() {
  if (has_enough() || left_-- == 0) return std::nullopt;
  const auto datagram = socket().receive(buffer_, Deadline::now());
  if (datagram) {
    until_ = end_of_quiet();
    return *datagram;
  }
  // On a connected socket an ICMP error fails one call; receive_error() has it too, with its details.
  if (datagram.error().code != EAGAIN && !is_connected_) fail("cannot receive", datagram.error());
  return std::nullopt;
}

void Intake::count(const Datagram& datagram) {
  ++totals_.datagrams_in;
  totals_.bytes_in += datagram.data.size();
}

Status Intake::finish() {
  while (socket().receive_error()) ++totals_.errors;
  place_.finish(totals_, socket());
  port_->add_drops(totals_);
  report_.summary(totals_);
  place_.require_link();
  return Status::ok;
}

Waiter::Moment Intake::end_of_quiet() const {
  return settings_.timeout ? std::chrono::steady_clock::now() + *settings_.timeout : Waiter::Moment::max();
}

}  // namespace gannet::cli
