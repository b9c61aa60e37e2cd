// TFTP, as a client and as a server: what boots machines and feeds telephones.
//
//   tftp get ADDRESS:PORT NAME FILE      tftp put ADDRESS:PORT FILE NAME      tftp serve ADDRESS:PORT FOLDER
#include <atomic>
#include <iostream>
#include <thread>

#include "tftp_transfer.h"

namespace fs = std::filesystem;
using OpenSocket = Socket (*)(gannet::Family);  // over the kernel; or over a host of ours

void get(OpenSocket open, const Address& server, const std::string& name, const fs::path& file) {
  Transfer transfer(open(server.ip.family), server, false);
  transfer.receive_file(file, request(read_request, {name, "octet"}, {{"blksize", 1428}, {"tsize", 0}}));
}

void put(OpenSocket open, const Address& server, const fs::path& file, const std::string& name) {
  std::ifstream bytes(file, std::ios::binary);
  if (!bytes) throw std::runtime_error(file.string() + " cannot be read");
  Transfer transfer(open(server.ip.family), server, false);
  transfer.send_file(bytes, request(write_request, {name, "octet"}, {{"blksize", 1428}, {"tsize", fs::file_size(file)}}));
}

struct Request {
  unsigned kind = 0;
  std::string name;
  Options options;
};

// What a client asks for, out of bytes from anybody.
Request parse(const std::string& text) {
  const unsigned kind = text.size() < 2 ? 0 : number_at(text, 0);
  const std::vector<std::string> fields = kind == 0 ? std::vector<std::string>() : fields_of(std::string_view(text).substr(2));
  if ((kind != read_request && kind != write_request) || fields.size() < 2 || fields[0].empty()) throw Failure(4, "no request of TFTP's");
  if (lower(fields[1]) != "octet") throw Failure(0, "only octet mode is spoken here");
  return {.kind = kind, .name = fields[0], .options = options_in(fields, 2)};
}

// The file that a name from the network stands for: one in the folder, whatever dots, slashes and links say. `folder` is canonical.
fs::path path_of(const fs::path& folder, const std::string& name) {
  std::error_code no_path;  // too long, or links that lead in circles
  const fs::path path = fs::weakly_canonical(folder / fs::path(name).relative_path(), no_path);
  if (no_path || path == folder || path.filename().empty() ||
      std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first != folder.end()) {
    throw Failure(2, "that is not in the folder served");
  }
  return path;
}

// A request, in a thread of its own, from a port of its own.
void answer(Transfer& transfer, const fs::path& folder, const std::string& text) {
  auto [kind, name, options] = parse(text);
  const fs::path path = path_of(folder, name);
  transfer.use(options);
  if (kind == read_request) {
    if (!fs::is_regular_file(path)) throw Failure(1, "no such file");
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Failure(2, "the file cannot be read");
    if (options.contains("tsize")) options["tsize"] = fs::file_size(path);
    transfer.send_file(file, options.empty() ? "" : request(accepted_options, {}, options));
  } else {
    if (fs::exists(path)) throw Failure(6, "the file is there already");
    if (auto it = options.find("tsize"); it != options.end() && it->second > fs::space(folder).available) throw Failure(3, "the file is too large");
    transfer.receive_file(path, options.empty() ? packet(acknowledgement, 0) : request(accepted_options, {}, options));
  }
}

// Until `socket` is closed, and the transfers under way have ended.
void serve(Socket& socket, OpenSocket open, const Address& local, const fs::path& served, std::ostream& output) {
  constexpr int most_at_once = 64;  // who asks while so many are served is not answered, and will ask again
  static std::atomic<int> under_way = 0;
  if (!fs::is_directory(served)) throw std::runtime_error(served.string() + " is no folder");
  const fs::path folder = fs::canonical(served);
  socket.bind(local).value();
  output << "Listening on " << socket.local_address().value().to_string() << std::endl;
  std::array<std::byte, 1500> buffer;
  while (auto asked = socket.receive(buffer)) {
    if (asked->data.size() < 4 || under_way >= most_at_once) continue;
    ++under_way;
    std::thread([open, folder, peer = asked->peer, source = asked->local.ip, text = std::string(gannet::text_of(asked->data))] {
      try {
        Socket own = open(peer.ip.family);
        own.bind(Address{source, 0}).value();  // it answers from the address that was asked (RFC 1123 4.2.3.4)
        Transfer transfer(std::move(own), peer, true);
        try {
          answer(transfer, folder, text);
        } catch (const Failure& failure) {
          transfer.fail(failure.code, failure.what());
        }
      } catch (const std::exception& failure) {
        std::cerr << peer.to_string() << ": " << failure.what() << std::endl;
      }
      --under_way;
      under_way.notify_all();
    }).detach();
  }
  while (const int left = under_way) under_way.wait(left);
}

int main(int count, char** arguments) {
  const OpenSocket open = [](gannet::Family family) { return Socket::open(family).value(); };
  const std::vector<std::string> words(arguments + 1, arguments + count);
  try {
    if (words.size() == 4 && words[0] == "get") return get(open, Address::parse(words[1]).value(), words[2], words[3]), 0;
    if (words.size() == 4 && words[0] == "put") return put(open, Address::parse(words[1]).value(), words[2], words[3]), 0;
    if (words.size() == 3 && words[0] == "serve") {
      const Address local = Address::parse(words[1]).value();
      Socket socket = open(local.ip.family);
      return serve(socket, open, local, words[2], std::cout), 0;
    }
  } catch (const std::exception& failure) {
    return std::cerr << "tftp: " << failure.what() << std::endl, 1;
  }
  std::cerr << "usage: tftp get ADDRESS:PORT NAME FILE | put ADDRESS:PORT FILE NAME | serve ADDRESS:PORT FOLDER" << std::endl;
  return 2;
}
