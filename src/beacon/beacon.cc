#include <gannet/beacon.h>

#include <algorithm>

#include "base/assert.h"
#include "beacon/session.h"

namespace gannet {

std::string_view to_string(PathKind kind) {
  static constexpr std::array<std::string_view, 3> names{"multicast", "unicast", "seed"};
  return names[static_cast<std::size_t>(kind)];
}

std::string_view to_string(PeerEvent::Kind kind) {
  static constexpr std::array<std::string_view, 4> names{"joined", "changed", "left", "expired"};
  return names[static_cast<std::size_t>(kind)];
}

bool Peer::has_role(std::string_view role) const { return std::ranges::find(profile.roles, role) != profile.roles.end(); }

std::string BeaconPath::to_string() const {
  const bool is_group = kind == PathKind::multicast;
  std::string text = is_group ? "multicast " + address.ip.to_string() + " on " + interface_name : "seed " + address.to_string();
  text += ": sent " + std::to_string(sent);
  if (error != 0) return text + ", " + Error{error}.message();
  if (heard == 0) return text + (is_group ? ", nothing came back" : ", no answer");
  return text + ", heard " + std::to_string(heard) + (is_group ? ", peers " + std::to_string(peers) : ", answers");
}

Beacon::Beacon(std::unique_ptr<State> state) : state_(std::move(state)) {}
Beacon::Beacon(Beacon&&) noexcept = default;
Beacon& Beacon::operator=(Beacon&&) noexcept = default;
Beacon::~Beacon() = default;

Result<Beacon> Beacon::open(BeaconOptions options) {
  auto state = State::open(std::move(options), nullptr);
  if (!state) return state.error();
  return Beacon(std::move(*state));
}

Result<Beacon> Beacon::open(Host& host, BeaconOptions options) {
  auto state = State::open(std::move(options), &host);
  if (!state) return state.error();
  return Beacon(std::move(*state));
}

Beacon::State& Beacon::state() const {
  ASSERT(state_ != nullptr);
  return *state_;
}

Result<void> Beacon::start() { return state().start(); }
Result<PeerEvent> Beacon::next(Deadline deadline) { return state().next(deadline); }
Result<void> Beacon::update(const Profile& profile) { return state().update(profile); }
Result<void> Beacon::leave() { return state().leave(); }

int Beacon::fd() const { return state().fd(); }
std::vector<Peer> Beacon::peers() const { return state().peers(); }
std::vector<BeaconPath> Beacon::paths() const { return state().paths(); }
std::vector<Count> Beacon::drops() const { return state().drops(); }
std::uint64_t Beacon::id() const { return state().id(); }

}  // namespace gannet
