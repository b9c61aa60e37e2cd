// IGMP, versions 1 to 3: who wants which multicast group, from which sources.
//
//   versions 1, 2, and the head of a query      version 3 report: a head, then records
//   +--------+--------+-----------------+       +--------+--------+-----------------+
//   |  type  |max resp|    checksum     |       |  0x22  |   0    |    checksum     |
//   +--------+--------+-----------------+       +--------+--------+-----------------+
//   |           group address           |       |        0        |  record count   |
//   +--------+--------+-----------------+       +--------+--------+-----------------+
//   | S, QRV |  QQIC  |  source count   |       |rec type|aux size|  source count   |      a record: this, the group,
//   +--------+--------+-----------------+       +--------+--------+-----------------+      the sources
//      a version 3 query goes on so, then sources
//
// Thread: any; there is no state.  Allocates: never.
// Sources: RFC 1112 appendix I; RFC 2236; RFC 9776 sections 4 and 7.1.
#pragma once
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include <gannet/address.h>

#include "base/time.h"
#include "wire/drop.h"

namespace gannet::wire {

inline constexpr std::size_t igmp_size = 8;            // of versions 1 and 2, and of the head of a version 3 report
inline constexpr std::size_t igmp_v3_query_size = 12;  // without sources
inline constexpr IpAddress igmp_all_hosts = IpAddress::ipv4(224, 0, 0, 1);
inline constexpr IpAddress igmp_all_routers = IpAddress::ipv4(224, 0, 0, 2);
inline constexpr IpAddress igmp_v3_routers = IpAddress::ipv4(224, 0, 0, 22);

enum class IgmpType : std::uint8_t { query = 0x11, v1_report = 0x12, v2_report = 0x16, leave = 0x17, v3_report = 0x22 };

// IPv4 addresses as they stand one after the other in a packet.
class IgmpSources {
 public:
  IgmpSources() = default;
  explicit IgmpSources(std::span<const std::byte> bytes) : bytes_(bytes) {}
  [[nodiscard]] std::size_t size() const { return bytes_.size() / 4; }
  [[nodiscard]] IpAddress operator[](std::size_t index) const;

 private:
  std::span<const std::byte> bytes_;
};

struct Igmp {
  IgmpType type;             // any value: unknown ones are the caller's to ignore
  std::uint8_t version = 0;  // 1 to 3; of a query, its length says it
  IpAddress group{};         // any in a general query and in a version 3 report

  // Of a query.
  Duration max_response{};      // 10 s where version 1 says nothing
  bool suppress = false;        // routers' business
  std::uint8_t robustness = 0;  // 0 where the querier does not say
  Duration query_interval{};    // 0 where the querier does not say
  IgmpSources sources{};

  // Of a version 3 report: for IgmpRecords.
  std::uint16_t record_count = 0;
  std::span<const std::byte> records{};
};

// Reads the message that `payload` is, and verifies its checksum and every count in it. What follows the last record or source is ignored.
[[nodiscard]] std::expected<Igmp, Drop> parse_igmp(std::span<const std::byte> payload);

enum class IgmpRecordType : std::uint8_t {
  is_include = 1,
  is_exclude = 2,
  to_include = 3,
  to_exclude = 4,
  allow_new_sources = 5,
  block_old_sources = 6,
};

struct IgmpRecord {
  IgmpRecordType type;  // any value: unknown ones are the reader's to ignore
  IpAddress group;
  IgmpSources sources;
};

// Walks over the records of a report that was parsed: all bounds are checked by then.
class IgmpRecords {
 public:
  explicit IgmpRecords(const Igmp& report) : left_(report.records) {}
  [[nodiscard]] std::optional<IgmpRecord> next();

 private:
  std::span<const std::byte> left_;
};

// Writes a version 1 or 2 report, or a leave, of igmp_size bytes.
void emit_igmp(IgmpType type, const IpAddress& group, std::span<std::byte> message);

struct IgmpQuery {
  std::uint8_t version = 3;
  IpAddress group{};  // any: a general query
  Duration max_response = std::chrono::seconds(10);
  bool suppress = false;
  std::uint8_t robustness = 2;
  Duration query_interval = std::chrono::seconds(125);
  std::span<const IpAddress> sources{};
};

// Writes a query and returns its size. `into` has room for igmp_v3_query_size and the sources.
std::size_t emit_igmp_query(const IgmpQuery& query, std::span<std::byte> into);

// Builds a version 3 report record by record, in the room that is there.
class IgmpReportWriter {
 public:
  // `into` has at least igmp_size bytes.
  explicit IgmpReportWriter(std::span<std::byte> into);
  // How many sources a record may still have; none when not even an empty record fits.
  [[nodiscard]] std::optional<std::size_t> room() const;
  // False, and nothing written, when the record does not fit.
  bool add(IgmpRecordType type, const IpAddress& group, std::span<const IpAddress> sources);
  [[nodiscard]] bool empty() const { return count_ == 0; }
  // Completes the report and returns it.
  std::span<const std::byte> finish();

 private:
  std::span<std::byte> into_;
  std::size_t size_ = igmp_size;
  std::uint16_t count_ = 0;
};

}  // namespace gannet::wire
