#include "cli/port.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "cli/failure.h"

namespace gannet::cli {

using namespace std::chrono_literals;

Port::Port(const Settings& settings, Report& report, Place& place, Family family, bool accepts)
    : settings_(settings), report_(report), place_(place) {
  const Sealing& sealing = settings.sealing;
  if (!sealing.is_wanted && !sealing.first_flag.empty())
    refuse(fmt::format("{} says how to seal datagrams; say that they are to be: --dtls", sealing.first_flag));
  if (!sealing.is_wanted) {
    plain_ = place.socket(family);
    return;
  }
  if (!settings.joins.empty() || settings.broadcast) refuse("DTLS is between two: no --join and no --broadcast with --dtls");
  if (place.is_memory()) refuse("the other host of --via memory echoes plain datagrams only; --dtls is for --via kernel and --via tap");
  seal(place.socket(family), accepts);
}

void Port::seal(Socket under, bool accepts) {
  auto sealed = DtlsSocket::open(std::move(under), options(accepts));
  if (!sealed) {
    const bool says_whom = !settings_.sealing.fingerprints.empty() || settings_.sealing.trust_anyone || !settings_.sealing.authorities_file.empty();
    if (sealed.error().code == EINVAL && !accepts && settings_.sealing.keys.empty() && !says_whom) {
      refuse("whom to believe? Give --fingerprint (gannet echo --dtls tells its own), --ca or --psk; or say --trust-anyone");
    }
    fail(settings_.sealing.authorities_file.empty() ? "cannot seal datagrams" : "cannot believe those of " + settings_.sealing.authorities_file,
         sealed.error());
  }
  sealed_ = *std::move(sealed);
}

DtlsOptions Port::options(bool accepts) {
  const Sealing& sealing = settings_.sealing;
  DtlsOptions options;
  options.identity = identity(accepts);
  options.pre_shared_keys = sealing.keys;
  options.fingerprints = sealing.fingerprints;
  options.authorities_file = sealing.authorities_file;
  options.trust_anyone = sealing.trust_anyone;
  options.server_name = sealing.server_name;
  options.accept = accepts;
  options.mtu = sealing.mtu;
  options.handshake_timeout = 10s;
  if (!accepts && settings_.timeout) options.handshake_timeout = std::clamp<std::chrono::nanoseconds>(*settings_.timeout, 10s, 1h);
  options.on_event = [this](const DtlsEvent& event) { report_.association(event); };
  if (!sealing.key_log.empty()) {
    // The keys to everything: nobody else's to read.
    const int file = ::open(sealing.key_log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) ::close(file);
    key_log_.open(sealing.key_log, std::ios::app);
    if (file < 0 || !key_log_) fail(fmt::format("cannot write {}", sealing.key_log), {errno, nullptr});
  }
  if (!sealing.key_log.empty() || !settings_.capture.empty()) options.on_secret = [this](std::string_view line) { tell_secret(line); };
  return options;
}

DtlsIdentity Port::identity(bool accepts) {
  const Sealing& sealing = settings_.sealing;
  if (sealing.certificate_file.empty() != sealing.key_file.empty()) refuse("--cert and --key go together");
  if (!sealing.server_name.empty() && sealing.authorities_file.empty())
    refuse("--server-name is for certificates that an authority signed: --ca FILE");
  if (!sealing.certificate_file.empty()) {
    const auto identity = DtlsIdentity::from_files(sealing.certificate_file, sealing.key_file);
    if (!identity) fail(fmt::format("cannot use {} and {}", sealing.certificate_file, sealing.key_file), identity.error());
    if (accepts) report_.fingerprint(identity->fingerprint().value());
    return *identity;
  }
  if (!accepts || !sealing.keys.empty()) return {};
  const auto identity = DtlsIdentity::self_signed("gannet");
  if (!identity) fail("cannot make a certificate", identity.error());
  report_.fingerprint(identity->fingerprint().value());
  return *identity;
}

void Port::tell_secret(std::string_view line) {
  if (key_log_.is_open()) key_log_ << line << std::endl;
  if (settings_.capture.empty()) return;
  if (const auto added = place_.add_capture_secrets(fmt::format("{}\n", line)); !added) {
    report_.note(fmt::format("the capture lacks a key: {}", added.error().message()));
  }
}

void Port::shake_hands(const Address& peer) {
  if (!sealed_) return;
  const auto connected = sealed_->connect(peer);
  if (!connected) fail(fmt::format("cannot shake hands with {}", peer.to_string()), connected.error());
}

std::optional<std::size_t> Port::max_payload(const Address& peer) const {
  if (!sealed_) return std::nullopt;
  const auto most = sealed_->max_payload(peer);
  return most ? std::optional(*most) : std::nullopt;
}

void Port::add_drops(Totals& totals) const {
  if (!sealed_) return;
  for (Count& count : sealed_->drops()) totals.drops.push_back(std::move(count));
}

}  // namespace gannet::cli
