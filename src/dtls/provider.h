// The provider over another socket: it seals what is sent, opens what is received, and keeps the endpoint's time.
//
//   send:     endpoint seals into letters_ --> under's send_batch
//   receive:  under's receive_borrowed, up to 64 --> endpoint opens into its inbox, answers into its outbox --> both are emptied
//
// Thread: any. state_ guards the endpoint, and is never held while anybody waits; who receives holds receiving_, and whoever comes meanwhile waits
// for his turn; likewise sending_. They are taken in the order in which they stand. Allocates: what the endpoint does.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include <gannet/dtls.h>

#include "dtls/endpoint.h"
#include "socket/provider.h"

namespace gannet::dtls {

class Provider final : public socket::Provider {
 public:
  Provider(Socket under, std::unique_ptr<Context> context, const HashKey& key);
  ~Provider() override;

  Result<void> bind(const Address& local) override;
  Result<void> connect(const Address& peer) override;
  Result<void> disconnect() override;
  Result<void> close() override;
  [[nodiscard]] Result<Address> local_address() const override;
  [[nodiscard]] Result<Address> peer_address() const override;

  Result<std::size_t> send(std::span<const Outgoing> batch, Deadline deadline) override;
  Result<std::size_t> receive(std::span<Datagram> batch, Deadline deadline, socket::Take take) override;
  Result<SocketError> receive_error() override;

  Result<void> set(Option option, int value) override;
  [[nodiscard]] Result<int> get(Option option) const override;
  Result<void> set_ip_options(std::span<const std::byte> options) override;
  Result<void> change_membership(socket::Membership kind, const IpAddress& group, const IpAddress& source, std::uint32_t interface) override;
  Result<void> set_multicast_interface(std::uint32_t interface) override;
  Result<int> fd() override;

  // What <gannet/dtls.h> says of a DtlsSocket.
  [[nodiscard]] Result<DtlsPeer> peer(const Address& address) const;
  [[nodiscard]] std::vector<DtlsPeer> peers() const;
  [[nodiscard]] std::size_t peer_count() const;
  Result<void> close_peer(const Address& address);
  [[nodiscard]] Result<std::size_t> max_payload(const Address& peer) const;
  [[nodiscard]] Deadline next_wakeup() const;
  [[nodiscard]] std::vector<Count> drops() const;

 private:
  // Lets go of the lock, waits for datagrams or a timer, and with the lock again carries out what they ask for.
  Result<void> pump(std::unique_lock<std::mutex>& lock, Deadline deadline);
  // While another thread receives.
  void wait(std::unique_lock<std::mutex>& lock, Deadline deadline);
  // With state_ held: sends what the endpoint has to send, and tells what happened to it.
  void flush();
  void dispatch();
  std::size_t take(std::span<Datagram> batch, socket::Take take);
  Result<std::size_t> seal(std::span<const Outgoing> batch);
  Result<std::size_t> send_letters(Deadline deadline);
  // Until connect()'s handshake has ended.
  Result<void> await(std::unique_lock<std::mutex>& lock);

  Socket under_;
  static constexpr int most_rounds = 16;  // of looking for what is for us, once time is up

  std::mutex connecting_;
  mutable std::mutex state_;
  std::condition_variable changed_;                 // something was received, or ended
  bool is_receiving_ = false, is_sending_ = false;  // some thread is
  bool is_behind_ = false;                          // as many datagrams came at once as are taken at once: there may be more

  Endpoint endpoint_;
  Outbox letters_;  // sealed datagrams of one send(): of the thread that is sending
  bool is_closed_ = false;
  std::optional<Address> peer_;               // connect()'s
  bool peer_is_gone_ = false;                 // and receive() has not said so yet
  std::optional<Address> awaited_;            // by connect()
  std::optional<Result<void>> await_result_;  // once it is known
};

}  // namespace gannet::dtls
