// Datagrams that wait for a moment: those that an endpoint has to send, and those that it has received and read.
//
// Their bytes stand one behind the other in one piece of memory, which keeps its capacity: no allocation per datagram once it has grown.
// Owner: an endpoint or a provider.  Thread: one at a time.  Bound: the capacities below; what does not fit add() refuses.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <gannet/socket.h>

namespace gannet::dtls {

class Outbox {
 public:
  static constexpr std::size_t most_bytes = std::size_t{4} << 20;

  // `how` says where to, from where, with what TTL and TOS; the bytes are copied.
  bool add(const Outgoing& how, std::span<const std::byte> bytes) {
    if (bytes_.size() + bytes.size() > most_bytes) return false;
    waiting_.push_back(how);
    waiting_.back().data = {};
    sizes_.push_back(bytes.size());
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return true;
  }
  // All of them, oldest first, valid until the next add() or clear().
  std::span<const Outgoing> batch() {
    std::span<const std::byte> rest = bytes_;
    for (std::size_t i = 0; i < waiting_.size(); ++i) {
      waiting_[i].data = rest.first(sizes_[i]);
      rest = rest.subspan(sizes_[i]);
    }
    return waiting_;
  }
  [[nodiscard]] std::size_t size() const { return waiting_.size(); }
  [[nodiscard]] bool is_empty() const { return waiting_.empty(); }
  void clear() {
    waiting_.clear();
    sizes_.clear();
    bytes_.clear();
  }

 private:
  std::vector<Outgoing> waiting_;
  std::vector<std::size_t> sizes_;
  std::vector<std::byte> bytes_;
};

class Inbox {
 public:
  static constexpr std::size_t most_bytes = std::size_t{4} << 20;

  // Where the next one may be written, so many bytes; and then that it was. `how` says from whom, to whom, and what else came with it.
  std::span<std::byte> room(std::size_t size) {
    if (capacity_ - size_ < size) grow(std::max(2 * capacity_, size_ + size));
    return {bytes_.get() + size_, size};
  }
  bool add(const Datagram& how, std::size_t size) {
    if (size_ + size > most_bytes) return false;
    letters_.push_back({how, size_, size});
    size_ += size;
    return true;
  }
  [[nodiscard]] bool is_empty() const { return next_ == letters_.size(); }
  // The oldest, into `into`'s buffer, which may be too small for it; taken out, unless it is only looked at.
  void take(Datagram& into, bool keep) {
    const Letter& letter = letters_[next_];
    const std::span<std::byte> buffer = into.buffer;
    into = letter.how;
    into.buffer = buffer;
    into.length = letter.size;
    into.data = buffer.first(std::min(buffer.size(), letter.size));
    into.truncated = into.data.size() < letter.size;
    std::copy_n(bytes_.get() + letter.at, into.data.size(), into.data.begin());
    if (!keep && ++next_ == letters_.size()) clear();
  }
  void clear() {
    letters_.clear();
    size_ = next_ = 0;
  }

 private:
  void grow(std::size_t capacity) {
    auto larger = std::make_unique_for_overwrite<std::byte[]>(capacity);
    std::copy_n(bytes_.get(), size_, larger.get());
    bytes_ = std::move(larger);
    capacity_ = capacity;
  }

  struct Letter {
    Datagram how;
    std::size_t at, size;
  };
  std::vector<Letter> letters_;
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t capacity_ = 0, size_ = 0;
  std::size_t next_ = 0;
};

}  // namespace gannet::dtls
