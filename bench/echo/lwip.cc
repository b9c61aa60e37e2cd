// Debian's lwIP doing the same echo. Its frames go to netif->input with the core lock held, in PBUF_RAM (its pool overflows on 1,400-byte frames).
#include <array>
#include <cstring>

#include "contender.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
extern "C" {  // its lwipopts.h declares functions without saying so
#include <lwip/etharp.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/tcpip.h>
#include <lwip/udp.h>
#include <netif/ethernet.h>
}
#pragma GCC diagnostic pop

#include <semaphore.h>

namespace gannet::bench {
namespace {

// There is one lwIP in a process, with a thread of its own; it lasts as long as the process.
class Lwip {
 public:
  Lwip() {
    sem_t ready;
    sem_init(&ready, 0, 0);
    tcpip_init([](void* arg) { sem_post(static_cast<sem_t*>(arg)); }, &ready);
    sem_wait(&ready);
    sem_destroy(&ready);

    LOCK_TCPIP_CORE();
    ip4_addr_t address, mask, gateway;
    IP4_ADDR(&address, 10, 0, 0, 2);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 0, 0, 0, 0);
    netif_add(&netif_, &address, &mask, &gateway, this, set_up, ethernet_input);
    netif_set_default(&netif_);
    netif_set_up(&netif_);
    netif_set_link_up(&netif_);
    udp_pcb* socket = udp_new();
    udp_bind(socket, IP4_ADDR_ANY, 65433);
    udp_recv(socket, answer, nullptr);
    UNLOCK_TCPIP_CORE();
    echo(arp_request_frame());
  }

  std::span<const std::byte> echo(std::span<const std::byte> request) {
    reply_size_ = 0;
    LOCK_TCPIP_CORE();
    pbuf* frame = pbuf_alloc(PBUF_RAW, static_cast<u16_t>(request.size()), PBUF_RAM);
    if (frame != nullptr) {
      std::memcpy(frame->payload, request.data(), request.size());
      if (netif_.input(frame, &netif_) != ERR_OK) pbuf_free(frame);
    }
    UNLOCK_TCPIP_CORE();
    return std::span(reply_).first(reply_size_);
  }
  // The next answers are kept for reading: copying them is not the host's work.
  void keep_answers(int count) { keep_ = count; }

 private:
  static err_t set_up(netif* netif) {
    netif->name[0] = 'b';
    netif->name[1] = 'n';
    netif->mtu = 1500;
    netif->hwaddr_len = 6;
    constexpr std::array<u8_t, 6> mac{2, 0, 0, 0, 0, 2};
    std::memcpy(netif->hwaddr, mac.data(), mac.size());
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_UP | NETIF_FLAG_LINK_UP;
    netif->output = etharp_output;
    netif->linkoutput = send;
    return ERR_OK;
  }
  static void answer(void*, udp_pcb* socket, pbuf* datagram, const ip_addr_t* peer, u16_t port) {
    udp_sendto(socket, datagram, peer, port);
    pbuf_free(datagram);
  }
  static err_t send(netif* netif, pbuf* frame) {
    auto* self = static_cast<Lwip*>(netif->state);
    self->reply_size_ = frame->tot_len;
    if (self->keep_ > 0) {
      --self->keep_;
      pbuf_copy_partial(frame, self->reply_.data(), frame->tot_len, 0);
    }
    return ERR_OK;
  }

  netif netif_{};
  int keep_ = 0;
  std::array<std::byte, 2048> reply_{};
  std::size_t reply_size_ = 0;
};

class Handle : public Contender {
 public:
  Handle() { host().keep_answers(16); }
  std::span<const std::byte> echo(std::span<const std::byte> request) override { return host().echo(request); }

 private:
  static Lwip& host() {
    static Lwip the_host;
    return the_host;
  }
};

}  // namespace

std::unique_ptr<Contender> make_lwip() { return std::make_unique<Handle>(); }

}  // namespace gannet::bench
