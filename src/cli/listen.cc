// gannet listen [-k] [ADDRESS] PORT: writes what arrives to standard output; without -k it is a talk with the first who sends, as with nc.
#include <fmt/format.h>

#include <thread>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/intake.h"
#include "cli/payloads.h"

namespace gannet::cli {
namespace {

constexpr const char* examples = R"(Each datagram's data is followed by a newline, unless it ends with one; --raw writes exactly its bytes.

Examples:
  gannet listen 65433                          a talk with the first who sends: what you type goes back
  gannet listen -k 65433 -v                    from everybody, with addresses, TTL, TOS, interface
  gannet listen --json -k -n 10 65433          ten datagrams as JSON
  gannet listen --join 239.1.2.3 65433         a multicast group
  gannet listen --join 232.1.2.3@192.0.2.1%eth0 65433
                                               of one sender only, on one interface
  gannet listen --dtls --cert me.pem --key me.key --ca them.pem 4433
                                               sealed, from whom the authority knows
  gannet listen -k --work 5ms 65433            a slow receiver: see what a fast sender does to it)";

struct ListenFlags {
  bool keep = false;
  std::chrono::nanoseconds work{0};
};

class Listen {
 public:
  Listen(const Settings& settings, const ListenFlags& flags, Report& report)
      : flags_(flags), keep_(flags.keep || !settings.joins.empty()), report_(report), intake_(settings, report) {}

  Status run(const std::string& host, std::uint16_t port) {
    if (intake_.is_memory()) refuse("listen has nobody to hear on --via memory, a wire of this process alone; that is for gannet send");
    intake_.open(host, port);
    for (int input = -1; intake_.wait(input); input = peer_ ? typed_.fd() : -1) {
      while (const auto datagram = intake_.next()) take(*datagram);
      if (intake_.is_readable(input)) typed_.read();
      while (peer_ && typed_.state() == Payloads::State::ready) say(typed_.next());
    }
    return intake_.finish();
  }

 private:
  void take(const Datagram& datagram) {
    if (peer_ && datagram.peer != *peer_) return;  // was in the queue before connect()
    if (!keep_ && !peer_) {
      peer_ = datagram.peer;
      intake_.connect(*peer_);
    }
    intake_.count(datagram);
    report_.received(datagram, std::nullopt);
    if (flags_.work.count() > 0) std::this_thread::sleep_for(flags_.work);
  }

  void say(std::span<const std::byte> data) {
    Totals& totals = intake_.totals();
    if (const auto sent = intake_.socket().send_to(data, *peer_); !sent) {
      ++totals.errors;
      return report_.note(fmt::format("cannot send to {}: {}", peer_->to_string(), sent.error().message()));
    }
    report_.sent(++totals.datagrams_out, *peer_, data.size());
    totals.bytes_out += data.size();
  }

  const ListenFlags& flags_;
  bool keep_;
  Report& report_;
  Intake intake_;
  Payloads typed_ = Payloads::standard_input(std::nullopt);
  std::optional<Address> peer_;
};

}  // namespace

void add_listen(CommandLine& line) {
  Command command = line.command("listen", "write what arrives to standard output");
  command.examples(examples);
  const auto where = std::make_shared<std::vector<std::string>>();
  const auto flags = std::make_shared<ListenFlags>();
  command.arguments("[ADDRESS] PORT", "an address of this host (default: all of them), and the port", 1, 2, *where);
  command.flag("-k,--keep", "from everybody, not only from the first who sends; --join implies it", flags->keep);
  command.flag("-l", "for those used to nc: implied", [] {});
  command.flag("--raw", "write the data as it is, with no newlines added", command.settings().raw);
  command.value("--work", "TIME", "take this long over each datagram, as a slow program would",
                [flags](std::string_view flag, std::string_view text) { flags->work = parse_duration(flag, text); });
  add_count_flag(command, "end after this many datagrams");
  add_timeout_flag(command, "end when nothing has come for this long");
  add_receive_flags(command);
  add_report_flags(command);
  add_dtls_flags(command);
  add_link_flags(command);
  const Settings& settings = command.settings();
  command.run(
      [&settings, where, flags](Report& report) {
        return Listen(settings, *flags, report).run(where->size() == 2 ? where->front() : "", parse_port("PORT", where->back()));
      },
      [where] { (void)parse_port("PORT", where->back()); });
}

}  // namespace gannet::cli
