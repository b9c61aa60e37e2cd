#include "stack/igmp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

namespace gannet::stack {
namespace {

using Type = wire::IgmpRecordType;

constexpr IpAddress group_a = IpAddress::ipv4(239, 1, 1, 1);
constexpr IpAddress group_b = IpAddress::ipv4(239, 1, 1, 2);
constexpr IpAddress ssm_group = IpAddress::ipv4(232, 1, 1, 1);
constexpr IpAddress router = IpAddress::ipv4(10, 0, 0, 254);
constexpr std::array router_alert = {std::byte{148}, std::byte{4}, std::byte{0}, std::byte{0}};
constexpr std::uint32_t eth = 2;

IpAddress source(std::uint32_t number) { return IpAddress::ipv4(0x0a010000u + number); }
SourceFilter all() { return {.mode = FilterMode::exclude}; }
SourceFilter only(std::vector<IpAddress> sources) { return {.mode = FilterMode::include, .sources = std::move(sources)}; }
SourceFilter all_but(std::vector<IpAddress> sources) { return {.mode = FilterMode::exclude, .sources = std::move(sources)}; }

struct Record {
  Type type;
  IpAddress group;
  std::vector<IpAddress> sources{};
  friend bool operator==(const Record&, const Record&) = default;
};

struct Sent {
  Time at;
  std::uint32_t interface;
  IpAddress dst;
  wire::IgmpType type;
  IpAddress group;  // versions 1 and 2
  std::vector<Record> records;
};

class Igmps : public ::testing::Test {
 protected:
  // Lets time pass until `until`, waking the host whenever it asks.
  void run(Duration time) {
    const Time until = now_ + time;
    while (igmp_.next_wakeup() <= until) {
      now_ = std::max(now_, igmp_.next_wakeup());
      igmp_.advance(now_);
    }
    now_ = until;
  }
  std::expected<void, Drop> query(const wire::IgmpQuery& query, bool has_alert = true, IpAddress dst = wire::igmp_all_hosts) {
    std::array<std::byte, 2000> buffer;
    const std::size_t size = wire::emit_igmp_query(query, buffer);
    return input(std::span(buffer).first(size), has_alert, query.group.is_any() ? dst : query.group);
  }
  std::expected<void, Drop> input(std::span<const std::byte> message, bool has_alert, const IpAddress& dst, std::uint8_t ttl = 1) {
    wire::IpInfo ip{.src = router, .dst = dst, .interface = eth, .protocol = wire::protocol_igmp, .hop_limit = ttl};
    if (has_alert) ip.options = router_alert;
    return igmp_.input(ip, message, now_);
  }
  void report_of_another(const IpAddress& group) {
    std::array<std::byte, wire::igmp_size> message;
    wire::emit_igmp(wire::IgmpType::v2_report, group, message);
    EXPECT_TRUE(input(message, true, group));
  }
  void set(const IpAddress& group, const SourceFilter& filter) { igmp_.set(eth, group, filter, now_); }
  // All records of what was sent since the last call.
  std::vector<Record> take_records() {
    std::vector<Record> records;
    for (const Sent& sent : sent_) {
      EXPECT_EQ(sent.type, wire::IgmpType::v3_report);
      EXPECT_EQ(sent.dst, wire::igmp_v3_routers);
      records.insert(records.end(), sent.records.begin(), sent.records.end());
    }
    sent_.clear();
    return records;
  }

  Config config_;
  Rng rng_{7};
  std::vector<Sent> sent_;
  Time now_{std::chrono::hours(1)};
  Igmp igmp_{config_,
             rng_,
             {[](void* self, std::uint32_t interface, const IpAddress& dst, std::span<const std::byte> message, Time now) {
                static_cast<Igmps*>(self)->note(interface, dst, message, now);
              },
              this}};

 private:
  void note(std::uint32_t interface, const IpAddress& dst, std::span<const std::byte> message, Time now) {
    const auto igmp = wire::parse_igmp(message);
    ASSERT_TRUE(igmp);
    EXPECT_LE(message.size() + 24, 552u);
    Sent sent{now, interface, dst, igmp->type, igmp->group, {}};
    if (igmp->type == wire::IgmpType::v3_report) {
      wire::IgmpRecords records(*igmp);
      while (const auto record = records.next()) {
        sent.records.push_back({record->type, record->group});
        for (std::size_t i = 0; i < record->sources.size(); ++i) sent.records.back().sources.push_back(record->sources[i]);
      }
      EXPECT_EQ(sent.records.size(), igmp->record_count);
    }
    sent_.push_back(std::move(sent));
  }
};

// G3, G4: a change is told at once, and again, robustness times in all, after a random time within a second.
TEST_F(Igmps, ChangesAreToldAgain) {
  set(group_a, all());
  const Time start = now_;
  run(10s);
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[0].at, start);
  EXPECT_GT(sent_[1].at, start);
  EXPECT_LE(sent_[1].at, start + 1s);
  EXPECT_EQ(take_records(), (std::vector<Record>(2, {Type::to_exclude, group_a})));

  set(group_a, {});
  run(10s);
  EXPECT_EQ(take_records(), (std::vector<Record>(2, {Type::to_include, group_a})));
  set(group_a, {});
  run(10s);
  EXPECT_TRUE(sent_.empty()) << "nothing changed";
}

// G4: a change of sources is told as what came and what went; a change of mode as the whole filter (RFC 9776 5.1).
TEST_F(Igmps, SourcesAreToldAsDifferences) {
  config_.igmp_robustness = 1;
  set(group_a, only({source(1), source(2)}));
  run(2s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::allow_new_sources, group_a, {source(1), source(2)}}}));
  set(group_a, only({source(2), source(3)}));
  run(2s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::allow_new_sources, group_a, {source(3)}}, {Type::block_old_sources, group_a, {source(1)}}}));
  set(group_a, all_but({source(4)}));
  run(2s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::to_exclude, group_a, {source(4)}}}));
  set(group_a, all_but({source(5)}));
  run(2s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::allow_new_sources, group_a, {source(4)}}, {Type::block_old_sources, group_a, {source(5)}}}));
  set(group_a, only({source(5)}));
  run(2s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::to_include, group_a, {source(5)}}}));
  set(group_a, {});
  run(2s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::block_old_sources, group_a, {source(5)}}}));
}

// G4: a source that changes while an earlier change is still being told is told its own full number of times, and each state once per report.
TEST_F(Igmps, ChangesThatOverlapAreMerged) {
  set(group_a, only({source(1)}));
  igmp_.advance(now_);
  set(group_a, only({source(2)}));
  set(group_b, all());
  run(10s);
  std::map<IpAddress, int> allowed, blocked;
  int joined = 0;
  for (const Record& record : take_records()) {
    for (const IpAddress& from : record.sources) ++(record.type == Type::allow_new_sources ? allowed : blocked)[from];
    joined += record.type == Type::to_exclude ? 1 : 0;
  }
  EXPECT_EQ(allowed, (std::map<IpAddress, int>{{source(1), 1}, {source(2), 2}}));
  EXPECT_EQ(blocked, (std::map<IpAddress, int>{{source(1), 2}}));
  EXPECT_EQ(joined, 2);
}

TEST_F(Igmps, AllHostsIsNeverReported) {
  set(wire::igmp_all_hosts, all());
  run(10s);
  ASSERT_TRUE(query({}));
  run(20s);
  EXPECT_TRUE(sent_.empty());
}

// G4: the answer to a general query comes after a random delay within what the query allows, for all groups in one report.
TEST_F(Igmps, AGeneralQueryIsAnsweredOnce) {
  set(group_a, all());
  set(group_b, only({source(1)}));
  run(10s);
  sent_.clear();
  std::vector<Duration> delays;
  for (int round = 0; round < 20; ++round) {
    const Time asked = now_;
    ASSERT_TRUE(query({.max_response = 4s}));
    ASSERT_TRUE(query({.max_response = 10s})) << "answered along with the first";
    run(30s);
    ASSERT_EQ(sent_.size(), 1u);
    delays.push_back(sent_[0].at - asked);
    EXPECT_EQ(take_records(), (std::vector<Record>{{Type::is_exclude, group_a}, {Type::is_include, group_b, {source(1)}}}));
  }
  EXPECT_LE(std::ranges::max(delays), 4s);
  EXPECT_GT(std::ranges::max(delays) - std::ranges::min(delays), 1s) << "the delays are random";
}

// G4, X13: queries about a group and sources are answered with those of them that are wanted.
TEST_F(Igmps, AQueryAboutSourcesIsAnsweredAboutThem) {
  set(group_a, all_but({source(1)}));
  set(group_b, only({source(1)}));
  run(10s);
  sent_.clear();
  const std::array asked = {source(1), source(2)};
  ASSERT_TRUE(query({.group = group_a, .sources = asked}));
  run(20s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::is_include, group_a, {source(2)}}}));
  ASSERT_TRUE(query({.group = group_b, .sources = asked}));
  run(20s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::is_include, group_b, {source(1)}}}));
  ASSERT_TRUE(query({.group = group_b, .sources = std::span(asked).subspan(1)}));
  run(20s);
  EXPECT_TRUE(sent_.empty()) << "none of them is wanted";

  // Two queries while the answer waits: one answer about both; a query about the group outweighs those about sources.
  ASSERT_TRUE(query({.group = group_a, .sources = std::span(asked).subspan(1)}));
  const std::array more = {source(3)};
  ASSERT_TRUE(query({.group = group_a, .sources = more}));
  run(20s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::is_include, group_a, {source(2), source(3)}}}));
  ASSERT_TRUE(query({.group = group_a, .sources = more}));
  ASSERT_TRUE(query({.group = group_a}));
  run(20s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::is_exclude, group_a, {source(1)}}}));

  // More sources than are remembered: the answer is about the group.
  for (std::uint32_t i = 0; i < config_.igmp_sources + 1; ++i) {
    const std::array one = {source(i)};
    ASSERT_TRUE(query({.group = group_b, .sources = one}));
  }
  run(20s);
  EXPECT_EQ(take_records(), (std::vector<Record>{{Type::is_include, group_b, {source(1)}}}));
  ASSERT_TRUE(query({.group = IpAddress::ipv4(239, 9, 9, 9)}));
  run(20s);
  EXPECT_TRUE(sent_.empty()) << "not joined";
}

TEST_F(Igmps, ManyGroupsTakeSeveralReports) {
  for (std::uint32_t i = 0; i < 100; ++i) set(IpAddress::ipv4(0xef020000u + i), only({source(1), source(2), source(3)}));
  igmp_.advance(now_);
  EXPECT_GT(sent_.size(), 1u);
  EXPECT_EQ(take_records().size(), 100u);
}

// RFC 9776 4.2.16: a record whose sources do not fit goes on in the next report.
TEST_F(Igmps, ManySourcesTakeSeveralReports) {
  std::vector<IpAddress> sources;
  for (std::uint32_t i = 0; i < 300; ++i) sources.push_back(source(i));
  set(group_a, only(sources));
  igmp_.advance(now_);
  EXPECT_GT(sent_.size(), 1u);
  std::vector<IpAddress> told;
  for (const Record& record : take_records()) told.insert(told.end(), record.sources.begin(), record.sources.end());
  EXPECT_EQ(told, sources);
}

// G5: the length says the version: 8 bytes without a response time 1, with one 2, from 12 on 3; anything between is ignored.
TEST_F(Igmps, TheLengthOfAQuerySaysItsVersion) {
  std::array<std::byte, 12> buffer{};
  wire::emit_igmp_query({.version = 3}, buffer);
  const auto bad = input(std::span(buffer).first(10), true, wire::igmp_all_hosts);
  ASSERT_FALSE(bad);
  EXPECT_EQ(igmp_.version(eth), 3);
  ASSERT_TRUE(query({.version = 2}));
  EXPECT_EQ(igmp_.version(eth), 2);
  ASSERT_TRUE(query({.version = 1}));
  EXPECT_EQ(igmp_.version(eth), 1);
}

// G6: an older querier is spoken to in its version until it has been silent for 2 x 125 s and a response time; the change cancels what was planned.
TEST_F(Igmps, OlderQueriersAreSpokenToInTheirVersion) {
  set(group_a, all());
  ASSERT_TRUE(query({}));
  ASSERT_TRUE(query({.version = 2, .max_response = 10s}));
  run(10s);
  ASSERT_EQ(sent_.size(), 1u) << "the join's reports and the answer to the first query are off";
  EXPECT_EQ(sent_[0].type, wire::IgmpType::v2_report);
  EXPECT_EQ(sent_[0].dst, group_a);
  sent_.clear();

  ASSERT_TRUE(query({.version = 1}));
  run(10s);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].type, wire::IgmpType::v1_report);
  sent_.clear();
  run(259s - 10s);
  EXPECT_EQ(igmp_.version(eth), 1);
  run(2s);
  EXPECT_EQ(igmp_.version(eth), 3) << "the version 2 querier has been silent for longer still";
  set(group_a, {});
  run(5s);
  EXPECT_EQ(take_records(), (std::vector<Record>(2, {Type::to_include, group_a})));
}

// G6: RFC 2236: joins are reported twice, another's report silences ours, and the leave is told by who reported last.
TEST_F(Igmps, VersionTwoJoinsAndLeaves) {
  ASSERT_TRUE(query({.version = 2}));
  run(20s);
  set(group_a, all());
  set(group_b, all());
  run(15s);
  ASSERT_EQ(sent_.size(), 4u);
  sent_.clear();

  ASSERT_TRUE(query({.version = 2, .group = group_b, .max_response = 1s}));
  report_of_another(group_b);
  run(5s);
  EXPECT_TRUE(sent_.empty());

  set(group_a, {});
  set(group_b, {});
  run(5s);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].type, wire::IgmpType::leave);
  EXPECT_EQ(sent_[0].dst, wire::igmp_all_routers);
  EXPECT_EQ(sent_[0].group, group_a);
}

// RFC 4604 section 2.2.3: older routers hear nothing of source-specific groups.
TEST_F(Igmps, SourceSpecificGroupsAreNotToldToOldRouters) {
  ASSERT_TRUE(query({.version = 2}));
  set(ssm_group, only({source(1)}));
  run(20s);
  ASSERT_TRUE(query({.version = 2}));
  run(20s);
  EXPECT_TRUE(sent_.empty());
}

// G7: forged queries are dropped: without router alert, from beyond the link, general ones not to all hosts.
TEST_F(Igmps, ForgedQueriesAreDropped) {
  set(group_a, all());
  run(10s);
  sent_.clear();
  EXPECT_EQ(query({}, false).error(), Drop::igmp_malformed);
  EXPECT_EQ(query({.version = 2}, false).error(), Drop::igmp_malformed);
  EXPECT_EQ(query({}, true, IpAddress::ipv4(10, 0, 0, 1)).error(), Drop::igmp_malformed);
  EXPECT_EQ(query({.group = IpAddress::ipv4(10, 0, 0, 1)}).error(), Drop::igmp_malformed);
  std::array<std::byte, 12> buffer;
  wire::emit_igmp_query({}, buffer);
  EXPECT_EQ(input(buffer, true, wire::igmp_all_hosts, 2).error(), Drop::igmp_malformed);
  buffer[5] ^= std::byte{1};
  EXPECT_EQ(input(buffer, true, wire::igmp_all_hosts).error(), Drop::igmp_checksum_bad);
  run(20s);
  EXPECT_TRUE(sent_.empty());
  EXPECT_TRUE(query({.version = 1}, false)) << "version 1 knew no router alert";
}

// A querier's robustness becomes ours.
TEST_F(Igmps, TheQuerierSaysHowOften) {
  ASSERT_TRUE(query({.robustness = 4}));
  set(group_a, all());
  run(10s);
  EXPECT_GE(take_records().size(), 4u);
}

// An interface that can send only now tells of what it wants as a join does, whatever was told before; older routers likewise.
TEST_F(Igmps, AnnouncesWhatIsWanted) {
  set(group_a, all_but({source(1)}));
  set(group_b, only({source(2)}));
  set(ssm_group, only({source(3)}));
  run(5s);
  take_records();
  set(ssm_group, {});
  igmp_.announce(eth, now_);
  igmp_.announce(eth + 1, now_);
  run(0s);
  const std::vector<Record> told = {
      {Type::to_exclude, group_a, {source(1)}}, {Type::allow_new_sources, group_b, {source(2)}}, {Type::block_old_sources, ssm_group, {source(3)}}};
  EXPECT_EQ(take_records(), told);
  run(5s);
  EXPECT_EQ(take_records(), told) << "robustness 2";
  run(100s);
  EXPECT_TRUE(take_records().empty());

  ASSERT_TRUE(query({.version = 2, .max_response = 1s}));
  run(5s);
  sent_.clear();
  igmp_.announce(eth, now_);
  run(60s);
  ASSERT_EQ(sent_.size(), 4u) << "each group twice";
  EXPECT_EQ(sent_[0].group, group_a);
  EXPECT_EQ(sent_[1].group, group_b);
}

}  // namespace
}  // namespace gannet::stack
