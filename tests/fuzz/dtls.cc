// Any datagram as the first flight of a DTLS client: its parts are inside it, and what asks for a cookie is shorter than what it answers.
#include "wire/dtls.h"

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::wire;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto rest = fuzz::input(data, size);
  while (const auto record = parse_dtls_record(rest)) {
    EXPECT(fuzz::within(record->fragment, rest) && fuzz::within(record->rest, rest));
    EXPECT(dtls_record_header_size + record->fragment.size() + record->rest.size() == rest.size());
    EXPECT(record->sequence >> 48 == 0);
    if (const auto hello = parse_client_hello(*record)) {
      EXPECT(is_client_hello(*record) && hello->random.size() == 32 && hello->session_id.size() <= 32);
      for (const auto part : {hello->random, hello->session_id, hello->cookie}) EXPECT(fuzz::within(part, record->fragment));
      std::array<std::byte, hello_verify_request_max> out{};
      const std::size_t asked = emit_hello_verify_request(hello->sequence, fuzz::Bytes(9), out);
      const auto request = parse_dtls_record(std::span(out).first(asked));
      EXPECT(request && request->sequence == hello->sequence && request->rest.empty() && asked < rest.size());
    }
    rest = record->rest;
  }
  return 0;
}
