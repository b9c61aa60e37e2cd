// Any message, as it is and with its checksum repaired: counts hold, and what is parsed means the same after it was emitted.
#include "wire/igmp.h"

#include <array>

#include "fuzz/fuzz.h"

using namespace gannet;
using namespace gannet::wire;

namespace {

std::vector<IpAddress> list(const IgmpSources& sources) {
  std::vector<IpAddress> result;
  for (std::size_t i = 0; i < sources.size(); ++i) result.push_back(sources[i]);
  return result;
}

void check_query(const Igmp& query) {
  const auto sources = list(query.sources);
  fuzz::Bytes emitted(igmp_v3_query_size + sources.size() * 4);
  emitted.resize(emit_igmp_query({.version = query.version,
                                  .group = query.group,
                                  .max_response = query.max_response,
                                  .suppress = query.suppress,
                                  .robustness = query.robustness,
                                  .query_interval = query.query_interval,
                                  .sources = sources},
                                 emitted));
  const auto again = parse_igmp(emitted);
  EXPECT(again && again->type == IgmpType::query && again->version == query.version && again->group == query.group);
  EXPECT(again->max_response == query.max_response && again->suppress == query.suppress && again->robustness == query.robustness);
  EXPECT(again->query_interval == query.query_interval && list(again->sources) == sources);
}

void check_report(const Igmp& report, std::size_t size) {
  fuzz::Bytes room(igmp_size + size);  // the parsed report may have had auxiliary data, the emitted one has none
  IgmpReportWriter writer(room);
  IgmpRecords records(report);
  std::size_t count = 0;
  while (const auto record = records.next()) {
    EXPECT(writer.add(record->type, record->group, list(record->sources)));
    ++count;
  }
  EXPECT(count == report.record_count);
  const auto again = parse_igmp(writer.finish());
  EXPECT(again && again->record_count == report.record_count);
  IgmpRecords before(report);
  IgmpRecords after(*again);
  while (const auto record = before.next()) {
    const auto emitted = after.next();
    EXPECT(emitted && emitted->type == record->type && emitted->group == record->group && list(emitted->sources) == list(record->sources));
  }
}

void check(std::span<const std::byte> message) {
  const auto igmp = parse_igmp(message);
  if (!igmp) return;
  EXPECT(fuzz::within(igmp->records, message));
  if (igmp->type == IgmpType::query) return check_query(*igmp);
  if (igmp->type == IgmpType::v3_report) return check_report(*igmp, message.size());
  fuzz::Bytes emitted(igmp_size);
  emit_igmp(igmp->type, igmp->group, emitted);
  const auto again = parse_igmp(emitted);
  EXPECT(again && again->type == igmp->type && again->group == igmp->group);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = fuzz::input(data, size);
  check(message);
  check(fuzz::with_checksum(message, 2, size));
  return 0;
}
