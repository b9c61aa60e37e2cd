// What is too long for a reply, in a file of its own that the reply brings: plain bytes, of one machine and one version.
//
// Thread: any.  Allocates: when one is read.  Bound: max_sheet.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include <gannet/result.h>

#include "base/fd.h"

namespace gannet::hub {

inline constexpr std::size_t max_sheet = std::size_t{64} << 20;

// EMFILE, ENOBUFS.
Result<Fd> write_sheet(std::span<const std::byte> bytes);
// EPROTO: it is no file, or too long.
Result<std::vector<std::byte>> read_sheet(const Fd& fd);

}  // namespace gannet::hub
