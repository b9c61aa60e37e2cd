// Any message, as it is and with its checksum repaired: what is parsed is emitted as it was, and a quote lies inside its error.
#include "wire/icmp4.h"

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::wire;

namespace {

void check(std::span<const std::byte> message) {
  const auto icmp = parse_icmp4(message);
  if (!icmp) return;
  EXPECT(fuzz::within(icmp->quote(), icmp->body));
  fuzz::Bytes emitted(message.begin(), message.end());
  emit_icmp4(icmp->type, icmp->code, icmp->word, emitted);
  if (load_be16(message, 2) == 0xffff) store_be16(emitted, 2, 0xffff);  // the other zero
  EXPECT(fuzz::same(emitted, message));
  if (!icmp->is_error()) return;
  const auto quote = parse_quote(*icmp);
  if (!quote) return;
  EXPECT(fuzz::within(quote->payload, icmp->body) && fuzz::within(quote->options, icmp->body));
  EXPECT(quote->payload.size() >= 8 && quote->options.size() <= 40);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = fuzz::input(data, size);
  check(message);
  check(fuzz::with_checksum(message, 2, size));
  return 0;
}
