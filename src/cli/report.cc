#include "cli/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace gannet::cli {

using Json = nlohmann::ordered_json;

namespace {

double microseconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1000; }

Json object_of(const std::vector<Count>& counts) {
  Json object = Json::object();
  for (const Count& count : counts) object[count.name] = count.value;
  return object;
}

std::string plural(std::uint64_t count, std::string_view noun) { return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s"); }

Json json_of(const Reason& reason) { return {{"event", "reason"}, {"name", reason.name}, {"meaning", reason.meaning}, {"remedy", reason.remedy}}; }

std::string_view meaning_of_name(std::string_view name) {
  for (std::size_t i = 0; i < drop_count; ++i) {
    if (drop_names[i] == name) return drop_meanings[i];
  }
  return {};
}

// The bytes of the character that UTF-8 begins with, if it is a control that ASCII has not: C1 (U+0080 to U+009F), or one that turns the direction of
// what follows. 0: it is none.
std::size_t control_at(std::string_view text) {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  if (at(0) == 0xc2) return at(1) < 0xa0 ? 2 : 0;
  const bool turns = at(0) == 0xe2 && ((at(1) == 0x80 && at(2) >= 0xaa && at(2) <= 0xae) || (at(1) == 0x81 && at(2) >= 0xa6 && at(2) <= 0xa9));
  return turns ? 3 : 0;
}

}  // namespace

void Report::listening(std::string_view via, const Address& local) {
  if (json_) {
    line({{"event", "listening"}, {"via", via}, {"local", local.to_string()}}, {});
  } else {
    note(fmt::format("listening on {} via {}; Ctrl-C ends", local.to_string(), via));
  }
}

void Report::sent(std::uint64_t number, const Address& to, std::size_t bytes) {
  if (json_) {
    line({{"event", "sent"}, {"number", number}, {"to", to.to_string()}, {"bytes", bytes}}, {});
  } else if (verbose_) {
    note(fmt::format("sent {} to {}: {}", number, to.to_string(), plural(bytes, "byte")));
  }
}

void Report::received(const Datagram& datagram, const std::optional<Answer>& answer, std::string_view pretty) {
  if (json_) {
    Json object{{"event", "received"},
                {"peer", datagram.peer.to_string()},
                {"local", datagram.local.to_string()},
                {"interface", datagram.interface},
                {"ttl", datagram.ttl},
                {"tos", datagram.tos},
                {"bytes", datagram.data.size()},
                {"length", datagram.length},
                {"truncated", datagram.truncated}};
    const std::string_view text = text_of(datagram.data);
    if (is_utf8(text)) {
      object["text"] = text;
    } else {
      std::string hex;
      for (const std::byte byte : datagram.data) fmt::format_to(std::back_inserter(hex), "{:02x}", std::to_integer<unsigned>(byte));
      object["hex"] = hex;
    }
    if (answer) {
      object["number"] = answer->number;
      object["rtt_us"] = microseconds(answer->round_trip);
    }
    return line(object, {});
  }
  if (!pretty.empty()) return write(stdout, std::string(pretty) + '\n');
  if (verbose_) note(describe(datagram));
  std::string data = !raw_ && isatty(STDOUT_FILENO) == 1 ? printable(datagram.data) : std::string(text_of(datagram.data));
  if (!raw_ && !data.ends_with('\n')) data += '\n';
  write(stdout, data);
}

void Report::association(const DtlsEvent& event) {
  if (summed_up_) return;
  constexpr std::array kinds{"connected", "closed", "failed"};
  const char* kind = kinds[static_cast<std::size_t>(event.kind)];
  const DtlsPeer& peer = event.peer;
  const std::string fingerprint = peer.fingerprint ? peer.fingerprint->to_string() : "";
  if (json_) {
    return line({{"event", "association"},
                 {"kind", kind},
                 {"peer", peer.address.to_string()},
                 {"identity", peer.identity},
                 {"fingerprint", fingerprint.empty() ? Json() : Json(fingerprint)},
                 {"cipher", peer.cipher},
                 {"errno", event.why.code},
                 {"message", event.why.why != nullptr ? event.why.why : ""}},
                {});
  }
  if (!verbose_) return;
  std::string text = fmt::format("{} {}", peer.address.to_string(), kind);
  if (event.kind == DtlsEvent::Kind::connected) {
    text += fmt::format(", {}{}{}", peer.cipher, peer.identity.empty() ? "" : ", as ", printable(std::as_bytes(std::span(peer.identity))));
    if (!fingerprint.empty()) text += fmt::format(", fingerprint {}", fingerprint);
  } else {
    text += fmt::format(": {}", event.why.message());
  }
  note(text);
}

void Report::fingerprint(const Fingerprint& fingerprint) {
  if (json_) return line({{"event", "fingerprint"}, {"sha256", fingerprint.to_string()}}, {});
  note(fmt::format("fingerprint {}", fingerprint.to_string()));
}

void Report::error(const SocketError& error, std::string_view sentence) {
  if (json_) {
    line({{"event", "error"},
          {"errno", error.code},
          {"message", sentence},
          {"peer", error.peer.to_string()},
          {"offender", error.offender.is_any() ? Json(nullptr) : Json(error.offender.to_string())},
          {"type", error.type},
          {"code", error.icmp_code},
          {"mtu", error.mtu}},
         {});
  } else {
    note(sentence);
  }
}

void Report::packet(std::string_view text) {
  if (!summed_up_) line({{"event", "packet"}, {"line", text}}, text);
}

void Report::captured(const Captured& packet) {
  const auto or_null = [](std::string_view text) { return text.empty() ? Json(nullptr) : Json(text); };
  const auto seconds = std::chrono::floor<std::chrono::seconds>(packet.since_1970);
  std::string text = fmt::format("{} {}{}", packet.time_of_day, packet.direction.empty() ? "" : fmt::format("{:<4}", packet.direction), packet.line);
  if (packet.bytes < packet.length) text += fmt::format(" (cut: {} of {} bytes captured)", packet.bytes, packet.length);
  if (!packet.comment.empty()) text += fmt::format("  # {}", packet.comment);
  line({{"event", "captured"},
        {"number", packet.number},
        {"time", fmt::format("{}.{:09}", seconds.count(), (packet.since_1970 - seconds).count())},
        {"interface", or_null(packet.interface)},
        {"direction", or_null(packet.direction)},
        {"bytes", packet.bytes},
        {"length", packet.length},
        {"line", packet.line},
        {"comment", or_null(packet.comment)}},
       text);
}

void Report::summary(const Totals& totals) {
  summed_up_ = true;
  const Latency& trips = totals.round_trips;
  if (json_) {
    Json rtt = nullptr;
    if (trips.count() > 0) {
      rtt = {{"min", microseconds(trips.min())},
             {"p50", microseconds(trips.percentile(50))},
             {"p90", microseconds(trips.percentile(90))},
             {"p99", microseconds(trips.percentile(99))},
             {"max", microseconds(trips.max())}};
    }
    return line({{"event", "summary"},
                 {"datagrams_out", totals.datagrams_out},
                 {"bytes_out", totals.bytes_out},
                 {"datagrams_in", totals.datagrams_in},
                 {"bytes_in", totals.bytes_in},
                 {"replies", totals.replies ? Json(*totals.replies) : Json(nullptr)},
                 {"lost", totals.replies ? Json(totals.lost()) : Json(nullptr)},
                 {"errors", totals.errors},
                 {"rtt_us", rtt},
                 {"drops", object_of(totals.drops)},
                 {"counters", object_of(totals.counters)}},
                {});
  }
  std::string text = fmt::format("-- {} out ({}), {} in ({})", plural(totals.datagrams_out, "datagram"), plural(totals.bytes_out, "byte"),
                                 totals.datagrams_in, plural(totals.bytes_in, "byte"));
  if (totals.replies && totals.datagrams_out > 0) {
    text += fmt::format(", {} without a reply ({:.3g}%)", totals.lost(),
                        100 * static_cast<double>(totals.lost()) / static_cast<double>(totals.datagrams_out));
  }
  if (totals.errors > 0) text += fmt::format(", {} reported by the network", plural(totals.errors, "error"));
  if (trips.count() > 0) {
    text += fmt::format("\n-- round trip: min {}, p50 {}, p90 {}, p99 {}, max {}", human(trips.min()), human(trips.percentile(50)),
                        human(trips.percentile(90)), human(trips.percentile(99)), human(trips.max()));
  }
  for (const Count& drop : totals.drops) text += fmt::format("\n-- dropped {:>6}  {}: {}", drop.value, drop.name, meaning_of_name(drop.name));
  if (verbose_) {
    for (const Count& counter : totals.counters) text += fmt::format("\n-- {:>14}  {}", counter.value, counter.name);
  }
  note(text);
}

void Report::failed(const Failure& failure) {
  if (json_) line({{"event", "failed"}, {"status", static_cast<int>(failure.status)}, {"message", failure.sentence}}, {});
  write(stderr, "gannet: " + failure.sentence + '\n');
}

void Report::reason(const Reason& reason) { line(json_of(reason), fmt::format("{:<30} {}", reason.name, reason.meaning)); }

void Report::explained(const Reason& reason) {
  line(json_of(reason), fmt::format("{}: {}\n  what to do: {}", reason.name, reason.meaning, reason.remedy));
}

void Report::hub_status(const hub::Status& status) {
  line({{"event", "hub"},
        {"process", status.process},
        {"sockets", status.sockets},
        {"programs", status.programs},
        {"datagrams_in", status.datagrams_in},
        {"datagrams_out", status.datagrams_out},
        {"rounds", status.rounds},
        {"sleeps", status.sleeps}},
       fmt::format("process {}, {} sockets, {} datagrams out, {} in", status.process, status.sockets, status.datagrams_out, status.datagrams_in));
}

void Report::note(std::string_view text) {
  if (!json_) write(stderr, std::string(text) + '\n');
}

void Report::line(const Json& object, std::string_view text) {
  write(stdout, (json_ ? object.dump(-1, ' ', false, Json::error_handler_t::replace) : std::string(text)) + '\n');
}

void Report::write(std::FILE* file, const std::string& text) {
  const std::scoped_lock lock(mutex_);
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

std::string describe(const Datagram& datagram) {
  std::string text = fmt::format("{} > {}, {}", datagram.peer.to_string(), datagram.local.to_string(), plural(datagram.data.size(), "byte"));
  if (datagram.ttl >= 0) text += fmt::format(", ttl {}, tos 0x{:02x}", datagram.ttl, datagram.tos);
  if (datagram.interface != 0) text += fmt::format(", interface {}", datagram.interface);
  if (datagram.truncated) text += fmt::format(", truncated from {}", datagram.length);
  return text;
}

std::string printable(std::span<const std::byte> data, std::size_t most) {
  const std::string_view text = text_of(data.first(std::min(most, data.size())));
  const bool utf8 = is_utf8(text);
  std::string out;
  std::size_t escaped = 0;  // how many more bytes are a control's
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (utf8 && escaped == 0) escaped = control_at(text.substr(i));
    const bool plain = escaped == 0 && ((byte >= 0x20 && byte != 0x7f && (byte < 0x80 || utf8)) || byte == '\n' || byte == '\t');
    if (escaped > 0) --escaped;
    if (plain) {
      out += text[i];
    } else {
      out += fmt::format("\\x{:02x}", byte);
    }
  }
  return data.size() > most ? out + "..." : out;
}

std::string human(std::chrono::nanoseconds time) {
  const double ms = static_cast<double>(time.count()) / 1e6;
  return ms < 1000 ? fmt::format("{:.3f} ms", ms) : fmt::format("{:.3f} s", ms / 1000);
}

bool is_utf8(std::string_view text) {
  // nlohmann's own check, so that what is called text here is what dump() writes unchanged.
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

}  // namespace gannet::cli
