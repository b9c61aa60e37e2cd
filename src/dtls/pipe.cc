#include "dtls/pipe.h"

#include <algorithm>
#include <cstring>

namespace gannet::dtls {
namespace {

Pipe& pipe_of(BIO* bio) { return *static_cast<Pipe*>(BIO_get_data(bio)); }

int read(BIO* bio, char* into, int size) {
  Pipe& pipe = pipe_of(bio);
  BIO_clear_retry_flags(bio);
  if (!pipe.has_in) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const std::size_t count = std::min(pipe.in.size(), static_cast<std::size_t>(std::max(size, 0)));
  std::memcpy(into, pipe.in.data(), count);
  if (!pipe.peeks) pipe.has_in = false;
  return static_cast<int>(count);
}

int write(BIO* bio, const char* from, int size) {
  Pipe& pipe = pipe_of(bio);
  BIO_clear_retry_flags(bio);
  if (!pipe.out->add(pipe.route, std::as_bytes(std::span(from, static_cast<std::size_t>(std::max(size, 0)))))) ++pipe.overflows;
  return size;
}

long control(BIO* bio, int command, long number, void* /*pointer*/) {
  Pipe& pipe = pipe_of(bio);
  switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
      return 1;
    case BIO_CTRL_DGRAM_SET_PEEK_MODE:
      pipe.peeks = number != 0;
      return 1;
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
      return static_cast<long>(pipe.payload);
    case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
      return static_cast<long>(pipe.headers);
    default:
      return 0;
  }
}

int create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

const BIO_METHOD* method() {
  static const BIO_METHOD* const one = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "one datagram");
    if (made != nullptr) {
      BIO_meth_set_read(made, read);
      BIO_meth_set_write(made, write);
      BIO_meth_set_ctrl(made, control);
      BIO_meth_set_create(made, create);
    }
    return made;
  }();
  return one;
}

}  // namespace

BIO* Pipe::bio() {
  if (method() == nullptr) return nullptr;
  BIO* bio = BIO_new(method());
  if (bio != nullptr) BIO_set_data(bio, this);
  return bio;
}

}  // namespace gannet::dtls
