// Whose UDP a command uses: the kernel's, or that of a host of ours which lives as long as the command.
//
//   kernel                                the kernel's sockets: no privilege, no faults, no capture
//   tap:NAME,ADDR/LEN[,gw=ADDR]           a host of ours on a TAP device; the kernel's end of it is the rest of the world
//   memory                                `send` only: a host of ours at 10.7.0.1/24 on a wire in memory, and at 10.7.0.2 another, which echoes
//
// Thread: the command's; the hosts have threads of their own.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gannet/host.h>
#include <gannet/socket.h>

#include "cli/report.h"
#include "cli/settings.h"

namespace gannet::cli {

class Place {
 public:
  // Opens, and with a host of ours starts, what --via names. The settings and the report must outlive it.
  Place(const Settings& settings, Report& report);
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // With --via memory: the other host of the wire answers what comes to this port and, where it is one, to this group.
  void echo_opposite(const Address& at);

  // To wait on: readable once the link of our host is gone, as that of a TAP interface which was deleted. -1 with the kernel.
  [[nodiscard]] int loss_fd() const { return loss_fd_; }
  [[nodiscard]] bool has_link() const;
  // Fails where has_link() does not, with the reason.
  void require_link() const;

  [[nodiscard]] bool is_ours() const { return host_.has_value(); }
  [[nodiscard]] bool is_memory() const { return settings_.via == "memory"; }

  // The host of ours; null with the kernel.
  [[nodiscard]] Host* host() { return host_ ? &*host_ : nullptr; }
  // A socket with what the settings say of it: TOS, TTL, broadcast, buffer, groups.
  Socket socket(Family family);
  // With the sentence that the errno deserves; a missing privilege is Status::permission.
  void bind(Socket& socket, const Address& local);
  // The address of a host given by name or number. Names are the kernel's business (getaddrinfo).
  Address resolve(const std::string& host, std::uint16_t port);

  // Into our host's capture.
  Result<void> add_capture_secrets(std::string_view key_log) { return host_->add_capture_secrets(key_log); }

  // What died and what was counted: our host's all, the kernel's only the overflow of this socket.
  void finish(Totals& totals, const Socket& socket) const;

 private:
  // An echo server that ends with its socket.
  struct Echo {
    Socket socket;
    std::jthread thread;
    ~Echo() { (void)socket.close(); }
  };

  void open_tap();
  void open_memory();
  HostOptions host_options();
  void join(Socket& socket, const Join& join);
  std::uint32_t interface_index(const std::string& name) const;

  const Settings& settings_;
  Report& report_;
  int loss_fd_ = -1;  // an eventfd, which outlives the hosts
  std::optional<Segment> segment_;
  std::optional<Host> host_, opposite_;
  std::unique_ptr<Echo> echo_;
};

}  // namespace gannet::cli
