#include "cli/flags.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

using Take = void (*)(Impairment& impairment, std::string_view flag, std::string_view text);

struct FaultFlag {
  std::string name;
  std::string type;
  std::string help;
  Take take;
};

void take_burst(Impairment& impairment, std::string_view flag, std::string_view text) {
  const auto first = text.find(',');
  const auto second = first == text.npos ? first : text.find(',', first + 1);
  impairment.burst_start = parse_probability(flag, text.substr(0, first));
  if (first != text.npos) impairment.burst_end = parse_probability(flag, text.substr(first + 1, second - first - 1));
  if (second != text.npos) impairment.burst_loss = parse_probability(flag, text.substr(second + 1));
}

const std::array<FaultFlag, 9>& fault_flags() {
  static const std::array<FaultFlag, 9> flags{{
      {"--loss", "SHARE", "lose this share of the packets, each by itself: 5%",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.loss = parse_probability(flag, text); }},
      {"--burst", "START[,END[,LOSS]]", "lose in bursts (Gilbert-Elliott): 1%,25% begins one at 1% of packets and ends it at 25%", take_burst},
      {"--delay", "TIME", "delay every packet: 80ms",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.delay = parse_duration(flag, text); }},
      {"--jitter", "TIME", "vary the delay by up to this, either way; keeps the order",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.jitter = parse_duration(flag, text); }},
      {"--reorder", "SHARE", "let this share overtake what is delayed",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.reorder = parse_probability(flag, text); }},
      {"--duplicate", "SHARE", "send this share twice",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.duplicate = parse_probability(flag, text); }},
      {"--corrupt", "SHARE", "flip one random bit in this share, for the checksum to find",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.corrupt = parse_probability(flag, text); }},
      {"--rate", "BITS", "slow the link down to this many bits per second: 1Mbit",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.rate = parse_rate(flag, text); }},
      {"--queue", "BYTES", "what waits for the --rate at most; the rest is dropped (256k)",
       [](Impairment& i, std::string_view flag, std::string_view text) { i.queue_bytes = parse_bytes(flag, text); }},
  }};
  return flags;
}

void remember(Settings& settings, std::string_view flag) {
  if (settings.needs_our_link.empty()) settings.needs_our_link = flag;
}

}  // namespace

void add_fault_flags(Command& command, const std::string& heading) {
  Settings& settings = command.settings();
  // They are read in this order, so that a flag of one direction overrides that of both, wherever it stands.
  for (const auto& [suffix, in, out] : {std::tuple{"", true, true}, std::tuple{"-in", true, false}, std::tuple{"-out", false, true}}) {
    command.heading(*suffix == '\0' ? heading : "");
    for (const FaultFlag& fault : fault_flags()) {
      command.value(fault.name + suffix, fault.type, fault.help, [&settings, &fault, in, out](std::string_view flag, std::string_view text) {
        remember(settings, flag);
        if (in) fault.take(settings.in, flag, text);
        if (out) fault.take(settings.out, flag, text);
      });
    }
  }
  command.heading(heading);
  command.value("--seed", "N", "of the faults' randomness: the same seed, the same faults (1)",
                [&settings](std::string_view flag, std::string_view text) {
                  remember(settings, flag);
                  settings.in.seed = settings.out.seed = parse_number(flag, text, 0, std::numeric_limits<std::uint64_t>::max());
                });
  command.heading("Options");
}

void add_link_flags(Command& command) {
  Settings& settings = command.settings();
  command.heading("Where");
  command.text("--via", "WHERE", "whose UDP: kernel (default), or a host of ours on tap:NAME,ADDR/LEN[,gw=ADDR]", settings.via);
  command.value("--capture", "FILE", "write every packet of our link to this pcapng file", [&settings](std::string_view flag, std::string_view text) {
    settings.capture = text;
    remember(settings, flag);
  });
  command.flag("--print", "a line for every packet of our link, as tcpdump has it", [&settings] {
    settings.print = true;
    remember(settings, "--print");
  });

  add_fault_flags(command, "Faults of our link, both ways (or one: --loss-in, --delay-out, ...)");
}

void add_send_flags(Command& command) {
  Settings& settings = command.settings();
  command.flag("-b,--broadcast", "allow broadcast addresses", settings.broadcast);
  command.value("-T,--tos", "TOS", "type of service: 0-255, or ef, cs1, af11, lowdelay ...",
                [&settings](std::string_view flag, std::string_view text) { settings.tos = parse_tos(flag, text); });
  command.value("-M,--ttl", "TTL", "time to live, 1-255 (64; to groups 1)",
                [&settings](std::string_view flag, std::string_view text) { settings.ttl = static_cast<int>(parse_number(flag, text, 1, 255)); });
  command.text("-i,--interface", "IFACE", "the interface by which to send to a group: name or number", settings.interface);
}

void add_receive_flags(Command& command) {
  Settings& settings = command.settings();
  command.value(
      "--join", "GROUP[@SOURCE][%IFACE]", "join this multicast group, of all senders or of one; may be given again",
      [&settings](std::string_view flag, std::string_view text) { settings.joins.push_back(parse_join(flag, text)); }, true);
  command.value("-I,--receive-buffer", "BYTES", "of what waits to be read (SO_RCVBUF)", [&settings](std::string_view flag, std::string_view text) {
    settings.receive_buffer = parse_bytes(flag, text);
    if (settings.receive_buffer == 0 || settings.receive_buffer > std::numeric_limits<int>::max()) {
      refuse(fmt::format("{} takes from 1 byte to 2G, not \"{}\"", flag, text));
    }
  });
}

void add_report_flags(Command& command) {
  Settings& settings = command.settings();
  command.flag("-v,--verbose", "tell more: of each datagram its addresses, TTL, TOS, interface; at the end all counters", settings.verbose);
  command.flag("--json", "one JSON object per line, for every event and the summary", settings.json);
  command.flag("-4", "IPv4 only", [&settings] { settings.family = Family::ipv4; });
  command.flag("-6", "IPv6 only", [&settings] { settings.family = Family::ipv6; });
  command.flag("-u,--udp", "for those used to nc: UDP is all there is", [] {});
}

void add_dtls_flags(Command& command) {
  Settings& settings = command.settings();
  Sealing& sealing = settings.sealing;
  const auto remember_dtls = [&sealing](std::string_view flag) {
    if (sealing.first_flag.empty()) sealing.first_flag = flag;
  };
  const auto text = [&](const char* flags, const char* type, const char* help, std::string& into) {
    command.value(flags, type, help, [&into, remember_dtls](std::string_view flag, std::string_view given) {
      into = given;
      remember_dtls(flag);
    });
  };
  command.heading("DTLS");
  command.flag("--dtls", "seal every datagram (DTLS 1.2): nobody else can read, change or forge it", sealing.is_wanted);
  text("--cert", "FILE", "our certificate, PEM; echo and listen make one up where there is none", sealing.certificate_file);
  text("--key", "FILE", "its private key, PEM", sealing.key_file);
  text("--ca", "FILE", "believe whose certificate one of these signed, PEM; whatever its name, unless --server-name", sealing.authorities_file);
  text("--server-name", "NAME", "with --ca: the name that the server's certificate must be for", sealing.server_name);
  command.value(
      "--fingerprint", "SHA256", "believe who has the certificate with this fingerprint; may be given again",
      [&sealing, remember_dtls](std::string_view flag, std::string_view given) {
        const auto fingerprint = Fingerprint::parse(given);
        if (!fingerprint) refuse(fmt::format("{} \"{}\": {}", flag, given, fingerprint.error().message()));
        sealing.fingerprints.push_back(*fingerprint);
        remember_dtls(flag);
      },
      true);
  command.value(
      "--psk", "NAME:HEX|@FILE", "believe who knows this key, 16 bytes or more, and prove ourselves by it; may be given again",
      [&sealing, remember_dtls](std::string_view flag, std::string_view given) {
        sealing.keys.push_back(parse_shared_key(flag, given));
        remember_dtls(flag);
      },
      true);
  command.flag("--trust-anyone", "believe any certificate: sealed, but nobody knows for whom", [&sealing, remember_dtls] {
    sealing.trust_anyone = true;
    remember_dtls("--trust-anyone");
  });
  text("--key-log", "FILE", "append the keys to this file, for Wireshark; --capture has them, too", sealing.key_log);
  command.value("--dtls-mtu", "BYTES", "of the packets that carry it, at most (1280)",
                [&sealing, remember_dtls](std::string_view flag, std::string_view given) {
                  sealing.mtu = parse_bytes(flag, given);
                  remember_dtls(flag);
                });
  command.heading("Options");
}

void add_timeout_flag(Command& command, const std::string& help) {
  command.value("-w,--timeout", "TIME", help,
                [&settings = command.settings()](std::string_view flag, std::string_view text) { settings.timeout = parse_duration(flag, text); });
}

void add_count_flag(Command& command, const std::string& help) {
  command.value("-n,--count", "N", help, [&settings = command.settings()](std::string_view flag, std::string_view text) {
    settings.count = parse_number(flag, text, 1, std::numeric_limits<std::uint64_t>::max());
  });
}

}  // namespace gannet::cli
