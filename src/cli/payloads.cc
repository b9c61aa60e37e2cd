#include "cli/payloads.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <limits>
#include <memory>

#include "cli/failure.h"

namespace gannet::cli {
namespace {

constexpr std::size_t most_line = 65535;  // no datagram is larger; the socket says what it takes exactly

}  // namespace

Payloads Payloads::texts(std::vector<std::string> texts, std::uint64_t count) {
  Payloads payloads(Kind::texts);
  payloads.texts_ = std::move(texts);
  payloads.left_ = count;
  return payloads;
}

Payloads Payloads::generated(std::size_t size, std::optional<std::uint64_t> count) {
  Payloads payloads(Kind::generated);
  payloads.left_ = count.value_or(std::numeric_limits<std::uint64_t>::max());
  payloads.current_.resize(size);
  for (std::size_t i = 0; i < size; ++i) payloads.current_[i] = static_cast<char>('a' + i % 26);
  return payloads;
}

Payloads Payloads::standard_input(std::optional<std::uint64_t> count) {
  Payloads payloads(Kind::standard_input);
  payloads.left_ = count.value_or(std::numeric_limits<std::uint64_t>::max());
  return payloads;
}

Payloads::State Payloads::state() const {
  if (left_ == 0) return State::ended;
  if (kind_ != Kind::standard_input) return State::ready;
  if (unread_.find('\n', taken_) != unread_.npos) return State::ready;
  if (!end_of_input_) return State::waiting;
  return taken_ < unread_.size() ? State::ready : State::ended;
}

std::span<const std::byte> Payloads::next() {
  --left_;
  ++number_;
  switch (kind_) {
    case Kind::texts:
      current_ = texts_[(number_ - 1) % texts_.size()];
      break;
    case Kind::generated: {
      const std::string number = fmt::format("{} ", number_);
      number.copy(current_.data(), current_.size());
      break;
    }
    case Kind::standard_input: {
      const std::size_t end = std::min(unread_.find('\n', taken_), unread_.size());
      current_ = unread_.substr(taken_, end - taken_);
      taken_ = std::min(end + 1, unread_.size());
      break;
    }
  }
  return std::as_bytes(std::span(current_));
}

int Payloads::fd() const { return state() == State::waiting ? STDIN_FILENO : -1; }

void Payloads::read() {
  unread_.erase(0, std::exchange(taken_, 0));
  const std::size_t had = unread_.size();
  if (had > most_line) {
    throw Failure{Status::failed, fmt::format("a line of standard input is longer than {} bytes, more than a datagram holds; shorten it", most_line)};
  }
  unread_.resize(had + 65536);
  const ssize_t got = ::read(STDIN_FILENO, unread_.data() + had, 65536);
  unread_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0 && errno != EINTR && errno != EAGAIN) fail("cannot read standard input", {errno, nullptr});
  end_of_input_ = got == 0;
}

std::string read_file(const std::string& path, std::size_t most) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) fail(fmt::format("cannot read {}", path), {errno, nullptr});
  std::string bytes(most + 1, '\0');
  bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file.get()));
  if (std::ferror(file.get()) != 0) fail(fmt::format("cannot read {}", path), {errno, nullptr});
  if (bytes.size() > most) {
    throw Failure{
        Status::failed,
        fmt::format("{} is larger than a datagram can be ({} bytes at most); split it, or send its lines: gannet send ... < {}", path, most, path)};
  }
  return bytes;
}

}  // namespace gannet::cli
