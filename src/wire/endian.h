// Numbers as they stand in packets: big-endian, at any alignment. Byte order exists here and nowhere else.
//
// The caller has checked the length: these compile to one load or store and a byte swap, and ASan is their only guard.
// Thread: any.  Allocates: never.
#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace gannet::wire {

template <std::unsigned_integral T>
[[nodiscard]] constexpr T big_endian(T value) {
  if constexpr (std::endian::native == std::endian::little && sizeof(T) > 1) return std::byteswap(value);
  return value;
}

template <std::unsigned_integral T>
[[nodiscard]] inline T load_be(std::span<const std::byte> at, std::size_t offset) {
  T value;
  std::memcpy(&value, at.data() + offset, sizeof value);
  return big_endian(value);
}

template <std::unsigned_integral T>
inline void store_be(std::span<std::byte> at, std::size_t offset, T value) {
  value = big_endian(value);
  std::memcpy(at.data() + offset, &value, sizeof value);
}

[[nodiscard]] inline std::uint8_t load_u8(std::span<const std::byte> at, std::size_t offset) {
  return std::to_integer<std::uint8_t>(at.data()[offset]);
}
[[nodiscard]] inline std::uint16_t load_be16(std::span<const std::byte> at, std::size_t offset) { return load_be<std::uint16_t>(at, offset); }
[[nodiscard]] inline std::uint32_t load_be32(std::span<const std::byte> at, std::size_t offset) { return load_be<std::uint32_t>(at, offset); }
[[nodiscard]] inline std::uint64_t load_be64(std::span<const std::byte> at, std::size_t offset) { return load_be<std::uint64_t>(at, offset); }

inline void store_u8(std::span<std::byte> at, std::size_t offset, std::uint8_t value) { at.data()[offset] = std::byte{value}; }
inline void store_be16(std::span<std::byte> at, std::size_t offset, std::uint16_t value) { store_be(at, offset, value); }
inline void store_be32(std::span<std::byte> at, std::size_t offset, std::uint32_t value) { store_be(at, offset, value); }
inline void store_be64(std::span<std::byte> at, std::size_t offset, std::uint64_t value) { store_be(at, offset, value); }

}  // namespace gannet::wire
