#include "link/uplink_groups.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace gannet::link {
namespace {

void set_address(sockaddr_storage& storage, const IpAddress& ip) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(ip.number());
  std::memcpy(&storage, &name, sizeof name);
}

group_req request_of(const IpAddress& group, std::uint32_t interface) {
  group_req request{};
  request.gr_interface = interface;
  set_address(request.gr_group, group);
  return request;
}

// Linux takes ten sources by default (net.ipv4.igmp_max_msf): beyond, the kernel brings what comes from anybody.
bool set_filter(int fd, const IpAddress& group, std::uint32_t interface, bool exclude, std::span<const IpAddress> sources) {
  std::vector<std::byte> bytes(GROUP_FILTER_SIZE(sources.size()));
  group_filter filter{};
  filter.gf_interface = interface;
  filter.gf_fmode = exclude ? MCAST_EXCLUDE : MCAST_INCLUDE;
  filter.gf_numsrc = static_cast<std::uint32_t>(sources.size());
  set_address(filter.gf_group, group);
  std::memcpy(bytes.data(), &filter, offsetof(group_filter, gf_slist));
  for (std::size_t i = 0; i < sources.size(); ++i) {
    sockaddr_storage source{};
    set_address(source, sources[i]);
    std::memcpy(bytes.data() + offsetof(group_filter, gf_slist) + i * sizeof source, &source, sizeof source);
  }
  return ::setsockopt(fd, IPPROTO_IP, MCAST_MSFILTER, bytes.data(), static_cast<socklen_t>(bytes.size())) == 0;
}

}  // namespace

Result<void> UplinkGroups::update(const IpAddress& group, std::uint32_t interface, bool exclude, std::span<const IpAddress> sources) {
  const std::pair key{group.number(), interface};
  auto found = joined_.find(key);
  if (!exclude && sources.empty()) {
    if (found == joined_.end()) return {};
    const group_req request = request_of(group, interface);
    static_cast<void>(::setsockopt(sockets_[found->second].get(), IPPROTO_IP, MCAST_LEAVE_GROUP, &request, sizeof request));
    joined_.erase(found);
    return {};
  }
  if (found == joined_.end()) {
    const auto socket = join(group, interface, exclude ? nullptr : &sources.front());
    if (!socket) return socket.error();
    found = joined_.emplace(key, *socket).first;
  }
  const int fd = sockets_[found->second].get();
  if (!set_filter(fd, group, interface, exclude, sources)) set_filter(fd, group, interface, true, {});
  return {};
}

Result<std::size_t> UplinkGroups::join(const IpAddress& group, std::uint32_t interface, const IpAddress* source) {
  const group_req from_all = request_of(group, interface);
  group_source_req from_one{};
  from_one.gsr_interface = interface;
  set_address(from_one.gsr_group, group);
  if (source != nullptr) set_address(from_one.gsr_source, *source);
  for (std::size_t i = 0; i < max_sockets; ++i) {
    if (i == sockets_.size()) {
      Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      if (!fd) return Error{errno, "no descriptor left for the kernel's side of the group"};
      sockets_.push_back(std::move(fd));
    }
    const int fd = sockets_[i].get();
    const int joined = source != nullptr ? ::setsockopt(fd, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &from_one, sizeof from_one)
                                         : ::setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &from_all, sizeof from_all);
    if (joined == 0) return i;
    if (errno != ENOBUFS) return Error{errno, "the kernel does not join the group there"};
  }
  return Error{ENOBUFS, "the host has joined as many groups as it can"};
}

}  // namespace gannet::link
