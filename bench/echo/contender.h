// One echo in memory, by several hosts: a frame goes in, the answer comes out. All get the same frames and do the same work, or say what they leave
// out.
//
// Each contender is 10.0.0.2 with an echo on UDP 65433; the frames come from 10.0.0.1. A contender copies the request into memory of its own (as a
// link would), and gives the answer for reading; nothing is written to a device.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace gannet::bench {

class Contender {
 public:
  virtual ~Contender() = default;
  // Echoes one request frame; the answer is valid until the next call, empty if there was none.
  virtual std::span<const std::byte> echo(std::span<const std::byte> request) = 0;
};

// "lower-bound", "gannet-handler", "gannet-endpoint", "lwip"; null for any other, or for what this build lacks.
std::unique_ptr<Contender> make_contender(const std::string& name);
std::vector<std::string> contenders();

std::unique_ptr<Contender> make_lower_bound();
std::unique_ptr<Contender> make_gannet_handler();
std::unique_ptr<Contender> make_gannet_endpoint();
std::unique_ptr<Contender> make_lwip();

// A request frame with a payload of `size` bytes, all checksums right.
std::vector<std::byte> request_frame(std::size_t size);
// What 10.0.0.1 asks by ARP, so that a host can learn it before the run.
std::vector<std::byte> arp_request_frame();

// True when `reply` is the right answer to `request`: addresses and ports exchanged, payload equal, all checksums right.
bool is_answer(std::span<const std::byte> request, std::span<const std::byte> reply);

}  // namespace gannet::bench
