// Arithmetic on sizes that come from outside: an overflow is an empty optional, never a wrap.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

namespace lserve {

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// Rounds `value` up to a multiple of `alignment`. REQUIRES: alignment > 0.
inline std::optional<uint64_t> checked_round_up(uint64_t value, uint64_t alignment) {
  const uint64_t rest = value % alignment;
  return rest == 0 ? std::optional(value) : checked_add(value, alignment - rest);
}

// `value` as a To, if it fits.
template <typename To, typename From>
std::optional<To> checked_cast(From value) {
  To result = 0;
  if (__builtin_add_overflow(value, From{0}, &result)) return std::nullopt;
  return result;
}

// ceil(a / b). REQUIRES: a >= 0, b > 0.
template <typename T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

template <typename T>
constexpr T round_up(T a, T b) {
  return ceil_div(a, b) * b;
}

}  // namespace lserve
