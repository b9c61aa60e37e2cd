#include "wire/igmp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "wire/checksum.h"
#include "wire/endian.h"

namespace gannet::wire {
namespace {

using namespace std::chrono_literals;

constexpr auto group = IpAddress::ipv4(239, 1, 2, 3);
constexpr std::array sources{IpAddress::ipv4(10, 7, 0, 1), IpAddress::ipv4(10, 7, 0, 9)};

void repair_checksum(std::span<std::byte> message) {
  store_be16(message, 2, 0);
  ChecksumSum sum;
  sum.add(message);
  store_be16(message, 2, sum.checksum());
}

std::vector<std::byte> query_bytes(const IgmpQuery& query) {
  std::vector<std::byte> bytes(100);
  bytes.resize(emit_igmp_query(query, bytes));
  return bytes;
}

std::vector<std::byte> sample_report() {
  std::vector<std::byte> bytes(100);
  IgmpReportWriter report(bytes);
  EXPECT_TRUE(report.empty());
  EXPECT_TRUE(report.add(IgmpRecordType::to_exclude, group, {}));
  EXPECT_TRUE(report.add(IgmpRecordType::allow_new_sources, IpAddress::ipv4(232, 0, 0, 1), sources));
  bytes.resize(report.finish().size());
  return bytes;
}

// Versions 1 and 2; the bytes are those of the RFCs.
TEST(Igmp, ParsesTheReportsThatItEmits) {
  for (const auto type : {IgmpType::v1_report, IgmpType::v2_report, IgmpType::leave}) {
    std::array<std::byte, igmp_size> bytes{};
    emit_igmp(type, group, bytes);
    const auto igmp = parse_igmp(bytes);
    ASSERT_TRUE(igmp);
    EXPECT_EQ(igmp->type, type);
    EXPECT_EQ(igmp->group, group);
  }
  std::array<std::byte, igmp_size> bytes{};
  emit_igmp(IgmpType::v2_report, group, bytes);
  EXPECT_EQ(load_be64(bytes, 0), 0x1600f8faef010203u);
}

// G5: 8 bytes and no response time is version 1, 8 bytes version 2, 12 or more version 3, anything else is ignored.
TEST(Igmp, TellsTheVersionsOfQueriesApart) {
  const auto v1 = query_bytes({.version = 1, .group = IpAddress::any(Family::ipv4), .sources = {}});
  EXPECT_EQ(parse_igmp(v1)->version, 1);
  EXPECT_EQ(parse_igmp(v1)->max_response, 10s);
  const auto v2 = query_bytes({.version = 2, .group = group, .max_response = 2500ms, .sources = {}});
  EXPECT_EQ(parse_igmp(v2)->version, 2);
  EXPECT_EQ(parse_igmp(v2)->max_response, 2500ms);
  EXPECT_EQ(parse_igmp(v2)->group, group);

  const auto v3 =
      query_bytes({.version = 3, .group = group, .max_response = 1s, .suppress = true, .robustness = 3, .query_interval = 60s, .sources = sources});
  const auto query = parse_igmp(v3);
  ASSERT_TRUE(query);
  EXPECT_EQ(query->version, 3);
  EXPECT_EQ(query->max_response, 1s);
  EXPECT_TRUE(query->suppress);
  EXPECT_EQ(query->robustness, 3);
  EXPECT_EQ(query->query_interval, 60s);
  ASSERT_EQ(query->sources.size(), 2u);
  EXPECT_EQ(query->sources[0], sources[0]);
  EXPECT_EQ(query->sources[1], sources[1]);

  for (std::size_t size = 9; size < igmp_v3_query_size; ++size) {
    auto between = std::vector(v3.begin(), v3.begin() + static_cast<std::ptrdiff_t>(size));
    repair_checksum(between);
    EXPECT_EQ(parse_igmp(between).error(), Drop::igmp_truncated) << size;
  }
}

// RFC 9776 4.1.1: the code is a small floating-point number from 128 on.
TEST(Igmp, LongTimesAreFloatingPoint) {
  for (const Duration time : {Duration(12800ms), Duration(100s), Duration(1000s), Duration(3174400ms)}) {
    const auto bytes = query_bytes({.max_response = time, .query_interval = 10s, .sources = {}});
    const auto parsed = parse_igmp(bytes)->max_response;
    EXPECT_LE(parsed, time);
    EXPECT_GT(parsed, time - time / 16);
  }
  EXPECT_EQ(parse_igmp(query_bytes({.max_response = 3174400ms, .sources = {}}))->max_response, 3174400ms);
  EXPECT_EQ(parse_igmp(query_bytes({.max_response = 24h, .sources = {}}))->max_response, 3174400ms);
  // Every code means more than the one before.
  auto bytes = query_bytes({.sources = {}});
  Duration last = -1s;
  for (unsigned code = 0; code < 256; ++code) {
    store_u8(bytes, 1, static_cast<std::uint8_t>(code));
    repair_checksum(bytes);
    EXPECT_GT(parse_igmp(bytes)->max_response, last) << code;
    last = parse_igmp(bytes)->max_response;
    // And is what the emitter makes of its own value.
    EXPECT_EQ(load_u8(query_bytes({.max_response = last, .sources = {}}), 1), code);
  }
}

// G3
TEST(Igmp, ParsesTheVersion3ReportThatItEmits) {
  const auto bytes = sample_report();
  const auto igmp = parse_igmp(bytes);
  ASSERT_TRUE(igmp);
  EXPECT_EQ(igmp->type, IgmpType::v3_report);
  EXPECT_EQ(igmp->record_count, 2);
  IgmpRecords records(*igmp);
  auto record = records.next();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->type, IgmpRecordType::to_exclude);
  EXPECT_EQ(record->group, group);
  EXPECT_EQ(record->sources.size(), 0u);
  record = records.next();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->type, IgmpRecordType::allow_new_sources);
  ASSERT_EQ(record->sources.size(), 2u);
  EXPECT_EQ(record->sources[1], sources[1]);
  EXPECT_FALSE(records.next());
}

TEST(Igmp, AReportHoldsWhatFits) {
  std::array<std::byte, 8 + 8 + 4> bytes{};
  IgmpReportWriter report(bytes);
  EXPECT_EQ(report.room(), 1u);
  EXPECT_FALSE(report.add(IgmpRecordType::is_include, group, sources));
  EXPECT_TRUE(report.empty());
  EXPECT_TRUE(report.add(IgmpRecordType::is_include, group, std::span(sources).first(1)));
  EXPECT_EQ(report.room(), std::nullopt);
  EXPECT_FALSE(report.add(IgmpRecordType::is_include, group, {}));
  EXPECT_EQ(parse_igmp(report.finish())->record_count, 1);
}

TEST(Igmp, AuxiliaryDataIsSkipped) {
  auto bytes = sample_report();
  bytes.insert(bytes.begin() + 16, 4, std::byte{0x77});
  store_u8(bytes, 9, 1);
  repair_checksum(bytes);
  const auto igmp = parse_igmp(bytes);
  ASSERT_TRUE(igmp);
  IgmpRecords records(*igmp);
  EXPECT_EQ(records.next()->group, group);
  EXPECT_EQ(records.next()->group, IpAddress::ipv4(232, 0, 0, 1));
  EXPECT_FALSE(records.next());
}

TEST(Igmp, TruncatedAtEachLength) {
  const auto report = sample_report();
  for (std::size_t size = 0; size < report.size(); ++size) {
    auto cut = std::vector(report.begin(), report.begin() + static_cast<std::ptrdiff_t>(size));
    if (size >= 4) repair_checksum(cut);
    EXPECT_EQ(parse_igmp(cut).error(), size < igmp_size ? Drop::igmp_truncated : Drop::igmp_malformed) << size;
  }
  const auto query = query_bytes({.group = group, .sources = sources});
  for (std::size_t size = igmp_v3_query_size; size < query.size(); ++size) {
    auto cut = std::vector(query.begin(), query.begin() + static_cast<std::ptrdiff_t>(size));
    repair_checksum(cut);
    EXPECT_EQ(parse_igmp(cut).error(), Drop::igmp_malformed) << size;
  }
}

TEST(Igmp, DropsEverySingleBitError) {
  const auto good = sample_report();
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_EQ(parse_igmp(bad).error(), Drop::igmp_checksum_bad) << "bit " << bit;
  }
}

// The count is a claim: a report of 65,535 records in 8 bytes is refused, not believed.
TEST(Igmp, CountsAreCheckedNotBelieved) {
  auto report = sample_report();
  store_be16(report, 6, 0xffff);
  repair_checksum(report);
  EXPECT_EQ(parse_igmp(report).error(), Drop::igmp_malformed);
  report = sample_report();
  store_be16(report, 10, 0xffff);
  repair_checksum(report);
  EXPECT_EQ(parse_igmp(report).error(), Drop::igmp_malformed);
}

}  // namespace
}  // namespace gannet::wire
