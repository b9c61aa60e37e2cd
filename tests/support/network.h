// A network of the tests' own: namespaces in which nothing else listens, and `ip` to furnish them.
//
// The process moves into a fresh network namespace (and, where it is not root, a user namespace in which it is); a second one, for the other host, is
// entered by single calls. Thread: the first call from a process that has no other threads.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include <gannet/address.h>

namespace gannet::tests {

// Moves the process into a network namespace of its own with `lo` up, at the first call. The reason why not, or empty.
const std::string& enter_private_network();

// A second network namespace, `lo` up in it.
class SecondNetwork {
 public:
  // Runs in the second namespace what must be done there, in the calling thread.
  static std::string open(SecondNetwork& network);  // the reason why not, or empty
  void inside(const std::function<void()>& work) const;
  ~SecondNetwork();

 private:
  int home_ = -1;
  int fd_ = -1;
};

// Tells `src`, as a router would and from the calling thread's namespace, that the path of its UDP datagrams to `dst` carries no more than `mtu`. The
// reason why not, or empty.
std::string send_fragmentation_needed(const Address& src, const Address& dst, std::uint16_t mtu);

// Runs one `ip` command in the calling thread's namespace. What it said if it failed, or empty.
std::string run_ip(const std::string& arguments);

}  // namespace gannet::tests
