// What a host and a socket cost in memory: resident pages, as the kernel counts them, of this process.
//
//   memory [--json]
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include <gannet/host.h>

namespace {

// Kilobytes; 0 where /proc is not to be had.
long resident() {
  long pages = 0;
  if (std::FILE* statm = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(statm, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(statm);
  }
  return pages * (::sysconf(_SC_PAGESIZE) / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int count = 200;
  const long before = resident();
  gannet::Segment segment;
  auto host = gannet::Host::open(segment, "10.0.0.1/24").value();
  host.start().value();
  const long with_host = resident();
  std::vector<gannet::Socket> sockets;
  for (int i = 0; i < count; ++i) {
    sockets.push_back(gannet::Socket::open(host).value());
    sockets.back().bind({gannet::IpAddress::any(gannet::Family::ipv4), 0}).value();
  }
  const double each = static_cast<double>(resident() - with_host) / count;
  if (argc > 1 && std::string(argv[1]) == "--json") {
    std::printf("{\"process_kib\": %ld, \"idle_host_kib\": %ld, \"bound_socket_kib\": %.1f}\n", before, with_host - before, each);
  } else {
    std::printf("an empty process %ld KiB; an idle host adds %ld KiB; a bound socket adds %.1f KiB\n", before, with_host - before, each);
  }
}
