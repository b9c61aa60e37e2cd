// The host page: what an application needs to know of a host to check a send as Linux does, without asking the engine.
//
//   engine: publish() when the stack's generation changed  ->  page  ->  applications: HostView::find(), check_send()
//
// A sequence lock over words: odd while the engine writes; a reader that saw it odd, or changed, reads again. The page is mapped once, shared with
// children; other processes can map it only to read.
// Owner: the engine, which writes it in its thread.  Threads of readers: any. A read allocates nothing and makes no system call.
// Bounds: max_entries; a host with more publishes none, and `find` then says nothing. max_path_mtus; of more the newest are here. What the page
// cannot tell comes back as a socket error.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <gannet/address.h>
#include <gannet/result.h>

#include "base/fd.h"
#include "engine/death_mark.h"
#include "stack/endpoint_memory.h"
#include "stack/path.h"
#include "stack/stack.h"

namespace gannet::engine {

// A range of addresses, and what a datagram to it meets.
struct HostEntry {
  enum class Kind : std::uint32_t { own, broadcast, network, route, interface };  // interface: there is one of this index
  IpAddress network;
  std::uint8_t prefix = 0;
  Kind kind = Kind::network;
  std::uint32_t interface = 0;
  std::uint32_t mtu = 0;     // of the interface, bytes of IP packet
  std::uint32_t metric = 0;  // of a route
};

class HostPage {
 public:
  static constexpr std::size_t max_entries = 1024;
  static constexpr std::size_t entry_words = 5;
  static constexpr std::size_t max_path_mtus = 256;
  static constexpr std::size_t path_mtu_words = 3;

  static Result<std::unique_ptr<HostPage>> create(stack::Sharing sharing = stack::Sharing::children);
  // The page of an engine in another process, of which this is its descriptor: mapped so that it can only be read.
  using Attached = std::shared_ptr<const stack::SharedMemory>;
  static Result<Attached> attach(Fd fd);
  [[nodiscard]] int fd() const { return memory_.fd(); }

  // Engine's thread: views tell from now on whether it has ended. Only where the engine has its process to itself (DeathMark).
  void stand() { owner_.stand(page_.owner); }
  // Engine: writes what the stack knows, if it changed since. True if it did.
  bool publish(stack::Stack& stack);

 private:
  friend class HostView;
  struct Layout {
    std::atomic<std::uint64_t> sequence;
    std::atomic<std::uint64_t> generation;
    std::atomic<std::uint64_t> count;  // of entries; more than max_entries: not told
    std::atomic<std::uint64_t> words[max_entries * entry_words];
    std::atomic<std::uint64_t> path_mtu_count;  // what routers told of paths (stack::PathMtus)
    std::atomic<std::uint64_t> path_mtus[max_path_mtus * path_mtu_words];
    alignas(64) std::atomic<std::uint32_t> owner;  // see DeathMark
  };
  explicit HostPage(stack::SharedMemory memory);
  void write(stack::Stack& stack);
  void append(const HostEntry& entry);
  void write_path_mtus(const stack::PathMtus& path_mtus);

  stack::SharedMemory memory_;
  Layout& page_;
  DeathMark owner_;
  std::uint64_t count_ = 0;
  std::uint64_t published_ = 0;  // generation
};

class HostView {
 public:
  explicit HostView(const HostPage& page) : page_(page.page_) {}
  explicit HostView(HostPage::Attached page);

  struct Destination {
    bool reachable = false;
    stack::PathKind kind = stack::PathKind::unicast;
    std::uint32_t mtu = 0;  // of the interface that it would leave by
  };
  // None: the page does not tell.
  [[nodiscard]] std::optional<Destination> find(const IpAddress& dst, std::uint32_t interface) const;
  // What a router said that the path there carries. None: no router said so.
  [[nodiscard]] std::optional<std::uint32_t> find_path_mtu(const IpAddress& dst) const;
  // The interface that has this address of ours; 0: none. And an address that it has; 0.0.0.0: none.
  [[nodiscard]] std::uint32_t interface_of(const IpAddress& own) const;
  [[nodiscard]] IpAddress address_of(std::uint32_t interface) const;
  // Whether there is an interface with this index; also where the page does not tell.
  [[nodiscard]] bool has_interface(std::uint32_t interface) const;
  // The engine is gone, which has a process to itself.
  [[nodiscard]] bool is_orphaned() const { return DeathMark::is_dead(page_.owner); }
  [[nodiscard]] std::uint64_t generation() const { return page_.generation.load(std::memory_order_acquire); }

 private:
  // What `look` finds in one publication.
  template <class Look>
  [[nodiscard]] auto read(Look&& look) const -> decltype(look());
  [[nodiscard]] std::optional<Destination> look_up(const IpAddress& dst, std::uint32_t interface, std::uint64_t count) const;
  [[nodiscard]] HostEntry entry(std::uint64_t index) const;
  HostPage::Attached attached_;  // none where the engine is in this process
  const HostPage::Layout& page_;
};

// What Linux would refuse at once: EINVAL (port 0), EMSGSIZE (larger than a datagram can be, or than the interface or the path takes where nothing is
// to be fragmented), ENODEV (no such interface), ENETUNREACH, EACCES (broadcast without the option).
struct SendCheck {
  Address to;
  std::size_t payload_size = 0;
  std::size_t ip_options_size = 0;
  std::uint16_t segment_size = 0;
  std::uint32_t interface = 0;
  bool broadcast = false;  // SO_BROADCAST
  stack::Fragmentation fragmentation = stack::Fragmentation::want;
};
[[nodiscard]] Result<void> check_send(const HostView& host, const SendCheck& send);

}  // namespace gannet::engine
