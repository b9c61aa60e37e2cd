#include "stack/counts.h"

#include "stack/stack.h"

namespace gannet::stack {

std::vector<NamedCount> counts_of(Stack& stack) {
  const IpCounters& ip = stack.counters();
  const UdpCounters& udp = stack.udp().counters();
  const Fates& fates = stack.fates();
  return {
      {"udp_in_datagrams", udp.in_datagrams.value()},
      {"udp_no_ports", udp.no_ports.value()},
      {"udp_in_errors", udp.in_errors.value()},
      {"udp_out_datagrams", udp.out_datagrams.value()},
      {"ip_in_receives", ip.in_receives.value()},
      {"ip_in_delivers", ip.in_delivers.value()},
      {"ip_out_requests", ip.out_requests.value()},
      {"ip_reasm_reqds", ip.reassembly_required.value()},
      {"ip_reasm_oks", ip.reassembly_done.value()},
      {"ip_reasm_fails", ip.reassembly_failed.value()},
      {"ip_out_frag_reqds", ip.out_fragment_required.value()},
      {"ip_out_frag_creates", ip.out_fragments_created.value()},
      {"icmp_in_msgs", ip.icmp_in_messages.value()},
      {"icmp_in_errors", ip.icmp_in_errors.value()},
      {"icmp_out_msgs", ip.icmp_out_messages.value()},
      {"icmp_out_errors", ip.icmp_out_errors.value()},
      {"icmp_out_limited", ip.icmp_out_limited.value()},
      {"frames_in", ip.frames_in.value()},
      {"frames_out", ip.frames_out.value()},
      {"frames_delivered", fates.delivered_count()},
      {"frames_consumed", fates.consumed_count()},
  };
}

}  // namespace gannet::stack
