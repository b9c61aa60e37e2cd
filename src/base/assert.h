// ASSERT ends the process on a bug of ours. It is never for bytes from outside: a bad packet is a Drop, a bad call an Error.
#pragma once

namespace gannet {

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace gannet

#define ASSERT(condition) ((condition) ? void(0) : ::gannet::assertion_failed(#condition, __FILE__, __LINE__))
