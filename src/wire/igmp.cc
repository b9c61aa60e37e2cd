#include "wire/igmp.h"

#include <bit>

#include "base/assert.h"
#include "wire/checksum.h"
#include "wire/endian.h"
#include "wire/ip.h"

namespace gannet::wire {
namespace {

constexpr std::size_t record_header_size = 8;

// A code below 128 is the number itself; above, a floating point of 3 bits exponent and 4 bits mantissa (RFC 9776 4.1.1).
std::uint32_t decode(std::uint8_t code) {
  if (code < 128) return code;
  return ((code & 0x0fu) | 0x10u) << ((code >> 4 & 7u) + 3);
}

// The largest code that means no more than `value`.
std::uint8_t encode(std::uint64_t value) {
  if (value < 128) return static_cast<std::uint8_t>(value);
  if (value >= decode(255)) return 255;
  const auto exponent = static_cast<unsigned>(std::bit_width(value)) - 8;
  return static_cast<std::uint8_t>(0x80u | exponent << 4 | (value >> (exponent + 3) & 0x0fu));
}

constexpr Duration tenth = std::chrono::milliseconds(100);

// The size of the records, or nothing when one does not fit.
std::optional<std::size_t> measure_records(std::span<const std::byte> bytes, std::size_t count) {
  std::size_t size = 0;
  for (; count != 0; --count) {
    if (bytes.size() - size < record_header_size) return std::nullopt;
    const auto record = bytes.subspan(size);
    const std::size_t record_size = record_header_size + load_u8(record, 1) * std::size_t{4} + load_be16(record, 2) * std::size_t{4};
    if (record.size() < record_size) return std::nullopt;
    size += record_size;
  }
  return size;
}

std::expected<Igmp, Drop> parse_query(std::span<const std::byte> payload) {
  const std::uint8_t code = load_u8(payload, 1);
  Igmp query{.type = IgmpType::query, .group = load_ipv4(payload, 4)};
  // RFC 9776 7.1: the length and the maximum response code say the version.
  if (payload.size() == igmp_size) {
    query.version = code == 0 ? 1 : 2;
    query.max_response = code == 0 ? 100 * tenth : code * tenth;
    return query;
  }
  if (payload.size() < igmp_v3_query_size) return std::unexpected(Drop::igmp_truncated);
  const std::size_t sources = load_be16(payload, 10) * std::size_t{4};
  if (payload.size() - igmp_v3_query_size < sources) return std::unexpected(Drop::igmp_malformed);
  query.version = 3;
  query.max_response = decode(code) * tenth;
  query.suppress = (load_u8(payload, 8) & 8) != 0;
  query.robustness = load_u8(payload, 8) & 7;
  query.query_interval = std::chrono::seconds(decode(load_u8(payload, 9)));
  query.sources = IgmpSources(payload.subspan(igmp_v3_query_size, sources));
  return query;
}

void store_checksum(std::span<std::byte> message) {
  ChecksumSum sum;
  sum.add(message);
  store_be16(message, 2, sum.checksum());
}

}  // namespace

IpAddress IgmpSources::operator[](std::size_t index) const {
  ASSERT(index < size());
  return load_ipv4(bytes_, index * 4);
}

std::expected<Igmp, Drop> parse_igmp(std::span<const std::byte> payload) {
  if (payload.size() < igmp_size) return std::unexpected(Drop::igmp_truncated);
  ChecksumSum sum;
  sum.add(payload);
  if (!sum.agrees()) return std::unexpected(Drop::igmp_checksum_bad);

  const auto type = static_cast<IgmpType>(load_u8(payload, 0));
  if (type == IgmpType::query) return parse_query(payload);
  if (type != IgmpType::v3_report) {
    return Igmp{.type = type, .version = type == IgmpType::v1_report ? std::uint8_t{1} : std::uint8_t{2}, .group = load_ipv4(payload, 4)};
  }
  const std::uint16_t count = load_be16(payload, 6);
  const auto records = payload.subspan(igmp_size);
  const auto size = measure_records(records, count);
  if (!size) return std::unexpected(Drop::igmp_malformed);
  return Igmp{.type = type, .version = 3, .record_count = count, .records = records.first(*size)};
}

std::optional<IgmpRecord> IgmpRecords::next() {
  if (left_.empty()) return std::nullopt;
  const std::size_t sources = load_be16(left_, 2) * std::size_t{4};
  const std::size_t auxiliary = load_u8(left_, 1) * std::size_t{4};  // no version has any; skipped, as RFC 9776 4.2.6 says
  const IgmpRecord record{static_cast<IgmpRecordType>(load_u8(left_, 0)), load_ipv4(left_, 4),
                          IgmpSources(left_.subspan(record_header_size, sources))};
  left_ = left_.subspan(record_header_size + sources + auxiliary);
  return record;
}

void emit_igmp(IgmpType type, const IpAddress& group, std::span<std::byte> message) {
  ASSERT(message.size() == igmp_size);
  store_be32(message, 0, std::uint32_t{static_cast<std::uint8_t>(type)} << 24);
  store_ipv4(message, 4, group);
  store_checksum(message);
}

std::size_t emit_igmp_query(const IgmpQuery& query, std::span<std::byte> into) {
  const std::size_t size = query.version < 3 ? igmp_size : igmp_v3_query_size + query.sources.size() * 4;
  ASSERT(size <= into.size() && query.sources.size() <= 0xffff);
  const auto message = into.first(size);
  const auto tenths = static_cast<std::uint64_t>(query.max_response / tenth);
  const std::uint8_t code = query.version == 1   ? std::uint8_t{0}
                            : query.version == 2 ? static_cast<std::uint8_t>(tenths < 255 ? tenths : 255)
                                                 : encode(tenths);
  store_be32(message, 0, 0x1100'0000u | std::uint32_t{code} << 16);
  store_ipv4(message, 4, query.group);
  if (query.version == 3) {
    store_u8(message, 8, static_cast<std::uint8_t>((query.suppress ? 8 : 0) | (query.robustness & 7)));
    store_u8(message, 9, encode(static_cast<std::uint64_t>(query.query_interval / std::chrono::seconds(1))));
    store_be16(message, 10, static_cast<std::uint16_t>(query.sources.size()));
    for (std::size_t i = 0; i < query.sources.size(); ++i) store_ipv4(message, igmp_v3_query_size + i * 4, query.sources[i]);
  }
  store_checksum(message);
  return size;
}

IgmpReportWriter::IgmpReportWriter(std::span<std::byte> into) : into_(into) { ASSERT(into.size() >= igmp_size); }

std::optional<std::size_t> IgmpReportWriter::room() const {
  const std::size_t left = into_.size() - size_;
  if (left < record_header_size || count_ == 0xffff) return std::nullopt;
  return (left - record_header_size) / 4;
}

bool IgmpReportWriter::add(IgmpRecordType type, const IpAddress& group, std::span<const IpAddress> sources) {
  const auto most = room();
  if (!most || sources.size() > *most || sources.size() > 0xffff) return false;
  const auto record = into_.subspan(size_);
  store_be32(record, 0, std::uint32_t{static_cast<std::uint8_t>(type)} << 24 | static_cast<std::uint16_t>(sources.size()));
  store_ipv4(record, 4, group);
  for (std::size_t i = 0; i < sources.size(); ++i) store_ipv4(record, record_header_size + i * 4, sources[i]);
  size_ += record_header_size + sources.size() * 4;
  ++count_;
  return true;
}

std::span<const std::byte> IgmpReportWriter::finish() {
  const auto report = into_.first(size_);
  store_be32(report, 0, 0x2200'0000);
  store_be32(report, 4, count_);
  store_checksum(report);
  return report;
}

}  // namespace gannet::wire
