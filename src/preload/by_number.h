// Calls by number, syscall(2): a function that stands in front of the C library's, with as many of the arguments as it takes.
//
// Thread: any.  Allocates: never.
#pragma once
#include <cstddef>
#include <type_traits>
#include <utility>

namespace gannet::preload {

template <class T>
T argument_as(long argument) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<T>(argument);  // NOLINT(performance-no-int-to-ptr): that is how the call is made
  } else {
    return static_cast<T>(argument);
  }
}

// Calls `function` with as many of the arguments as it takes.
template <class Result, class... Types, std::size_t... I>
long call_with(Result (*function)(Types...), const long* arguments, std::index_sequence<I...>) {
  return static_cast<long>(function(argument_as<Types>(arguments[I])...));
}
template <class Result, class... Types>
long call(Result (*function)(Types...), const long* arguments) {
  return call_with(function, arguments, std::index_sequence_for<Types...>());
}
template <class Result, class... Types>
long call(Result (*function)(Types...) noexcept, const long* arguments) {
  return call_with(static_cast<Result (*)(Types...)>(function), arguments, std::index_sequence_for<Types...>());
}

// `name`, which the same file puts in front of the C library's, for calls by number: to a linker `name` itself is the C library's (real.h).
#define GANNET_ENTRANCE(name) extern "C" __attribute__((alias(#name), visibility("hidden"))) decltype(::name) entrance_##name

// Those of wait.cc. False: another.
bool wait_by_number(long number, const long* arguments, long& result);
// And of descriptors.cc.
bool descriptor_by_number(long number, const long* arguments, long& result);

}  // namespace gannet::preload
