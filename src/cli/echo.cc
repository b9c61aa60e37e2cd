// gannet echo [ADDRESS] PORT: sends every datagram back to where it came from.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/intake.h"

namespace gannet::cli {
namespace {

constexpr const char* examples = R"(Examples:
  gannet echo 127.0.0.1 65433                  the kernel's UDP, this machine only
  gannet echo 65433 -v                         every address; a line for each datagram
  sudo gannet echo --via tap:gannet0,10.7.0.2/24 --print 65433
                                               a host of ours, 10.7.0.2, on a TAP device: the kernel's end of it needs an address
                                               too (ip address add 10.7.0.1/24 dev gannet0; ip link set gannet0 up)
  gannet echo --via tap:gannet0,10.7.0.2/24 --loss 5% --delay 80ms --capture echo.pcapng 65433
  gannet echo --dtls 4433                      sealed, with a certificate made up now, whose fingerprint it tells
  gannet echo --dtls --psk robot-7:@key.hex 4433
                                               sealed, for who knows the key
  gannet echo --join 239.1.2.3 65433           answers what is sent to a group as well)";

// Answers from the address that was asked, where that is one host's (RFC 1122 4.1.3.5); a group or broadcast address is nobody's to answer from.
Outgoing answer_to(const Datagram& datagram, bool to_one) {
  Outgoing answer{.data = datagram.data, .to = datagram.peer};
  if (to_one) answer.source = datagram.local;
  return answer;
}

class Echo {
 public:
  Echo(const Settings& settings, Report& report) : report_(report), intake_(settings, report) {}

  Status run(const std::string& host, std::uint16_t port) {
    if (intake_.is_memory()) refuse("echo has nobody to answer on --via memory, a wire of this process alone; that is for gannet send");
    intake_.open(host, port);
    while (intake_.wait()) {
      while (const auto datagram = intake_.next()) {
        answer(*datagram);
        intake_.count(*datagram);
        if (report_.json() || report_.verbose()) {
          report_.received(*datagram, std::nullopt, fmt::format("{}: {}", describe(*datagram), printable(datagram->data, 200)));
        }
      }
    }
    return intake_.finish();
  }

 private:
  void answer(const Datagram& datagram) {
    if (datagram.peer.port == 0) return;  // the sender expects no answer (RFC 768)
    Socket& socket = intake_.socket();
    Totals& totals = intake_.totals();
    auto sent = socket.send(answer_to(datagram, !datagram.local.ip.is_multicast() && !datagram.local.ip.is_any()));
    // A directed broadcast address looks like any other until one sends from it.
    if (!sent) sent = socket.send(answer_to(datagram, false));
    if (!sent) {
      ++totals.errors;
      return report_.note(fmt::format("cannot answer {}: {}", datagram.peer.to_string(), sent.error().message()));
    }
    ++totals.datagrams_out;
    totals.bytes_out += datagram.data.size();
  }

  Report& report_;
  Intake intake_;
};

}  // namespace

void add_echo(CommandLine& line) {
  Command command = line.command("echo", "send every datagram back to where it came from");
  command.examples(examples);
  const auto where = std::make_shared<std::vector<std::string>>();
  command.arguments("[ADDRESS] PORT", "an address of this host (default: all of them), and the port", 1, 2, *where);
  add_receive_flags(command);
  add_count_flag(command, "end after this many datagrams");
  add_timeout_flag(command, "end when nothing has come for this long");
  add_report_flags(command);
  add_dtls_flags(command);
  add_link_flags(command);
  const Settings& settings = command.settings();
  command.run([&settings, where](
                  Report& report) { return Echo(settings, report).run(where->size() == 2 ? where->front() : "", parse_port("PORT", where->back())); },
              [where] { (void)parse_port("PORT", where->back()); });
}

}  // namespace gannet::cli
